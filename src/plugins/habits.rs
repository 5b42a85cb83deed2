//! How a policy has decided lately, and so where it decides next: here, in its long lane or in its slow one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use origan_codec_host::plugin::{Decision, Fault};

/// What a decision may take of a thread that serves. To have it made elsewhere costs a twentieth of this.
const LONG: Duration = Duration::from_micros(500);
/// What a long decision adds to a policy's score, and a short one takes from it: those that take long one time in three count. A machine
/// that gives a thread's time to others makes a decision long now and then, and no policy.
const ADDED: u32 = 2;
const TAKEN: u32 = 1;
/// From this score on, a policy takes long.
const SCORE_OF_LONG: u32 = 3 * ADDED;
const SCORE_MAX: u32 = 2 * SCORE_OF_LONG;

/// Good decisions after a missed deadline before a policy is trusted to be quick again.
const PENALTY: u32 = 100;
/// So many missed until then, and it is hopeless. A machine that stands still for a moment may make a good policy miss a few at once.
const MISSED_OF_HOPELESS: u32 = 10;

/// Whether a policy's decisions take long lately: its score.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU32);

impl Pace {
    pub(super) fn is_long(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= SCORE_OF_LONG
    }

    /// From one more decision.
    pub(super) fn learn(&self, took: Duration) {
        let score = self.0.load(Ordering::Relaxed);
        let learnt = if took < LONG { score.saturating_sub(TAKEN) } else { score.saturating_add(ADDED).min(SCORE_MAX) };
        // As a rule nothing has changed, and nothing is written that other threads would have to read again.
        if learnt != score {
            self.0.store(learnt, Ordering::Relaxed);
        }
    }
}

/// How a policy has decided lately.
#[derive(Debug, Default)]
pub(super) struct Habits {
    pub(super) pace: Pace,
    pub(super) slowness: Slowness,
}

impl Habits {
    /// From one more decision, whatever came of it, and what it took.
    pub(super) fn learn(&self, outcome: &Result<Decision, Fault>, took: Duration) {
        self.pace.learn(took);
        self.slowness.learn(outcome);
    }
}

/// Whether a policy has shown to be slow.
#[derive(Debug, Default)]
pub(super) struct Slowness {
    /// Good decisions until it is trusted again.
    left: AtomicU32,
    /// Deadlines missed since it was trusted.
    missed: AtomicU32,
}

impl Slowness {
    pub(super) fn is_slow(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0
    }

    /// Whether its decisions are not worth what others would have to wait for them.
    pub(super) fn is_hopeless(&self) -> bool {
        self.missed.load(Ordering::Relaxed) >= MISSED_OF_HOPELESS
    }

    /// From one more decision.
    pub(super) fn learn(&self, outcome: &Result<Decision, Fault>) {
        match outcome {
            Err(Fault::Timeout(_)) => {
                self.missed.fetch_add(1, Ordering::Relaxed);
                self.left.store(PENALTY, Ordering::Relaxed);
            }
            Ok(_) if self.is_slow() => {
                let less = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                if less == Ok(1) {
                    self.missed.store(0, Ordering::Relaxed);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(50);

    fn is_long_after(decisions: impl Iterator<Item = Duration>) -> bool {
        let pace = Pace::default();
        decisions.for_each(|took| pace.learn(took));
        pace.is_long()
    }

    #[test]
    fn a_policy_takes_long_when_its_decisions_do_as_a_rule() {
        for (name, long, of, expected) in [
            ("never", 0, 1, false),
            ("now and then, when the machine is busy", 1, 10, false),
            ("one time in four", 1, 4, false),
            ("every other time", 1, 2, true),
            ("always", 1, 1, true),
        ] {
            let decisions = (0..400).map(|n| if n % of < long { 4 * LONG } else { SHORT });
            assert_eq!(is_long_after(decisions), expected, "{name}");
        }
    }

    #[test]
    fn twice_is_no_habit_three_times_is_one_and_it_can_be_given_up() {
        assert!(!is_long_after([LONG; 2].into_iter()));
        assert!(is_long_after([LONG; 3].into_iter()));
        assert!(is_long_after([LONG; 100].into_iter().chain([SHORT; 6])));
        assert!(!is_long_after([LONG; 100].into_iter().chain([SHORT; 7])));
    }

    #[test]
    fn a_policy_that_misses_its_deadline_again_and_again_is_hopeless_until_it_is_trusted_again() {
        let (missed, good) = (Err(Fault::Timeout(String::new())), Ok(Decision::Allow));
        let slowness = Slowness::default();
        for n in 1..=MISSED_OF_HOPELESS {
            assert!(!slowness.is_hopeless(), "after {n}");
            slowness.learn(&missed);
            // Not in a row: good ones between them do not hide the others.
            slowness.learn(&good);
        }
        assert!(slowness.is_hopeless() && slowness.is_slow());
        for _ in 0..PENALTY - 2 {
            slowness.learn(&good);
        }
        assert!(slowness.is_hopeless() && slowness.is_slow());
        slowness.learn(&good);
        assert!(!slowness.is_hopeless() && !slowness.is_slow());
        slowness.learn(&missed);
        assert!(!slowness.is_hopeless() && slowness.is_slow(), "it is trusted anew");
    }
}
