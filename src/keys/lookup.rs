//! The ways to a DEK: by project, by version, by encrypted DEK, by raw DEK, by import.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use origan_codec_host::crypto::{Dek, DekCipher, EncryptedDek, KekId, KeyRing, Tag, WrappedDek};
use tracing::{info, warn};

use super::cache::CacheKey;
use super::row::{dek_context, holding, new_row, refuse_others, unwrap_fault};
use super::{Keys, KeysError, ProjectDek, RawDek};
use crate::audit::record::DekNote;
use crate::audit::{Outcome, Record};
use crate::clock::monotonic_ms;
use crate::config::UnknownDek;
use crate::names::{KeyVersion, ProjectId};
use crate::policy::Permit;
use crate::store::{DekOrigin, DekRow, DekState, StoreError};

/// Attempts to add a row while others add theirs, or while the database fails over.
const INSERT_ATTEMPTS: u32 = 7;
/// How long it is believed that every row is in reach.
const IN_REACH_MS: i64 = 1_000;

impl Keys {
    /// The version that encrypts; made and committed if the project has none, in the course of `cause`.
    pub async fn primary_or_create(
        &self,
        _permit: &Permit,
        project_id: &ProjectId,
        cause: &Record,
    ) -> Result<Arc<ProjectDek>, KeysError> {
        let key = CacheKey::Primary(project_id.clone());
        self.unwrapped(key, || self.find_or_insert_primary(project_id, cause)).await
    }

    /// The version that encrypts. Never makes one.
    pub async fn primary(&self, _permit: &Permit, project_id: &ProjectId) -> Result<Arc<ProjectDek>, KeysError> {
        let key = CacheKey::Primary(project_id.clone());
        let load = || async { self.store.primary(project_id).await?.ok_or(KeysError::UnknownProject) };
        self.unwrapped(key, load).await
    }

    /// One version of a project's DEK. Never makes one.
    pub async fn version(
        &self,
        _permit: &Permit,
        project_id: &ProjectId,
        version: KeyVersion,
    ) -> Result<Arc<ProjectDek>, KeysError> {
        let key = CacheKey::Version(project_id.clone(), version);
        self.unwrapped(key, || self.version_row(project_id, version)).await
    }

    pub(super) async fn version_row(&self, project_id: &ProjectId, version: KeyVersion) -> Result<DekRow, KeysError> {
        if let Some(row) = self.store.version(project_id, version).await? {
            return Ok(row);
        }
        let newest = self.store.newest_version(project_id).await?;
        Err(newest.map_or(KeysError::UnknownProject, |newest| KeysError::UnknownVersion { version, newest }))
    }

    /// The DEK inside `encrypted_dek`, if it is `project_id`'s. One that nobody owns yet is imported or refused; `cause` is the
    /// operation in whose course that happens.
    pub async fn by_encrypted_dek(
        &self,
        _permit: &Permit,
        project_id: &ProjectId,
        encrypted_dek: &EncryptedDek,
        cause: &Record,
    ) -> Result<Arc<ProjectDek>, KeysError> {
        let key = CacheKey::Wrapped(project_id.clone(), encrypted_dek.digest());
        let load = || async {
            let row = match self.recorded_row(project_id, encrypted_dek).await? {
                Some(row) => row,
                None => self.recognise_or_import(project_id, encrypted_dek, cause).await?,
            };
            refuse_others(project_id, &row)?;
            Ok(row)
        };
        self.unwrapped(key, load).await
    }

    /// As [`Keys::by_encrypted_dek`], to seal under it: one that nobody owns yet is not primary, and not imported either.
    pub async fn recorded(
        &self,
        _permit: &Permit,
        project_id: &ProjectId,
        encrypted_dek: &EncryptedDek,
    ) -> Result<Arc<ProjectDek>, KeysError> {
        let key = CacheKey::Wrapped(project_id.clone(), encrypted_dek.digest());
        if let Some(RawDek::Known(dek)) = self.cache.get(&key).await {
            return Ok(dek);
        }
        let Some(row) = self.recorded_row(project_id, encrypted_dek).await? else {
            self.ring().unwrap_unrecorded_dek(encrypted_dek).await.map_err(unwrap_fault)?;
            return Err(KeysError::NotPrimary);
        };
        refuse_others(project_id, &row)?;
        // Only what was found is shared with who else waits: what is refused here may be imported there.
        let load = || async {
            let found = self.recorded_row(project_id, encrypted_dek).await?.ok_or(KeysError::NotPrimary)?;
            refuse_others(project_id, &found)?;
            Ok(found)
        };
        self.unwrapped(key, load).await
    }

