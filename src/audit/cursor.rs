//! Reading a journal on and on, line by line, across segments: `codec audit tail`, and the sinks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::segment;

/// Bytes read at a time, at the least.
const READ_BYTES: usize = 64 << 10;

/// A place in a journal from which lines are read on and on, across segments. Sinks keep one each.
#[derive(Debug, Clone)]
pub struct Cursor {
    dir: PathBuf,
    place: Place,
}

/// Between two lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Ordinal of the segment.
    pub segment: u64,
    /// Bytes from its beginning.
    pub offset: u64,
}

/// How much is taken at once.
#[derive(Debug, Clone, Copy)]
pub struct Portion {
    /// Lines, at the most.
    pub lines: usize,
    /// Bytes of them together, at the most; a single longer line is taken alone.
    pub bytes: usize,
}

impl Cursor {
    /// At the first line of the oldest segment.
    pub fn at_start(dir: &Path) -> io::Result<Self> {
        let segment = segment::list(dir)?.first().map_or(1, |(ordinal, _)| *ordinal);
        Ok(Self::at(dir, Place { segment, offset: 0 }))
    }

    /// At `place`.
    pub fn at(dir: &Path, place: Place) -> Self {
        Self { dir: dir.to_owned(), place }
    }

    /// The line that ends right before it in its segment, without its line feed; none if there is none, or no such place.
    pub fn line_before(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(segment::segment_path(&self.dir, self.place.segment)) {
            Ok(file) => file,
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(other) => return Err(other),
        };
        let mut window = READ_BYTES as u64;
        loop {
            let start = self.place.offset.saturating_sub(window);
            let mut bytes = vec![0; (self.place.offset - start) as usize];
            if read_whole_at(&file, &mut bytes, start)? < bytes.len() || bytes.pop() != Some(b'\n') {
                return Ok(None);
            }
            match bytes.iter().rposition(|&b| b == b'\n') {
                Some(at) => return Ok(Some(bytes.split_off(at + 1))),
                None if start == 0 => return Ok(Some(bytes)),
                None => window *= 2,
            }
        }
    }

