//! A backup, read to its end and verified, before anything of it is believed.

use std::collections::BTreeMap;
use std::io::BufRead;

use futures_util::StreamExt;
use origan_codec_host::crypto::{KeyRing, UnwrapError};
use subtle::ConstantTimeEq;

use super::backup::{BackupError, Faults};
use super::row::{dek_context, hangs_together};
use crate::store::backup::{BackupDigest, BackupEnd, BackupReader, Part};
use crate::store::{DekRow, DekState, KeptCanary, KeptRow};

/// Rows worked on together.
pub(super) const BATCH: usize = 1_000;
/// DEKs a service unwraps at once, where a KEK is outside.
const AT_ONCE: usize = 8;

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
pub(super) fn batch<R: BufRead>(
    backup: &mut BackupReader<R>,
    mut canary: impl FnMut(KeptCanary),
) -> Result<(Vec<KeptRow>, Option<BackupEnd>), BackupError> {
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
