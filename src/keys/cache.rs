//! Unwrapped DEKs, by what was unwrapped.
//!
//! The key is the encrypted DEK's own digest with the project: never the project alone, or garbage in place of an encrypted DEK
//! would find the real one. Entries live from the unwrapping, however often they are read, and those of one version share it; concurrent misses load once; errors are not
//! kept; what is evicted is wiped by its own drop. What a change makes invalid, here or on another replica, does not count from then on,
//! whatever it is kept under and whoever was just loading it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache;
use origan_codec_host::crypto::Tag;

use super::{KeysError, ProjectDek, RawDek};
use crate::names::{KeyVersion, ProjectId};

/// How long "no project's" is believed of a raw DEK: it may become one's any time, on another replica too.
const UNKNOWN_TTL: Duration = Duration::from_secs(10);
/// Loads for one that asks, while what is loaded keeps becoming invalid.
const LOADS_MAX: u32 = 8;
/// Projects that are known as invalid one by one.
const PROJECTS_MAX: usize = 65_536;

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

/// A time on the cache's own clock: it ticks when something becomes invalid.
pub(super) type Epoch = u64;

pub(super) struct DekCache {
    kept: Cache<CacheKey, RawDek>,
    ttl: Duration,
    now: AtomicU64,
    /// When a project's DEKs became invalid, as long as any of then may be kept.
    invalid_before: RwLock<Invalid>,
}

#[derive(Default)]
struct Invalid {
    all: Epoch,
    projects: HashMap<ProjectId, (Epoch, Instant)>,
}

impl DekCache {
    pub(super) fn new(entries: u64, ttl: Duration) -> Self {
        let kept = Cache::builder().max_capacity(entries).expire_after(FromUnwrapping { ttl }).build();
        Self { kept, ttl, now: AtomicU64::new(0), invalid_before: RwLock::default() }
    }

    /// What is kept under `key` and still counts.
    pub(super) async fn get(&self, key: &CacheKey) -> Option<RawDek> {
        let kept = self.kept.get(key).await?;
        if self.counts(&kept) {
            return Some(kept);
        }
        self.kept.invalidate(key).await;
        None
    }

    /// What is kept under `key`, or what `load` finds; one load at a time for each key. `load` is told when it began: what it finds counts
    /// as of then.
    pub(super) async fn get_or_load<L: Future<Output = Result<RawDek, KeysError>>>(
        &self,
        key: CacheKey,
        load: impl Fn(Epoch) -> L,
    ) -> Result<RawDek, KeysError> {
        for _ in 0..LOADS_MAX {
            if let Some(kept) = self.get(&key).await {
                return Ok(kept);
            }
            // On the heap, or every request would carry the room that a miss takes.
            let began = self.now.load(Ordering::Acquire);
            let found = Box::pin(self.get_or_load_once(key.clone(), load(began))).await?;
            // It may have become invalid on its way.
            if self.counts(&found) {
                return Ok(found);
            }
        }
        Err(KeysError::Store("the DEK changed as often as it was looked for".into()))
    }

    /// The same within another load: what has become invalid meanwhile is that one's to see, for it knows when it began.
    pub(super) async fn get_or_load_once(
        &self,
        key: CacheKey,
        load: impl Future<Output = Result<RawDek, KeysError>>,
    ) -> Result<RawDek, KeysError> {
        // A hit takes part in no flight.
        if let Some(kept) = self.get(&key).await {
            return Ok(kept);
        }
        // On the heap, or every request would carry the room that a miss takes.
        let loading = Box::pin(self.kept.try_get_with(key, load));
        loading.await.map_err(|error: Arc<KeysError>| KeysError::clone(&error))
    }

    pub(super) async fn forget(&self, key: &CacheKey) {
        self.kept.invalidate(key).await;
    }

    /// Nothing of `project_id` counts that was looked for before now, whatever it is kept under.
    pub(super) async fn invalidate_project(&self, project_id: &ProjectId) {
        {
            let mut invalid = self.invalid_before.write().unwrap_or_else(PoisonError::into_inner);
            let epoch = self.now.fetch_add(1, Ordering::AcqRel) + 1;
            if invalid.projects.len() >= PROJECTS_MAX {
                invalid.projects.retain(|_, (_, since)| since.elapsed() <= 2 * self.ttl);
            }
            if invalid.projects.len() >= PROJECTS_MAX {
                // Too many to know them all.
                invalid.projects.clear();
                invalid.all = epoch;
            } else {
                invalid.projects.insert(project_id.clone(), (epoch, Instant::now()));
            }
        }
        // Not only not used, but wiped; by other keys they go when they are asked for, or expire.
        self.kept.invalidate(&CacheKey::Primary(project_id.clone())).await;
    }

    /// `dek` is not as it was found. If nobody has seen that yet, nothing of its project counts that was looked for before now; else what was looked
    /// for since does.
    pub(super) async fn invalidate_with(&self, dek: &ProjectDek) {
        if self.is_current(dek) {
            self.invalidate_project(&dek.project_id).await;
        }
    }

    /// Nothing counts that was looked for before now, and all of it is wiped.
    pub(super) fn invalidate_all(&self) {
        {
            let mut invalid = self.invalid_before.write().unwrap_or_else(PoisonError::into_inner);
            invalid.all = self.now.fetch_add(1, Ordering::AcqRel) + 1;
            invalid.projects.clear();
        }
        self.kept.invalidate_all();
    }

    fn counts(&self, dek: &RawDek) -> bool {
        match dek {
            RawDek::Known(dek) => self.is_current(dek),
            // Kept for seconds.
            RawDek::Unknown(_) => true,
        }
    }

    fn is_current(&self, dek: &ProjectDek) -> bool {
        if dek.epoch == self.now.load(Ordering::Acquire) {
            return true;
        }
        let invalid = self.invalid_before.read().unwrap_or_else(PoisonError::into_inner);
        let project = invalid.projects.get(&dek.project_id).map_or(0, |(epoch, _)| *epoch);
        dek.epoch >= project.max(invalid.all)
    }

    pub(super) async fn wipe_expired(&self) {
        self.kept.run_pending_tasks().await;
    }

    pub(super) fn len(&self) -> u64 {
        self.kept.entry_count()
    }
}

struct FromUnwrapping {
    ttl: Duration,
}

impl Expiry<CacheKey, RawDek> for FromUnwrapping {
    /// What takes the place of something that does not count any more is kept for as long as it is itself.
    fn expire_after_update(
        &self,
        key: &CacheKey,
        value: &RawDek,
        updated: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, value, updated)
    }

    fn expire_after_create(&self, _key: &CacheKey, value: &RawDek, _created: Instant) -> Option<Duration> {
        Some(match value {
            // By another way it may have been unwrapped a while ago.
            RawDek::Known(dek) => self.ttl.saturating_sub(dek.unwrapped_at.elapsed()),
            RawDek::Unknown(_) => self.ttl.min(UNKNOWN_TTL),
        })
    }
}
