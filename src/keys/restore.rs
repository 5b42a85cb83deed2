//! A backup into the store: all of it verified before anything is written, and written all of it or not at all. What the store has is newer
//! than what a backup has unless it is shown to be what became of it afterwards, or is corrupt.

use std::collections::BTreeMap;
use std::io::BufRead;

use futures_util::StreamExt;
use origan_codec_host::crypto::{KeyRing, Tag, UnwrapError};
use subtle::ConstantTimeEq;

use super::backup::{BackupError, Faults};
use super::lineage::{Standing, Verdict, fault, judge, rotated, stands};
use super::row::{dek_context, hangs_together};
use crate::store::backup::{BackupDigest, BackupReader, Part};
use crate::store::{DekRow, DekState, KeptCanary, KeptRow, RowPlace, StoreError, WholeStore, rows_at};

/// Rows worked on together.
const BATCH: usize = 1_000;
/// DEKs a service unwraps at once, where a KEK is outside.
const AT_ONCE: usize = 8;
/// Why a row is not added.
const CLASHES: &str = "it clashes with another row of the store's: its DEK is there, or another primary";

/// A backup that is what it says: every line by the KEK's word, every row by its own MAC.
#[derive(Debug)]
pub struct VerifiedBackup {
    /// What it is known by.
    pub digest: BackupDigest,
    /// Its canaries.
    pub canaries: Vec<KeptCanary>,
    /// Rows that do not hang together: with one of them, nothing is restored.
    pub faults: Faults,
}

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
    /// Rows that the store has newer, or of another history: with one of them, nothing is restored.
    pub refused: Faults,
    /// Rows that clashed with others when they were added. A few at the most: some of those give way later.
    clashed: Vec<KeptRow>,
    /// Where a corrupt row was that has a DEK which is not the backup's, and the DEK's fingerprints.
    displaced: Vec<(RowPlace, Vec<Tag>)>,
}

/// Where a backup goes.
pub struct Restore<'a> {
    /// The store; none if it is not made yet.
    pub whole: Option<&'a mut dyn WholeStore>,
    /// Whether only to say what would happen.
    pub is_dry: bool,
    /// The KEKs.
    pub ring: &'a KeyRing,
}

impl VerifiedBackup {
    /// Reads `backup` to its end, and opens every DEK if asked to. `step` is told how many rows it has come on.
    pub async fn read<R: BufRead>(
        mut backup: BackupReader<R>,
        ring: &KeyRing,
        unwraps: bool,
        step: impl Fn(u64),
    ) -> Result<Self, BackupError> {
        let kek_id = backup.header().kek_id;
        if !ring.kek_ids().any(|id| id == kek_id) {
            let ours = ring.kek_ids().map(|id| id.to_string()).collect::<Vec<_>>().join(", ");
            return Err(BackupError::OtherKek { theirs: kek_id, ours });
        }
        let mut canaries = Vec::new();
        let mut faults = Faults::default();
        let mut unknown = BTreeMap::<String, u64>::new();
        loop {
            let (rows, end) = batch(&mut backup, |canary| canaries.push(canary))?;
            let verifying = rows.iter().map(async |kept| match hangs_together(ring, &kept.row) {
                Err(_) => Ok(Some(kept.row.kek_id)),
                Ok(false) => Err(Fault::Row("its MAC does not verify".into())),
                Ok(true) if unwraps => opens(ring, &kept.row).await.map(|()| None),
                Ok(true) => Ok(None),
            });
            let verified: Vec<_> = futures_util::stream::iter(verifying).buffered(AT_ONCE).collect().await;
            for (kept, outcome) in rows.iter().zip(verified) {
                match outcome {
                    Ok(None) => {}
                    Ok(Some(kek_id)) => *unknown.entry(kek_id.to_string()).or_default() += 1,
                    Err(Fault::Row(why)) => faults.add(kept.row.place(), why),
                    Err(Fault::All(error)) => return Err(error),
                }
            }
            step(rows.len() as u64);
            let Some(end) = end else { continue };
            let vouched = end.digest.with_parts(|parts| ring.backup_mac_verifies(kek_id, parts, &end.mac));
            if vouched != Ok(true) {
                return Err(BackupError::Forged(kek_id));
            }
            if let Some((kek_id, rows)) = unknown.pop_first() {
                return Err(BackupError::UnknownKek { kek_id, rows });
            }
            return Ok(Self { digest: end.digest, canaries, faults });
        }
    }
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
        let standing = rows_at(whole, &places).await?;
        let (mut missing, mut corrupt) = (Vec::new(), Vec::new());
        for kept in rows {
            let place = kept.row.place();
            let there = match standing.get(&place) {
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
            if let Some(fault) = fault(self.ring, there, kept) {
                corrupt.push((kept, fault.into()));
                continue;
            }
            let writes = !self.is_dry && restored.refused.count == 0;
            match stands(there, kept) {
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
            match judge(self.ring, &there, &kept.row).await? {
                Verdict::Mend => {}
                Verdict::MendIfKept(fingerprints) => restored.displaced.push((place.clone(), fingerprints)),
                Verdict::Leave(reason) => {
                    restored.refused.add(place, format!("in the store, {why}, but {reason}"));
                    continue;
                }
            }
            restored.mended.add(place, why);
            mended.push(there.counted_in(kept));
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
        let writes = !self.is_dry && restored.refused.count == 0;
        let Some(whole) = self.whole.as_deref_mut().filter(|_| writes) else { return Ok(()) };
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
                is_kept |= whole.has_fingerprint(fingerprint).await?;
            }
            if !is_kept {
                let why = "in the store, it is corrupt, but its DEK opens, is not the backup's, and has no other row";
                restored.refused.add(place, why.into());
            }
        }
        Ok(())
    }
}

/// A fault of one row, or of everything.
enum Fault {
    Row(String),
    All(BackupError),
}

/// Whether the row's DEK opens, and is the one that its fingerprint says.
async fn opens(ring: &KeyRing, row: &DekRow) -> Result<(), Fault> {
    if row.state == DekState::Destroyed {
        return Ok(());
    }
    let context = dek_context(&row.project_id, row.version);
    let dek = match ring.unwrap_dek(row.kek_id, &row.encrypted_dek, context).await {
        Ok(dek) => dek,
        Err(UnwrapError::Unavailable(why)) => return Err(Fault::All(why.into())),
        Err(error) => return Err(Fault::Row(error.to_string())),
    };
    let fingerprint = ring.fingerprint(row.kek_id, &dek).map_err(|error| Fault::Row(error.to_string()))?;
    let is_it = bool::from(fingerprint.0.ct_eq(&row.fingerprint));
    if is_it { Ok(()) } else { Err(Fault::Row("its fingerprint is another DEK's".into())) }
}

/// The next rows, at most [`BATCH`], and the end if it has come.
fn batch<R: BufRead>(
    backup: &mut BackupReader<R>,
    mut canary: impl FnMut(KeptCanary),
) -> Result<(Vec<KeptRow>, Option<crate::store::backup::BackupEnd>), BackupError> {
    let mut rows = Vec::with_capacity(BATCH);
    while rows.len() < BATCH {
        match backup.next_part()? {
            Part::Canary(kept) => canary(kept),
            Part::Row(kept) => rows.push(kept),
            Part::End(end) => return Ok((rows, Some(end))),
        }
    }
    Ok((rows, None))
}
