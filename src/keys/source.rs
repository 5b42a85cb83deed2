//! Where the KEKs are, and how a key ring comes of them: in memory any number, and one outside. One of them is primary.
//!
//! In memory, the KEK is all that a ring takes. An outside one needs its [service key](super::service_key) too, which lies in the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use origan_codec_host::crypto::{
    CannotOpen, Kek, KekId, KekUnavailable, KeyRing, MacKey, OutsideKek, OutsideUnwrapError, RingKek, ServiceKey,
    UnwrapError,
};

use super::proof::{KekProofError, ids_of, is_known, refuse_orphans};
use super::provider::ProviderKek;
use super::row::dek_context;
use super::service_key;
use crate::config::{ConfigError, KeyProviderConfig};
use crate::plugins::KeyWrapping;
use crate::store::{Canary, DekStore};

/// How often a key service that gives no answer is asked whether it is there again, when nobody else asks; its breaker may say no.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Looks at the store, while KEKs join it.
const JOIN_ATTEMPTS: u32 = 32;

/// Where the KEKs are. Clones are the same.
#[derive(Clone)]
pub struct KekSource {
    memory: Arc<ArcSwapOption<MemoryKeks>>,
    outside: Option<Outside>,
    is_memory_primary: bool,
}

/// KEKs whose bytes are here.
pub struct MemoryKeks {
    /// The one that wraps, unless one outside does.
    pub primary: Kek,
    /// Those that unwrap.
    pub retained: Vec<Kek>,
    /// Those by which only the journal is read.
    pub retired: Vec<Kek>,
}

/// A KEK that is outside.
#[derive(Clone)]
enum Outside {
    /// In a token.
    Token(Arc<dyn OutsideKek>),
    /// Behind a key service: the KEK, and the place of the plugin that asks for it.
    Provider(Arc<ProviderKek>, Arc<KeyWrapping>),
}

impl MemoryKeks {
    /// All that unwrap, the primary first.
    pub fn unwrapping(&self) -> impl Iterator<Item = &Kek> {
        std::iter::once(&self.primary).chain(&self.retained)
    }

    /// Which they are, and for what.
    fn ids(&self) -> (KekId, BTreeSet<KekId>, BTreeSet<KekId>) {
        let ids = |keks: &[Kek]| keks.iter().map(Kek::id).collect();
        (self.primary.id(), ids(&self.retained), ids(&self.retired))
    }
}

impl From<Kek> for MemoryKeks {
    fn from(kek: Kek) -> Self {
        Self { primary: kek, retained: Vec::new(), retired: Vec::new() }
    }
}

impl KekSource {
    /// In this process.
    pub fn in_memory(keks: MemoryKeks) -> Self {
        Self { memory: Arc::new(ArcSwapOption::from_pointee(keks)), outside: None, is_memory_primary: true }
    }

    /// In a token.
    pub fn in_a_token(kek: Arc<dyn OutsideKek>) -> Self {
        Self { memory: Arc::default(), outside: Some(Outside::Token(kek)), is_memory_primary: false }
    }

    /// Behind the key service that `config` names. Nothing is asked before its plugin is live.
    pub fn behind(config: &KeyProviderConfig) -> Self {
        let place = KeyWrapping::new(&config.name);
        let outside = Some(Outside::Provider(ProviderKek::new(&place, config), place));
        Self { memory: Arc::default(), outside, is_memory_primary: false }
    }

    /// This one, which is outside, and `memory` beside it.
    pub fn beside(self, memory: MemoryKeks, is_memory_primary: bool) -> Self {
        Self { is_memory_primary, ..self.with_memory(memory) }
    }

    /// This one with other KEKs in memory; this one stays as it is.
    pub fn with_memory(&self, memory: MemoryKeks) -> Self {
        Self { memory: Arc::new(ArcSwapOption::from_pointee(memory)), ..self.clone() }
    }

    /// Takes over the KEKs in memory of `proven`, here and in all clones.
    pub fn become_like(&self, proven: &Self) {
        self.memory.store(proven.memory.load_full());
    }

    /// Whether its KEKs in memory are `memory`.
    pub fn has(&self, memory: &MemoryKeks) -> bool {
        self.memory.load().as_ref().is_some_and(|ours| ours.ids() == memory.ids())
    }

    /// Whether `ring` is of these KEKs, for what they are now.
    pub fn is_of(&self, ring: &KeyRing) -> bool {
        let Some(memory) = self.memory.load_full() else { return true };
        let (primary, mut unwrapping, retired) = memory.ids();
        unwrapping.insert(primary);
        let outside = usize::from(self.outside.is_some());
        let in_ring: BTreeSet<KekId> = ring.kek_ids().collect();
        let is_primary = !self.is_memory_primary || ring.primary_id() == primary;
        is_primary
            && in_ring.is_superset(&unwrapping)
            && in_ring.len() == unwrapping.len() + outside
            && ring.retired_ids().collect::<BTreeSet<_>>() == retired
    }

