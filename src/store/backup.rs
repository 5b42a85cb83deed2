//! Backups: the store's rows as text, one JSON object a line, with a check over all of it at the end. `docs/FORMAT.md` has the format.
//!
//! What is in a backup is what is in the store: DEKs that a KEK wrapped. Whether a KEK vouches for it, those ask who have one.

mod lines;
mod reader;
mod writer;

use origan_codec_host::crypto::{KekId, Tag};

pub use reader::{BackupReader, Part, ReadBackupError};
pub use writer::BackupWriter;

/// The version of the format that this program writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// What a backup says of itself, before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupHeader {
    /// RFC 3339, UTC.
    pub created_at: String,
    /// The KEK whose key vouches for it.
    pub kek_id: KekId,
}

/// What a KEK vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupDigest {
    /// Of all lines before the last.
    pub sha256: [u8; 32],
    /// How many canaries there are.
    pub canaries: u64,
    /// How many rows.
    pub rows: u64,
}

/// The last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupEnd {
    /// It has been checked that what was read has it.
    pub digest: BackupDigest,
    /// Nobody has checked this yet.
    pub mac: Tag,
}

impl BackupDigest {
    /// Gives its parts to what makes or checks the MAC of it.
    pub fn with_parts<T>(&self, with: impl FnOnce(&[&[u8]]) -> T) -> T {
        with(&[&self.sha256, &self.canaries.to_be_bytes(), &self.rows.to_be_bytes()])
    }

    /// The SHA-256 in hexadecimal.
    pub fn sha256_hex(&self) -> String {
        lines::hex(&self.sha256)
    }
}
