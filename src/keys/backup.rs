//! A backup of the store, under the KEK's word that it is one. A row that does not hang together is no good to anybody: it is left out, and
//! named while it can still be mended.

use std::io::{self, Write};

use origan_codec_host::crypto::{CannotOpen, KekId, KekUnavailable, KeyRing};

use super::row::hangs_together;
use crate::store::backup::{BackupDigest, BackupWriter, ReadBackupError};
use crate::store::{KeptCanary, RowPlace, StoreError, WholeStore};

/// Rows read at once.
const PAGE: u32 = 1_000;
/// Rows that are named; the rest is counted.
const NAMED_MAX: usize = 20;

/// Why there is no backup, or why it does not go into the store.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be read, or is not whole.
    #[error(transparent)]
    Read(#[from] ReadBackupError),
    /// It cannot be written.
    #[error("the backup cannot be written")]
    Write(#[from] io::Error),
    /// Made by whoever has another KEK.
    #[error("it was made under KEK {theirs}, which is not configured ({ours} is); give that one, too")]
    OtherKek {
        /// The one that it names.
        theirs: KekId,
        /// Those at hand.
        ours: String,
    },
    /// The MAC is not the KEK's.
    #[error(
        "it was not written by codec, or was altered by somebody who knew how: its MAC does not verify under KEK {0}"
    )]
    Forged(KekId),
    /// Rows are under a KEK that is not at hand.
    #[error("{rows} rows are under KEK {kek_id}, which is not configured; give that one, too")]
    UnknownKek {
        /// Which.
        kek_id: String,
        /// How many.
        rows: u64,
    },
    /// It is another one than when it was verified.
    #[error("it was changed while it was read")]
    Changed,
    /// The KEK is outside and gives no answer.
    #[error(transparent)]
    Kek(#[from] KekUnavailable),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What this process has wrapped itself does not open.
    #[error(transparent)]
    CannotOpen(#[from] CannotOpen),
}

/// Rows that are not as they should be: how many, and the first of them.
#[derive(Debug, Default)]
pub struct Faults {
    /// How many.
    pub count: u64,
    /// The first, and what is wrong with each.
    pub named: Vec<(RowPlace, String)>,
}

impl Faults {
    /// One more.
    pub fn add(&mut self, place: RowPlace, why: String) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push((place, why));
        }
    }
}

/// Writes all of `whole`, which has `canaries`; answers what went in, and what was left out. `step` is told how many rows it has come on.
pub async fn back_up<W: Write + Send>(
    whole: &mut dyn WholeStore,
    canaries: &[KeptCanary],
    ring: &KeyRing,
    mut writer: BackupWriter<W>,
    step: impl Fn(u64),
) -> Result<(W, BackupDigest, Faults), BackupError> {
    let ours: Vec<String> = ring.kek_ids().map(|id| id.to_string()).collect();
    if let Some((kek_id, rows)) = whole.rows_by_kek().await?.into_iter().find(|(id, _)| !ours.contains(id)) {
        return Err(BackupError::UnknownKek { kek_id, rows });
    }
    for canary in canaries {
        writer.canary(canary)?;
    }
    let mut left_out = Faults::default();
    let mut place = RowPlace::default();
    loop {
        let page = whole.rows_after(&place, None, PAGE).await?;
        let Some(last) = page.last() else { break };
        place = last.place.clone();
        step(page.len() as u64);
        for walked in page {
            match walked.row {
                Err(error) => left_out.add(walked.place, error.to_string()),
                Ok(kept) if hangs_together(ring, &kept.row) == Ok(true) => writer.row(&kept)?,
                Ok(_) => left_out.add(walked.place, "its MAC does not verify".into()),
            }
        }
    }
    let (out, digest) = writer.end(|digest| digest.with_parts(|parts| ring.backup_mac(parts)))?;
    Ok((out, digest, left_out))
}
