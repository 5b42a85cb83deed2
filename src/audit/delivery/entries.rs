//! Lines of the journal, as sinks get them.

use std::io;

use origan_codec_host::plugin::Entry;
use serde::Deserialize;
use tracing::error;

use super::Acked;
use crate::audit::chain::Line;
use crate::audit::cursor::Cursor;

/// Whether what a sink had last stands where it says: not where a journal was put in another's place, or restored.
pub(super) fn is_of_this_journal(cursor: &Cursor, acked: &Acked) -> io::Result<bool> {
    if !cursor.is_within()? {
        return Ok(false);
    }
    // At the beginning of a segment, or before the first batch, there is nothing to compare.
    if cursor.place().offset == 0 || acked.chain.is_empty() {
        return Ok(true);
    }
    let Some(line) = cursor.line_before()? else { return Ok(false) };
    Ok(Line::parse(&line).is_ok_and(|line| line.chain.to_string() == acked.chain && line.at.seq == acked.seq))
}

/// The record in a line, as a sink gets it.
pub(super) fn entry_of(sink: &str, line: Vec<u8>) -> Option<Entry> {
    #[derive(Deserialize)]
    struct Timed<'a> {
        time: &'a str,
    }
    let parsed = Line::parse(&line).ok().map(|parsed| (parsed.chain, parsed.at));
    let text = String::from_utf8(line).ok();
    let (Some((chain, at)), Some(line)) = (parsed, text) else {
        error!(sink, "what is no record stands in the journal, and is not delivered: see `codec audit verify`");
        return None;
    };
    let timed: Option<Timed<'_>> = serde_json::from_str(&line).ok();
    let time = timed.and_then(|timed| chrono::DateTime::parse_from_rfc3339(timed.time).ok());
    let time = time.map_or(0, |time| u64::try_from(time.timestamp_millis()).unwrap_or(0));
    Some(Entry { chain: chain.to_string(), seq: at.seq, time, hash: at.hash_hex(), line })
}