    /// The place of the key provider, if there is to be one.
    pub fn key_provider(&self) -> Option<Arc<KeyWrapping>> {
        match &self.outside {
            Some(Outside::Provider(_, place)) => Some(place.clone()),
            Some(Outside::Token(_)) | None => None,
        }
    }

    fn outside(&self) -> Option<Arc<dyn OutsideKek>> {
        match &self.outside {
            None => None,
            Some(Outside::Token(kek)) => Some(kek.clone()),
            Some(Outside::Provider(kek, _)) => Some(kek.clone()),
        }
    }

    /// The key that vouches for plugins' compiled code, if it is here before anything has been proven.
    pub fn code_key(&self) -> Option<MacKey> {
        let memory = self.memory.load_full().filter(|_| self.is_memory_primary)?;
        Some(KeyRing::of(RingKek::in_memory(&memory.primary), []).ok()?.code_key())
    }

    /// The ring for `store`, proven to be the one it was made with. A store that is empty is made with these KEKs; one that is new to it
    /// joins those that it knows.
    pub async fn prove(&self, store: &dyn DekStore) -> Result<Arc<KeyRing>, KekProofError> {
        self.joined(store, true).await
    }

    /// As [`KekSource::prove`], without leaving anything. With a store that is empty, or not made yet, any KEK does; an outside
    /// one has a service key then that nobody will see again.
    pub async fn check(&self, store: Option<&dyn DekStore>) -> Result<Arc<KeyRing>, KekProofError> {
        match store {
            Some(store) => self.joined(store, false).await,
            None => self.ring(&self.memory.load_full(), Some(&ServiceKey::generate()?)),
        }
    }

    /// The ring for reading what was written under it: where a KEK is outside, `store` has the service key. Leaves nothing.
    pub async fn open(&self, store: &dyn DekStore) -> Result<Arc<KeyRing>, KekProofError> {
        match self.ring_in_memory()? {
            Some(ring) => Ok(ring),
            None if store.canaries().await?.is_empty() => Err(self.wrong(&[])),
            None => self.joined(store, false).await,
        }
    }

    /// The ring, where no KEK is outside. Nothing is proven.
    pub fn ring_in_memory(&self) -> Result<Option<Arc<KeyRing>>, KekProofError> {
        if self.outside.is_none() { self.ring(&self.memory.load_full(), None).map(Some) } else { Ok(None) }
    }

    /// The ring, each KEK of it proven by its canary. One that is new to the store leaves its own, if it `may` and another is proven.
    async fn joined(&self, store: &dyn DekStore, may: bool) -> Result<Arc<KeyRing>, KekProofError> {
        let (memory, outside) = (self.memory.load_full(), self.outside());
        let in_memory = || memory.iter().flat_map(|memory| memory.unwrapping());
        // Several may be new; another replica may be first with any of them.
        for _ in 0..JOIN_ATTEMPTS {
            let canaries = store.canaries().await?;
            let service_key = self.service_key(&canaries).await?;
            let (mut knows_any, mut new) = (service_key.is_some(), None);
            for kek in in_memory() {
                if is_known(kek, &canaries)? {
                    knows_any = true;
                } else {
                    new = new.or(Some(kek));
                }
            }
            let outside_is_new = outside.as_ref().filter(|_| service_key.is_none());
            if !knows_any && !canaries.is_empty() {
                return Err(self.wrong(&canaries));
            }
            let ids = || in_memory().map(Kek::id).chain(service_key.as_ref().map(ServiceKey::kek_id));
            if knows_any && new.is_none() && outside_is_new.is_none() {
                refuse_orphans(store, &canaries, ids()).await?;
                // Of what was proven: the folder may have changed meanwhile.
                return self.ring(&memory, service_key.as_ref());
            }
            if !may {
                return self.ring(&memory, Some(&service_key.map_or_else(ServiceKey::generate, Ok)?));
            }
            // Before anything is left: a wrong KEK in place of one that rows need must not.
            if canaries.is_empty() {
                self.refuse_rows_of_others(store).await?;
            } else {
                refuse_orphans(store, &canaries, ids()).await?;
            }
            let place = canaries.len() + 1;
            // The primary first, where there is none yet.
            match (new, outside_is_new) {
                (Some(kek), None) => add_canary(kek, store, place).await?,
                (Some(kek), Some(_)) if self.is_memory_primary => add_canary(kek, store, place).await?,
                (_, Some(kek)) => service_key::add(kek, store, place).await?,
                (None, None) => {}
            }
        }
        Err(KekUnavailable::NotNow("other KEKs kept joining the store".into()).into())
    }

