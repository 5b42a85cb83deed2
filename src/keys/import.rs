//! Taking over DEKs that something else kept so far, before anybody asks for them.

use std::sync::Arc;

use origan_codec_host::crypto::{EncryptedDek, KeyRing, UnwrapError, WrappedDek};

use super::KeysError;
use super::lookup::{Pause, tags};
use super::row::new_row;
use crate::audit::record::DekNote;
use crate::audit::{Journal, Record};
use crate::names::{KeyVersion, ProjectId};
use crate::store::{DekOrigin, DekState, DekStore};

/// Takes over one project's DEK after the other.
pub struct Importer {
    /// Under which they open.
    pub ring: Arc<KeyRing>,
    /// Where they go. None: it is not made yet, and this is a dry run.
    pub store: Option<Arc<dyn DekStore>>,
    /// Where it is recorded. None: a dry run, nothing is written.
    pub journal: Option<Arc<Journal>>,
    /// Whether the projects go on encrypting under them.
    pub as_primary: bool,
}

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// Taken over, or would be.
    Added(DekState),
    /// Was here already, as this project's.
    Known,
    /// Is here already, as another project's.
    AnotherProjects,
    /// Does not open under the KEK.
    CannotOpen,
    /// Opens to other than 32 bytes.
    WrongLength,
}

impl Importer {
    /// Takes over `encrypted_dek` as `project_id`'s.
    pub async fn import(&self, project_id: &ProjectId, encrypted_dek: &EncryptedDek) -> Result<Imported, KeysError> {
        let (kek_id, dek) = match self.ring.unwrap_unrecorded_dek(encrypted_dek).await {
            Ok(unwrapped) => unwrapped,
            Err(UnwrapError::CannotOpen(_) | UnwrapError::UnknownKek(_)) => return Ok(Imported::CannotOpen),
            Err(UnwrapError::WrongLength(_)) => return Ok(Imported::WrongLength),
            Err(UnwrapError::Unavailable(why)) => return Err(why.into()),
        };
        let fingerprints = tags(&self.ring, &dek);
        let wrapped = WrappedDek { kek_id, encrypted_dek: encrypted_dek.clone() };
        let Some(store) = &self.store else { return Ok(Imported::Added(self.first_state())) };
        let mut pause = Pause::new();
        let mut recorded = None;
        loop {
            let rewrapped = store.rewrapped_versions(project_id).await?;
            if rewrapped.iter().any(|row| row.was(encrypted_dek)) {
                return Ok(Imported::Known);
            }
            if let Some(row) = store.by_fingerprints(&fingerprints).await? {
                let is_ours = row.project_id == *project_id;
                return Ok(if is_ours { Imported::Known } else { Imported::AnotherProjects });
            }
            let newest = store.newest_version(project_id).await?;
            let version = newest.map_or(Some(KeyVersion::FIRST), KeyVersion::next).ok_or(KeysError::Exhausted)?;
            let has_primary = newest.is_some() && store.primary(project_id).await?.is_some();
            let state = if has_primary { DekState::DecryptOnly } else { self.first_state() };
            let Some(journal) = &self.journal else { return Ok(Imported::Added(state)) };
            if recorded != Some(version) {
                let cause = Record::of_command("DEK_IMPORT", "import-deks");
                journal.append(&Record::of_dek(project_id, version, DekNote::Imported, &cause)).await?;
                recorded = Some(version);
            }
            let row = new_row(&self.ring, project_id, version, &wrapped, &dek, state, DekOrigin::Imported)?;
            if store.insert(&row).await? {
                return Ok(Imported::Added(state));
            }
            pause.or_give_up().await?;
        }
    }
}

impl Importer {
    fn first_state(&self) -> DekState {
        if self.as_primary { DekState::Primary } else { DekState::DecryptOnly }
    }
}
