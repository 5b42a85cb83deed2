//! The sinks that every answer waits for.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::chain::Receipt;
use super::delivery::{Breaker, Progress};
use super::journal::AuditUnavailable;

/// The sinks that every answer waits for. Replaced as a whole when the configuration changes.
#[derive(Debug, Default)]
pub struct RequiredSinks {
    sinks: ArcSwap<Vec<Required>>,
    /// Told when they are replaced: who waits for one that is required no longer looks again.
    replaced: tokio::sync::Notify,
}

/// One of them.
#[derive(Debug, Clone)]
pub enum Required {
    /// It runs.
    Running(Arc<Progress>),
    /// It could not be loaded, so nothing is ever there.
    Missing,
}

impl RequiredSinks {
    /// From now on these.
    pub fn replace(&self, sinks: Vec<Required>) {
        self.sinks.store(Arc::new(sinks));
        self.replaced.notify_waiters();
    }

    /// Whether it is known already that one of them does not answer.
    pub(super) fn is_any_down(&self) -> bool {
        self.sinks.load().iter().any(|sink| match sink {
            Required::Running(progress) => progress.breaker() == Breaker::Open,
            Required::Missing => true,
        })
    }

    /// Whether one of them could never be loaded.
    pub(super) fn is_any_missing(&self) -> bool {
        self.sinks.load().iter().any(|sink| matches!(sink, Required::Missing))
    }

    /// Waits until each of them has the record of `receipt`. Whoever calls this sets a deadline. A record that a backend has refused for
    /// good is nowhere but here, and an error.
    pub(super) async fn have(&self, receipt: &Receipt) -> Result<(), AuditUnavailable> {
        if self.sinks.load().is_empty() {
            return Ok(());
        }
        loop {
            let replaced = self.replaced.notified();
            let sinks = self.sinks.load_full();
            let all = async {
                for sink in sinks.iter() {
                    match sink {
                        Required::Running(progress) => has(progress, receipt).await?,
                        Required::Missing => std::future::pending().await,
                    }
                }
                Ok(())
            };
            tokio::select! {
                outcome = all => return outcome,
                () = replaced => {}
            }
        }
    }
}

/// A sink has a record when it has one of the same chain with that number or a higher one.
async fn has(progress: &Progress, receipt: &Receipt) -> Result<(), AuditUnavailable> {
    let chain = receipt.chain.to_string();
    let mut acked = progress.watch();
    // The sender lives as long as `progress`.
    let _ = acked.wait_for(|acked| acked.chain == chain && acked.seq >= receipt.at.seq).await;
    if progress.has_rejected(&chain, receipt.at.seq) { Err(AuditUnavailable) } else { Ok(()) }
}
