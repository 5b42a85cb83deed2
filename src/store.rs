//! Where wrapped DEKs are kept: one trait, on SQLite (embedded) and PostgreSQL (what replicas share).
//!
//! The store never sees a DEK: rows hold what a KEK wrapped, and a MAC that ties it to its project.

pub mod backup;
mod debt;
pub mod foreign;
mod postgres;
mod replica;
mod rows;
mod schema;
mod sqlite;
mod whole;

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use origan_codec_host::crypto::{EncryptedDek, KekId, Tag};

pub use debt::{Debt, Group, Ledger};
pub use postgres::PostgresStore;
pub use replica::{Heard, Replica};
pub use sqlite::SqliteStore;
pub use whole::{Access, KeptCanary, KeptRow, Remains, WholeStore, rows_at};

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
    /// SHA-256 of what it was wrapped as before, the oldest first: callers still hold those. Tied in too.
    pub former_digests: Vec<[u8; 32]>,
    /// 1, and 1 more with each change: of two copies of a row, the higher is the newer.
    pub generation: u64,
    /// Milliseconds since 1970, to the hour; 0: never. Not tied in.
    pub last_used_at_ms: i64,
}

impl DekRow {
    /// Whether its DEK was wrapped as `encrypted_dek` before.
    pub fn was(&self, encrypted_dek: &EncryptedDek) -> bool {
        self.former_digests.contains(&encrypted_dek.digest())
    }
}

/// A row that is to take the place of the one it was made from.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// The MAC of the row that it was made from: if that is another by now, nothing happens.
    pub replaces: Tag,
    /// What is to stand there. Its generation is the store's business.
    pub row: DekRow,
}

/// One row of a walk through all of them.
#[derive(Debug)]
pub struct WalkedRow<R = DekRow> {
    /// Where it stands: whose, and which version.
    pub place: RowPlace,
    /// The row, if it can be read.
    pub row: Result<R, StoreError>,
}

/// A place in the order of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowPlace {
    /// The project's id, as it stands there.
    pub project_id: String,
    /// The version.
    pub version: i64,
}

/// What a DEK may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DekState {
    /// Encrypts and decrypts. One at most for each project.
    Primary,
    /// Decrypts.
    DecryptOnly,
    /// Nothing, until it is enabled again.
    Disabled,
    /// Nothing, ever: what it was wrapped as is gone from the store.
    Destroyed,
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
pub trait DekStore: Ledger {
    /// The version of `project_id` that encrypts.
    async fn primary(&self, project_id: &ProjectId) -> Result<Option<DekRow>, StoreError>;

    /// One version of `project_id`.
    async fn version(&self, project_id: &ProjectId, version: KeyVersion) -> Result<Option<DekRow>, StoreError>;

    /// The highest version of `project_id`.
    async fn newest_version(&self, project_id: &ProjectId) -> Result<Option<KeyVersion>, StoreError>;

    /// The row that holds this encrypted DEK, whoever's it is.
    async fn by_encrypted_dek(&self, encrypted_dek: &EncryptedDek) -> Result<Option<DekRow>, StoreError>;

    /// The row whose DEK has one of these fingerprints, whoever's it is. Looked for all at once: a row that is being rewrapped changes from one to
    /// another.
    async fn by_fingerprints(&self, fingerprints: &[Tag]) -> Result<Option<DekRow>, StoreError>;

    /// Versions of `project_id` that were wrapped as something else before, the oldest first.
    async fn rewrapped_versions(&self, project_id: &ProjectId) -> Result<Vec<DekRow>, StoreError>;

    /// The rows that come after `place`, at most `count`, and are under another KEK than `kek_id`.
    async fn not_under(&self, kek_id: KekId, place: &RowPlace, count: u32) -> Result<Vec<WalkedRow>, StoreError>;

    /// Puts each in the place of the row it was made from, and says of each whether it did: one of them that comes too late, or whose DEK
    /// another row has, leaves the others alone.
    async fn replace_each(&self, replacements: &[Replacement]) -> Result<Vec<bool>, StoreError>;

    /// Does what could not be done at once: what was destroyed leaves the log beside SQLite's file once nobody reads there. Soon done.
    async fn keep_up(&self) {}

    /// Puts `replacements` in their places and adds `added`, all of it or nothing, and tells the other replicas. True if it did.
    async fn change(&self, replacements: &[Replacement], added: Option<&DekRow>) -> Result<bool, StoreError>;

    /// Notes that a DEK was used at `now_ms`.
    async fn note_use(&self, project_id: &ProjectId, version: KeyVersion, now_ms: i64) -> Result<(), StoreError>;

    /// Adds `row` unless it clashes with another: by version, by primary, by encrypted DEK or by fingerprint. True if it was added.
    async fn insert(&self, row: &DekRow) -> Result<bool, StoreError>;

    /// Leases `count` encryptions of the DEK with this fingerprint; answers how many are leased in all, or none if that would go beyond the cap,
    /// or the version is not that DEK's any more, not under that KEK, or not primary.
    async fn lease(
        &self,
        project_id: &ProjectId,
        version: KeyVersion,
        fingerprint: &Tag,
        count: u64,
    ) -> Result<Option<u64>, StoreError>;

    /// All canaries.
    async fn canaries(&self) -> Result<Vec<Canary>, StoreError>;

    /// Adds the canary that comes in this place, from 1, unless the place is taken or the KEK has one.
    async fn insert_canary(&self, canary: &Canary, place: usize) -> Result<(), StoreError>;

    /// All of it at one moment, to read or to write.
    async fn whole(&self, access: Access) -> Result<Box<dyn WholeStore>, StoreError>;

    /// Any one row that is not destroyed, if there is one.
    async fn any_row(&self) -> Result<Option<DekRow>, StoreError>;

    /// How many rows there are, by KEK.
    async fn rows_by_kek(&self) -> Result<Vec<(String, u64)>, StoreError>;

    /// Whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// `sqlite` or `postgres`.
    fn kind(&self) -> &'static str;
}

impl DekRow {
    /// Where it stands.
    pub fn place(&self) -> RowPlace {
        RowPlace { project_id: self.project_id.as_str().to_owned(), version: i64::from(self.version.number()) }
    }
}

impl fmt::Display for RowPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.project_id, self.version)
    }
}

/// Not the text of a [`RowPlace`].
#[derive(Debug, thiserror::Error)]
#[error("a place is a project's id, a colon and a version")]
pub struct ParseRowPlaceError;

impl FromStr for RowPlace {
    type Err = ParseRowPlaceError;

    fn from_str(text: &str) -> Result<Self, ParseRowPlaceError> {
        // Of a row that somebody else has written, the id may be anything: a walk goes on behind it, too. PostgreSQL takes no zero byte.
        let (project_id, version) = text.rsplit_once(':').ok_or(ParseRowPlaceError)?;
        let version = version.parse().map_err(|_| ParseRowPlaceError)?;
        if project_id.contains('\0') {
            return Err(ParseRowPlaceError);
        }
        Ok(Self { project_id: project_id.to_owned(), version })
    }
}

impl DekState {
    /// What the store calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::DecryptOnly => "decrypt-only",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
        }
    }

    fn parse(name: &str) -> Result<Self, StoreError> {
        match name {
            "primary" => Ok(Self::Primary),
            "decrypt-only" => Ok(Self::DecryptOnly),
            "disabled" => Ok(Self::Disabled),
            "destroyed" => Ok(Self::Destroyed),
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
