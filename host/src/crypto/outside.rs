//! A KEK that is somewhere else, in a token or behind a key service: it wraps and unwraps there, and its bytes are never here.
//!
//! What else the service keys (row MACs, fingerprints, canary, DEK handles, the journal) is under subkeys of a [`ServiceKey`] then:
//! 32 random bytes, made once for each outside KEK, wrapped by it, kept beside the canary, unwrapped at each start.

use async_trait::async_trait;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::aead::{AeadKey, CannotOpen, RandomnessUnavailable, fill_random};
use super::context::WrapContext;
use super::kek::KekId;
use super::mac::derive_subkey;
use super::secret::KEY_LEN;

/// Before a service key when it is wrapped: so it is longer than a DEK, and no call takes one for the other.
const SERVICE_KEY_LABEL: &[u8] = b"origan-codec/v1/service-key";

/// What a canary is, sealed under the subkey `canary`. Not a wrapped DEK: it opens under no contract call.
pub(super) const CANARY_TEXT: &[u8] = b"origan-codec canary";

/// Whether `sealed` is a canary under `key`.
pub(super) fn is_canary(key: &AeadKey, sealed: Vec<u8>) -> bool {
    key.open(b"", sealed).is_ok_and(|text| text.ct_eq(CANARY_TEXT).into())
}