    /// The row that holds `encrypted_dek`, whoever's it is; or the one of `project_id`'s that held it before its DEK was wrapped anew.
    async fn recorded_row(
        &self,
        project_id: &ProjectId,
        encrypted_dek: &EncryptedDek,
    ) -> Result<Option<DekRow>, KeysError> {
        if let Some(row) = self.store.by_encrypted_dek(encrypted_dek).await? {
            return holding(row, encrypted_dek).map(Some);
        }
        let rewrapped = self.store.rewrapped_versions(project_id).await?;
        Ok(rewrapped.into_iter().find(|row| row.was(encrypted_dek)))
    }

    /// Whose a raw DEK is. Needs no permit: it finds what the caller holds already, and opens nothing.
    pub async fn by_raw_dek(&self, dek: &Dek) -> Result<RawDek, KeysError> {
        let fingerprints = &tags(&self.ring(), dek);
        let primary = fingerprints.first().ok_or(KeysError::Corrupt("ring"))?;
        let key = CacheKey::Raw(*primary);
        let load = |epoch| async move {
            if let Some(row) = self.store.by_fingerprints(fingerprints).await? {
                return self.shared(row, epoch).await.map(RawDek::Known);
            }
            self.refuse_while_rows_are_out_of_reach().await?;
            Ok(RawDek::Unknown(Arc::new(DekCipher::new(dek))))
        };
        let found = self.cache.get_or_load(key, load).await?;
        match (&found, self.unknown_dek) {
            (RawDek::Unknown(_), UnknownDek::Refuse) => Err(KeysError::NotRecognised),
            _ => Ok(found),
        }
    }

    /// The project's DEK that is kept under `key`, or that of the row which `find` finds.
    async fn unwrapped<F: Future<Output = Result<DekRow, KeysError>>>(
        &self,
        key: CacheKey,
        find: impl Fn() -> F,
    ) -> Result<Arc<ProjectDek>, KeysError> {
        let is_own = matches!(key, CacheKey::Version(..));
        let find = &find;
        let load = |epoch| async move {
            let row = find().await?;
            let dek = if is_own { self.unwrap_row(row, epoch).await } else { self.shared(row, epoch).await };
            dek.map(RawDek::Known)
        };
        match self.cache.get_or_load(key, load).await? {
            RawDek::Known(dek) => Ok(dek),
            RawDek::Unknown(_) => Err(KeysError::Corrupt("cache")),
        }
    }

    async fn find_or_insert_primary(&self, project_id: &ProjectId, cause: &Record) -> Result<DekRow, KeysError> {
        if let Some(row) = self.store.primary(project_id).await? {
            return Ok(row);
        }
        let dek = Dek::generate()?;
        let mut recorded = None;
        let mut pause = Pause::new();
        loop {
            let version = self.next_version(project_id).await?;
            // Before the record: an outside KEK may give no answer, and then nothing is announced. For each version anew: it may be bound
            // to what is wrapped.
            let wrapped = self.ring().wrap_dek(&dek, dek_context(project_id, version)).await?;
            if recorded != Some(version) {
                // Durable before the row: no DEK without its record.
                self.journal.append(&Record::of_dek(project_id, version, DekNote::Created, cause)).await?;
                recorded = Some(version);
            }
            if let Some(row) = self.try_insert_primary(project_id, version, &dek, &wrapped).await? {
                return Ok(row);
            }
            pause.or_give_up().await?;
            if let Some(row) = self.store.primary(project_id).await? {
                return Ok(row);
            }
        }
    }

    async fn try_insert_primary(
        &self,
        project_id: &ProjectId,
        version: KeyVersion,
        dek: &Dek,
        wrapped: &WrappedDek,
    ) -> Result<Option<DekRow>, KeysError> {
        let row = new_row(&self.ring(), project_id, version, wrapped, dek, DekState::Primary, DekOrigin::Created)?;
        match self.store.insert(&row).await {
            Ok(true) => {
                info!(project.id = %project_id, dek.version = %version, "made a project's DEK");
                Ok(Some(row))
            }
            // Another process took the version first.
            Ok(false) => Ok(None),
            // The database went away in the middle, and may have taken the row or not: look again.
            Err(StoreError::Unavailable(why)) => {
                warn!(project.id = %project_id, error = %why, "lost the DEK store while adding a DEK: looking again");
                Ok(None)
            }
            Err(corrupt) => Err(corrupt.into()),
        }
    }

