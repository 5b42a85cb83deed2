//! Journals, line by line. Nothing is verified here: that takes the key, and `codec audit verify` has it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use super::record::Record;

/// The segments that are read, in order.
pub(super) struct Journal {
    files: Vec<PathBuf>,
    bytes: u64,
}

/// The records of a journal, one after the other.
pub(super) struct Lines<'j> {
    rest: std::slice::Iter<'j, PathBuf>,
    open: Option<Segment<'j>>,
    bar: ProgressBar,
    end: End,
}

/// What was read, beside the records.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Segments.
    pub(super) files: u64,
    /// Ends of segments that hold no whole record: torn by a crash, or filled with zeros ahead of the next.
    pub(super) torn: u64,
}

struct Segment<'j> {
    path: &'j Path,
    reader: BufReader<File>,
    line: u64,
}

impl Journal {
    /// Of folders and files; a folder's segments in their order.
    pub(super) fn open(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut journal = Self { files: Vec::new(), bytes: 0 };
        for path in paths {
            if path.is_dir() { journal.add_folder(path)? } else { journal.files.push(path.clone()) }
        }
        for file in &journal.files {
            let found = file.metadata().with_context(|| format!("cannot read {}", file.display()))?;
            journal.bytes += found.len();
        }
        Ok(journal)
    }

    /// Reads all of it, with a bar on a terminal.
    pub(super) fn lines(&self) -> Lines<'_> {
        let bar = ProgressBar::new(self.bytes);
        if let Ok(style) = ProgressStyle::with_template("[{bar:40}] {bytes} of {total_bytes}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Lines { rest: self.files.iter(), open: None, bar, end: End::default() }
    }

    fn add_folder(&mut self, folder: &Path) -> anyhow::Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut segments: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| is_segment(path)).collect();
        ensure!(
            !segments.is_empty(),
            "{} holds no segment-….jsonl: the journal is in `audit` in the data directory, unless codec.toml says otherwise",
            folder.display()
        );
        // Their numbers have ten digits each.
        segments.sort_unstable();
        self.files.append(&mut segments);
        Ok(())
    }
}

impl Lines<'_> {
    /// The next record; none at the end.
    pub(super) fn next_record(&mut self) -> anyhow::Result<Option<Record>> {
        loop {
            if self.open.is_none() {
                let Some(path) = self.rest.next() else { return Ok(None) };
                let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
                self.open = Some(Segment { path, reader: BufReader::with_capacity(READ_BYTES, file), line: 0 });
                self.end.files += 1;
            }
            let Some(segment) = &mut self.open else { return Ok(None) };
            if let Some(record) = segment.next_record(&self.bar, &mut self.end)? {
                return Ok(Some(record));
            }
            self.open = None;
        }
    }

    /// What was read, after the last record.
    pub(super) fn end(&self) -> End {
        self.bar.finish_and_clear();
        self.end
    }
}

impl Segment<'_> {
    /// The next record; none at the end, whole or torn.
    fn next_record(&mut self, bar: &ProgressBar, end: &mut End) -> anyhow::Result<Option<Record>> {
        let mut line = Vec::new();
        let read = self.reader.read_until(b'\n', &mut line).with_context(|| self.path.display().to_string())?;
        bar.inc(read as u64);
        self.line += 1;
        if read == 0 {
            return Ok(None);
        }
        let error = match serde_json::from_slice(&line) {
            Ok(record) => return Ok(Some(record)),
            Err(error) => error,
        };
        // At the end it is what a crash leaves, or room for the next record. In the middle, no crash explains it.
        loop {
            line.clear();
            let read = self.reader.read_until(b'\n', &mut line).with_context(|| self.path.display().to_string())?;
            bar.inc(read as u64);
            if read == 0 {
                end.torn += 1;
                return Ok(None);
            }
            ensure!(
                serde_json::from_slice::<Record>(&line).is_err(),
                "{}, line {}: not a record ({error}), and records follow: `codec audit verify` tells what was changed",
                self.path.display(),
                self.line
            );
        }
    }
}

fn is_segment(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("segment-") && name.ends_with(".jsonl")
}

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn records(path: &Path) -> anyhow::Result<(Vec<u64>, End)> {
        let journal = Journal::open(&[path.to_owned()])?;
        let mut lines = journal.lines();
        let mut found = Vec::new();
        while let Some(record) = lines.next_record()? {
            found.push(record.seq);
        }
        Ok((found, lines.end()))
    }

    #[test]
    fn segments_are_read_in_order_up_to_what_is_no_whole_record() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("written");
        write("segment-0000000002.jsonl", b"{\"seq\":3}\n{\"seq\":4}\n\0\0\0\0\0\0");
        write("segment-0000000001.jsonl", b"{\"seq\":1}\n{\"seq\":2}\n{\"seq\":");
        write("segment-0000000003.jsonl", b"");
        write("cursor.json", b"{\"seq\":9}\n");
        assert_eq!(records(folder.path()).expect("read"), (vec![1, 2, 3, 4], End { files: 3, torn: 2 }));
    }

    #[test]
    fn what_no_crash_explains_is_an_error_that_says_where() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("some.jsonl");
        fs::write(&file, "{\"seq\":1}\n{\"seq\":2\nmore\n{\"seq\":3}\n").expect("written");
        let error = records(&file).expect_err("changed").to_string();
        assert!(error.contains("line 2") && error.contains("codec audit verify"), "{error}");
        let error = records(folder.path()).expect_err("no segment").to_string();
        assert!(error.contains("`audit` in the data directory"), "{error}");
    }
}
