//! Encryptions counted per DEK, in blocks leased from the store: one write for many calls.
//!
//! A block that a crash or an eviction loses counts as used, so the count errs on the safe side. Blocks grow with use, from 64 to
//! 65,536: at most about half of what was counted was not used.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;
use tracing::warn;

use super::{KeysError, ProjectDek};
use crate::store::{DekState, DekStore, ENCRYPTIONS_MAX};

const BLOCK_MIN: u64 = 64;
const BLOCK_MAX: u64 = 65_536;

/// What is left of the leased block.
pub(super) struct EncryptionBudget {
    left: AtomicU64,
    /// None: nothing is leased any more, for the DEK's row is not what it was. It never is again.
    next_block: Mutex<Option<u64>>,
}

impl EncryptionBudget {
    pub(super) fn new() -> Self {
        Self { left: AtomicU64::new(0), next_block: Mutex::new(Some(BLOCK_MIN)) }
    }

    /// Counts `count` encryptions before they happen. Where a new block is needed, [`KeysError::NotPrimary`] of a DEK that encrypts no more, or has
    /// been wrapped anew: the store counts by the row that it came from.
    pub(super) async fn take(&self, store: &dyn DekStore, dek: &ProjectDek, count: u64) -> Result<(), KeysError> {
        if self.take_leased(count) {
            return Ok(());
        }
        // One lease at a time; whoever waited looks again first.
        let mut next_block = self.next_block.lock().await;
        if self.take_leased(count) {
            return Ok(());
        }
        let usual = next_block.ok_or(KeysError::NotPrimary)?;
        let block = count.max(usual);
        let lease = |count| store.lease(&dek.project_id, dek.version, &dek.fingerprint, count);
        let granted = match lease(block).await? {
            Some(total) => Some((block, total)),
            // Near the cap a whole block may not fit where this call does.
            None => lease(count).await?.map(|total| (count, total)),
        };
        let Some((granted, total)) = granted else {
            // Nothing is leased of one that was rotated meanwhile, or of a row that is another by now.
            let row = store.version(&dek.project_id, dek.version).await?;
            if row.is_some_and(|row| row.state == DekState::Primary && row.fingerprint == dek.fingerprint) {
                return Err(KeysError::Exhausted);
            }
            *next_block = None;
            return Err(KeysError::NotPrimary);
        };
        if total >= ENCRYPTIONS_MAX / 2 {
            warn!(project.id = %dek.project_id, dek.version = %dek.version, encryptions = total,
                  "this DEK has used half of the encryptions it may do: rotate it");
        }
        *next_block = Some((usual * 2).min(BLOCK_MAX));
        self.left.fetch_add(granted - count, Ordering::AcqRel);
        Ok(())
    }

    fn take_leased(&self, count: u64) -> bool {
        self.left.try_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(count)).is_ok()
    }
}
