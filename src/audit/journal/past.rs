//! What an earlier process left: where its chain goes on, and what a crash tore.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use origan_codec_host::crypto::KeyRing;
use serde::Serialize;
use tracing::{error, warn};

use crate::audit::chain::{ChainId, Position, Receipt};
use crate::audit::reader::{Follower, SegmentScan, scan_segment};
use crate::audit::segment;

/// What an earlier process left.
pub(super) struct Past {
    pub(super) segments: usize,
    pub(super) next_ordinal: u64,
    /// Where the chain goes on; none if it cannot, and a new one begins.
    pub(super) continues: Option<(ChainId, Position)>,
    /// The last record as far as it can be told, where a new chain begins.
    pub(super) follows: Option<Receipt>,
    pub(super) repaired: Option<Repaired>,
}

/// What was taken off a segment's end.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Repaired {
    segment: String,
    torn_bytes: u64,
    kept_as: String,
}

impl Past {
    pub(super) fn read(dir: &Path, ring: &KeyRing) -> io::Result<Self> {
        let segments = segment::list(dir)?;
        let next_ordinal = segments.last().map_or(1, |(ordinal, _)| ordinal + 1);
        if next_ordinal > segment::ORDINAL_MAX {
            return Err(io::Error::other(
                "a segment has the last number there is: somebody put it there, take it away",
            ));
        }
        let mut past = Self { segments: segments.len(), next_ordinal, continues: None, follows: None, repaired: None };
        // A crash between the creation of a segment and its first record leaves one without lines: look further back.
        for (_, path) in segments.iter().rev() {
            let mut follower = Follower::new(ring);
            let scan = scan_segment(path, &mut follower, |_| {})?;
            if scan.torn_has_lines {
                // No crash leaves whole lines that do not verify in order. It stays as it is, for `codec audit verify` to show.
                error!(segment = %path.display(), fault = ?scan.fault, "the audit journal does not verify: a new chain begins");
                past.follows = follower.last.map(|(chain, at)| Receipt { chain, at });
                return Ok(past);
            }
            if scan.torn_len > 0 {
                past.repaired.get_or_insert(keep_torn_end(path, &scan)?);
            }
            // The torn line, or the zeros ahead of the records.
            let file = fs::OpenOptions::new().write(true).open(path)?;
            file.set_len(scan.good_len)?;
            file.sync_all()?;
            match follower.last {
                // Behind a hole stood whole lines, which nobody was told of; still their numbers are not given again.
                Some((chain, at)) if scan.torn_has_hole => past.follows = Some(Receipt { chain, at }),
                last => past.continues = last,
            }
            if follower.last.is_some() {
                return Ok(past);
            }
        }
        Ok(past)
    }
}

/// Copies what stands behind the good lines to a file of its own: it may be evidence.
fn keep_torn_end(path: &Path, scan: &SegmentScan) -> io::Result<Repaired> {
    let content = fs::read(path)?;
    let torn = &content[scan.good_len as usize..(scan.good_len + scan.torn_len) as usize];
    let kept = path.with_extension(format!("torn-{}", scan.good_len));
    let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&kept)?;
    file.write_all(torn)?;
    file.sync_all()?;
    // The name too, before the segment is cut.
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if scan.torn_has_hole {
        error!(segment = %path.display(), torn_bytes = scan.torn_len, kept_as = %kept.display(),
               "the audit journal has a hole with records behind it: a power loss, or somebody; a new chain begins");
    } else {
        warn!(segment = %path.display(), torn_bytes = scan.torn_len, kept_as = %kept.display(),
              "the audit journal's end was torn by a crash: an unfinished record was set aside");
    }
    Ok(Repaired { segment: name(path), torn_bytes: scan.torn_len, kept_as: name(&kept) })
}
