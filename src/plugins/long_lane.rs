//! Where a policy decides whose decisions take long, if not too long: beside the threads that serve, which have others to answer meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use origan_codec_host::plugin::{Decision, Fault, HeldQuery, PolicyPlugin, Query};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::slow_lane::Slowness;

/// How long a decision waits for its turn. Where many ask, all wait; only what is out of proportion is refused.
const TURN_DEADLINE: Duration = Duration::from_secs(2);
/// Decisions of one policy at once, at the most: each has an instance out of one pool, and a thread.
const TURNS_MAX: usize = 8;

/// What a decision may take of a thread that serves. To have it made elsewhere costs a twentieth of this.
const LONG: Duration = Duration::from_micros(500);
/// What a long decision adds to a policy's score, and a short one takes from it: those that take long one time in three count. A machine
/// that gives a thread's time to others makes a decision long now and then, and no policy.
const ADDED: u32 = 2;
const TAKEN: u32 = 1;
/// From this score on, a policy takes long.
const SCORE_OF_LONG: u32 = 3 * ADDED;
const SCORE_MAX: u32 = 2 * SCORE_OF_LONG;

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

/// One policy's.
pub(super) struct LongLane {
    plugin: Arc<PolicyPlugin>,
    habits: Arc<Habits>,
    /// Of what is not in a hurry.
    runtime: Handle,
    turns: Arc<Semaphore>,
}

impl LongLane {
    /// On the runtime that this is called on.
    pub(super) fn of(plugin: Arc<PolicyPlugin>, habits: Arc<Habits>) -> Self {
        let turns = std::thread::available_parallelism().map_or(1, usize::from).min(TURNS_MAX);
        Self { plugin, habits, runtime: Handle::current(), turns: Arc::new(Semaphore::new(turns)) }
    }

    /// What it took is learnt, even if nobody waits any more.
    pub(super) async fn evaluate(&self, query: &Query<'_>) -> Result<Decision, Fault> {
        let turn = tokio::time::timeout(TURN_DEADLINE, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Fault::Busy) };
        let (query, plugin, habits) = (HeldQuery::from(query), self.plugin.clone(), self.habits.clone());
        let (tell, told) = oneshot::channel();
        let runtime = self.runtime.clone();
        self.runtime.spawn_blocking(move || {
            let _turn = turn;
            if !tell.is_closed() {
                let begun = Instant::now();
                let outcome = query.with(|query| runtime.block_on(plugin.evaluate(query)));
                habits.learn(&outcome, begun.elapsed());
                let _ = tell.send(outcome);
            }
        });
        told.await.unwrap_or_else(|_| Err(Fault::Trap("the thread that decides panicked, or the process ends".into())))
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
}
