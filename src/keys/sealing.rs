//! Values are sealed under the DEK that is primary, and counted before they are.

use std::sync::Arc;

use origan_codec_host::crypto::{EncryptedValue, Plaintext};

use super::{Keys, KeysError, ProjectDek};
use crate::names::VariableName;
use crate::policy::Permit;
use crate::store::DekState;

impl Keys {
    /// What seals `count` values under `dek`, having counted them. [`KeysError::NotPrimary`] where it is not the one that encrypts, or has just
    /// ceased to be it; whoever did not ask for this very one then looks for its project's again.
    pub async fn sealing(&self, _permit: &Permit, dek: Arc<ProjectDek>, count: usize) -> Result<Sealing, KeysError> {
        if dek.state != DekState::Primary {
            return Err(KeysError::NotPrimary);
        }
        match dek.budget.take(&*self.store, &dek, count as u64).await {
            Ok(()) => Ok(Sealing { dek, left: count }),
            Err(KeysError::NotPrimary) => {
                // Rotated on another replica, whose word has not come yet.
                self.cache.invalidate_with(&dek).await;
                Err(KeysError::NotPrimary)
            }
            Err(error) => Err(error),
        }
    }
}

/// Seals as many values as were counted, and no more.
pub struct Sealing {
    dek: Arc<ProjectDek>,
    left: usize,
}

impl Sealing {
    /// What it seals under.
    pub fn dek(&self) -> &ProjectDek {
        &self.dek
    }

    /// Seals `value`: bound to `name`, or in v1.
    pub fn seal(&mut self, name: Option<&VariableName>, value: &Plaintext) -> Result<EncryptedValue, KeysError> {
        self.left = self.left.checked_sub(1).ok_or(KeysError::Corrupt("more values than were counted"))?;
        let dek = &self.dek;
        let sealed = match name {
            None => dek.cipher.seal_value(value),
            Some(name) => dek.cipher.seal_bound_value(value, dek.binding(name), dek.version.number()),
        };
        Ok(sealed?)
    }
}
