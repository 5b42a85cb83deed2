//! The whole store at one moment, in one transaction: what a backup reads, and what a restore writes or does not.

use std::collections::BTreeMap;

use async_trait::async_trait;
use origan_codec_host::crypto::{EncryptedDek, KekId, Tag};

use super::{Canary, DekRow, RowPlace, StoreError, WalkedRow};

/// Rows read at once.
const PAGE: usize = 1_000;

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

/// What can be read of a row that is corrupt.
#[derive(Debug)]
pub struct Remains {
    /// What its MAC ties together, and nothing else of it.
    pub tied: Result<DekRow, StoreError>,
    /// Under which KEK it says it is, if that is a KEK's id.
    pub kek_id: Option<KekId>,
    /// What may be wrapped.
    pub encrypted_dek: Option<EncryptedDek>,
    /// Encryptions that were leased, as far as there can be so many.
    pub encryptions: u64,
    /// Milliseconds since 1970.
    pub last_used_at_ms: i64,
}

impl Remains {
    /// `kept`, with what was counted of the row whose place it takes.
    pub fn counted_in(&self, kept: &KeptRow) -> KeptRow {
        let mut kept = kept.clone();
        kept.encryptions = kept.encryptions.max(self.encryptions);
        kept.row.last_used_at_ms = kept.row.last_used_at_ms.max(self.last_used_at_ms);
        kept
    }
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

    /// Where the row is that has this fingerprint.
    async fn place_of(&mut self, fingerprint: &Tag) -> Result<Option<RowPlace>, StoreError>;

    /// What is left of the row in this place, if there is one. With `takes_away`, it is not there any more then, and the other replicas are told.
    async fn remains(&mut self, place: &RowPlace, takes_away: bool) -> Result<Option<Remains>, StoreError>;

    /// Raises what is counted of a row to what `kept` says, where that is higher.
    async fn count_up(&mut self, kept: &KeptRow) -> Result<(), StoreError>;

    /// Makes all of it happen.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// The rows in `places`, which are in order.
pub async fn rows_at(
    whole: &mut dyn WholeStore,
    places: &[RowPlace],
) -> Result<BTreeMap<RowPlace, Result<KeptRow, StoreError>>, StoreError> {
    let mut found = BTreeMap::new();
    let (Some(first), Some(last)) = (places.first(), places.last()) else { return Ok(found) };
    let mut after = before(first);
    loop {
        let page = whole.rows_after(&after, Some(last), PAGE as u32).await?;
        let is_full = page.len() == PAGE;
        let Some(end) = page.last().map(|walked| walked.place.clone()) else { return Ok(found) };
        let ours = page.into_iter().filter(|walked| places.binary_search(&walked.place).is_ok());
        found.extend(ours.map(|walked| (walked.place, walked.row)));
        // On to the next one that is asked for, past what lies between.
        match places.iter().find(|place| **place > end) {
            Some(next) if is_full => after = before(next),
            _ => return Ok(found),
        }
    }
}

/// The place after which `place` comes next.
fn before(place: &RowPlace) -> RowPlace {
    RowPlace { project_id: place.project_id.clone(), version: place.version - 1 }
}
