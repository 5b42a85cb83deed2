//! Where wrapped DEKs are kept: one trait, on SQLite (embedded) and PostgreSQL (what replicas share).
//!
//! The store never sees a DEK: rows hold what a KEK wrapped, and a MAC that ties it to its project.

pub mod foreign;
mod postgres;
mod rows;
mod sqlite;

use async_trait::async_trait;
use origan_codec_host::crypto::{EncryptedDek, KekId, Tag};

pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;

use crate::names::{KeyVersion, ProjectId};

/// Encryptions under one DEK after which it is refused: 2^32, the cap of SP 800-38D section 8.3 for random IVs.
pub const ENCRYPTIONS_MAX: u64 = 1 << 32;

/// One version of a project's DEK.
#[derive(Debug, Clone)]
pub struct DekRow {
    /// Whose.
    pub project_id: ProjectId,
    /// Which.
    pub version: KeyVersion,
    /// Under which KEK.
    pub kek_id: KekId,
    /// What that KEK wrapped.
    pub encrypted_dek: EncryptedDek,
    /// The DEK's fingerprint under that KEK.
    pub fingerprint: Tag,
    /// Ties project, version, KEK id, state and encrypted DEK together.
    pub row_mac: Tag,
    /// What it may be used for.
    pub state: DekState,
    /// How it came here.
    pub origin: DekOrigin,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
}

/// What a DEK may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DekState {
    /// Encrypts and decrypts. One at most for each project.
    Primary,
    /// Decrypts.
    DecryptOnly,
}

/// How a DEK came into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DekOrigin {
    /// Made here.
    Created,
    /// Made elsewhere, and taken over.
    Imported,
}

/// Proof that a KEK is the one this store was made with.
#[derive(Debug, Clone)]
pub struct Canary {
    /// Of which KEK.
    pub kek_id: KekId,
    /// What it sealed.
    pub sealed: Vec<u8>,
}

/// What a store can answer besides what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not reachable, too slow, read-only, failing over: may pass.
    #[error("the DEK store is unavailable: {0}")]
    Unavailable(String),
    /// A row that this service cannot have written.
    #[error("a row of the DEK store is corrupt: {0}")]
    Corrupt(&'static str),
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// May pass: try again.
    #[error(transparent)]
    NotNow(StoreError),
    /// Will not pass by itself: refuse to start.
    #[error("the DEK store at {place}: {message}")]
    Never {
        /// Which, without its password.
        place: String,
        /// What is wrong and what to do.
        message: String,
    },
}

/// A place for wrapped DEKs, shared or not. Every method ends within the store's deadline.
#[async_trait]
pub trait DekStore: Send + Sync {
    /// The version of `project_id` that encrypts.
    async fn primary(&self, project_id: &ProjectId) -> Result<Option<DekRow>, StoreError>;

    /// One version of `project_id`.
    async fn version(&self, project_id: &ProjectId, version: KeyVersion) -> Result<Option<DekRow>, StoreError>;

    /// The highest version of `project_id`.
    async fn newest_version(&self, project_id: &ProjectId) -> Result<Option<KeyVersion>, StoreError>;

    /// The row that holds this encrypted DEK, whoever's it is.
    async fn by_encrypted_dek(&self, encrypted_dek: &EncryptedDek) -> Result<Option<DekRow>, StoreError>;

    /// The row whose DEK has this fingerprint, whoever's it is.
    async fn by_fingerprint(&self, fingerprint: &Tag) -> Result<Option<DekRow>, StoreError>;

    /// Adds `row` unless it clashes with another: by version, by primary, by encrypted DEK or by fingerprint. True if it was added.
    async fn insert(&self, row: &DekRow) -> Result<bool, StoreError>;

    /// Leases `count` encryptions of a DEK; answers how many are leased in all, or none if that would go beyond the cap.
    async fn lease(&self, project_id: &ProjectId, version: KeyVersion, count: u64) -> Result<Option<u64>, StoreError>;

    /// All canaries.
    async fn canaries(&self) -> Result<Vec<Canary>, StoreError>;

    /// Adds the canary that comes in this place, from 1, unless the place is taken or the KEK has one.
    async fn insert_canary(&self, canary: &Canary, place: usize) -> Result<(), StoreError>;

    /// Any one row, if there is one.
    async fn any_row(&self) -> Result<Option<DekRow>, StoreError>;

    /// How many rows there are, by KEK.
    async fn rows_by_kek(&self) -> Result<Vec<(String, u64)>, StoreError>;

    /// Whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// `sqlite` or `postgres`.
    fn kind(&self) -> &'static str;
}

impl DekState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::DecryptOnly => "decrypt-only",
        }
    }

    fn parse(name: &str) -> Result<Self, StoreError> {
        match name {
            "primary" => Ok(Self::Primary),
            "decrypt-only" => Ok(Self::DecryptOnly),
            _ => Err(StoreError::Corrupt("state")),
        }
    }
}

impl DekOrigin {
    fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Imported => "imported",
        }
    }

    fn parse(name: &str) -> Result<Self, StoreError> {
        match name {
            "created" => Ok(Self::Created),
            "imported" => Ok(Self::Imported),
            _ => Err(StoreError::Corrupt("origin")),
        }
    }
}
