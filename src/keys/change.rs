//! Versions of a project's DEK come and go: rotated, disabled, enabled again, destroyed. Each change is one step in the store, which happens
//! whole or not at all, after its record is durable; what replicas keep of it does not count from then on.

use std::sync::Arc;

use origan_codec_host::crypto::Dek;
use tracing::{info, warn};

use super::lookup::Pause;
use super::row::{dek_context, destroyed, new_row, with_state};
use super::{Keys, KeysError, ProjectDek};
use crate::audit::record::{DekNote, Record};
use crate::names::{KeyVersion, ProjectId};
use crate::policy::Permit;
use crate::store::{DekOrigin, DekRow, DekState, Replacement, StoreError};

/// What becomes of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DekChange {
    /// Nothing opens under it, until it is enabled again.
    Disable,
    /// It opens again.
    Enable,
    /// Nothing opens under it ever again. It must be disabled first.
    Destroy,
}

impl Keys {
    /// Makes a new version of the DEK, which encrypts from now on; the one before decrypts. With `rotates`, only if that is still the one
    /// that encrypts: asked again, it answers what was made the first time.
    pub async fn rotate(
        &self,
        permit: &Permit,
        project_id: &ProjectId,
        rotates: Option<KeyVersion>,
        cause: &Record,
    ) -> Result<Arc<ProjectDek>, KeysError> {
        let dek = Dek::generate()?;
        let mut recorded = None;
        let mut pause = Pause::new();
        loop {
            let before = self.store.primary(project_id).await?;
            // The database went away in the middle, and had taken it.
            let is_done =
                |row: &DekRow| self.ring().fingerprint(row.kek_id, &dek).is_ok_and(|of| of.0 == row.fingerprint);
            match (&before, rotates) {
                (Some(row), _) if is_done(row) => break,
                (Some(row), Some(rotates)) if row.version > rotates => break,
                (Some(row), Some(version)) if row.version < version => {
                    return Err(KeysError::UnknownVersion { version, newest: row.version });
                }
                _ => {}
            }
            // None: it decrypts only, having been taken over.
            let newest = self.store.newest_version(project_id).await?.ok_or(KeysError::UnknownProject)?;
            let version = newest.next().ok_or(KeysError::Exhausted)?;
            let demoted = before.as_ref().map(|row| self.demoted(row)).transpose()?;
            let ring = self.ring();
            let wrapped = ring.wrap_dek(&dek, dek_context(project_id, version)).await?;
            let row = new_row(&ring, project_id, version, &wrapped, &dek, DekState::Primary, DekOrigin::Created)?;
            if recorded != Some(version) {
                self.record(Record::of_dek(project_id, version, DekNote::Created, cause)).await?;
                recorded = Some(version);
            }
            match self.apply(project_id, demoted.into_iter().collect(), Some(row)).await {
                Ok(true) => {
                    info!(project.id = %project_id, dek.version = %version, "rotated a project's DEK");
                    break;
                }
                // Another process took the version first.
                Ok(false) => {}
                Err(StoreError::Unavailable(why)) => {
                    warn!(project.id = %project_id, error = %why, "lost the DEK store while rotating a DEK: looking again");
                }
                Err(corrupt) => return Err(corrupt.into()),
            }
            pause.or_give_up().await?;
        }
        // Another replica may have made it, and its word may not have come yet.
        self.cache.invalidate_project(project_id).await;
        self.primary(permit, project_id).await
    }

    /// Changes what one version may be used for, and answers what it may be used for now. Changing it to what it is already changes nothing.
    pub async fn change_version(
        &self,
        _permit: &Permit,
        project_id: &ProjectId,
        version: KeyVersion,
        change: DekChange,
        cause: &Record,
    ) -> Result<DekState, KeysError> {
        let mut recorded = false;
        let mut pause = Pause::new();
        loop {
            let row = self.version_row(project_id, version).await?;
            self.verify(&row)?;
            let Some(replacement) = self.changed(&row, change)? else {
                // As it is to be; another replica may have done it, and its word may not have come yet.
                self.cache.invalidate_project(project_id).await;
                return Ok(row.state);
            };
            if !recorded {
                self.record(Record::of_dek(project_id, version, change.note(), cause)).await?;
                recorded = true;
            }
            let state = replacement.row.state;
            if self.apply(project_id, vec![replacement], None).await? {
                warn!(project.id = %project_id, dek.version = %version, state = state.name(), "a DEK may be used for something else");
                return Ok(state);
            }
            pause.or_give_up().await?;
        }
    }

    /// One step in the store; what is cached of the project does not count after it, whatever came of it and whoever still waits for it.
    async fn apply(
        &self,
        project_id: &ProjectId,
        replacements: Vec<Replacement>,
        added: Option<DekRow>,
    ) -> Result<bool, StoreError> {
        let (store, cache, project_id) = (self.store.clone(), self.cache.clone(), project_id.clone());
        let step = tokio::spawn(async move {
            let outcome = store.change(&replacements, added.as_ref()).await;
            cache.invalidate_project(&project_id).await;
            outcome
        });
        step.await.unwrap_or_else(|ended| Err(StoreError::Unavailable(ended.to_string())))
    }

    /// What is to take the row's place; none if it is so already.
    fn changed(&self, row: &DekRow, change: DekChange) -> Result<Option<Replacement>, KeysError> {
        let ring = self.ring();
        match (row.state, change) {
            (DekState::Primary, DekChange::Disable | DekChange::Destroy) => Err(KeysError::Primary),
            (DekState::DecryptOnly, DekChange::Disable) => with_state(&ring, row, DekState::Disabled).map(Some),
            (DekState::DecryptOnly, DekChange::Destroy) => Err(KeysError::NotDisabled),
            (DekState::Disabled, DekChange::Enable) => with_state(&ring, row, DekState::DecryptOnly).map(Some),
            (DekState::Disabled, DekChange::Destroy) => destroyed(&ring, row).map(Some),
            (DekState::Destroyed, DekChange::Enable | DekChange::Disable) => Err(KeysError::Destroyed),
            (DekState::Primary | DekState::DecryptOnly, DekChange::Enable)
            | (DekState::Disabled, DekChange::Disable)
            | (DekState::Destroyed, DekChange::Destroy) => Ok(None),
        }
    }

    fn demoted(&self, row: &DekRow) -> Result<Replacement, KeysError> {
        self.verify(row)?;
        with_state(&self.ring(), row, DekState::DecryptOnly)
    }

    async fn record(&self, record: Record) -> Result<(), KeysError> {
        // Durable before the change: no change without its record.
        Ok(self.journal.append(&record).await.map(drop)?)
    }
}

impl DekChange {
    fn note(self) -> DekNote {
        match self {
            Self::Disable => DekNote::Disabled,
            Self::Enable => DekNote::Enabled,
            Self::Destroy => DekNote::Destroyed,
        }
    }
}
