//! The KEKs of a process, one of them primary, and everything that is keyed by them.
//!
//! Two verbs need the KEK itself, `wrap_dek` and `unwrap_dek`. They wait where it is outside, and do not where it is in memory. All
//! else is under subkeys that are always here ([`RingKek`]), and never waits.

use zeroize::Zeroizing;

use super::aead::{CannotOpen, RandomnessUnavailable};
use super::context::WrapContext;
use super::envelope::EncryptedDek;
use super::kek::KekId;
use super::mac::{MacKey, Tag};
use super::outside::{CANARY_TEXT, OutsideKek, WrapError, is_canary};
use super::ring_kek::{DekFingerprint, RingKek, UnwrapError};
use super::secret::{Dek, Kek};

/// Several KEKs, the first of them primary.
pub struct KeyRing {
    keks: Vec<RingKek>,
    /// They wrap and unwrap nothing any more. What they signed can still be verified.
    retired: Vec<RingKek>,
}

/// A DEK under a KEK.
#[derive(Debug, Clone)]
pub struct WrappedDek {
    /// Which KEK.
    pub kek_id: KekId,
    /// What the caller stores.
    pub encrypted_dek: EncryptedDek,
}

/// The MAC that ties a stored row together.
#[derive(Debug, Clone, Copy)]
pub struct RowMac(pub Tag);

/// Why a ring cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The same KEK twice.
    #[error("KEK {0} is in the ring twice")]
    Duplicate(KekId),
}

impl KeyRing {
    /// A ring of `primary`, which wraps, and `retained` ones, which only unwrap.
    pub fn new(primary: &Kek, retained: &[Kek]) -> Result<Self, RingError> {
        Self::of(RingKek::in_memory(primary), retained.iter().map(RingKek::in_memory))
    }

    /// The same of KEKs wherever they are.
    pub fn of(primary: RingKek, retained: impl IntoIterator<Item = RingKek>) -> Result<Self, RingError> {
        let mut keks = vec![primary];
        for kek in retained {
            if keks.iter().any(|known| known.id == kek.id) {
                return Err(RingError::Duplicate(kek.id));
            }
            keks.push(kek);
        }
        Ok(Self { keks, retired: Vec::new() })
    }

    /// The same ring, and `retired` KEKs beside it, by which only the journal is read.
    pub fn with_retired(mut self, retired: impl IntoIterator<Item = RingKek>) -> Result<Self, RingError> {
        for kek in retired {
            if self.keks.iter().chain(&self.retired).any(|known| known.id == kek.id) {
                return Err(RingError::Duplicate(kek.id));
            }
            self.retired.push(kek);
        }
        Ok(self)
    }

    /// The KEK that wraps what is new.
    pub fn primary_id(&self) -> KekId {
        self.primary().id
    }

    /// All of them, the primary first.
    pub fn kek_ids(&self) -> impl Iterator<Item = KekId> {
        self.keks.iter().map(|kek| kek.id)
    }

    /// All of them, the primary first, and those that are outside with what they are.
    pub fn keks(&self) -> impl Iterator<Item = (KekId, Option<&dyn OutsideKek>)> {
        self.keks.iter().map(|kek| (kek.id, kek.outside()))
    }

    /// Those by which only the journal is read.
    pub fn retired_ids(&self) -> impl Iterator<Item = KekId> {
        self.retired.iter().map(|kek| kek.id)
    }

    /// The primary, if it is outside.
    pub fn primary_outside(&self) -> Option<&dyn OutsideKek> {
        self.primary().outside()
    }

    /// The one that is outside, primary or retained, if there is one.
    pub fn outside(&self) -> Option<&dyn OutsideKek> {
        self.keks.iter().find_map(RingKek::outside)
    }

    /// Wraps under the primary, bound to `context` where that binds.
    pub async fn wrap_dek(&self, dek: &Dek, context: WrapContext<'_>) -> Result<WrappedDek, WrapError> {
        let kek = self.primary();
        Ok(WrappedDek { kek_id: kek.id, encrypted_dek: kek.wrap_dek(dek, context).await? })
    }

    /// Unwraps under the KEK that `kek_id` names.
    pub async fn unwrap_dek(
        &self,
        kek_id: KekId,
        encrypted_dek: &EncryptedDek,
        context: WrapContext<'_>,
    ) -> Result<Dek, UnwrapError> {
        self.find(kek_id)?.unwrap_dek(encrypted_dek, context).await
    }

