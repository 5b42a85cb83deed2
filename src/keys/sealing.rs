//! Values are sealed under the DEK that is primary, and counted before they are.

use std::sync::Arc;

use origan_codec_host::crypto::{EncryptedValue, Plaintext};

use super::{Keys, KeysError, ProjectDek};
use crate::names::VariableName;
use crate::policy::Permit;
use crate::store::DekState;

/// Looks for a DEK, while it keeps being wrapped anew.
const LOOKS_MAX: u32 = 8;

impl Keys {
    /// What seals `count` values under `dek`, having counted them. [`KeysError::NotPrimary`] where it is not the one that encrypts, or has just
    /// ceased to be it; whoever did not ask for this very one then looks for its project's again. One that was only wrapped anew is looked for here.
    pub async fn sealing(&self, permit: &Permit, mut dek: Arc<ProjectDek>, count: usize) -> Result<Sealing, KeysError> {
        for _ in 0..LOOKS_MAX {
            if dek.state != DekState::Primary {
                return Err(KeysError::NotPrimary);
            }
            let counted = dek.budget.take(&*self.store, &dek, count as u64).await;
            match counted {
                Ok(()) => return Ok(Sealing { dek, left: count }),
                // On the heap, or every request would carry the room that a look takes.
                Err(KeysError::NotPrimary) => dek = Box::pin(self.wrapped_anew(permit, &dek)).await?,
                Err(error) => return Err(error),
            }
        }
        Err(KeysError::Store("the DEK was wrapped anew as often as it was looked for".into()))
    }

    /// The same DEK as its row has it now; [`KeysError::NotPrimary`] if it is another that encrypts.
    async fn wrapped_anew(&self, permit: &Permit, dek: &ProjectDek) -> Result<Arc<ProjectDek>, KeysError> {
        // Changed on another replica, whose word has not come yet, or is not told: a DEK that is wrapped anew is the same.
        self.cache.invalidate_with(dek).await;
        let primary = match self.primary(permit, &dek.project_id).await {
            Err(KeysError::UnknownProject) => return Err(KeysError::NotPrimary),
            found => found?,
        };
        let fingerprint = self.ring().fingerprint(primary.kek_id, &dek.dek);
        let is_same = primary.version == dek.version && fingerprint.is_ok_and(|of| of.0 == primary.fingerprint);
        if is_same { Ok(primary) } else { Err(KeysError::NotPrimary) }
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