    /// For an encrypted DEK that no row holds: another wrapping of a DEK we know, or one that nobody owns yet.
    async fn recognise_or_import(
        &self,
        project_id: &ProjectId,
        encrypted_dek: &EncryptedDek,
        cause: &Record,
    ) -> Result<DekRow, KeysError> {
        let (kek_id, dek) = self.ring().unwrap_unrecorded_dek(encrypted_dek).await.map_err(unwrap_fault)?;
        let mut pause = Pause::new();
        let mut recorded = false;
        loop {
            if let Some(row) = self.store.by_fingerprints(&tags(&self.ring(), &dek)).await? {
                return Ok(row);
            }
            self.refuse_while_rows_are_out_of_reach().await?;
            if self.unknown_dek == UnknownDek::Refuse {
                return Err(KeysError::NotRecognised);
            }
            if !recorded {
                // Durable before the row: no import without its record.
                let mut record = Record::of_import(project_id, cause);
                record.end(Outcome::Allowed, None);
                self.journal.append(&record).await?;
                recorded = true;
            }
            let version = self.next_version(project_id).await?;
            let wrapped = WrappedDek { kek_id, encrypted_dek: encrypted_dek.clone() };
            let (state, origin) = (DekState::DecryptOnly, DekOrigin::Imported);
            let row = new_row(&self.ring(), project_id, version, &wrapped, &dek, state, origin)?;
            if self.store.insert(&row).await? {
                warn!(project.id = %project_id, dek.version = %version, "took over a DEK that no project owned");
                self.forget_raw(&dek).await;
                return Ok(row);
            }
            pause.or_give_up().await?;
        }
    }

    pub(super) async fn next_version(&self, project_id: &ProjectId) -> Result<KeyVersion, KeysError> {
        match self.store.newest_version(project_id).await? {
            None => Ok(KeyVersion::FIRST),
            Some(newest) => newest.next().ok_or(KeysError::Exhausted),
        }
    }

    /// Nothing is nobody's while there are rows under a KEK that is not in the ring: it may be one of theirs. Another replica may have had that KEK
    /// first.
    async fn refuse_while_rows_are_out_of_reach(&self) -> Result<(), KeysError> {
        let ring = self.ring();
        // Before a KEK is retired, nothing is under it; nothing is before it has its canary.
        let known = |id: KekId| ring.kek_ids().chain(ring.retired_ids()).any(|known| known == id);
        if self.store.canaries().await?.iter().all(|canary| known(canary.kek_id)) {
            return Ok(());
        }
        if self.in_reach.is_fresh() {
            return Ok(());
        }
        let in_ring: Vec<String> = ring.kek_ids().map(|id| id.to_string()).collect();
        let strange = self.store.rows_by_kek().await?.into_iter().find(|(kek_id, _)| !in_ring.contains(kek_id));
        if let Some((kek_id, _)) = strange {
            return Err(kek_id.parse().map_or(KeysError::Corrupt("kek_id"), KeysError::UnknownKek));
        }
        self.in_reach.note();
        Ok(())
    }

    async fn forget_raw(&self, dek: &Dek) {
        for fingerprint in self.ring().fingerprints(dek) {
            self.cache.forget(&CacheKey::Raw(fingerprint.0)).await;
        }
    }
}

/// The fingerprints of `dek` that a row may have.
pub(super) fn tags(ring: &KeyRing, dek: &Dek) -> Vec<Tag> {
    ring.fingerprints(dek).into_iter().map(|fingerprint| fingerprint.0).collect()
}

/// Since when no row is under a KEK of another replica's, where there are such KEKs: every row is read to know it.
#[derive(Default)]
pub(super) struct InReach(AtomicI64);

impl InReach {
    fn is_fresh(&self) -> bool {
        let noted_ms = self.0.load(Ordering::Acquire);
        noted_ms > 0 && monotonic_ms() - noted_ms < IN_REACH_MS
    }

    fn note(&self) {
        self.0.store(monotonic_ms().max(1), Ordering::Release);
    }
}

/// Growing pauses between attempts.
pub(super) struct Pause {
    attempts: u32,
}

impl Pause {
    pub(super) fn new() -> Self {
        Self { attempts: 0 }
    }

    pub(super) async fn or_give_up(&mut self) -> Result<(), KeysError> {
        self.attempts += 1;
        if self.attempts >= INSERT_ATTEMPTS {
            return Err(KeysError::Store("others kept adding versions of the DEK".into()));
        }
        tokio::time::sleep(Duration::from_millis(5 << self.attempts)).await;
        Ok(())
    }
}