    /// Unwraps under whichever KEK opens it: for an encrypted DEK that no row names. A KEK that gives no answer might have been the
    /// one, so then nothing is said of it.
    pub async fn unwrap_unrecorded_dek(&self, encrypted_dek: &EncryptedDek) -> Result<(KekId, Dek), UnwrapError> {
        for kek in &self.keks {
            match kek.unwrap_dek(encrypted_dek, WrapContext::Unrecorded).await {
                Err(UnwrapError::CannotOpen(_)) => {}
                other => return other.map(|dek| (kek.id, dek)),
            }
        }
        Err(CannotOpen.into())
    }

    /// The fingerprint of `dek` under `kek_id`.
    pub fn fingerprint(&self, kek_id: KekId, dek: &Dek) -> Result<DekFingerprint, UnwrapError> {
        Ok(self.find(kek_id)?.fingerprint(dek))
    }

    /// Its fingerprints under every KEK of the ring, the primary's first, and under the retired ones: a row keeps the one of the KEK it is wrapped
    /// by, and that of a DEK that was destroyed stays.
    pub fn fingerprints(&self, dek: &Dek) -> Vec<DekFingerprint> {
        self.keks.iter().chain(&self.retired).map(|kek| kek.fingerprint(dek)).collect()
    }

    /// Ties `parts` of a row together under `kek_id`.
    pub fn row_mac(&self, kek_id: KekId, parts: &[&[u8]]) -> Result<RowMac, UnwrapError> {
        Ok(RowMac(self.find(kek_id)?.rows.tag(parts)))
    }

    /// Whether `mac` ties `parts` together, in constant time.
    pub fn row_mac_verifies(&self, kek_id: KekId, parts: &[&[u8]], mac: &[u8]) -> Result<bool, UnwrapError> {
        Ok(self.find(kek_id)?.rows.verifies(parts, mac))
    }

    /// Something that only the primary can have sealed. Not a wrapped DEK: it opens under no contract call.
    pub fn seal_canary(&self) -> Result<Vec<u8>, RandomnessUnavailable> {
        self.primary().canary.seal(b"", CANARY_TEXT)
    }

    /// Whether `sealed` is the canary of the KEK that `kek_id` names.
    pub fn canary_opens(&self, kek_id: KekId, sealed: Vec<u8>) -> bool {
        let Ok(kek) = self.find(kek_id) else { return false };
        is_canary(&kek.canary, sealed)
    }

    /// Seals a DEK handle's fields under the primary.
    pub fn seal_handle(&self, fields: &[u8]) -> Result<Vec<u8>, RandomnessUnavailable> {
        self.primary().handles.seal(b"", fields)
    }

    /// Opens a DEK handle's fields, under any KEK of the ring.
    pub fn open_handle(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        self.keks.iter().find_map(|kek| kek.handles.open(b"", sealed.to_vec()).ok()).ok_or(CannotOpen)
    }

    /// Vouches for `parts` of a backup under the primary.
    pub fn backup_mac(&self, parts: &[&[u8]]) -> Tag {
        self.primary().backups.tag(parts)
    }

    /// Whether `mac` vouches for `parts` of a backup under `kek_id`, in constant time.
    pub fn backup_mac_verifies(&self, kek_id: KekId, parts: &[&[u8]], mac: &[u8]) -> Result<bool, UnwrapError> {
        Ok(self.find(kek_id)?.backups.verifies(parts, mac))
    }

    /// The key of `chain`'s journal under `kek_id`, which may be retired; none if the ring lacks that KEK.
    pub fn journal_key(&self, kek_id: KekId, chain: &str) -> Option<MacKey> {
        let kek = self.keks.iter().chain(&self.retired).find(|kek| kek.id == kek_id)?;
        Some(MacKey::derive(&kek.journal, chain))
    }

    /// The key that vouches for plugins' compiled code, under the primary.
    pub fn code_key(&self) -> MacKey {
        MacKey::derive(&self.primary().code, "cache")
    }

    fn primary(&self) -> &RingKek {
        // `new` puts the primary first, and nothing takes a KEK out.
        &self.keks[0]
    }

