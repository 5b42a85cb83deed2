//! Reads a backup, line by line, and believes none of it before its end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::lines::{AnyHeader, FORMAT, HeaderLine, Line, WrongField};
use super::{BackupDigest, BackupEnd, BackupHeader, FORMAT_VERSION};
use crate::store::schema::NEWEST;
use crate::store::{KeptCanary, KeptRow, RowPlace};

/// Longest line, in bytes: a row with what it was wrapped as 20,000 times.
const LINE_MAX: u64 = 1 << 20;
/// Read at once.
const BUFFER: usize = 1 << 18;

/// A backup that is being read.
pub struct BackupReader<R> {
    input: R,
    header: BackupHeader,
    /// The line that was read last, without its end.
    buffer: Vec<u8>,
    line: u64,
    digest: Sha256,
    canaries: u64,
    rows: u64,
    /// Of the last row.
    place: RowPlace,
}

/// A line after the first.
#[derive(Debug)]
pub enum Part {
    /// A canary.
    Canary(KeptCanary),
    /// A row.
    Row(KeptRow),
    /// The end: nothing follows, and every line before it was as it was written, or all of them were made anew.
    End(BackupEnd),
}

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackupError {
    /// The first line is another file's.
    #[error("this is not a backup of codec's")]
    NotABackup,
    /// A pipe, a folder, a device: it is read more than once.
    #[error("it is no regular file; write it to one first")]
    NotAFile,
    /// Of the future.
    #[error(
        "it is in version {0} of the format, and this program reads version {FORMAT_VERSION}; use the newer codec that wrote it"
    )]
    Version(u32),
    /// Of a store of the future.
    #[error(
        "it was made of a store with schema {0}, and this program's is {NEWEST}; use the newer codec that wrote it"
    )]
    Schema(i64),
    /// The last line is not there, or not whole.
    #[error("it is cut off after line {0}: its end is missing")]
    Cut(u64),
    /// Not what such a line is.
    #[error("line {line} is not a line of a backup: {why}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// Rows in another order, one of them twice, or a canary among them.
    #[error("line {0} is out of order: lines were moved or doubled")]
    Order(u64),
    /// There are not as many lines as the end says.
    #[error("it says that it has {said} canaries and DEKs, and has {found}: lines were taken out or put in")]
    Count {
        /// In the last line.
        said: u64,
        /// In the file.
        found: u64,
    },
    /// The digest is another one.
    #[error("it was altered or damaged: its SHA-256 is not the one that its last line has")]
    Altered,
    /// The system does not let it be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl BackupReader<BufReader<File>> {
    /// Reads the first line of a file, which must be one that can be read again.
    pub fn open(path: &Path) -> Result<Self, ReadBackupError> {
        // Before it is opened, which may wait for ever.
        if !path.metadata()?.is_file() {
            return Err(ReadBackupError::NotAFile);
        }
        Self::begin(BufReader::with_capacity(BUFFER, File::open(path)?))
    }
}

impl<R: BufRead> BackupReader<R> {
    /// Reads the first line.
    pub fn begin(mut input: R) -> Result<Self, ReadBackupError> {
        let mut buffer = Vec::new();
        let is_whole = read_line(&mut input, &mut buffer, 1).map_err(|error| match error {
            ReadBackupError::Line { .. } => ReadBackupError::NotABackup,
            other => other,
        })?;
        let any: AnyHeader = serde_json::from_slice(&buffer).map_err(|_| ReadBackupError::NotABackup)?;
        if any.format != FORMAT || !is_whole {
            return Err(ReadBackupError::NotABackup);
        }
        if any.version != FORMAT_VERSION {
            return Err(ReadBackupError::Version(any.version));
        }
        let wrong = |why| ReadBackupError::Line { line: 1, why };
        let line: HeaderLine = serde_json::from_slice(&buffer).map_err(|error| wrong(reason(&error)))?;
        if line.schema > NEWEST {
            return Err(ReadBackupError::Schema(line.schema));
        }
        let header = line.parse().map_err(|WrongField(field)| wrong(format!("its {field}")))?;
        let place = RowPlace::default();
        let mut reader = Self { input, header, buffer, line: 1, digest: Sha256::new(), canaries: 0, rows: 0, place };
        reader.digest_line();
        Ok(reader)
    }

    /// What it says of itself.
    pub fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// Reads the next line. After the end there is none.
    pub fn next_part(&mut self) -> Result<Part, ReadBackupError> {
        if !read_line(&mut self.input, &mut self.buffer, self.line + 1)? {
            return Err(ReadBackupError::Cut(self.line));
        }
        self.line += 1;
        let line = serde_json::from_slice(&self.buffer).map_err(|error| self.wrong(reason(&error)))?;
        let field = |WrongField(field)| ReadBackupError::Line { line: self.line, why: format!("its {field}") };
        let part = match line {
            Line::Canary(line) => Part::Canary(line.parse().map_err(field)?),
            Line::Dek(line) => Part::Row(line.parse().map_err(field)?),
            Line::End(line) => Part::End(line.parse().map_err(field)?),
        };
        match &part {
            Part::Canary(_) if self.rows > 0 => return Err(ReadBackupError::Order(self.line)),
            Part::Canary(_) => self.canaries += 1,
            Part::Row(kept) => {
                let place = kept.row.place();
                if place <= self.place {
                    return Err(ReadBackupError::Order(self.line));
                }
                (self.place, self.rows) = (place, self.rows + 1);
            }
            Part::End(end) => {
                self.verify(end)?;
                return Ok(part);
            }
        }
        self.digest_line();
        Ok(part)
    }

