//! Where the KEK is, and how a key ring comes of it.
//!
//! In memory, the KEK is all that a ring takes. An outside one needs its service key too, which lies in the store, in the canary's
//! row, so that the database makes both come into being at once or not at all:
//!
//! `sealed = "service-key/v1" ‖ length(wrapped) u16 ‖ wrapped ‖ canary`

use std::sync::Arc;
use std::time::Duration;

use origan_codec_host::crypto::{
    Kek, KekId, KekUnavailable, KeyRing, OutsideKek, OutsideUnwrapError, RingKek, ServiceKey,
};

use super::proof::{KekProofError, check_kek, ids_of, is_known, prove_by, prove_kek, refuse_orphans};
use super::provider::ProviderKek;
use crate::config::{ConfigError, KeyProviderConfig};
use crate::plugins::KeyWrapping;
use crate::store::{Canary, DekStore};

/// How often a key service that gives no answer is asked whether it is there again, when nobody else asks; its breaker may say no.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Looks at the store, while KEKs join it.
const JOIN_ATTEMPTS: u32 = 8;
/// Before what an outside KEK leaves in a canary's row.
const OUTSIDE: &[u8] = b"service-key/v1";

/// Where the KEK is.
#[derive(Clone)]
pub enum KekSource {
    /// In this process. The ring is made of it alone.
    Memory(Arc<KeyRing>),
    /// In a token.
    Token(Arc<dyn OutsideKek>),
    /// Behind a key service: the KEK, and the place of the plugin that asks for it.
    Provider(Arc<ProviderKek>, Arc<KeyWrapping>),
    /// One outside and one in memory: one of them is primary, the other only unwraps.
    Both(Arc<Both>),
}

/// Two KEKs.
pub struct Both {
    memory: Kek,
    outside: KekSource,
    is_memory_primary: bool,
}

