//! Where a policy decides whose decisions take long, if not too long: beside the threads that serve, which have others to answer meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use origan_codec_host::plugin::{Decision, Fault, HeldQuery, PolicyPlugin, Query};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::habits::Habits;

/// How long a decision waits for its turn. Where many ask, all wait; only what is out of proportion is refused.
const TURN_DEADLINE: Duration = Duration::from_secs(2);
/// Decisions of one policy at once, at the most: each has an instance out of one pool, and a thread.
const TURNS_MAX: usize = 8;

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