    fn verify(&mut self, end: &BackupEnd) -> Result<(), ReadBackupError> {
        let BackupDigest { sha256, canaries, rows } = end.digest;
        if (canaries, rows) != (self.canaries, self.rows) {
            let (said, found) = (canaries.saturating_add(rows), self.canaries + self.rows);
            return Err(ReadBackupError::Count { said, found });
        }
        if sha256 != <[u8; 32]>::from(self.digest.clone().finalize()) {
            return Err(ReadBackupError::Altered);
        }
        if !self.input.fill_buf()?.is_empty() {
            return Err(self.wrong("something follows the end".into()));
        }
        Ok(())
    }

    fn digest_line(&mut self) {
        self.digest.update(&self.buffer);
        self.digest.update(b"\n");
    }

    fn wrong(&self, why: String) -> ReadBackupError {
        ReadBackupError::Line { line: self.line, why }
    }
}

/// Reads a line without its end. False if the file ends before the line does.
fn read_line(input: &mut impl BufRead, buffer: &mut Vec<u8>, line: u64) -> Result<bool, ReadBackupError> {
    buffer.clear();
    input.by_ref().take(LINE_MAX).read_until(b'\n', buffer)?;
    let is_whole = buffer.pop_if(|last| *last == b'\n').is_some();
    if !is_whole && buffer.len() as u64 == LINE_MAX {
        return Err(ReadBackupError::Line { line, why: format!("it is longer than {LINE_MAX} bytes") });
    }
    Ok(is_whole)
}

/// Without what the line says: it is nobody's text yet.
fn reason(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => "a field is missing, unknown or of another type".into(),
        _ => "it is not JSON".into(),
    }
}

#[cfg(test)]
mod tests {
    use origan_codec_host::crypto::EncryptedDek;
    use proptest::prelude::*;

    use super::super::BackupWriter;
    use super::*;
    use crate::names::KeyVersion;
    use crate::store::{Canary, DekOrigin, DekRow, DekState};

    const MAC: [u8; 32] = [0xab; 32];

    fn rows() -> impl Strategy<Value = Vec<KeptRow>> {
        let states = prop::sample::select(vec![
            DekState::Primary,
            DekState::DecryptOnly,
            DekState::Disabled,
            DekState::Destroyed,
        ]);
        let bytes = || prop::array::uniform32(any::<u8>());
        let keys = prop::collection::btree_map(
            ("[A-Za-z0-9][A-Za-z0-9._-]{0,8}", 1..=u32::MAX),
            (
                states,
                any::<bool>(),
                bytes(),
                bytes(),
                prop::collection::vec(bytes(), 0..3),
                any::<i64>(),
                0..=1_u64 << 32,
            ),
            0..6,
        );
        keys.prop_map(|keys| {
            let row = |(key, rest): ((String, u32), _)| {
                let ((project, version), (state, created, fingerprint, row_mac, former_digests, number, encryptions)) =
                    (key, rest);
                let row = DekRow {
                    project_id: str::parse(&project).expect("an id"),
                    version: KeyVersion::try_from(u64::from(version)).expect("a version"),
                    kek_id: "00112233445566ff".parse().expect("an id"),
                    encrypted_dek: EncryptedDek::parse(&"QUJD".repeat(20)).expect("an encrypted DEK"),
                    fingerprint,
                    row_mac,
                    state,
                    origin: if created { DekOrigin::Created } else { DekOrigin::Imported },
                    created_at_ms: number,
                    former_digests,
                    generation: number.unsigned_abs() >> 1,
                    last_used_at_ms: number,
                };
                KeptRow { row, encryptions }
            };
            keys.into_iter().map(row).collect()
        })
    }

    fn written(rows: &[KeptRow]) -> Vec<u8> {
        let kek_id = "00112233445566ff".parse().expect("an id");
        let header = BackupHeader { created_at: "2026-11-27T00:00:00.000Z".into(), kek_id };
        let mut writer = BackupWriter::begin(Vec::new(), &header).expect("written");
        for place in [Some(1), None] {
            let canary = Canary { kek_id, sealed: vec![1, 2, 3] };
            writer.canary(&KeptCanary { canary, place, created_at_ms: -1 }).expect("written");
        }
        for row in rows {
            writer.row(row).expect("written");
        }
        writer.end(|_| MAC).expect("written").0
    }

    fn read(bytes: &[u8]) -> Result<(Vec<KeptRow>, BackupEnd), ReadBackupError> {
        let mut reader = BackupReader::begin(bytes)?;
        let mut rows = Vec::new();
        loop {
            match reader.next_part()? {
                Part::Canary(_) => {}
                Part::Row(row) => rows.push(row),
                Part::End(end) => return Ok((rows, end)),
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(rows in rows()) {
            let (back, end) = read(&written(&rows)).expect("reads");
            prop_assert_eq!(format!("{back:?}"), format!("{rows:?}"));
            prop_assert_eq!((end.digest.canaries, end.digest.rows, end.mac), (2, rows.len() as u64, MAC));
        }

        /// Of the last line, the MAC is for those who have the KEK.
        #[test]
        fn one_byte_that_is_another_is_noticed(rows in rows(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = written(&rows);
            let mac = bytes.len() - "\"}}\n".len() - 64;
            let at = at.index(mac);
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            prop_assert!(read(&bytes).is_err(), "{}", String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn a_file_that_is_cut_is_not_whole(rows in rows(), at in any::<prop::sample::Index>()) {
            let bytes = written(&rows);
            prop_assert!(read(&bytes[..at.index(bytes.len())]).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), rows in rows(), at in any::<prop::sample::Index>()) {
            let _ = read(&bytes);
            let mut after_the_beginning = written(&rows);
            after_the_beginning.truncate(at.index(after_the_beginning.len()));
            after_the_beginning.extend(&bytes);
            prop_assert!(read(&after_the_beginning).is_err());
        }
    }
}