/// The KEK, to whoever has to wait for it.
enum Place<'a> {
    Here(&'a Arc<KeyRing>),
    Outside(Arc<dyn OutsideKek>),
    Both(&'a Both, Arc<dyn OutsideKek>),
}

impl KekSource {
    /// Behind the key service that `config` names. Nothing is asked before its plugin is live.
    pub fn behind(config: &KeyProviderConfig) -> Self {
        let place = KeyWrapping::new(&config.name);
        Self::Provider(ProviderKek::new(&place, config), place)
    }

    /// The place of the key provider, if there is to be one.
    pub fn key_provider(&self) -> Option<Arc<KeyWrapping>> {
        match self {
            Self::Provider(_, place) => Some(place.clone()),
            Self::Both(both) => both.outside.key_provider(),
            Self::Memory(_) | Self::Token(_) => None,
        }
    }

    /// This one, which is outside, and `memory` beside it.
    pub fn beside(self, memory: Kek, is_memory_primary: bool) -> Self {
        Self::Both(Arc::new(Both { memory, outside: self, is_memory_primary }))
    }

    fn place(&self) -> Place<'_> {
        match self {
            Self::Memory(ring) => Place::Here(ring),
            Self::Token(kek) => Place::Outside(kek.clone()),
            Self::Provider(kek, _) => Place::Outside(kek.clone()),
            Self::Both(both) => match both.outside.place() {
                Place::Outside(outside) => Place::Both(both, outside),
                other => other,
            },
        }
    }

    /// The ring for `store`, proven to be the one it was made with. A store that is empty is made with this KEK.
    pub async fn prove(&self, store: &dyn DekStore) -> Result<Arc<KeyRing>, KekProofError> {
        let ring = match self.place() {
            Place::Here(ring) => prove_kek(store, ring).await.map(|()| ring.clone())?,
            Place::Outside(kek) => found_or_open(&kek, store).await?,
            Place::Both(both, outside) => both.ring(&outside, store, true).await?,
        };
        if store.canaries().await?.len() > 1 {
            refuse_orphans(store, ring.kek_ids()).await?;
        }
        Ok(ring)
    }

    /// As [`KekSource::prove`], without leaving anything. With a store that is empty, or not made yet, any KEK does; an outside
    /// one has a service key then that nobody will see again.
    pub async fn check(&self, store: Option<&dyn DekStore>) -> Result<Arc<KeyRing>, KekProofError> {
        match (self.place(), store) {
            (Place::Here(ring), None) => Ok(ring.clone()),
            (Place::Here(ring), Some(store)) => check_kek(store, ring).await.map(|()| ring.clone()),
            (Place::Outside(kek), Some(store)) if !store.canaries().await?.is_empty() => open(&kek, store).await,
            (Place::Outside(kek), _) => ring_at(&kek, &ServiceKey::generate()?),
            (Place::Both(both, outside), Some(store)) => both.ring(&outside, store, false).await,
            (Place::Both(both, outside), None) => both.ring_of(&outside, &ServiceKey::generate()?),
        }
    }

    /// The ring for reading what was written under it: where the KEK is outside, `store` has the service key. Leaves nothing.
    pub async fn open(&self, store: &dyn DekStore) -> Result<Arc<KeyRing>, KekProofError> {
        match self.place() {
            Place::Here(ring) => Ok(ring.clone()),
            Place::Outside(kek) => open(&kek, store).await,
            Place::Both(both, outside) => both.ring(&outside, store, false).await,
        }
    }

    /// The ring for what has `canaries`, proven by one of them at least: a store, or a backup of one. Leaves nothing.
    pub async fn of(&self, canaries: &[Canary]) -> Result<Arc<KeyRing>, KekProofError> {
        match self.place() {
            Place::Here(ring) => prove_by(ring, canaries).map(|()| ring.clone()),
            Place::Outside(kek) => open_by(&kek, canaries).await,
            Place::Both(both, outside) => match service_key_of(&*outside, canaries).await? {
                Some(service_key) => both.ring_of(&outside, &service_key),
                // The one outside is new since.
                None => {
                    let alone = KeyRing::new(&both.memory, &[])?;
                    prove_by(&alone, canaries).map(|()| Arc::new(alone))
                }
            },
        }
    }

    /// Whether an outside KEK opens what it wraps; one in memory does.
    pub async fn try_out(&self) -> Result<(), KekProofError> {
        let (Place::Outside(kek) | Place::Both(_, kek)) = self.place() else { return Ok(()) };
        let wrapped = ServiceKey::generate()?.wrap(&*kek).await?;
        match ServiceKey::unwrap(&*kek, &wrapped).await {
            Ok(_) => Ok(()),
            Err(OutsideUnwrapError::Unavailable(why)) => Err(why.into()),
            Err(OutsideUnwrapError::CannotOpen(_)) => {
                Err(KekUnavailable::Never(format!("{} does not open what it wraps", kek.name())).into())
            }
        }
    }

    /// Asks a key service that gave no answer again, for as long as the process runs: nobody may need it for long.
    pub async fn keep_looking(&self) {
        let outside = if let Self::Both(both) = self { &both.outside } else { self };
        let Self::Provider(kek, _) = outside else { return };
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            kek.look_again().await;
        }
    }

    /// Which one it is, for operators.
    pub fn name(&self) -> String {
        match self.place() {
            Place::Here(ring) => ring.primary_id().to_string(),
            Place::Outside(kek) => kek.name(),
            Place::Both(both, kek) if both.is_memory_primary => format!("{}, beside {}", both.memory.id(), kek.name()),
            Place::Both(both, kek) => format!("{}, beside {}", kek.name(), both.memory.id()),
        }
    }

    /// What an outside KEK says that waiting does not mend, as a mistake of the configuration.
    pub fn misconfigured(&self, why: String) -> ConfigError {
        let kind = match self.place() {
            Place::Here(_) => "kek_file",
            Place::Outside(kek) | Place::Both(_, kek) => kek.kind(),
        };
        ConfigError::value(format!("keys.{kind}"), why)
    }
}

impl Both {
    /// The ring of both, each proven by its canary. One that is new to the store leaves its own, if it `may` and the other is proven.
    async fn ring(
        &self,
        outside: &Arc<dyn OutsideKek>,
        store: &dyn DekStore,
        may: bool,
    ) -> Result<Arc<KeyRing>, KekProofError> {
        let alone = KeyRing::new(&self.memory, &[])?;
        // Two may be new; another replica may be first with either.
        for _ in 0..JOIN_ATTEMPTS {
            let canaries = store.canaries().await?;
            let is_known = is_known(&alone, &canaries)?;
            let service_key = service_key_of(&**outside, &canaries).await?;
            match (is_known, service_key) {
                (true, Some(service_key)) => return self.ring_of(outside, &service_key),
                (false, None) if !canaries.is_empty() => {
                    let (ours, theirs) = (self.memory.id(), ids_of(&canaries));
                    return Err(KekProofError::WrongOutsideKek {
                        ours: format!("{} or {ours}", outside.name()),
                        theirs,
                    });
                }
                (_, service_key) if !may => {
                    let service_key = service_key.map_or_else(ServiceKey::generate, Ok)?;
                    return self.ring_of(outside, &service_key);
                }
                (_, None) => {
                    // Before anything is left: a wrong KEK in place of one that rows need must not.
                    refuse_orphans(store, [self.memory.id()].into_iter()).await?;
                    add_service_key(outside, store, canaries.len() + 1).await?;
                }
                (false, Some(service_key)) => {
                    refuse_orphans(store, [self.memory.id(), service_key.kek_id()].into_iter()).await?;
                    let canary = Canary { kek_id: alone.primary_id(), sealed: alone.seal_canary()? };
                    store.insert_canary(&canary, canaries.len() + 1).await?;
                }
            }
        }
        Err(KekUnavailable::NotNow("other KEKs kept joining the store".into()).into())
    }

