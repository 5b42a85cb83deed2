//! Follows the folder of KEKs while the service runs: what is there now takes over once it is proven, or what was before stays.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::{info, warn};

use super::kek_dir::KekDir;
use crate::keys::{KekSource, MemoryKeks};
use crate::service::Service;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Until the process ends.
pub(super) async fn follow(dir: Option<&KekDir>, source: &KekSource, ready: &OnceLock<Arc<Service>>) {
    let Some(dir) = dir else { return };
    let mut complaint = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // The files are read where waiting for a disk hinders nobody.
        let reading = tokio::task::spawn_blocking({
            let dir = dir.clone();
            move || dir.read()
        });
        let outcome = match reading.await {
            Ok(Ok((memory, _))) => take(memory, source, ready).await,
            Ok(Err(error)) => Err(error.to_string()),
            Err(gone) => Err(gone.to_string()),
        };
        let failure = outcome.err();
        if let Some(service) = ready.get() {
            service.keys.note_ring_failure(failure.clone());
        }
        if let Some(cause) = failure.as_ref().filter(|_| failure != complaint) {
            warn!(cause, "the folder of KEKs does not prove good: those it held before stay");
        }
        complaint = failure;
    }
}

/// Takes `memory` over, if it is another than what is there and proves good.
async fn take(memory: MemoryKeks, source: &KekSource, ready: &OnceLock<Arc<Service>>) -> Result<(), String> {
    let Some(service) = ready.get() else {
        if !source.has(&memory) {
            // It is proven when the service becomes ready.
            source.become_like(&source.with_memory(memory));
        }
        return Ok(());
    };
    // The service may have become ready with what was there when it began to.
    if source.has(&memory) && source.is_of(&service.keys.ring()) {
        return Ok(());
    }
    let next = source.with_memory(memory);
    let ring = next.prove(service.keys.store()).await.map_err(|error| error.to_string())?;
    source.become_like(&next);
    service.journal.rekey(&ring);
    info!(primary = %ring.primary_id(), ring = ?ring, retired = ring.retired_ids().count(), "took over the KEKs of the folder");
    service.keys.replace_ring(ring);
    Ok(())
}
