//! Reading a journal back, all of it, to verify the chain.
//!
//! Nothing here writes, so it runs beside a serving process.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use origan_codec_host::crypto::{KekId, KeyRing, MacKey};
use serde::Deserialize;

use super::chain::{ChainId, Line, NotALine, Position, Receipt};
use super::segment;

/// Least that a disk writes or does not write.
const SECTOR_BYTES: u64 = 512;
/// How often the end of a growing journal is read again before it is called broken.
const RESCANS: usize = 5;
/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;

/// What the first record of a segment says of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SegmentStart {
    action: String,
    kek_id: String,
    /// Where a new chain begins: the last good record of the one before.
    follows: Option<String>,
    /// What the start took off the end of an earlier segment.
    repaired: Option<SetAside>,
}

/// Bytes that a start took off a segment, and kept beside it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetAside {
    /// Of which segment.
    pub segment: String,
    /// How many.
    pub torn_bytes: u64,
    /// As which file.
    pub kept_as: String,
}

/// Why a line does not continue the chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// Not a line at all.
    #[error(transparent)]
    NotALine(#[from] NotALine),
    /// The line was changed, or written without the key.
    #[error("record {0} does not verify: it was changed, or written without the key")]
    WrongHash(u64),
    /// Records are missing, doubled or in another order.
    #[error("record {found} stands where record {expected} belongs")]
    OutOfOrder {
        /// The number that should come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// Another chain begins in the middle of a segment, without its first record, or after another record than it says.
    #[error("chain {0} begins where it cannot: records before it are missing, or it is another journal's")]
    StrangeChain(ChainId),
    /// The segment does not begin with `SEGMENT_START`.
    #[error("the segment does not begin with SEGMENT_START")]
    NoSegmentStart,
    /// Bytes are missing in a segment that has a successor: a crash tears only the last one, and the next start mends that.
    #[error("{0} bytes that are not whole records, and records after them: some are missing")]
    Torn(u64),
    /// The ring lacks the KEK under which the segment was written.
    #[error("the segment was written under KEK {0}, which is not in the ring")]
    UnknownKek(String),
}

/// Follows chains through segments, one line after the other.
pub(super) struct Follower<'r> {
    ring: &'r KeyRing,
    /// Key of the segment at hand.
    key: Option<MacKey>,
    /// The chain and the last record that verified. None: believe the first line's place.
    pub(super) last: Option<(ChainId, Position)>,
    /// What the segments' first records say was set aside.
    set_aside: Vec<SetAside>,
}

impl<'r> Follower<'r> {
    pub(super) fn new(ring: &'r KeyRing) -> Self {
        Self { ring, key: None, last: None, set_aside: Vec::new() }
    }

    /// Before the first line of each segment.
    pub(super) fn begin_segment(&mut self) {
        self.key = None;
    }

    /// Takes the next line, without its line feed.
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<Line<'a>, ChainFault> {
        let line = Line::parse(bytes)?;
        let (key, follows) = match self.key.take() {
            Some(key) => (key, None),
            None => self.begin_with(bytes, line.chain)?,
        };
        let verifies = line.verifies(&key);
        self.key = Some(key);
        if !verifies {
            return Err(ChainFault::WrongHash(line.at.seq));
        }
        match self.last {
            None => {}
            Some((chain, last)) if chain == line.chain && line.follows(&last) => {}
            Some((chain, last)) if chain == line.chain => {
                return Err(ChainFault::OutOfOrder { expected: last.seq + 1, found: line.at.seq });
            }
            Some((chain, at)) => {
                let follows = follows.and_then(|text| text.parse().ok());
                if !line.follows(&Position::START) || follows != Some(Receipt { chain, at }) {
                    return Err(ChainFault::StrangeChain(line.chain));
                }
            }
        }
        self.last = Some((line.chain, line.at));
        Ok(line)
    }

    /// The key of the segment that `bytes` begins, and what it says it follows.
    fn begin_with(&mut self, bytes: &[u8], chain: ChainId) -> Result<(MacKey, Option<String>), ChainFault> {
        let start: SegmentStart = serde_json::from_slice(bytes).map_err(|_| ChainFault::NoSegmentStart)?;
        if start.action != "SEGMENT_START" {
            return Err(ChainFault::NoSegmentStart);
        }
        let kek_id: Result<KekId, _> = start.kek_id.parse();
        let key = kek_id.ok().and_then(|id| self.ring.journal_key(id, &chain.to_string()));
        let key = key.ok_or(ChainFault::UnknownKek(start.kek_id))?;
        self.set_aside.extend(start.repaired);
        Ok((key, start.follows))
    }
}

/// How a segment's lines end.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct SegmentScan {
    /// Bytes up to and with the last good line.
    pub(super) good_len: u64,
    /// Good lines.
    pub(super) lines: u64,
    /// What stands behind them, zeros taken off: torn, or changed.
    pub(super) torn_len: u64,
    /// Whether there is a whole line in it that was changed or moved.
    pub(super) torn_has_lines: bool,
    /// Whether it is a crash's hole, with whole lines behind: pages of one write can reach the disk in any order.
    pub(super) torn_has_hole: bool,
    /// What was wrong with the first line that was not good, if it was whole.
    pub(super) fault: Option<ChainFault>,
}