    /// Whether its segment is one that the journal has, or has had.
    pub fn is_within(&self) -> io::Result<bool> {
        Ok(segment::list(&self.dir)?.last().is_none_or(|(newest, _)| self.place.segment <= *newest))
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Before the last `count` lines.
    pub fn before_last(dir: &Path, count: usize) -> io::Result<Self> {
        let mut cursor = Self::at_start(dir)?;
        let mut missing = count;
        for (ordinal, _) in segment::list(dir)?.iter().rev() {
            let mut probe = Self::at(dir, Place { segment: *ordinal, offset: 0 });
            let mut starts = Vec::new();
            loop {
                let before = probe.clone();
                match probe.of_segment(Portion { lines: 1, bytes: 0 }, |_| true)?.lines.pop() {
                    Some(_) => starts.push(before),
                    None => break,
                }
            }
            if starts.len() >= missing {
                return Ok(if missing == 0 { probe } else { starts.swap_remove(starts.len() - missing) });
            }
            missing -= starts.len();
            cursor = Self::at(dir, Place { segment: *ordinal, offset: 0 });
        }
        Ok(cursor)
    }

    /// The next whole line, without its line feed; none if there is none yet.
    pub fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.next_lines(Portion { lines: 1, bytes: 0 }, |_| true)?.pop())
    }

    /// The next whole lines of one segment, without their line feeds, as long as `take` says so: before the first line that it refuses
    /// the cursor stands still. Empty if there is none yet.
    pub fn next_lines(&mut self, portion: Portion, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<Vec<Vec<u8>>> {
        loop {
            // Looked for first: what is read after a successor exists is all there will ever be.
            let successor =
                segment::list(&self.dir)?.into_iter().map(|(ordinal, _)| ordinal).find(|o| *o > self.place.segment);
            let found = self.of_segment(portion, &mut take)?;
            if !found.lines.is_empty() || found.is_refused {
                return Ok(found.lines);
            }
            let Some(segment) = successor else { return Ok(Vec::new()) };
            self.place = Place { segment, offset: 0 };
        }
    }

    fn of_segment(&mut self, portion: Portion, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<Found> {
        let mut found = Found::default();
        let file = match File::open(segment::segment_path(&self.dir, self.place.segment)) {
            Ok(file) => file,
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(other) => return Err(other),
        };
        let mut window = READ_BYTES.min(portion.bytes + 4096);
        loop {
            let mut bytes = vec![0; window];
            let read = read_whole_at(&file, &mut bytes, self.place.offset)?;
            // Zeros are not written yet.
            let written = bytes[..read].iter().position(|&b| b == 0).unwrap_or(read);
            let mut taken = 0;
            for line in bytes[..written].split_inclusive(|&b| b == b'\n') {
                let Some(line) = line.strip_suffix(b"\n") else { break };
                let is_too_much = !found.lines.is_empty() && taken + line.len() > portion.bytes;
                if found.lines.len() == portion.lines || is_too_much {
                    return Ok(found);
                }
                if !take(line) {
                    found.is_refused = true;
                    return Ok(found);
                }
                taken += line.len() + 1;
                self.place.offset += line.len() as u64 + 1;
                found.lines.push(line.to_vec());
            }
            if !found.lines.is_empty() || written < window {
                return Ok(found);
            }
            // A line that is longer than the window.
            window *= 2;
        }
    }
}

#[derive(Default)]
struct Found {
    lines: Vec<Vec<u8>>,
    /// Whether the next line was refused.
    is_refused: bool,
}

fn read_whole_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], offset + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn lines(cursor: &mut Cursor, portion: Portion) -> Vec<String> {
        let found = cursor.next_lines(portion, |line| line != b"stop").expect("readable");
        found.into_iter().map(|line| String::from_utf8(line).expect("text")).collect()
    }

    #[test]
    fn portions_end_at_their_bounds_at_the_end_of_a_segment_and_before_what_is_refused() {
        let dir = folder();
        let long = "x".repeat(200_000);
        std::fs::write(segment::segment_path(dir.path(), 1), format!("a\nbb\n{long}\nccc\n")).expect("a segment");
        std::fs::write(segment::segment_path(dir.path(), 3), "d\nstop\ne\n\0\0\0").expect("a segment");
        let mut cursor = Cursor::at_start(dir.path()).expect("a journal");
        let portion = Portion { lines: 10, bytes: 5 };
        assert_eq!(lines(&mut cursor, portion), ["a", "bb"]);
        assert_eq!(lines(&mut cursor, portion), [&*long]);
        assert_eq!(lines(&mut cursor, portion), ["ccc"]);
        assert_eq!(lines(&mut cursor, portion), ["d"]);
        assert!(lines(&mut cursor, portion).is_empty());
        assert_eq!(cursor.place(), Place { segment: 3, offset: 2 });
        assert_eq!(cursor.line_before().expect("readable").as_deref(), Some(&b"d"[..]));
        let at = |segment, offset| Cursor::at(dir.path(), Place { segment, offset });
        assert_eq!(at(1, 200_006).line_before().expect("readable").map(|line| line.len()), Some(200_000));
        assert_eq!(at(1, 2).line_before().expect("readable").as_deref(), Some(&b"a"[..]));
        for nowhere in [at(1, 0), at(1, 1), at(1, 1 << 30), at(2, 5)] {
            assert_eq!(nowhere.line_before().expect("readable"), None);
        }
        assert!(at(3, 0).is_within().expect("readable") && !at(4, 0).is_within().expect("readable"));
        assert_eq!(cursor.next_line().expect("readable").as_deref(), Some(&b"stop"[..]));
        assert_eq!(cursor.next_line().expect("readable").as_deref(), Some(&b"e"[..]));
        assert_eq!(cursor.next_line().expect("readable"), None);
    }

    #[test]
    fn half_a_line_is_none_until_it_is_whole() {
        let dir = folder();
        let path = segment::segment_path(dir.path(), 1);
        std::fs::write(&path, "a\nb").expect("a segment");
        let mut cursor = Cursor::at_start(dir.path()).expect("a journal");
        let portion = Portion { lines: 10, bytes: 100 };
        assert_eq!(lines(&mut cursor, portion), ["a"]);
        assert!(lines(&mut cursor, portion).is_empty());
        std::fs::write(&path, "a\nbc\n").expect("a segment");
        assert_eq!(lines(&mut cursor, portion), ["bc"]);
    }
}