    /// Rows without a canary: somebody took it away. The rows' own KEK can still be told where it is in memory.
    async fn refuse_rows_of_others(&self, store: &dyn DekStore) -> Result<(), KekProofError> {
        let Some(row) = store.any_row().await? else { return Ok(()) };
        let Some(ring) = self.ring_in_memory()? else { return Err(KekProofError::ServiceKeyLost(row.kek_id)) };
        match ring.unwrap_dek(row.kek_id, &row.encrypted_dek, dek_context(&row.project_id, row.version)).await {
            Ok(_) => Ok(()),
            Err(UnwrapError::Unavailable(why)) => Err(why.into()),
            Err(_) => Err(KekProofError::WrongKek { ours: self.name(), theirs: row.kek_id.to_string() }),
        }
    }

    fn ring(
        &self,
        memory: &Option<Arc<MemoryKeks>>,
        service_key: Option<&ServiceKey>,
    ) -> Result<Arc<KeyRing>, KekProofError> {
        let outside = self.outside().zip(service_key).map(|(kek, service_key)| RingKek::at(kek, service_key));
        let mut keks: Vec<_> = memory.iter().flat_map(|memory| memory.unwrapping()).map(RingKek::in_memory).collect();
        match outside {
            Some(kek) if self.is_memory_primary => keks.push(kek),
            Some(kek) => keks.insert(0, kek),
            None => {}
        }
        let retired = memory.iter().flat_map(|memory| &memory.retired).map(RingKek::in_memory);
        let mut keks = keks.into_iter();
        let primary = keks.next().ok_or_else(|| KekUnavailable::Never("there is no KEK".into()))?;
        Ok(Arc::new(KeyRing::of(primary, keks)?.with_retired(retired)?))
    }

    /// That of the KEK outside, if there is one and it has one.
    async fn service_key(&self, canaries: &[Canary]) -> Result<Option<ServiceKey>, KekProofError> {
        match self.outside() {
            Some(kek) => service_key::find(&*kek, canaries).await,
            None => Ok(None),
        }
    }

    fn wrong(&self, canaries: &[Canary]) -> KekProofError {
        KekProofError::WrongKek { ours: self.name(), theirs: ids_of(canaries) }
    }

    /// The ring for what has `canaries`, proven by one of them at least: a store, or a backup of one. Leaves nothing.
    pub async fn of(&self, canaries: &[Canary]) -> Result<Arc<KeyRing>, KekProofError> {
        let service_key = self.service_key(canaries).await?;
        // Where there is none at all, any KEK does that needs nothing from there.
        let mut knows_any = service_key.is_some() || (canaries.is_empty() && self.outside.is_none());
        let memory = self.memory.load_full();
        for kek in memory.iter().flat_map(|memory| memory.unwrapping()) {
            knows_any |= is_known(kek, canaries)?;
        }
        // One outside that is new since has no part in it.
        if knows_any { self.ring(&memory, service_key.as_ref()) } else { Err(self.wrong(canaries)) }
    }

    /// Whether an outside KEK opens what it wraps; one in memory does.
    pub async fn try_out(&self) -> Result<(), KekProofError> {
        let Some(kek) = self.outside() else { return Ok(()) };
        let wrapped = ServiceKey::generate()?.wrap(&*kek).await?;
        match ServiceKey::unwrap(&*kek, &wrapped).await {
            Ok(_) => Ok(()),
            Err(OutsideUnwrapError::Unavailable(why)) => Err(why.into()),
            Err(OutsideUnwrapError::CannotOpen(CannotOpen)) => {
                Err(KekUnavailable::Never(format!("{} does not open what it wraps", kek.name())).into())
            }
        }
    }

    /// Asks a key service that gave no answer again, for as long as the process runs: nobody may need it for long.
    pub async fn keep_looking(&self) {
        let Some(Outside::Provider(kek, _)) = &self.outside else { return };
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            kek.look_again().await;
        }
    }

    /// Which ones they are, for operators, the primary first.
    pub fn name(&self) -> String {
        let memory = self.memory.load_full();
        let ids = memory.iter().flat_map(|memory| memory.unwrapping()).map(Kek::id);
        let here = ids.map(|id: KekId| format!("KEK {id}")).collect::<Vec<_>>().join(", ");
        match self.outside() {
            None => here,
            Some(kek) if here.is_empty() => kek.name(),
            Some(kek) if self.is_memory_primary => format!("{here}, beside {}", kek.name()),
            Some(kek) => format!("{}, beside {here}", kek.name()),
        }
    }

    /// What an outside KEK says that waiting does not mend, as a mistake of the configuration.
    pub fn misconfigured(&self, why: String) -> ConfigError {
        let kind = self.outside().map_or("kek_file", |kek| kek.kind());
        ConfigError::value(format!("keys.{kind}"), why)
    }
}

async fn add_canary(kek: &Kek, store: &dyn DekStore, place: usize) -> Result<(), KekProofError> {
    let ring = KeyRing::of(RingKek::in_memory(kek), [])?;
    Ok(store.insert_canary(&Canary { kek_id: ring.primary_id(), sealed: ring.seal_canary()? }, place).await?)
}
