//! Where admission blocks: compiling, `configure` of a policy, its cases.
//!
//! While there are requests to be answered, that is done on spare time, and so holds up none of them. Where there is too little, it is begun
//! anew on a thread which gives its processor back at once, but gets a third of what a request gets: whoever floods the service must not keep
//! a new policy from it. Of several admissions at once, one is on spare time; the others are on such threads from the start.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::error::AdmissionError;
use crate::plugin::engine::Engines;
use crate::plugin::lane::{self, Progress, Work, let_requests_go_first, live_on_spare_time};
use crate::plugin::limits::Limits;

/// The parser and the compiler recurse; what they are given is capped (`scan`), and this is plenty for it.
const THREAD_STACK_BYTES: usize = 16 << 20;
/// A third of what a thread that serves gets, where both never have enough.
const NICENESS: i32 = 5;
/// For a place among those that are at work, each of which has a deadline of its own.
const PLACE_DEADLINE: Duration = Duration::from_secs(600);

/// What a thread gets of the processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    /// What nobody else wants, where the system grants it.
    Spare,
    /// A third of what others get, if all want more than there is.
    Own,
}

impl Engines {
    /// Runs what blocks on a thread of its own, and waits, once there is a place for it, no longer than a compilation and a `configure` may
    /// take, on spare time and then once more. What is late keeps its place until it ends, so that however often a plugin is tried, few
    /// compilers are at work.
    pub(super) async fn on_thread<T: Send + 'static>(
        &self,
        limits: &Limits,
        work: impl Fn() -> Result<T, AdmissionError> + Clone + Send + 'static,
    ) -> Result<T, AdmissionError> {
        let deadline = limits.compile_deadline + limits.configure_deadline;
        let late = |deadline: Duration| AdmissionError::CompileTimeout(deadline.as_millis());
        let place = tokio::time::timeout(PLACE_DEADLINE, self.admissions.clone().acquire_owned()).await;
        let place = place.map_err(|_| late(PLACE_DEADLINE))?;
        let place = place.map_err(|error| AdmissionError::Thread(error.to_string()))?;
        let within =
            async |worked| tokio::time::timeout(deadline, worked).await.unwrap_or_else(|_| Err(late(deadline)));
        if self.gives_way.load(Ordering::Relaxed)
            && let Ok(spare) = self.spare_admission.clone().try_acquire_owned()
        {
            // As long as it gets on, it has a place. Left behind, it has the other one alone, and then the next is not tried on spare time.
            match within(Box::pin(worked(Share::Spare, work.clone(), spare))).await {
                Err(AdmissionError::Starved | AdmissionError::CompileTimeout(_)) => {
                    tracing::debug!("too little time to spare for an admission: it takes its own");
                }
                outcome => return outcome,
            }
        }
        within(Box::pin(worked(Share::Own, work, place))).await
    }
}

/// What `work` comes to on a thread that has this share of the processors, and holds `place` until it ends. If it has too little to spare, it
/// is left behind.
async fn worked<T: Send + 'static, P: Send + 'static>(
    share: Share,
    work: impl FnOnce() -> Result<T, AdmissionError> + Send + 'static,
    place: P,
) -> Result<T, AdmissionError> {
    let ((tell, mut told), (begin, begun)) = (oneshot::channel(), oneshot::channel());
    let leaves = LeavesBehind::default();
    let given_up = leaves.0.clone();
    let thread = std::thread::Builder::new().name("plugin-admission".into()).stack_size(THREAD_STACK_BYTES);
    let spawned = thread.spawn(move || {
        let _place = place;
        let_requests_go_first(Work::Long, NICENESS);
        let may_starve = share == Share::Spare && live_on_spare_time();
        GIVEN_UP.set(given_up);
        let _ = begin.send(may_starve.then(rustix::thread::gettid));
        drop(tell.send(work()));
    });
    spawned.map_err(|error| AdmissionError::Thread(error.to_string()))?;
    let starved = async {
        match begun.await {
            // As long as it waits for a compiler, that one has a watch of its own.
            Ok(Some(thread)) => lane::starved(|| Progress::of_thread(thread)).await,
            // It has time of its own, or ends.
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        outcome = &mut told => {
            outcome.unwrap_or_else(|_| Err(AdmissionError::Compile("the compiler panicked".into())))
        }
        () = starved => Err(AdmissionError::Starved),
    }
}

thread_local! {
    static GIVEN_UP: RefCell<Arc<AtomicBool>> = RefCell::default();
}

/// Whether nobody waits any more for what this thread works on.
pub(in crate::plugin) fn is_given_up() -> bool {
    GIVEN_UP.with_borrow(|given_up| given_up.load(Ordering::Relaxed))
}

/// Tells the thread that nobody waits any more, as soon as nobody does.
#[derive(Default)]
struct LeavesBehind(Arc<AtomicBool>);

impl Drop for LeavesBehind {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
