//! The whole store at one moment, in one transaction: what a backup reads, and what a restore writes or does not.

use async_trait::async_trait;
use origan_codec_host::crypto::Tag;

use super::{Canary, DekRow, RowPlace, StoreError, WalkedRow};

/// What for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything as it was at the first look, beside whoever writes.
    Read,
    /// All of what is written, or nothing.
    Write,
}

/// A row, and how often it was used.
#[derive(Debug, Clone)]
pub struct KeptRow {
    /// The row.
    pub row: DekRow,
    /// Encryptions that were leased. Never goes down.
    pub encryptions: u64,
}

/// A canary, and its place.
#[derive(Debug, Clone)]
pub struct KeptCanary {
    /// The canary.
    pub canary: Canary,
    /// In which its KEK came, from 1. None: it was before places were counted.
    pub place: Option<i64>,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
}

/// One transaction. If it is dropped, nothing of it has happened.
#[async_trait]
pub trait WholeStore: Send {
    /// All canaries, by their places.
    async fn canaries(&mut self) -> Result<Vec<KeptCanary>, StoreError>;

    /// How many rows there are, by KEK.
    async fn rows_by_kek(&mut self) -> Result<Vec<(String, u64)>, StoreError>;

    /// The rows after `place`, at most `count`, up to `last` where it is given.
    async fn rows_after(
        &mut self,
        place: &RowPlace,
        last: Option<&RowPlace>,
        count: u32,
    ) -> Result<Vec<WalkedRow<KeptRow>>, StoreError>;

    /// Adds a canary. False if its KEK has one, or its place is taken.
    async fn add_canary(&mut self, canary: &KeptCanary) -> Result<bool, StoreError>;

    /// Adds rows, and says how many of them clashed with none.
    async fn add(&mut self, rows: &[&KeptRow]) -> Result<usize, StoreError>;

    /// Puts `kept` in the place of the row that has `replaces` as its MAC and is of `generation`, and tells the other replicas. True if it
    /// did. Counts keep the higher of both.
    async fn bring_forward(&mut self, kept: &KeptRow, replaces: &Tag, generation: u64) -> Result<bool, StoreError>;

    /// Raises what is counted of a row to what `kept` says, where that is higher.
    async fn count_up(&mut self, kept: &KeptRow) -> Result<(), StoreError>;

    /// Makes all of it happen.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}
