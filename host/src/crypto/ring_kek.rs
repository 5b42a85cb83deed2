//! One KEK of a ring: what wraps, and the subkeys for all else.
//!
//! `encryptedDEK = seal(KEK, aad = "", DEK)` is the contract's. Each other purpose has a subkey: the MAC that ties a row to its
//! project, the fingerprint by which a raw DEK is found, the canary, the DEK handles, the journal, backups, the cache of plugins'
//! compiled code. They are derived from the KEK where it is in memory, and from its [`ServiceKey`] where it is outside.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::aead::{AeadKey, CannotOpen, IV_LEN, TAG_LEN};
use super::context::WrapContext;
use super::envelope::EncryptedDek;
use super::kek::KekId;
use super::mac::{MacKey, Tag, derive_subkey};
use super::outside::{KekUnavailable, OutsideKek, OutsideUnwrapError, ServiceKey, WrapError};
use super::secret::{Dek, KEY_LEN, Kek};

/// One KEK, expanded.
pub struct RingKek {
    pub(super) id: KekId,
    wrapping: Wrapping,
    pub(super) canary: AeadKey,
    pub(super) handles: AeadKey,
    pub(super) rows: MacKey,
    pub(super) backups: MacKey,
    fingerprints: MacKey,
    pub(super) journal: Zeroizing<[u8; KEY_LEN]>,
    pub(super) code: Zeroizing<[u8; KEY_LEN]>,
}

/// A keyed fingerprint of a DEK: finds it, tells nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DekFingerprint(pub Tag);

/// Why an encrypted DEK yields no DEK.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// No KEK of that id in the ring.
    #[error("KEK {0} is not in the ring")]
    UnknownKek(KekId),
    /// Does not open.
    #[error(transparent)]
    CannotOpen(#[from] CannotOpen),
    /// Opens to other than 32 bytes: somebody who has the KEK wrapped something else.
    #[error("unwraps to {0} bytes; a DEK is 32")]
    WrongLength(usize),
    /// The KEK is outside, and gives no answer.
    #[error(transparent)]
    Unavailable(#[from] KekUnavailable),
}

/// What wraps.
enum Wrapping {
    Memory(Box<AeadKey>),
    Outside(Arc<dyn OutsideKek>),
}

impl From<OutsideUnwrapError> for UnwrapError {
    fn from(error: OutsideUnwrapError) -> Self {
        match error {
            OutsideUnwrapError::CannotOpen(refused) => refused.into(),
            OutsideUnwrapError::Unavailable(why) => why.into(),
        }
    }
}

impl RingKek {
    /// One whose bytes are here.
    pub fn in_memory(kek: &Kek) -> Self {
        let bytes = kek.expose_secret();
        Self::keyed(kek.id(), Wrapping::Memory(Box::new(AeadKey::new(bytes))), bytes)
    }

    /// One that is somewhere else, and its service key.
    pub fn at(kek: Arc<dyn OutsideKek>, service_key: &ServiceKey) -> Self {
        Self::keyed(service_key.kek_id(), Wrapping::Outside(kek), service_key.bytes())
    }

    fn keyed(id: KekId, wrapping: Wrapping, root: &[u8; KEY_LEN]) -> Self {
        Self {
            id,
            wrapping,
            canary: AeadKey::new(&derive_subkey(root, "canary")),
            handles: AeadKey::new(&derive_subkey(root, "dek-handle")),
            rows: MacKey::derive(root, "row"),
            backups: MacKey::derive(root, "backup"),
            fingerprints: MacKey::derive(root, "dek-fingerprint"),
            journal: derive_subkey(root, "journal"),
            code: derive_subkey(root, "code"),
        }
    }

    pub(super) async fn wrap_dek(&self, dek: &Dek, context: WrapContext<'_>) -> Result<EncryptedDek, WrapError> {
        let sealed = match &self.wrapping {
            Wrapping::Memory(key) => key.seal(b"", dek.expose_secret())?,
            Wrapping::Outside(kek) => kek.wrap(dek.expose_secret(), context).await?,
        };
        // What no parser would take could never be read again.
        if sealed.len() < IV_LEN + TAG_LEN {
            return Err(KekUnavailable::NotNow("it wrapped a DEK in fewer than 32 bytes".into()).into());
        }
        Ok(EncryptedDek::from_sealed(sealed))
    }

    pub(super) async fn unwrap_dek(
        &self,
        encrypted_dek: &EncryptedDek,
        context: WrapContext<'_>,
    ) -> Result<Dek, UnwrapError> {
        let bytes = match &self.wrapping {
            Wrapping::Memory(key) => key.open(b"", encrypted_dek.sealed().to_vec())?,
            Wrapping::Outside(kek) => kek.unwrap(encrypted_dek.sealed(), context).await?,
        };
        Dek::from_slice(&bytes).map_err(|wrong| UnwrapError::WrongLength(wrong.actual))
    }

    pub(super) fn fingerprint(&self, dek: &Dek) -> DekFingerprint {
        DekFingerprint(self.fingerprints.tag_message(dek.expose_secret()))
    }

    pub(super) fn outside(&self) -> Option<&dyn OutsideKek> {
        match &self.wrapping {
            Wrapping::Memory(_) => None,
            Wrapping::Outside(kek) => Some(&**kek),
        }
    }
}

impl std::fmt::Debug for RingKek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.id.fmt(f)
    }
}
