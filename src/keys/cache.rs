//! Unwrapped DEKs, by what was unwrapped.
//!
//! The key is the encrypted DEK's own digest with the project: never the project alone, or garbage in place of an encrypted DEK
//! would find the real one. Entries live from the unwrapping, however often they are read, and those of one version share it; concurrent misses load once; errors are not
//! kept; what is evicted is wiped by its own drop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache;
use origan_codec_host::crypto::Tag;

use super::{KeysError, RawDek};
use crate::names::{KeyVersion, ProjectId};

/// How long "no project's" is believed of a raw DEK: it may become one's any time, on another replica too.
const UNKNOWN_TTL: Duration = Duration::from_secs(10);

/// By what a DEK is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum CacheKey {
    /// SHA-256 of an encrypted DEK, presented for a project.
    Wrapped(ProjectId, [u8; 32]),
    /// A version of a project.
    Version(ProjectId, KeyVersion),
    /// Whatever version of a project encrypts.
    Primary(ProjectId),
    /// The fingerprint of a raw DEK.
    Raw(Tag),
}

pub(super) struct DekCache(Cache<CacheKey, RawDek>);

impl DekCache {
    pub(super) fn new(entries: u64, ttl: Duration) -> Self {
        Self(Cache::builder().max_capacity(entries).expire_after(FromUnwrapping { ttl }).build())
    }

    pub(super) async fn get(&self, key: &CacheKey) -> Option<RawDek> {
        self.0.get(key).await
    }

    /// What is kept under `key`, or what `load` finds; one load at a time for each key.
    pub(super) async fn get_or_load<L: Future<Output = Result<RawDek, KeysError>>>(
        &self,
        key: CacheKey,
        load: impl FnOnce() -> L,
    ) -> Result<RawDek, KeysError> {
        // A hit takes part in no flight.
        if let Some(kept) = self.get(&key).await {
            return Ok(kept);
        }
        // On the heap, or every request would carry the room that a miss takes.
        let loading = Box::pin(self.0.try_get_with(key, load()));
        loading.await.map_err(|error: Arc<KeysError>| KeysError::clone(&error))
    }

    pub(super) async fn forget(&self, key: &CacheKey) {
        self.0.invalidate(key).await;
    }

    pub(super) async fn wipe_expired(&self) {
        self.0.run_pending_tasks().await;
    }

    pub(super) fn len(&self) -> u64 {
        self.0.entry_count()
    }
}

struct FromUnwrapping {
    ttl: Duration,
}

impl Expiry<CacheKey, RawDek> for FromUnwrapping {
    fn expire_after_create(&self, _key: &CacheKey, value: &RawDek, _created: Instant) -> Option<Duration> {
        Some(match value {
            // By another way it may have been unwrapped a while ago.
            RawDek::Known(dek) => self.ttl.saturating_sub(dek.unwrapped_at.elapsed()),
            RawDek::Unknown(_) => self.ttl.min(UNKNOWN_TTL),
        })
    }
}
