//! A backup into the store: all of it verified before anything is written, and written all of it or not at all. What the store has is newer
//! than what a backup has unless it is shown to be what became of it afterwards, or is corrupt.

use std::collections::HashSet;
use std::io::BufRead;

use origan_codec_host::crypto::{KeyRing, Tag};

use super::backup::{BackupError, Faults};
use super::lineage::{Standing, Verdict, fault, judge, rotated, stands};
use super::row::hangs_together;
use super::verified::{BATCH, VerifiedBackup, batch};
use crate::store::backup::BackupReader;
use crate::store::{DekRow, KeptCanary, KeptRow, RowPlace, StoreError, WholeStore, rows_at};

/// Rows that would be added, where that is only tried, whose fingerprints are kept.
const TO_ADD_MAX: usize = 100_000;
/// Why a row is not added.
const CLASHES: &str = "it clashes with another row of the store's: its DEK is there, or another primary";

/// What became of the rows, or would.
#[derive(Debug, Default)]
pub struct Restored {
    /// Canaries that were missing.
    pub canaries: u64,
    /// Rows that were missing.
    pub added: u64,
    /// Rows that were older.
    pub brought_forward: u64,
    /// Rows that were corrupt, and what was wrong with them.
    pub mended: Faults,
    /// Rows that were there; of some, fewer encryptions were counted.
    pub same: u64,
    /// Rows that the store has newer, or of another history, and that stay: where corrupt ones are to be mended, and no more.
    pub newer: u64,
    /// Rows of which nobody can tell whether they are corrupt, and that stay, too.
    pub unknown: Faults,
    /// Rows that the store has newer, or of another history: with one of them, nothing is restored.
    pub refused: Faults,
    /// Rows that clashed with others when they were added. A few at the most: some of those give way later.
    clashed: Vec<KeptRow>,
    /// Fingerprints of rows that would be added, where that is only tried.
    to_add: HashSet<Tag>,
    /// Where a corrupt row was that has a DEK which is not the backup's, and the DEK's fingerprints.
    displaced: Vec<(RowPlace, Vec<Tag>)>,
}

/// Where a backup goes.
pub struct Restore<'a> {
    /// The store; none if it is not made yet.
    pub whole: Option<&'a mut dyn WholeStore>,
    /// Whether only to say what would happen.
    pub is_dry: bool,
    /// Whether what is newer in the store stays, rather than keeps the rest from being restored.
    pub only_mends: bool,
    /// The KEKs.
    pub ring: &'a KeyRing,
}

