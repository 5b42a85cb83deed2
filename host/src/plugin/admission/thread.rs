//! Where admission blocks: compiling, `configure` of a policy, its cases.

use std::time::Duration;

use tokio::sync::oneshot;

use super::error::AdmissionError;
use crate::plugin::engine::Engines;
use crate::plugin::lane::{Work, let_requests_go_first};
use crate::plugin::limits::Limits;

/// The parser and the compiler recurse; what they are given is capped (`scan`), and this is plenty for it.
const THREAD_STACK_BYTES: usize = 16 << 20;
/// A third of what a thread that serves gets, where both never have enough: it makes room at once all the same, and whoever floods the service must
/// not keep a new policy from it.
const NICENESS: i32 = 5;
/// For a place among those that are at work, each of which has a deadline of its own.
const PLACE_DEADLINE: Duration = Duration::from_secs(600);

impl Engines {
    /// Runs what blocks on a thread of its own, and waits, once there is a place for it, no longer than a compilation and a `configure` may
    /// take. What is left behind keeps its place until it ends, so that however often a plugin is tried, few compilers are at work.
    pub(super) async fn on_thread<T: Send + 'static>(
        &self,
        limits: &Limits,
        work: impl FnOnce() -> Result<T, AdmissionError> + Send + 'static,
    ) -> Result<T, AdmissionError> {
        let deadline = limits.compile_deadline + limits.configure_deadline;
        let late = |deadline: Duration| AdmissionError::CompileTimeout(deadline.as_millis());
        let place = tokio::time::timeout(PLACE_DEADLINE, self.admissions.clone().acquire_owned()).await;
        let place = place.map_err(|_| late(PLACE_DEADLINE))?;
        let place = place.map_err(|error| AdmissionError::Thread(error.to_string()))?;
        let (tell, told) = oneshot::channel();
        let thread = std::thread::Builder::new().name("plugin-admission".into()).stack_size(THREAD_STACK_BYTES);
        let spawned = thread.spawn(move || {
            let _place = place;
            let_requests_go_first(Work::Long, NICENESS);
            drop(tell.send(work()));
        });
        spawned.map_err(|error| AdmissionError::Thread(error.to_string()))?;
        match tokio::time::timeout(deadline, told).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(AdmissionError::Compile("the compiler panicked".into())),
            Err(_) => Err(late(deadline)),
        }
    }
}
