//! Reading a journal on and on, line by line, across segments: `codec audit tail`, and the sinks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::segment;

/// Bytes read at a time, at the most.
const READ_BYTES: usize = 64 << 10;

/// A place in a journal from which lines are read on and on, across segments. Sinks keep one each.
#[derive(Debug, Clone)]
pub struct Cursor {
    dir: PathBuf,
    ordinal: u64,
    offset: u64,
}

impl Cursor {
    /// At the first line of the oldest segment.
    pub fn at_start(dir: &Path) -> io::Result<Self> {
        let ordinal = segment::list(dir)?.first().map_or(1, |(ordinal, _)| *ordinal);
        Ok(Self { dir: dir.to_owned(), ordinal, offset: 0 })
    }

    /// Before the last `count` lines.
    pub fn before_last(dir: &Path, count: usize) -> io::Result<Self> {
        let mut cursor = Self::at_start(dir)?;
        let mut missing = count;
        for (ordinal, _) in segment::list(dir)?.iter().rev() {
            let mut probe = Self { dir: dir.to_owned(), ordinal: *ordinal, offset: 0 };
            let mut starts = Vec::new();
            loop {
                let before = probe.clone();
                match probe.next_line_of_segment()? {
                    Some(_) => starts.push(before),
                    None => break,
                }
            }
            if starts.len() >= missing {
                return Ok(if missing == 0 { probe } else { starts.swap_remove(starts.len() - missing) });
            }
            missing -= starts.len();
            cursor = Self { dir: dir.to_owned(), ordinal: *ordinal, offset: 0 };
        }
        Ok(cursor)
    }

    /// The next whole line, without its line feed; none if there is none yet.
    pub fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            // Looked for first: what is read after a successor exists is all there will ever be.
            let successor =
                segment::list(&self.dir)?.into_iter().map(|(ordinal, _)| ordinal).find(|o| *o > self.ordinal);
            if let Some(line) = self.next_line_of_segment()? {
                return Ok(Some(line));
            }
            let Some(ordinal) = successor else { return Ok(None) };
            (self.ordinal, self.offset) = (ordinal, 0);
        }
    }

    fn next_line_of_segment(&mut self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(segment::segment_path(&self.dir, self.ordinal)) {
            Ok(file) => file,
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(other) => return Err(other),
        };
        let mut line = Vec::new();
        loop {
            let start = line.len();
            line.resize(start + READ_BYTES.min(4096 + start), 0);
            let read = file.read_at(&mut line[start..], self.offset + start as u64)?;
            line.truncate(start + read);
            // Zeros are not written yet.
            let fresh = &line[start..];
            let end = fresh.iter().position(|&b| b == b'\n' || b == 0);
            match end.map(|at| (at, fresh[at])) {
                Some((at, b'\n')) => {
                    line.truncate(start + at);
                    self.offset += line.len() as u64 + 1;
                    return Ok(Some(line));
                }
                Some(_) => return Ok(None),
                None if read == 0 => return Ok(None),
                None => {}
            }
        }
    }
}