/// Two verbs on bytes, wherever the key is.
///
/// Both may wait, but not without end: each has its own deadline, and its own bound on how much is asked at once. Whoever
/// implements this blocks no thread of the caller's.
#[async_trait]
pub trait OutsideKek: Send + Sync {
    /// Wraps `plaintext`, some 100 bytes at the most. What comes out is opaque, 32 bytes or more, and says itself under which version
    /// of the outside key it is, if that has versions.
    async fn wrap(&self, plaintext: &[u8], context: WrapContext<'_>) -> Result<Vec<u8>, WrapError>;

    /// What [`OutsideKek::wrap`] was given, in the same context where it binds that. `CannotOpen` only where the outside key itself was asked and would not: an error on
    /// the way there is `Unavailable`.
    async fn unwrap(&self, wrapped: &[u8], context: WrapContext<'_>) -> Result<Zeroizing<Vec<u8>>, OutsideUnwrapError>;

    /// Its key in the configuration below `keys`, which is also how `/status` names the kind: `pkcs11`.
    fn kind(&self) -> &'static str;

    /// Which one it is, for operators: never a secret.
    fn name(&self) -> String;

    /// Why the last call gave no answer; none if it gave one.
    fn last_failure(&self) -> Option<String>;

    /// The KEK id that a store must have, where the operator has pinned it: who can wrap under the outside key, and write to the store,
    /// could put a service key of his own there.
    fn pinned_id(&self) -> Option<KekId> {
        None
    }
}

/// Why nothing is wrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// No randomness for an IV.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
    /// The KEK is outside, and gives no answer.
    #[error(transparent)]
    Unavailable(#[from] KekUnavailable),
}

/// Why an outside KEK unwraps nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutsideUnwrapError {
    /// It was asked, and this does not open under it.
    #[error(transparent)]
    CannotOpen(#[from] CannotOpen),
    /// No answer.
    #[error(transparent)]
    Unavailable(#[from] KekUnavailable),
}

/// An outside KEK gives no answer. The text is for operators and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KekUnavailable {
    /// May pass by itself.
    #[error("{0}")]
    NotNow(String),
    /// Will not: a wrong PIN, a key that is not as it must be. At the start it ends the process.
    #[error("{0}")]
    Never(String),
}

/// What subkeys are derived from where the KEK's bytes are not here. Wiped on drop.
pub struct ServiceKey(Zeroizing<[u8; KEY_LEN]>);

impl ServiceKey {
    /// A new one.
    pub fn generate() -> Result<Self, RandomnessUnavailable> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        fill_random(key.as_mut_slice())?;
        Ok(Self(key))
    }

    /// `label ‖ key` under `kek`.
    pub async fn wrap(&self, kek: &dyn OutsideKek) -> Result<Vec<u8>, WrapError> {
        let plaintext = Zeroizing::new([SERVICE_KEY_LABEL, self.0.as_slice()].concat());
        kek.wrap(&plaintext, WrapContext::ServiceKey).await
    }

    /// The one in `wrapped`. Anything else that opens, a DEK for one, is none.
    pub async fn unwrap(kek: &dyn OutsideKek, wrapped: &[u8]) -> Result<Self, OutsideUnwrapError> {
        let plaintext = kek.unwrap(wrapped, WrapContext::ServiceKey).await?;
        Ok(Self::of_unwrapped(&plaintext)?)
    }

    /// The one that `plaintext` is, as it was wrapped.
    pub fn of_unwrapped(plaintext: &[u8]) -> Result<Self, CannotOpen> {
        let (label, key) = plaintext.split_last_chunk().ok_or(CannotOpen)?;
        if bool::from(label.ct_eq(SERVICE_KEY_LABEL)) { Ok(Self(Zeroizing::new(*key))) } else { Err(CannotOpen) }
    }

    /// The public name of the KEK that it belongs to: as a KEK's in memory, of the service key's bytes.
    pub fn kek_id(&self) -> KekId {
        KekId::of_subkey(&derive_subkey(&self.0, "kek-id"))
    }

    /// Whether `sealed` is the canary of the KEK that it belongs to.
    pub fn canary_opens(&self, sealed: Vec<u8>) -> bool {
        is_canary(&AeadKey::new(&derive_subkey(&self.0, "canary")), sealed)
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl std::fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServiceKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::EncryptedDek;
    use super::super::keyring::KeyRing;
    use super::super::ring_kek::{RingKek, UnwrapError};
    use super::super::secret::{Dek, Kek};
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const SHOP: WrapContext<'_> = WrapContext::Dek { project_id: "shop", version: 1 };

    /// Beside the ring instead of in it, and it can be gone.
    struct Beside {
        key: AeadKey,
        is_gone: AtomicBool,
        short: bool,
    }

    #[async_trait]
    impl OutsideKek for Beside {
        async fn wrap(&self, plaintext: &[u8], _: WrapContext<'_>) -> Result<Vec<u8>, WrapError> {
            self.answer()?;
            let sealed = self.key.seal(b"", plaintext)?;
            Ok(if self.short { sealed[..31].to_vec() } else { sealed })
        }

        async fn unwrap(&self, wrapped: &[u8], _: WrapContext<'_>) -> Result<Zeroizing<Vec<u8>>, OutsideUnwrapError> {
            self.answer()?;
            Ok(self.key.open(b"", wrapped.to_vec())?)
        }

        fn kind(&self) -> &'static str {
            "beside"
        }

        fn name(&self) -> String {
            "beside".into()
        }

        fn last_failure(&self) -> Option<String> {
            None
        }
    }

    impl Beside {
        fn answer(&self) -> Result<(), KekUnavailable> {
            let gone = self.is_gone.load(Ordering::Relaxed);
            if gone { Err(KekUnavailable::NotNow("gone".into())) } else { Ok(()) }
        }
    }

    fn beside(kek: &Kek) -> Arc<Beside> {
        Arc::new(Beside { key: AeadKey::new(kek.expose_secret()), is_gone: AtomicBool::new(false), short: false })
    }

    #[tokio::test]
    async fn what_one_wraps_the_other_unwraps_be_it_in_memory_or_outside() {
        let kek = Kek::generate().expect("random");
        let (outside, service_key) = (beside(&kek), ServiceKey::generate().expect("random"));
        let there = KeyRing::of(RingKek::at(outside, &service_key), []).expect("one KEK");
        let here = KeyRing::new(&kek, &[]).expect("one KEK");
        let dek = Dek::generate().expect("random");
        for (one, other) in [(&there, &here), (&here, &there)] {
            let wrapped = one.wrap_dek(&dek, SHOP).await.expect("wraps");
            let (kek_id, unwrapped) = other.unwrap_unrecorded_dek(&wrapped.encrypted_dek).await.expect("opens");
            assert_eq!(unwrapped.expose_secret(), dek.expose_secret());
            assert_eq!(kek_id, other.primary_id());
        }
        // The bytes of a KEK in memory key more than wrapping: its name and its canary are others.
        assert_ne!(here.primary_id(), there.primary_id());
        assert!(!there.canary_opens(there.primary_id(), here.seal_canary().expect("random")));
    }

    #[tokio::test]
    async fn a_service_key_is_no_dek_and_a_dek_is_no_service_key() {
        let kek = Kek::generate().expect("random");
        let (outside, service_key) = (beside(&kek), ServiceKey::generate().expect("random"));
        let wrapped = service_key.wrap(&*outside).await.expect("wraps");
        let again = ServiceKey::unwrap(&*outside, &wrapped).await.expect("opens");
        assert_eq!(again.kek_id(), service_key.kek_id());
        let ring = KeyRing::of(RingKek::at(outside.clone(), &service_key), []).expect("one KEK");
        let as_dek = EncryptedDek::from_sealed(wrapped);
        let refused = ring.unwrap_unrecorded_dek(&as_dek).await;
        assert_eq!(refused.err(), Some(UnwrapError::WrongLength(KEY_LEN + SERVICE_KEY_LABEL.len())));
        let dek = ring.wrap_dek(&Dek::generate().expect("random"), SHOP).await.expect("wraps").encrypted_dek;
        let refused = ServiceKey::unwrap(&*outside, dek.sealed()).await;
        assert_eq!(refused.err(), Some(CannotOpen.into()));
    }

    #[tokio::test]
    async fn one_that_gives_no_answer_is_not_one_that_refuses() {
        let kek = Kek::generate().expect("random");
        let (outside, service_key) = (beside(&kek), ServiceKey::generate().expect("random"));
        let retained = KeyRing::of(RingKek::in_memory(&kek), [RingKek::at(outside.clone(), &service_key)]);
        let ring = retained.expect("two KEKs");
        let garbage = EncryptedDek::from_sealed(vec![7; 64]);
        assert_eq!(ring.unwrap_unrecorded_dek(&garbage).await.err(), Some(CannotOpen.into()));
        outside.is_gone.store(true, Ordering::Relaxed);
        let gone = KekUnavailable::NotNow("gone".into());
        assert_eq!(ring.unwrap_unrecorded_dek(&garbage).await.err(), Some(gone.clone().into()));
        let ring = KeyRing::of(RingKek::at(outside, &service_key), []).expect("one KEK");
        let dek = Dek::generate().expect("random");
        assert_eq!(ring.wrap_dek(&dek, SHOP).await.err(), Some(gone.into()));
    }

    #[tokio::test]
    async fn a_wrapped_dek_that_could_not_be_read_again_is_not_given_out() {
        let kek = Kek::generate().expect("random");
        let short = Beside { key: AeadKey::new(kek.expose_secret()), is_gone: AtomicBool::new(false), short: true };
        let ring =
            KeyRing::of(RingKek::at(Arc::new(short), &ServiceKey::generate().expect("random")), []).expect("one");
        let refused = ring.wrap_dek(&Dek::generate().expect("random"), SHOP).await;
        assert!(matches!(refused.err(), Some(WrapError::Unavailable(_))));
    }
}