    fn find(&self, kek_id: KekId) -> Result<&RingKek, UnwrapError> {
        self.keks.iter().find(|kek| kek.id == kek_id).ok_or(UnwrapError::UnknownKek(kek_id))
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.kek_ids()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::aead::AeadKey;
    use super::*;

    const SHOP: WrapContext<'_> = WrapContext::Dek { project_id: "shop", version: 1 };

    fn ring(primary: &Kek, retained: &[Kek]) -> KeyRing {
        KeyRing::new(primary, retained).expect("different KEKs")
    }

    #[tokio::test]
    async fn a_retained_kek_unwraps_and_never_wraps() {
        let (old, new) = (Kek::generate().expect("random"), Kek::generate().expect("random"));
        let dek = Dek::generate().expect("random");
        let wrapped = ring(&old, &[]).wrap_dek(&dek, SHOP).await.expect("random");
        let new_id = new.id();
        let both = ring(&new, &[old]);
        assert_eq!(
            both.unwrap_dek(wrapped.kek_id, &wrapped.encrypted_dek, SHOP).await.expect("opens").expose_secret(),
            dek.expose_secret()
        );
        assert_eq!(both.wrap_dek(&dek, SHOP).await.expect("random").kek_id, new_id);
        assert_eq!(
            ring(&new, &[]).unwrap_dek(wrapped.kek_id, &wrapped.encrypted_dek, SHOP).await.err(),
            Some(UnwrapError::UnknownKek(wrapped.kek_id))
        );
    }

    #[tokio::test]
    async fn what_is_not_32_bytes_inside_is_refused_with_its_length() {
        let kek = Kek::generate().expect("random");
        let ring = ring(&kek, &[]);
        for length in [0, 16, 31, 33, 64] {
            let sealed = AeadKey::new(kek.expose_secret()).seal(b"", &vec![3; length]).expect("random");
            let wrapped = EncryptedDek::from_sealed(sealed);
            assert_eq!(ring.unwrap_dek(kek.id(), &wrapped, SHOP).await.err(), Some(UnwrapError::WrongLength(length)));
        }
    }

    #[tokio::test]
    async fn a_canary_is_no_encrypted_dek_and_opens_under_its_kek_alone() {
        let (one, other) = (Kek::generate().expect("random"), Kek::generate().expect("random"));
        let canary = ring(&one, &[]).seal_canary().expect("random");
        assert!(ring(&one, &[]).canary_opens(one.id(), canary.clone()));
        assert!(!ring(&other, &[]).canary_opens(other.id(), canary.clone()));
        let as_dek = EncryptedDek::from_sealed(canary);
        assert_eq!(
            ring(&one, &[]).unwrap_unrecorded_dek(&as_dek).await.err(),
            Some(UnwrapError::CannotOpen(CannotOpen))
        );
    }

    #[tokio::test]
    async fn a_retired_kek_reads_the_journal_and_nothing_else() {
        let (old, new) = (Kek::generate().expect("random"), Kek::generate().expect("random"));
        let wrapped = ring(&old, &[]).wrap_dek(&Dek::generate().expect("random"), SHOP).await.expect("random");
        let after = ring(&new, &[]).with_retired([RingKek::in_memory(&old)]).expect("different KEKs");
        let unwrapped = after.unwrap_dek(wrapped.kek_id, &wrapped.encrypted_dek, SHOP).await;
        assert_eq!(unwrapped.err(), Some(UnwrapError::UnknownKek(old.id())));
        assert_eq!(after.unwrap_unrecorded_dek(&wrapped.encrypted_dek).await.err(), Some(CannotOpen.into()));
        let tag = |ring: &KeyRing| ring.journal_key(old.id(), "chain").expect("known").tag(&[b"line"]);
        assert_eq!(tag(&after), tag(&ring(&old, &[])));
        assert!(after.row_mac(old.id(), &[]).is_err());
        assert!(ring(&new, &[]).with_retired([RingKek::in_memory(&new)]).is_err());
    }

    #[test]
    fn the_same_kek_twice_is_refused() {
        let kek = Kek::generate().expect("random");
        let again = Kek::from_bytes(kek.expose_secret());
        assert!(matches!(KeyRing::new(&kek, &[again]), Err(RingError::Duplicate(_))));
    }
}