impl Restore<'_> {
    /// Puts what `verified` has verified where it goes, and says what that is. It counts when `whole` is committed, which it must not be if
    /// a row was refused.
    pub async fn run<R: BufRead>(
        mut self,
        mut backup: BackupReader<R>,
        verified: &VerifiedBackup,
        step: impl Fn(u64),
    ) -> Result<Restored, BackupError> {
        let mut restored = Restored::default();
        self.canaries(&verified.canaries, &mut restored).await?;
        loop {
            let (rows, end) = batch(&mut backup, drop)?;
            self.rows(&rows, &mut restored).await?;
            step(rows.len() as u64);
            match end {
                None => {}
                Some(end) if end.digest == verified.digest => {
                    self.settle(&mut restored).await?;
                    return Ok(restored);
                }
                // What was written of it is not what was verified, and goes with the transaction.
                Some(_) => return Err(BackupError::Changed),
            }
        }
    }

    /// An empty store takes all of them, with their places. One that has some takes those of KEKs that rows may come under, and no other: of
    /// two service keys for one KEK, it would not be said which counts.
    async fn canaries(&mut self, canaries: &[KeptCanary], restored: &mut Restored) -> Result<(), BackupError> {
        let known = match &mut self.whole {
            Some(whole) => whole.canaries().await?,
            None => Vec::new(),
        };
        let is_ours = |id| self.ring.kek_ids().any(|ours| ours == id);
        let joined = || StoreError::Unavailable("another KEK joined the store at the same moment".into());
        if !known.is_empty() && !known.iter().any(|kept| is_ours(kept.canary.kek_id)) {
            return Err(joined().into());
        }
        let mut next = known.iter().filter_map(|kept| kept.place).max().unwrap_or_default().max(known.len() as i64);
        for canary in canaries {
            let id = canary.canary.kek_id;
            let is_wanted = known.is_empty() || is_ours(id);
            if !is_wanted || known.iter().any(|kept| kept.canary.kek_id == id) {
                continue;
            }
            next += 1;
            let place = if known.is_empty() { canary.place } else { Some(next) };
            if let Some(whole) = self.whole.as_deref_mut().filter(|_| !self.is_dry)
                && !whole.add_canary(&KeptCanary { place, ..canary.clone() }).await?
            {
                return Err(joined().into());
            }
            restored.canaries += 1;
        }
        Ok(())
    }

    async fn rows(&mut self, rows: &[KeptRow], restored: &mut Restored) -> Result<(), BackupError> {
        let Some(whole) = self.whole.as_deref_mut() else {
            restored.added += rows.len() as u64;
            return Ok(());
        };
        let places: Vec<RowPlace> = rows.iter().map(|kept| kept.row.place()).collect();
        let found = rows_at(whole, &places).await?;
        let (mut missing, mut corrupt) = (Vec::new(), Vec::new());
        for kept in rows {
            let place = kept.row.place();
            let there = match found.get(&place) {
                None => {
                    missing.push(kept);
                    continue;
                }
                Some(Ok(there)) => there,
                Some(Err(error)) => {
                    corrupt.push((kept, format!("it cannot be read ({error})")));
                    continue;
                }
            };
            let standing = stands(there, kept);
            if let Some(fault) = fault(self.ring, standing, there, kept) {
                corrupt.push((kept, fault.into()));
                continue;
            }
            let writes = !self.is_dry && restored.refused.count == 0;
            match standing {
                Standing::Same => restored.same += 1,
                Standing::SameWithFewerUses => {
                    restored.same += 1;
                    if writes {
                        whole.count_up(kept).await?;
                    }
                }
                Standing::Older => {
                    restored.brought_forward += 1;
                    let (mac, generation) = (there.row.row_mac, there.row.generation);
                    if writes && !whole.bring_forward(kept, &mac, generation).await? {
                        restored.refused.add(place, "it was changed in the store at the same moment".into());
                    }
                }
                Standing::Newer | Standing::OfAnotherHistory if self.only_mends => {
                    match hangs_together(self.ring, &there.row) {
                        Ok(_) => restored.newer += 1,
                        Err(_) => restored.unknown.add(place, format!("KEK {} is not configured", there.row.kek_id)),
                    }
                }
                Standing::Newer => {
                    let (theirs, ours) = (there.row.generation, kept.row.generation);
                    let state = there.row.state.name();
                    restored.refused.add(place, format!("generation {theirs} ({state}) in the store, {ours} here"));
                }
                Standing::OfAnotherHistory => {
                    restored.refused.add(place, "another DEK, or another history of it, in the store".into());
                }
            }
        }
        restored.added += missing.len() as u64;
        let mended = self.mended(corrupt, restored).await?;
        if self.is_dry {
            let new = missing.iter().copied().chain(&mended).take(TO_ADD_MAX.saturating_sub(restored.to_add.len()));
            restored.to_add.extend(new.map(|kept| kept.row.fingerprint));
        }
        let new: Vec<&KeptRow> = missing.into_iter().chain(&mended).collect();
        self.add(&new, &places, restored).await
    }

    /// Takes corrupt rows away, each with what is wrong with it, and answers what is to stand in their places.
    async fn mended(
        &mut self,
        corrupt: Vec<(&KeptRow, String)>,
        restored: &mut Restored,
    ) -> Result<Vec<KeptRow>, BackupError> {
        let Some(whole) = self.whole.as_deref_mut() else { return Ok(Vec::new()) };
        let mut mended = Vec::with_capacity(corrupt.len());
        for (kept, why) in corrupt {
            let place = kept.row.place();
            let takes_away = !self.is_dry && restored.refused.count == 0;
            let Some(there) = whole.remains(&place, takes_away).await? else {
                restored.refused.add(place, "it was changed in the store at the same moment".into());
                continue;
            };
            // Of what was there when it was taken away: if it is left after all, that goes with the transaction.
            let mut row = there.counted_in(kept);
            match judge(self.ring, &there, &kept.row).await? {
                Verdict::Mend => {}
                Verdict::MendAs(wrapped) => row.row = DekRow { last_used_at_ms: row.row.last_used_at_ms, ..*wrapped },
                Verdict::MendIfKept(fingerprints) => restored.displaced.push((place.clone(), fingerprints)),
                Verdict::Leave(reason) => {
                    restored.refused.add(place, format!("in the store, {why}, but {reason}"));
                    continue;
                }
            }
            restored.mended.add(place, why);
            mended.push(row);
        }
        Ok(mended)
    }

    async fn add(&mut self, new: &[&KeptRow], places: &[RowPlace], restored: &mut Restored) -> Result<(), BackupError> {
        let writes = !self.is_dry && restored.refused.count == 0;
        let Some(whole) = self.whole.as_deref_mut().filter(|_| writes) else { return Ok(()) };
        let added = whole.add(new).await?;
        if added == new.len() {
            return Ok(());
        }
        // What still has no row clashed with another one.
        let standing = rows_at(whole, places).await?;
        let clashed: Vec<_> = new.iter().filter(|kept| !standing.contains_key(&kept.row.place())).collect();
        // Somebody else put one there meanwhile.
        if added + clashed.len() < new.len() {
            let why = "something else wrote to the store at the same moment; run it again";
            return Err(StoreError::Unavailable(why.into()).into());
        }
        for kept in clashed {
            match restored.clashed.len() {
                BATCH => restored.refused.add(kept.row.place(), CLASHES.into()),
                _ => restored.clashed.push((*kept).clone()),
            }
        }
        Ok(())
    }

    /// In the end: what has clashed may have room by now, and a primary decrypts only where a service has made another one because it found none.
    /// A DEK that has lost its place must have another.
    async fn settle(&mut self, restored: &mut Restored) -> Result<(), BackupError> {
        let may_write = restored.refused.count == 0;
        let Some(whole) = self.whole.as_deref_mut().filter(|_| may_write) else { return Ok(()) };
        for kept in std::mem::take(&mut restored.clashed) {
            let mut is_added = whole.add(&[&kept]).await? == 1;
            if let Some(rotated) = rotated(self.ring, &kept).filter(|_| !is_added) {
                is_added = whole.add(&[&rotated]).await? == 1;
            }
            if !is_added {
                restored.refused.add(kept.row.place(), CLASHES.into());
            }
        }
        for (place, fingerprints) in std::mem::take(&mut restored.displaced) {
            let mut is_kept = false;
            for fingerprint in &fingerprints {
                // Where it is only tried, the row that would be taken away is there still.
                let has_it = whole.place_of(fingerprint).await?;
                is_kept |= has_it.is_some_and(|has_it| !self.is_dry || has_it != place);
                is_kept |= restored.to_add.contains(fingerprint);
            }
            if !is_kept {
                let why = "in the store, it is corrupt, but its DEK opens, is not the backup's, and has no other row";
                restored.refused.add(place, why.into());
            }
        }
        Ok(())
    }
}
