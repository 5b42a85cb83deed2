//! A project's DEK: found in the store, unwrapped by the ring, kept in the cache.
//!
//! Every way to a DEK takes a [`Permit`], save the one for a DEK that the caller holds already, and every DEK that is found belongs to the project it was asked for. What it opens is
//! [`Withheld`] until its record is durable.

mod backup;
mod budget;
mod cache;
mod change;
mod debt;
mod handle;
mod import;
mod lineage;
mod live_ring;
mod lookup;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod proof;
mod provider;
mod restore;
mod rewrap;
mod row;
mod sealing;
mod service_key;
mod source;
mod standing;
mod verified;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use origan_codec_host::crypto::{
    CannotOpen, Dek, DekCipher, EncryptedDek, EncryptedValue, KekId, KekUnavailable, KeyRing, OpenValueError,
    Plaintext, RandomnessUnavailable, Tag, ValueBinding, WrapError,
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::audit::{AuditUnavailable, Journal, Withheld};
use crate::config::UnknownDek;
use crate::names::{KeyVersion, ProjectId, VariableName};
use crate::policy::Permit;
use crate::store::{DekRow, DekState, DekStore, StoreError};

pub use backup::{BackupError, Faults, back_up};
use budget::EncryptionBudget;
use cache::{DekCache, Epoch};
pub use change::DekChange;
use debt::{Counted, Owed};
pub use debt::{MaxAges, RowsByKek};
pub use handle::{DekHandle, HandleInvalid};
pub use import::{Imported, Importer};
pub use live_ring::RingFigures;
use lookup::InReach;
#[cfg(feature = "pkcs11")]
pub use pkcs11::{Pkcs11Kek, generate_key};
pub use proof::KekProofError;
pub use provider::ProviderKek;
pub use restore::{Restore, Restored};
pub use rewrap::{Rewrapped, Rewrapper, Walk};
pub use sealing::Sealing;
pub use source::{KekSource, MemoryKeks};
pub use verified::VerifiedBackup;

/// Where DEKs come from.
pub struct Keys {
    ring: ArcSwap<KeyRing>,
    store: Arc<dyn DekStore>,
    cache: Arc<DekCache>,
    journal: Arc<Journal>,
    unknown_dek: UnknownDek,
    ring_figures: RingFigures,
    owed: Owed,
    counted: Counted,
    in_reach: InReach,
    max_ages: MaxAges,
}

/// One version of a project's DEK, unwrapped and expanded.
pub struct ProjectDek {
    project_id: ProjectId,
    version: KeyVersion,
    kek_id: KekId,
    encrypted_dek: EncryptedDek,
    fingerprint: Tag,
    state: DekState,
    dek: Dek,
    cipher: DekCipher,
    budget: EncryptionBudget,
    /// It is kept so long from then on, by whichever way it is asked for.
    unwrapped_at: Instant,
    /// When its row was looked for.
    epoch: Epoch,
}

/// A DEK that a caller gave raw, and what the store knows of it.
#[derive(Clone)]
pub enum RawDek {
    /// A project's.
    Known(Arc<ProjectDek>),
    /// No project's. It opens, as the contract says.
    Unknown(Arc<DekCipher>),
}

/// Why there is no DEK, or why it does not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Nothing is known of the project.
    #[error("the project has no DEK")]
    UnknownProject,
    /// The project has no such version.
    #[error("the project has no DEK of version {version}, its newest is {newest}")]
    UnknownVersion {
        /// The one asked for.
        version: KeyVersion,
        /// The highest there is.
        newest: KeyVersion,
    },
    /// The encrypted DEK is another project's, or nobody's and such are refused.
    #[error("the encrypted DEK is not this project's")]
    NotRecognised,
    /// It opens, to other than a DEK; or the store's row does not hang together. An alarm.
    #[error("a stored or presented DEK is corrupt: {0}")]
    Corrupt(&'static str),
    /// Does not open.
    #[error(transparent)]
    CannotOpen(#[from] CannotOpen),
    /// The DEK decrypts only.
    #[error("the DEK is not the project's primary one")]
    NotPrimary,
    /// The version was disabled.
    #[error("the DEK is disabled")]
    Disabled,
    /// The version was destroyed.
    #[error("the DEK is destroyed")]
    Destroyed,
    /// The version is the primary one, and cannot be disabled: there would be none.
    #[error("the DEK is the project's primary one")]
    Primary,
    /// The version is enabled, and only what is disabled can be destroyed.
    #[error("the DEK is not disabled")]
    NotDisabled,
    /// 2^32 encryptions.
    #[error("the DEK has sealed as much as it may")]
    Exhausted,
    /// A row is under a KEK that is not in the ring: not yet, or not any more.
    #[error("KEK {0}, which a DEK is under, is not in the ring")]
    UnknownKek(KekId),
    /// The store, for now.
    #[error("{0}")]
    Store(String),
    /// The KEK is outside and gives no answer.
    #[error("the KEK is unavailable: {0}")]
    Kek(#[from] KekUnavailable),
    /// The record of an import is not durable.
    #[error(transparent)]
    Audit(#[from] AuditUnavailable),
    /// No randomness.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
}

/// What operators set.
#[derive(Debug, Clone)]
pub struct KeysSettings {
    /// What becomes of DEKs that no project owns.
    pub unknown_dek: UnknownDek,
    /// How long an unwrapped DEK is kept.
    pub cache_ttl: Duration,
    /// How many are kept.
    pub cache_entries: u64,
    /// How old keys may become before operators are reminded.
    pub max_ages: MaxAges,
}

impl Keys {
    /// On a store whose KEK has been proven ([`KekSource::prove`]).
    pub fn new(ring: Arc<KeyRing>, store: Arc<dyn DekStore>, journal: Arc<Journal>, settings: &KeysSettings) -> Self {
        let cache = Arc::new(DekCache::new(settings.cache_entries, settings.cache_ttl));
        let ring = ArcSwap::new(ring);
        Self {
            ring,
            store,
            cache,
            journal,
            unknown_dek: settings.unknown_dek,
            ring_figures: RingFigures::default(),
            owed: Owed::default(),
            counted: Counted::default(),
            in_reach: InReach::default(),
            max_ages: settings.max_ages,
        }
    }

    /// How many unwrapped DEKs are kept.
    pub fn cached(&self) -> u64 {
        self.cache.len()
    }

    /// Lets go of what has expired, and so wipes it.
    pub async fn wipe_expired(&self) {
        self.cache.wipe_expired().await;
    }

    /// The store, for `/status`.
    pub fn store(&self) -> &dyn DekStore {
        &*self.store
    }

    /// The ring, as it is now.
    pub fn ring(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    /// Another replica has changed the DEKs of `project_id`.
    pub async fn has_changed(&self, project_id: &ProjectId) {
        self.cache.invalidate_project(project_id).await;
    }

    /// Others may have changed any DEK.
    pub fn any_may_have_changed(&self) {
        self.cache.invalidate_all();
    }
}

impl ProjectDek {
    /// Whose.
    pub fn project_id(&self) -> &ProjectId {
        &self.project_id
    }

    /// Which.
    pub fn version(&self) -> KeyVersion {
        self.version
    }

    /// Whether `row` holds it, as it was when it was unwrapped.
    fn is_of(&self, row: &DekRow) -> bool {
        let is_same = self.encrypted_dek == row.encrypted_dek && self.kek_id == row.kek_id && self.state == row.state;
        // By it a raw DEK is found, and no MAC has it: one that was altered must not lead here.
        is_same && bool::from(self.fingerprint.ct_eq(&row.fingerprint))
    }

    /// What callers store.
    pub fn encrypted_dek(&self) -> &EncryptedDek {
        &self.encrypted_dek
    }

    /// Opens a value, the variable `name`'s if it is known; what comes out waits for its record.
    pub fn open(
        &self,
        _permit: &Permit,
        value: EncryptedValue,
        name: Option<&VariableName>,
    ) -> Result<Withheld<Plaintext>, OpenValueError> {
        self.cipher.open_value(value, name.map(|name| self.binding(name))).map(Withheld::new)
    }

    fn binding<'a>(&'a self, name: &'a VariableName) -> ValueBinding<'a> {
        ValueBinding { project_id: self.project_id.as_str(), variable: name.as_str() }
    }

    /// The DEK itself in base64, which waits for its record too.
    pub fn release_raw(&self, _permit: &Permit) -> Withheld<Zeroizing<String>> {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(self.dek.expose_secret());
        Withheld::new(Zeroizing::new(encoded))
    }
}

impl RawDek {
    /// Opens a value, the variable `name`'s if it is known; what comes out waits for its record.
    pub fn open(
        &self,
        permit: &Permit,
        value: EncryptedValue,
        name: Option<&VariableName>,
    ) -> Result<Withheld<Plaintext>, OpenValueError> {
        match self {
            Self::Known(dek) => dek.open(permit, value, name),
            // No project is known, so nothing that is bound to one.
            Self::Unknown(cipher) => cipher.open_value(value, None).map(Withheld::new),
        }
    }
}

impl From<StoreError> for KeysError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => Self::Store(why),
            StoreError::Corrupt(what) => Self::Corrupt(what),
        }
    }
}

impl From<WrapError> for KeysError {
    fn from(error: WrapError) -> Self {
        match error {
            WrapError::Randomness(none) => none.into(),
            WrapError::Unavailable(why) => why.into(),
        }
    }
}

impl std::fmt::Debug for ProjectDek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProjectDek({} version {} under {})", self.project_id, self.version, self.kek_id)
    }
}
