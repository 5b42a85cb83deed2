//! Rows of the store: made with a fingerprint and a MAC, and believed only when both are right.

use std::sync::Arc;
use std::time::Instant;

use origan_codec_host::crypto::{
    CannotOpen, Dek, DekCipher, EncryptedDek, KeyRing, RowMac, UnwrapError, WrapContext, WrappedDek,
};
use subtle::ConstantTimeEq;
use tracing::{debug, error};

use super::budget::EncryptionBudget;
use super::cache::{CacheKey, Epoch};
use super::{Keys, KeysError, ProjectDek, RawDek};
use crate::clock::unix_ms;
use crate::names::{KeyVersion, ProjectId};
use crate::store::{DekOrigin, DekRow, DekState, Replacement};

/// A use is noted so often.
const USE_NOTED_EVERY_MS: i64 = 3_600_000;

impl Keys {
    /// The row's DEK, unwrapped once for all the ways to it: with a KEK that is outside, each time is a call, and one that does not answer
    /// should cost no more than it must.
    pub(super) async fn shared(&self, row: DekRow, epoch: Epoch) -> Result<Arc<ProjectDek>, KeysError> {
        self.verify(&row)?;
        refuse_unusable(&row)?;
        let key = CacheKey::Version(row.project_id.clone(), row.version);
        let load = async || self.unwrap(row.clone(), epoch).await.map(RawDek::Known);
        match self.cache.get_or_load_once(key.clone(), load()).await? {
            RawDek::Known(dek) if dek.is_of(&row) => Ok(dek),
            // The row is another than when it was unwrapped: rewrapped, say.
            _ => {
                self.cache.forget(&key).await;
                match self.cache.get_or_load_once(key, load()).await? {
                    RawDek::Known(dek) if dek.is_of(&row) => Ok(dek),
                    _ => self.unwrap(row, epoch).await,
                }
            }
        }
    }

    /// Checks that the row hangs together and may be used, and unwraps it.
    pub(super) async fn unwrap_row(&self, row: DekRow, epoch: Epoch) -> Result<Arc<ProjectDek>, KeysError> {
        self.verify(&row)?;
        refuse_unusable(&row)?;
        self.unwrap(row, epoch).await
    }

    /// Checks that the row hangs together.
    pub(super) fn verify(&self, row: &DekRow) -> Result<(), KeysError> {
        verify(&self.ring(), row)
    }

    async fn unwrap(&self, row: DekRow, epoch: Epoch) -> Result<Arc<ProjectDek>, KeysError> {
        let unwrapped_at = Instant::now();
        let dek = unwrapped(&self.ring(), &row).await?;
        self.note_use(&row);
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
            epoch,
        }))
    }

    /// Tells operators when a DEK was used last, to the hour. Nobody waits for the store because of it, nor fails.
    fn note_use(&self, row: &DekRow) {
        let now_ms = unix_ms();
        if row.last_used_at_ms >= now_ms - USE_NOTED_EVERY_MS {
            return;
        }
        let (store, project_id, version) = (self.store.clone(), row.project_id.clone(), row.version);
        tokio::spawn(async move {
            if let Err(error) = store.note_use(&project_id, version, now_ms).await {
                debug!(project.id = %project_id, dek.version = %version, %error, "the use of a DEK was not noted");
            }
        });
    }
}

/// Checks that the row hangs together.
pub(super) fn verify(ring: &KeyRing, row: &DekRow) -> Result<(), KeysError> {
    match hangs_together(ring, row) {
        // It may be on its way here: another replica had it first. Or it was taken out too early.
        Err(_) => Err(KeysError::UnknownKek(row.kek_id)),
        Ok(false) => Err(alarm(row, "its MAC does not verify")),
        Ok(true) => Ok(()),
    }
}

/// Whether the row's MAC is its own. An error says that its KEK is not in the ring.
pub(super) fn hangs_together(ring: &KeyRing, row: &DekRow) -> Result<bool, UnwrapError> {
    tied(row, |parts| ring.row_mac_verifies(row.kek_id, parts, &row.row_mac))
}

/// The row's DEK, which is what the row says it is.
pub(super) async fn unwrapped(ring: &KeyRing, row: &DekRow) -> Result<Dek, KeysError> {
    let dek = ring
        .unwrap_dek(row.kek_id, &row.encrypted_dek, dek_context(&row.project_id, row.version))
        .await
        .map_err(|error| match error {
            UnwrapError::Unavailable(why) => why.into(),
            UnwrapError::UnknownKek(kek_id) => KeysError::UnknownKek(kek_id),
            UnwrapError::CannotOpen(_) | UnwrapError::WrongLength(_) => alarm(row, "it does not unwrap"),
        })?;
    let fingerprint = ring.fingerprint(row.kek_id, &dek).map_err(unwrap_fault)?;
    if !bool::from(fingerprint.0.ct_eq(&row.fingerprint)) {
        return Err(alarm(row, "its fingerprint is another DEK's"));
    }
    Ok(dek)
}