    fn ring_of(&self, outside: &Arc<dyn OutsideKek>, service_key: &ServiceKey) -> Result<Arc<KeyRing>, KekProofError> {
        let (here, there) = (RingKek::in_memory(&self.memory), RingKek::at(outside.clone(), service_key));
        let (primary, retained) = if self.is_memory_primary { (here, there) } else { (there, here) };
        Ok(Arc::new(KeyRing::of(primary, [retained])?))
    }
}

async fn found_or_open(kek: &Arc<dyn OutsideKek>, store: &dyn DekStore) -> Result<Arc<KeyRing>, KekProofError> {
    if store.canaries().await?.is_empty() {
        add_service_key(kek, store, 1).await?;
    }
    // Read back: another replica may have been first, with another service key or another KEK.
    open(kek, store).await
}

/// A new service key for `kek`, in this place of the store, unless somebody else is there first.
async fn add_service_key(kek: &Arc<dyn OutsideKek>, store: &dyn DekStore, place: usize) -> Result<(), KekProofError> {
    // Rows without a canary: somebody took it away, and the service key with it.
    if place == 1
        && let Some(row) = store.any_row().await?
    {
        return Err(KekProofError::ServiceKeyLost(row.kek_id));
    }
    // The pin says that the store knows it; this one does not.
    refuse_unless_pinned(&**kek, None)?;
    let service_key = ServiceKey::generate()?;
    let wrapped = service_key.wrap(&**kek).await?;
    let ring = ring_at(kek, &service_key)?;
    let sealed = join(&wrapped, &ring.seal_canary()?)?;
    Ok(store.insert_canary(&Canary { kek_id: ring.primary_id(), sealed }, place).await?)
}

/// The ring of the service key that opens under `kek`; the id of a KEK follows from its service key, so none is expected.
async fn open(kek: &Arc<dyn OutsideKek>, store: &dyn DekStore) -> Result<Arc<KeyRing>, KekProofError> {
    open_by(kek, &store.canaries().await?).await
}

async fn open_by(kek: &Arc<dyn OutsideKek>, canaries: &[Canary]) -> Result<Arc<KeyRing>, KekProofError> {
    match service_key_of(&**kek, canaries).await? {
        Some(service_key) => ring_at(kek, &service_key),
        None => Err(KekProofError::WrongOutsideKek { ours: kek.name(), theirs: ids_of(canaries) }),
    }
}

/// The service key that opens under `kek`, with a canary that opens under it.
async fn service_key_of(kek: &dyn OutsideKek, canaries: &[Canary]) -> Result<Option<ServiceKey>, KekProofError> {
    for canary in canaries {
        let Some((wrapped, sealed)) = split(&canary.sealed) else { continue };
        let service_key = match ServiceKey::unwrap(kek, wrapped).await {
            Ok(service_key) => service_key,
            Err(OutsideUnwrapError::CannotOpen(_)) => continue,
            Err(OutsideUnwrapError::Unavailable(why)) => return Err(why.into()),
        };
        // Another row's service key in this one, or another's canary.
        if service_key.kek_id() != canary.kek_id || !service_key.canary_opens(sealed.to_vec()) {
            return Err(KekProofError::CanaryDoesNotOpen(canary.kek_id));
        }
        refuse_unless_pinned(kek, Some(canary.kek_id))?;
        return Ok(Some(service_key));
    }
    Ok(None)
}

fn refuse_unless_pinned(kek: &dyn OutsideKek, found: Option<KekId>) -> Result<(), KekProofError> {
    match kek.pinned_id() {
        Some(pinned) if found != Some(pinned) => {
            let theirs = found.map_or_else(|| "none".to_owned(), |id| id.to_string());
            Err(KekProofError::NotThePinnedKek { ours: kek.name(), theirs, pinned })
        }
        _ => Ok(()),
    }
}

fn ring_at(kek: &Arc<dyn OutsideKek>, service_key: &ServiceKey) -> Result<Arc<KeyRing>, KekProofError> {
    Ok(Arc::new(KeyRing::of(RingKek::at(kek.clone(), service_key), [])?))
}

fn join(wrapped: &[u8], canary: &[u8]) -> Result<Vec<u8>, KekUnavailable> {
    let length =
        u16::try_from(wrapped.len()).map_err(|_| KekUnavailable::Never("it wraps in more than 64 KiB".into()))?;
    Ok([OUTSIDE, &length.to_be_bytes(), wrapped, canary].concat())
}

/// The wrapped service key and the canary; none if the row is that of a KEK in memory.
fn split(sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = sealed.strip_prefix(OUTSIDE)?.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
