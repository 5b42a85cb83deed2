//! Threads of plugins that wait for networks: apart from those that serve requests.

use anyhow::Context;
use origan_codec_host::plugin::{Work, let_requests_go_first};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// A runtime of its own.
pub(super) struct Threads(Option<Runtime>);

impl Threads {
    /// So many, named `name`, and `nice` to the others.
    pub(super) fn start(name: &str, count: usize, nice: i32) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name(name)
            .on_thread_start(move || {
                // Whom a request waits for gives way to nobody.
                if nice > 0 {
                    let_requests_go_first(Work::Bursts, nice);
                }
            })
            .enable_all()
            .build();
        Ok(Self(Some(runtime.with_context(|| format!("the threads of {name} cannot be started"))?)))
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<JoinHandle<T>> {
        self.0.as_ref().map(|runtime| runtime.spawn(work))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // What waits for a network that does not answer is not waited for.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
