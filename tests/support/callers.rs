//! Clients that make one call again and again, each of which must succeed, until they are told to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;

use super::Client;

pub struct Callers {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicU32>,
    tasks: Vec<JoinHandle<()>>,
}

impl Callers {
    /// So many, each with a client of its own.
    pub fn start<F>(
        count: usize,
        client: impl Fn() -> Client,
        call: impl Fn(Client) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        let (ends, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let tasks = (0..count)
            .map(|_| {
                let (client, call) = (client(), call.clone());
                let (ends, answered) = (ends.clone(), answered.clone());
                tokio::spawn(async move {
                    while !ends.load(Ordering::Relaxed) {
                        call(client.clone()).await;
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Self { ends, answered, tasks }
    }

    /// So many, each of which seals for `shop`.
    pub fn sealing(count: usize, client: impl Fn() -> Client) -> Self {
        Self::start(count, client, async |client: Client| {
            client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await.ok();
        })
    }

    /// Until they have had so many answers more, or one of them has failed.
    pub async fn answers(&self, more: u32) {
        let until = self.answered.load(Ordering::Relaxed) + more;
        while self.answered.load(Ordering::Relaxed) < until && !self.tasks.iter().any(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends them. How many answers they had; no call has failed.
    pub async fn end(self) -> u32 {
        self.ends.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("no call failed");
        }
        self.answered.load(Ordering::Relaxed)
    }
}
