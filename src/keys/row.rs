//! Rows of the store: made with a fingerprint and a MAC, and believed only when both are right.

use std::sync::Arc;
use std::time::Instant;

use origan_codec_host::crypto::{
    CannotOpen, Dek, DekCipher, EncryptedDek, KekId, KeyRing, RowMac, Tag, UnwrapError, WrapContext, WrappedDek,
};
use subtle::ConstantTimeEq;
use tracing::error;

use super::budget::EncryptionBudget;
use super::cache::CacheKey;
use super::{Keys, KeysError, ProjectDek, RawDek};
use crate::clock::unix_ms;
use crate::names::{KeyVersion, ProjectId};
use crate::store::{DekOrigin, DekRow, DekState};

impl Keys {
    /// The row's DEK, unwrapped once for all the ways to it: with a KEK that is outside, each time is a call, and one that does not answer
    /// should cost no more than it must.
    pub(super) async fn shared(&self, row: DekRow) -> Result<Arc<ProjectDek>, KeysError> {
        self.verify(&row)?;
        let key = CacheKey::Version(row.project_id.clone(), row.version);
        let load = async || self.unwrap(row.clone()).await.map(RawDek::Known);
        match self.cache.get_or_load(key, load).await? {
            RawDek::Known(dek) if dek.is_of(&row) => Ok(dek),
            // The row is another than when it was unwrapped.
            _ => self.unwrap(row).await,
        }
    }

    /// Checks that the row hangs together, and unwraps it.
    pub(super) async fn unwrap_row(&self, row: DekRow) -> Result<Arc<ProjectDek>, KeysError> {
        self.verify(&row)?;
        self.unwrap(row).await
    }

    fn verify(&self, row: &DekRow) -> Result<(), KeysError> {
        let version = row.version.number().to_be_bytes();
        let parts = row_mac_parts(&row.project_id, &version, row.state, &row.encrypted_dek);
        let verifies = self.ring.row_mac_verifies(row.kek_id, &parts.each(), &row.row_mac);
        match verifies {
            Err(_) => Err(alarm(row, "its KEK is not in the ring")),
            Ok(false) => Err(alarm(row, "its MAC does not verify")),
            Ok(true) => Ok(()),
        }
    }

    async fn unwrap(&self, row: DekRow) -> Result<Arc<ProjectDek>, KeysError> {
        let unwrapped_at = Instant::now();
        let dek = self
            .ring
            .unwrap_dek(row.kek_id, &row.encrypted_dek, dek_context(&row.project_id, row.version))
            .await
            .map_err(|error| match error {
                UnwrapError::Unavailable(why) => why.into(),
                UnwrapError::CannotOpen(_) | UnwrapError::WrongLength(_) | UnwrapError::UnknownKek(_) => {
                    alarm(&row, "it does not unwrap")
                }
            })?;
        let fingerprint =
            self.ring.fingerprint(row.kek_id, &dek).map_err(|_| alarm(&row, "its KEK is not in the ring"))?;
        if !bool::from(fingerprint.0.ct_eq(&row.fingerprint)) {
            return Err(alarm(&row, "its fingerprint is another DEK's"));
        }
        Ok(Arc::new(ProjectDek {
            cipher: DekCipher::new(&dek),
            dek,
            project_id: row.project_id,
            version: row.version,
            kek_id: row.kek_id,
            encrypted_dek: row.encrypted_dek,
            fingerprint: row.fingerprint,
            state: row.state,
            budget: EncryptionBudget::new(),
            unwrapped_at,
        }))
    }
}

fn alarm(row: &DekRow, what: &'static str) -> KeysError {
    error!(project.id = %row.project_id, dek.version = %row.version, kek.id = %row.kek_id, what,
           "ALARM: a row of the DEK store is not as this service wrote it");
    KeysError::Corrupt(what)
}

/// The row of a DEK, with its fingerprint and MAC.
pub(super) fn new_row(
    ring: &KeyRing,
    project_id: &ProjectId,
    version: KeyVersion,
    wrapped: &WrappedDek,
    dek: &Dek,
    state: DekState,
    origin: DekOrigin,
) -> Result<DekRow, KeysError> {
    let kek_id: KekId = wrapped.kek_id;
    let number = version.number().to_be_bytes();
    let parts = row_mac_parts(project_id, &number, state, &wrapped.encrypted_dek);
    let RowMac(row_mac): RowMac = ring.row_mac(kek_id, &parts.each()).map_err(unwrap_fault)?;
    let fingerprint: Tag = ring.fingerprint(kek_id, dek).map_err(unwrap_fault)?.0;
    Ok(DekRow {
        project_id: project_id.clone(),
        version,
        kek_id,
        encrypted_dek: wrapped.encrypted_dek.clone(),
        fingerprint,
        row_mac,
        state,
        origin,
        created_at_ms: unix_ms(),
    })
}

/// What a row's DEK is wrapped for.
pub(super) fn dek_context(project_id: &ProjectId, version: KeyVersion) -> WrapContext<'_> {
    WrapContext::Dek { project_id: project_id.as_str(), version: version.number() }
}

/// What a row's MAC ties together; the KEK id is tied by the key.
struct RowMacParts<'a> {
    project_id: &'a [u8],
    version: &'a [u8; 4],
    state: &'a [u8],
    digest: [u8; 32],
}

/// Gathers them.
fn row_mac_parts<'a>(
    project_id: &'a ProjectId,
    version: &'a [u8; 4],
    state: DekState,
    encrypted_dek: &EncryptedDek,
) -> RowMacParts<'a> {
    RowMacParts {
        project_id: project_id.as_str().as_bytes(),
        version,
        state: state.name().as_bytes(),
        digest: encrypted_dek.digest(),
    }
}

impl RowMacParts<'_> {
    /// In the order of the MAC.
    fn each(&self) -> [&[u8]; 4] {
        [self.project_id, self.version, self.state, &self.digest]
    }
}

/// One project's DEK is not another's, whoever asks. In constant time.
pub(super) fn refuse_others(project_id: &ProjectId, row: &DekRow) -> Result<(), KeysError> {
    let same = row.project_id.as_str().as_bytes().ct_eq(project_id.as_str().as_bytes());
    if bool::from(same) { Ok(()) } else { Err(KeysError::NotRecognised) }
}

/// The digest led to `row`; does it hold what was presented? If not, somebody altered the digest.
pub(super) fn holding(row: DekRow, encrypted_dek: &EncryptedDek) -> Result<DekRow, KeysError> {
    if row.encrypted_dek == *encrypted_dek {
        return Ok(row);
    }
    error!(project.id = %row.project_id, dek.version = %row.version, "ALARM: a row's digest is that of another encrypted DEK");
    Err(KeysError::Corrupt("its digest is another encrypted DEK's"))
}

pub(super) fn unwrap_fault(error: UnwrapError) -> KeysError {
    match error {
        UnwrapError::CannotOpen(CannotOpen) => CannotOpen.into(),
        UnwrapError::UnknownKek(_) => KeysError::Corrupt("its KEK is not in the ring"),
        UnwrapError::WrongLength(length) => {
            error!(length, "ALARM: an encrypted DEK unwraps to other than 32 bytes");
            KeysError::Corrupt("it unwraps to other than 32 bytes")
        }
        UnwrapError::Unavailable(why) => why.into(),
    }
}