pub(super) fn refuse_unusable(row: &DekRow) -> Result<(), KeysError> {
    match row.state {
        DekState::Primary | DekState::DecryptOnly => Ok(()),
        DekState::Disabled => Err(KeysError::Disabled),
        DekState::Destroyed => Err(KeysError::Destroyed),
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
    tie(
        ring,
        DekRow {
            project_id: project_id.clone(),
            version,
            kek_id: wrapped.kek_id,
            encrypted_dek: wrapped.encrypted_dek.clone(),
            fingerprint: ring.fingerprint(wrapped.kek_id, dek).map_err(unwrap_fault)?.0,
            row_mac: [0; 32],
            state,
            origin,
            created_at_ms: unix_ms(),
            former_digests: Vec::new(),
            generation: 1,
            last_used_at_ms: 0,
        },
    )
}

/// What takes `row`'s place when its DEK is wrapped anew.
pub(super) fn rewrapped(
    ring: &KeyRing,
    row: &DekRow,
    wrapped: WrappedDek,
    dek: &Dek,
) -> Result<Replacement, KeysError> {
    let mut next = row.clone();
    next.former_digests.push(row.encrypted_dek.digest());
    next.fingerprint = ring.fingerprint(wrapped.kek_id, dek).map_err(unwrap_fault)?.0;
    next.kek_id = wrapped.kek_id;
    next.encrypted_dek = wrapped.encrypted_dek;
    in_place_of(ring, row, next)
}

/// What takes `row`'s place when it may be used for something else.
pub(super) fn with_state(ring: &KeyRing, row: &DekRow, state: DekState) -> Result<Replacement, KeysError> {
    in_place_of(ring, row, DekRow { state, ..row.clone() })
}

/// What takes `row`'s place when its DEK is to be gone. What it was wrapped as is known as this version's still, and the DEK by its
/// fingerprint: neither is taken for one that nobody owns.
pub(super) fn destroyed(ring: &KeyRing, row: &DekRow) -> Result<Replacement, KeysError> {
    let mut next = DekRow { state: DekState::Destroyed, ..row.clone() };
    next.former_digests.push(row.encrypted_dek.digest());
    next.encrypted_dek = EncryptedDek::of_nothing()?;
    in_place_of(ring, row, next)
}

/// The same row of a destroyed DEK, tied together by the primary KEK: there is nothing to wrap.
pub(super) fn retied(ring: &KeyRing, row: &DekRow) -> Result<Replacement, KeysError> {
    in_place_of(ring, row, DekRow { kek_id: ring.primary_id(), ..row.clone() })
}

fn in_place_of(ring: &KeyRing, row: &DekRow, next: DekRow) -> Result<Replacement, KeysError> {
    Ok(Replacement { replaces: row.row_mac, row: tie(ring, next)? })
}

/// The row, with the MAC that is its.
fn tie(ring: &KeyRing, mut row: DekRow) -> Result<DekRow, KeysError> {
    let RowMac(mac) = tied(&row, |parts| ring.row_mac(row.kek_id, parts)).map_err(unwrap_fault)?;
    row.row_mac = mac;
    Ok(row)
}

/// What a row's DEK is wrapped for.
pub(super) fn dek_context(project_id: &ProjectId, version: KeyVersion) -> WrapContext<'_> {
    WrapContext::Dek { project_id: project_id.as_str(), version: version.number() }
}

/// What a row's MAC ties together; the KEK id is tied by the key. A row that was never wrapped anew has no fifth part.
fn tied<T>(row: &DekRow, with: impl FnOnce(&[&[u8]]) -> T) -> T {
    let (version, digest) = (row.version.number().to_be_bytes(), row.encrypted_dek.digest());
    let former = row.former_digests.concat();
    let parts = [row.project_id.as_str().as_bytes(), &version, row.state.name().as_bytes(), &digest, &former];
    with(if former.is_empty() { &parts[..4] } else { &parts })
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
        UnwrapError::UnknownKek(kek_id) => KeysError::UnknownKek(kek_id),
        UnwrapError::WrongLength(length) => {
            error!(length, "ALARM: an encrypted DEK unwraps to other than 32 bytes");
            KeysError::Corrupt("it unwraps to other than 32 bytes")
        }
        UnwrapError::Unavailable(why) => why.into(),
    }
}
