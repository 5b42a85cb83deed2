//! Where a policy that has shown to be slow decides: one decision at a time, on a thread of its own, beside those that serve.
//!
//! The thread stays: one for each decision would begin each of them with what a new thread gets, and hold up a request for as long. Of a policy
//! that misses its deadline again and again it lives on spare time, until the policy is trusted again; as it cannot come back from there, it
//! ends then. Such a policy gets little of spare time, too: after each deadline that it missed, its next turn is some time off.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use origan_codec_host::plugin::{
    Decision, Fault, HeldQuery, PolicyPlugin, Query, Work, let_requests_go_first, live_on_spare_time,
    lives_on_spare_time,
};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::habits::{Habits, Slowness};
use crate::config::Mode;

/// How long a decision waits for its turn.
const TURN_DEADLINE: Duration = Duration::from_millis(250);
/// After a deadline that a hopeless policy missed, its next turn is off so many times as long as that took: of a deadline of 20 ms, that makes a
/// sixth of a processor. What runs on spare time delays others yet: the kernel is slow to move who waits to a processor that is not quite idle.
const RESTS: u32 = 5;
/// Whoever comes behind one caller that makes it miss its deadline again and again waits for two rests, and still gets a turn.
const REST_MAX: Duration = Duration::from_millis(100);
/// For a decision that is ended, to say why itself.
const GRACE: Duration = Duration::from_millis(50);
/// Of its thread: a tenth of what a thread that serves gets, where both never have enough. A request waits for it.
const NICENESS: i32 = 10;

/// One policy's.
pub(super) struct SlowLane {
    plugin: Arc<PolicyPlugin>,
    habits: Arc<Habits>,
    turn: Arc<Semaphore>,
    /// Of what is not in a hurry.
    runtime: Handle,
    /// To its thread, once there is one.
    thread: Mutex<Option<Sender<Asked>>>,
}

/// For the thread. Whose turn it is, it keeps until it has decided, even if nobody waits any more.
struct Asked {
    query: HeldQuery,
    tell: oneshot::Sender<Result<Decision, Fault>>,
    turn: OwnedSemaphorePermit,
}

impl SlowLane {
    /// On the runtime that this is called on.
    pub(super) fn of(plugin: Arc<PolicyPlugin>, habits: Arc<Habits>) -> Self {
        let (turn, runtime) = (Arc::new(Semaphore::new(1)), Handle::current());
        Self { plugin, habits, turn, runtime, thread: Mutex::default() }
    }

    pub(super) async fn evaluate(&self, query: &Query<'_>, mode: Mode) -> Result<Decision, Fault> {
        let patience = match mode {
            // What it would say changes nothing, so nobody waits for its rests.
            Mode::Monitor if self.habits.slowness.is_hopeless() => self.plugin.deadline().min(TURN_DEADLINE),
            Mode::Monitor | Mode::Enforce => TURN_DEADLINE,
        };
        let turn = tokio::time::timeout(patience, self.turn.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Fault::Busy) };
        let (tell, told) = oneshot::channel();
        self.ask(Asked { query: query.into(), tell, turn })?;
        // The thread looks at the clock too, but only when it runs, and may hardly do so.
        match tokio::time::timeout(self.plugin.patience() + GRACE, told).await {
            Ok(told) => told.unwrap_or_else(|_| Err(Fault::Trap("the thread that decides panicked".into()))),
            Err(_) => Err(Fault::Timeout(", waiting for a processor".into())),
        }
    }

    /// Whose thread has panicked or ended gets another one.
    fn ask(&self, asked: Asked) -> Result<(), Fault> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = match &*thread {
            None => asked,
            Some(sender) => match sender.send(asked) {
                Ok(()) => return Ok(()),
                Err(unsent) => unsent.0,
            },
        };
        let (sender, receiver) = channel();
        let (plugin, habits, runtime) = (self.plugin.clone(), self.habits.clone(), self.runtime.clone());
        let spawned = std::thread::Builder::new()
            .name("slow-policy".into())
            .spawn(move || decide_all(receiver, &plugin, &habits.slowness, &runtime));
        spawned.map_err(|_| Fault::Busy)?;
        sender.send(asked).map_err(|_| Fault::Busy)?;
        *thread = Some(sender);
        Ok(())
    }
}

/// Until the policy is let go, or is trusted again after it had to live on spare time. How long it took counts, even if nobody waits any more.
fn decide_all(asked: Receiver<Asked>, plugin: &PolicyPlugin, slowness: &Slowness, runtime: &Handle) {
    let_requests_go_first(Work::Long, NICENESS);
    while let Ok(Asked { query, tell, turn }) = asked.recv() {
        if tell.is_closed() {
            continue;
        }
        if slowness.is_hopeless() && !lives_on_spare_time() {
            live_on_spare_time();
        }
        let began = Instant::now();
        let outcome = query.with(|query| runtime.block_on(plugin.evaluate(query)));
        slowness.learn(&outcome);
        let is_hopeless = slowness.is_hopeless();
        if lives_on_spare_time() && !is_hopeless {
            // That cannot be taken back: should it be slow once more, it has another thread. Nobody asks this one before the turn is given back.
            drop((asked, turn));
            let _ = tell.send(outcome);
            return;
        }
        // Before anybody is told, who would have the processor at once.
        if is_hopeless && matches!(outcome, Err(Fault::Timeout(_))) {
            give_back_after(turn, began.elapsed().saturating_mul(RESTS).min(REST_MAX), runtime);
        } else {
            drop(turn);
        }
        let _ = tell.send(outcome);
    }
}

/// By a task: the thread that decides hardly runs.
fn give_back_after(turn: OwnedSemaphorePermit, rest: Duration, runtime: &Handle) {
    runtime.spawn(async move {
        tokio::time::sleep(rest).await;
        drop(turn);
    });
}
