//! Writes a backup, line by line.

use std::io::{self, Write};

use origan_codec_host::crypto::Tag;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::lines::{CanaryLine, DekLine, EndLine, HeaderLine, Line};
use super::{BackupDigest, BackupEnd, BackupHeader};
use crate::store::{KeptCanary, KeptRow};

/// Canaries first, then rows in their order, then the end.
pub struct BackupWriter<W> {
    out: W,
    digest: Sha256,
    canaries: u64,
    rows: u64,
}

impl<W: Write> BackupWriter<W> {
    /// Writes the first line.
    pub fn begin(out: W, header: &BackupHeader) -> io::Result<Self> {
        let mut writer = Self { out, digest: Sha256::new(), canaries: 0, rows: 0 };
        writer.line(&HeaderLine::of(header))?;
        Ok(writer)
    }

    /// Writes a canary.
    pub fn canary(&mut self, canary: &KeptCanary) -> io::Result<()> {
        self.canaries += 1;
        self.line(&Line::Canary(CanaryLine::of(canary)))
    }

    /// Writes a row.
    pub fn row(&mut self, row: &KeptRow) -> io::Result<()> {
        self.rows += 1;
        self.line(&Line::Dek(Box::new(DekLine::of(row))))
    }

    /// Writes the last line, with what `vouch` says of the rest.
    pub fn end(mut self, vouch: impl FnOnce(&BackupDigest) -> Tag) -> io::Result<(W, BackupDigest)> {
        let digest =
            BackupDigest { sha256: self.digest.clone().finalize().into(), canaries: self.canaries, rows: self.rows };
        let end = BackupEnd { digest, mac: vouch(&digest) };
        self.line(&Line::End(EndLine::of(&end)))?;
        self.out.flush()?;
        Ok((self.out, digest))
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.digest.update(&bytes);
        self.out.write_all(&bytes)
    }
}