/// Reads one segment through `follower`, telling `seen` of every good line, up to the first that is not.
pub(super) fn scan_segment(
    path: &Path,
    follower: &mut Follower<'_>,
    mut seen: impl FnMut(&Line<'_>),
) -> io::Result<SegmentScan> {
    let mut reader = BufReader::with_capacity(READ_BYTES, File::open(path)?);
    let mut scan = SegmentScan::default();
    let mut buffer = Vec::new();
    follower.begin_segment();
    loop {
        buffer.clear();
        if reader.read_until(b'\n', &mut buffer)? == 0 {
            return Ok(scan);
        }
        let whole = buffer.last() == Some(&b'\n');
        let fault = match whole.then(|| follower.take(&buffer[..buffer.len() - 1])) {
            Some(Ok(line)) => {
                seen(&line);
                scan.good_len += buffer.len() as u64;
                scan.lines += 1;
                continue;
            }
            Some(Err(fault)) => Some(fault),
            None => None,
        };
        let is_hole = is_hole(&buffer, scan.good_len);
        scan.fault = fault.filter(|_| !is_hole);
        scan.torn_has_lines = whole;
        let mut torn = buffer.len() - buffer.iter().rev().take_while(|&&b| b == 0).count();
        let mut before = buffer.len();
        loop {
            buffer.clear();
            let read = reader.read_until(b'\n', &mut buffer)?;
            if read == 0 {
                break;
            }
            scan.torn_has_lines |= buffer.last() == Some(&b'\n');
            let kept = read - buffer.iter().rev().take_while(|&&b| b == 0).count();
            if kept > 0 {
                torn = before + kept;
            }
            before += read;
        }
        scan.torn_len = torn as u64;
        (scan.torn_has_lines, scan.torn_has_hole) = (scan.torn_has_lines && !is_hole, scan.torn_has_lines && is_hole);
        return Ok(scan);
    }
}

/// Whether a bad line at `offset` looks like what a power loss leaves: no record holds a zero byte, and what has not reached the disk
/// is missing in whole sectors. Anything else was done to it.
fn is_hole(line: &[u8], offset: u64) -> bool {
    let Some(start) = line.iter().position(|&b| b == 0) else { return false };
    let end = start + line[start..].iter().take_while(|&&b| b == 0).count();
    [start, end].iter().all(|at| (offset + *at as u64).is_multiple_of(SECTOR_BYTES))
}

/// What [`verify`] found.
#[derive(Debug, Default)]
pub struct Verification {
    /// Segments read.
    pub segments: usize,
    /// Records that verified.
    pub records: u64,
    /// The chains, each with the number of its first record here and its last record that verified.
    pub chains: Vec<(ChainId, u64, Position)>,
    /// What is wrong, segment by segment.
    pub faults: Vec<(PathBuf, ChainFault)>,
    /// Ordinals that are missing between two segments: the first and the last of each gap.
    pub missing_segments: Vec<(u64, u64)>,
    /// Bytes of an unfinished line at the very end: a crash, before anything was answered for it.
    pub torn_bytes: u64,
    /// What starts took off the ends of segments: torn by a crash, or by somebody.
    pub set_aside: Vec<SetAside>,
    /// Receipts that no record matches.
    pub unmatched: Vec<Receipt>,
}

impl Verification {
    /// Whether all of it hangs together.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.missing_segments.is_empty() && self.unmatched.is_empty()
    }
}

/// Reads the whole journal in `dir`, checks every hash and every link, and looks for `receipts`. `progress` hears of bytes read.
pub fn verify(
    dir: &Path,
    ring: &KeyRing,
    receipts: &[Receipt],
    mut progress: impl FnMut(u64),
) -> io::Result<Verification> {
    let mut report = Verification::default();
    let mut wanted: HashSet<Receipt> = receipts.iter().copied().collect();
    let segments = segment::list(dir)?;
    let mut follower = Follower::new(ring);
    for (index, (ordinal, path)) in segments.iter().enumerate() {
        if let Some((before, _)) = index.checked_sub(1).map(|i| &segments[i])
            && before + 1 < *ordinal
        {
            report.missing_segments.push((before + 1, ordinal - 1));
        }
        let is_last = index + 1 == segments.len();
        let before = follower.last;
        let mut seen = Vec::new();
        let mut scan = scan_segment(path, &mut follower, |line| seen.push(Receipt { chain: line.chain, at: line.at }))?;
        for _ in 0..RESCANS {
            if !is_last || (scan.fault.is_none() && scan.torn_len == 0) {
                break;
            }
            // It may have been written to while it was read: what is wrong stays where it is, what is being written does not.
            let first = std::mem::take(&mut scan);
            (follower.last, seen) = (before, Vec::new());
            scan = scan_segment(path, &mut follower, |line| seen.push(Receipt { chain: line.chain, at: line.at }))?;
            if scan.good_len == first.good_len {
                break;
            }
        }
        for receipt in seen {
            report.records += 1;
            match report.chains.last_mut() {
                Some((chain, _, last)) if *chain == receipt.chain => *last = receipt.at,
                _ => report.chains.push((receipt.chain, receipt.at.seq, receipt.at)),
            }
            wanted.remove(&receipt);
        }
        report.segments += 1;
        progress(scan.good_len + scan.torn_len);
        let is_broken = scan.torn_has_hole || (scan.torn_len > 0 && !is_last);
        let fault = scan.fault.or_else(|| is_broken.then_some(ChainFault::Torn(scan.torn_len)));
        if let Some(fault) = fault {
            report.faults.push((path.clone(), fault));
            // The rest of the segment cannot be placed; the next one may say where it continues.
            follower.last = None;
        } else {
            report.torn_bytes += scan.torn_len;
        }
    }
    report.set_aside = follower.set_aside;
    report.unmatched = receipts.iter().filter(|receipt| wanted.contains(receipt)).copied().collect();
    Ok(report)
}

/// Bytes of all segments in `dir`.
pub fn journal_bytes(dir: &Path) -> io::Result<u64> {
    segment::list(dir)?.iter().map(|(_, path)| path.metadata().map(|found| found.len())).sum()
}
