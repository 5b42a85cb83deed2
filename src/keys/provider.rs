//! A KEK behind a key service, reached through a plugin: what that wraps, framed so that it says under which version of the key it is.
//!
//! `wrapped = 0x01 ‖ length(key_version) u16 ‖ key_version ‖ ciphertext`
//!
//! What a DEK is wrapped for is bound to the result: the plugin is told `project` and `version`, of a service key `purpose`. So nothing
//! opens as another project's, and a DEK that no row names does not open at all.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures_util::FutureExt;
use origan_codec_host::crypto::{
    CannotOpen, KekId, KekUnavailable, OutsideKek, OutsideUnwrapError, ServiceKey, WrapContext, WrapError,
};
use origan_codec_host::plugin::{KeyContext, Wrapped};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::standing::Standing;
use crate::config::KeyProviderConfig;
use crate::plugins::{KeyCallError, KeyWrapping, WrapBytes};

/// The framing's version.
const FRAME: u8 = 1;

/// The KEK behind a key service.
pub struct ProviderKek {
    wraps: Arc<dyn WrapBytes>,
    /// None: it is to take the place of the one that is live.
    place: Option<Arc<KeyWrapping>>,
    name: String,
    pinned: Option<KekId>,
    /// Either verb may fail by itself: a key that may decrypt and not encrypt, a key that is going to be deleted.
    wrapping: Standing,
    unwrapping: Standing,
    known: Arc<Known>,
}

/// What whatever is to be this KEK's next must open. Nothing of it is secret.
#[derive(Default)]
struct Known {
    /// A wrapped service key, and which KEK it is.
    service_key: OnceLock<(Vec<u8>, KekId)>,
    /// The first DEK that was opened.
    dek: OnceLock<KnownDek>,
}

struct KnownDek {
    wrapped: Vec<u8>,
    project_id: String,
    version: u32,
    /// SHA-256 of what it opens to.
    digest: [u8; 32],
}

impl ProviderKek {
    /// Of what is live in `place`, now and later.
    pub fn new(place: &Arc<KeyWrapping>, config: &KeyProviderConfig) -> Arc<Self> {
        let known = Arc::<Known>::default();
        let kek = Self {
            wraps: place.clone(),
            place: Some(place.clone()),
            name: format!("key provider `{}`", config.name),
            pinned: config.pinned_id(),
            wrapping: Standing::of("the key provider that holds the KEK, asked to wrap,"),
            unwrapping: Standing::of("the key provider that holds the KEK"),
            known: known.clone(),
        };
        let name = kek.name.clone();
        place.proven_by(Box::new(move |candidate| {
            let standing = || Standing::of("a key provider that is to be the KEK's next");
            let (name, known, wrapping, unwrapping) = (name.clone(), known.clone(), standing(), standing());
            let next = Self { wraps: candidate, place: None, name, pinned: None, wrapping, unwrapping, known };
            async move { next.prove().await }.boxed()
        }));
        Arc::new(kek)
    }

    /// Whether it opens what the one before opened, and what it wraps itself.
    async fn prove(&self) -> Result<(), String> {
        // Before a store is open there is nothing to prove it by; what opens that is proven then.
        let Some((wrapped, id)) = self.known.service_key.get() else { return Ok(()) };
        match ServiceKey::unwrap(self, wrapped).await {
            Ok(service_key) if service_key.kek_id() == *id => {}
            Ok(_) | Err(OutsideUnwrapError::CannotOpen(_)) => return Err(format!("KEK {id} does not open under it")),
            Err(OutsideUnwrapError::Unavailable(why)) => return Err(why.to_string()),
        }
        if let Some(KnownDek { wrapped, project_id, version, digest }) = self.known.dek.get() {
            let context = WrapContext::Dek { project_id, version: *version };
            match self.unwrap(wrapped, context).await {
                Ok(dek) if bool::from(Sha256::digest(&dek).ct_eq(digest)) => {}
                Ok(_) | Err(OutsideUnwrapError::CannotOpen(_)) => {
                    return Err("a DEK of this store does not open under it".into());
                }
                Err(OutsideUnwrapError::Unavailable(why)) => return Err(why.to_string()),
            }
        }
        let fresh = ServiceKey::generate().map_err(|error| error.to_string())?;
        fresh.wrap(self).await.map(drop).map_err(|error| error.to_string())
    }

    /// Asks again whether it answers, if it did not: nobody may need it for long.
    pub async fn look_again(&self) {
        let Some((wrapped, _)) = self.known.service_key.get() else { return };
        if self.unwrapping.failure().is_some() {
            let _ = self.unwrap(wrapped, WrapContext::ServiceKey).await;
        } else if self.wrapping.failure().is_some()
            && let Ok(fresh) = ServiceKey::generate()
        {
            let _ = fresh.wrap(self).await;
        }
    }

    async fn unwrap_framed(
        &self,
        wrapped: Wrapped,
        context: KeyContext,
    ) -> Result<Zeroizing<Vec<u8>>, OutsideUnwrapError> {
        let outcome = self.wraps.unwrap(wrapped, context).await;
        match &outcome {
            Ok(_) | Err(KeyCallError::Corrupt) => self.unwrapping.note(None),
            // What was known of it before is as true as it was.
            Err(KeyCallError::NotAsked(_)) => {}
            Err(other) => self.unwrapping.note(Some(other.to_string())),
        }
        outcome.map_err(|error| match error {
            KeyCallError::Corrupt => CannotOpen.into(),
            other => self.unavailable(&other).into(),
        })
    }

