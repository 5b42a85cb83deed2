//! Where a policy decides whose decisions take long, if not too long: beside the threads that serve, which have others to answer meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
/// So many decisions count for what a policy takes lately.
const REMEMBERED: u64 = 8;

/// What a policy's decisions take lately: a moving mean, in ns. Those that are short leave it at 0.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

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

impl Pace {
    pub(super) fn is_long(&self) -> bool {
        self.0.load(Ordering::Relaxed) > LONG.as_nanos() as u64
    }

    /// From one more decision.
    pub(super) fn learn(&self, took: Duration) {
        let mean = self.0.load(Ordering::Relaxed);
        // Nearly all are: nothing is written that other threads would have to read again.
        if mean == 0 && took < LONG {
            return;
        }
        let learnt = mean - mean / REMEMBERED + took.as_nanos() as u64 / REMEMBERED;
        let is_forgotten = took < LONG && learnt < LONG.as_nanos() as u64 / 2;
        self.0.store(if is_forgotten { 0 } else { learnt }, Ordering::Relaxed);
    }
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

    #[test]
    fn a_policy_takes_long_when_it_does_so_again_and_again_and_no_longer_when_it_does_not() {
        let pace = Pace::default();
        let learn = |took: Duration, times: usize| (0..times).for_each(|_| pace.learn(took));
        learn(LONG / 2, 100);
        assert!(!pace.is_long());
        learn(2 * LONG, 1);
        assert!(!pace.is_long(), "once is no habit");
        learn(2 * LONG, 20);
        assert!(pace.is_long());
        learn(LONG / 50, 20);
        assert!(!pace.is_long());
        assert_eq!(pace.0.load(Ordering::Relaxed), 0, "forgotten");
    }
}
