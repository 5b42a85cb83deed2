//! The threads that serve. Each has connections of its own, on a runtime that shares its tasks with nobody: what a call does between two
//! waits, it does on one thread, and no other is woken for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tracing::warn;

/// Sooner than the deadlines of calls, by default.
const TICK: Duration = Duration::from_millis(100);

/// One for each processor.
#[derive(Debug)]
pub struct ServingThreads(Vec<ServingThread>);

#[derive(Debug)]
struct ServingThread {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// The thread ends when this is dropped.
    ends: oneshot::Sender<()>,
    /// Told when all that was on it is gone.
    gone: oneshot::Receiver<()>,
}

/// A connection's place on a thread, until it is dropped.
#[derive(Debug)]
pub(super) struct OnThread(Arc<AtomicUsize>);

impl ServingThreads {
    /// As many as there are processors.
    pub fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism()?.get();
        (0..count).map(ServingThread::start).collect::<io::Result<_>>().map(Self)
    }

    /// Ends what they still do, and lets go of it. A thread that does not come to it by `deadline` is not waited for.
    pub async fn end(self, deadline: Duration) {
        let ending = join_all(self.0.into_iter().map(|thread| {
            drop(thread.ends);
            thread.gone
        }));
        if tokio::time::timeout(deadline, ending).await.is_err() {
            warn!("a thread that serves does not end: what it holds ends with the process");
        }
    }

    /// The thread with the fewest connections, with one more.
    pub(super) fn place(&self) -> Option<(&Handle, OnThread)> {
        let least = self.0.iter().min_by_key(|thread| thread.connections.load(Ordering::Relaxed))?;
        least.connections.fetch_add(1, Ordering::Relaxed);
        Some((&least.runtime, OnThread(least.connections.clone())))
    }
}

/// A timer that is due sooner than all that is kept waiting so far has the runtime wake itself, by a call of the system: every deadline of
/// a call would. With this one, which is due sooner still, none of them is.
async fn tick() {
    loop {
        tokio::time::sleep(TICK).await;
    }
}

impl ServingThread {
    fn start(index: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (ends, ended) = oneshot::channel::<()>();
        let (tell, gone) = oneshot::channel();
        std::thread::Builder::new().name(format!("serve-{index}")).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = ended => {}
                    () = tick() => {}
                }
            });
            // A thread that waits for a disk which does not answer is not waited for.
            runtime.shutdown_background();
            let _ = tell.send(());
        })?;
        Ok(Self { runtime: handle, connections: Arc::default(), ends, gone })
    }
}

impl Drop for OnThread {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