    /// Wrapped, and opened again before it is believed, by a fresh instance: a DEK that was wrapped wrongly is lost with all it seals.
    async fn wrap_and_open(&self, plaintext: &[u8], context: KeyContext) -> Result<Vec<u8>, KeyCallError> {
        let wrong = |why: &str| KeyCallError::Unavailable { why: why.to_owned(), pause: None };
        let wrapped = self.wraps.wrap(Zeroizing::new(plaintext.to_vec()), context.clone()).await?;
        let framed = frame(&wrapped).ok_or_else(|| wrong("the version of its key has too long a name"))?;
        let opened = self.wraps.unwrap(wrapped, context).await;
        match opened {
            Ok(opened) if bool::from(opened.ct_eq(plaintext)) => Ok(framed),
            Ok(_) | Err(KeyCallError::Corrupt) => Err(wrong("it does not open what it wrapped just now")),
            Err(other) => Err(other),
        }
    }

    fn unavailable(&self, error: &KeyCallError) -> KekUnavailable {
        let why = match error {
            // Why it is left alone says more.
            KeyCallError::NotAsked(_) => self.last_failure().unwrap_or_else(|| error.to_string()),
            other => other.to_string(),
        };
        KekUnavailable::NotNow(format!("{}: {why}", self.name))
    }
}

#[async_trait]
impl OutsideKek for ProviderKek {
    async fn wrap(&self, plaintext: &[u8], context: WrapContext<'_>) -> Result<Vec<u8>, WrapError> {
        let nobodys = || KekUnavailable::NotNow(format!("{}: a DEK is wrapped for a project", self.name));
        let outcome = self.wrap_and_open(plaintext, attributes(context).ok_or_else(nobodys)?).await;
        match &outcome {
            Ok(_) => self.wrapping.note(None),
            Err(KeyCallError::NotAsked(_)) => {}
            Err(other) => self.wrapping.note(Some(other.to_string())),
        }
        Ok(outcome.map_err(|error| self.unavailable(&error))?)
    }

    async fn unwrap(&self, wrapped: &[u8], context: WrapContext<'_>) -> Result<Zeroizing<Vec<u8>>, OutsideUnwrapError> {
        // What is not framed was not wrapped here, and what no row names is nobody's: the key service need not be asked.
        let (framed, attributes) = unframe(wrapped).zip(attributes(context)).ok_or(CannotOpen)?;
        let place = self.place.as_ref().filter(|_| context == WrapContext::ServiceKey);
        let _still = match place {
            // Who opens it is the one that the next must equal.
            Some(place) => Some(place.hold_still().await),
            None => None,
        };
        let plaintext = self.unwrap_framed(framed, attributes).await?;
        match context {
            WrapContext::ServiceKey => {
                let service_key = ServiceKey::of_unwrapped(&plaintext)?;
                self.known.service_key.get_or_init(|| (wrapped.to_vec(), service_key.kek_id()));
            }
            WrapContext::Dek { project_id, version } => {
                self.known.dek.get_or_init(|| KnownDek {
                    wrapped: wrapped.to_vec(),
                    project_id: project_id.to_owned(),
                    version,
                    digest: Sha256::digest(&plaintext).into(),
                });
            }
            WrapContext::Unrecorded => {}
        }
        Ok(plaintext)
    }

    fn kind(&self) -> &'static str {
        "provider"
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn last_failure(&self) -> Option<String> {
        self.unwrapping.failure().or_else(|| self.wrapping.failure())
    }

    fn pinned_id(&self) -> Option<KekId> {
        self.pinned
    }
}

/// What the plugin is told.
fn attributes(context: WrapContext<'_>) -> Option<KeyContext> {
    let attribute = |name: &str, value: String| (name.to_owned(), value);
    match context {
        WrapContext::ServiceKey => Some(vec![attribute("purpose", "service-key".into())]),
        WrapContext::Dek { project_id, version } => {
            Some(vec![attribute("project", project_id.into()), attribute("version", version.to_string())])
        }
        WrapContext::Unrecorded => None,
    }
}

fn frame(wrapped: &Wrapped) -> Option<Vec<u8>> {
    let length = u16::try_from(wrapped.key_version.len()).ok()?;
    Some([&[FRAME], &length.to_be_bytes()[..], wrapped.key_version.as_bytes(), &wrapped.ciphertext].concat())
}

fn unframe(framed: &[u8]) -> Option<Wrapped> {
    let (length, rest) = framed.strip_prefix(&[FRAME])?.split_first_chunk()?;
    let (key_version, ciphertext) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let key_version = String::from_utf8(key_version.to_vec()).ok()?;
    Some(Wrapped { ciphertext: ciphertext.to_vec(), key_version })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_framed_comes_back(ciphertext: Vec<u8>, key_version in "[!-~]{0,256}") {
            let wrapped = Wrapped { ciphertext, key_version };
            prop_assert_eq!(unframe(&frame(&wrapped).expect("short")), Some(wrapped));
        }

        #[test]
        fn anything_else_is_refused_or_is_itself(bytes: Vec<u8>) {
            if let Some(wrapped) = unframe(&bytes) {
                prop_assert_eq!(frame(&wrapped), Some(bytes));
            }
        }
    }

    #[test]
    fn frames_are_frozen() {
        let wrapped = Wrapped { ciphertext: b"vault:v1:AAAA".to_vec(), key_version: "1".into() };
        assert_eq!(frame(&wrapped).as_deref(), Some(&b"\x01\x00\x011vault:v1:AAAA"[..]));
        for cut in [&b""[..], b"\x01", b"\x01\x00", b"\x01\x00\x02a", b"\x02\x00\x011abc", b"\x01\x00\x01\xffabc"] {
            assert_eq!(unframe(cut), None, "{cut:?}");
        }
    }
}
