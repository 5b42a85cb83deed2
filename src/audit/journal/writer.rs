//! The thread that writes: one write and one sync for all that wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use origan_codec_host::crypto::{KekId, MacKey};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use super::past::Past;
use super::queue::Queue;
use super::{AuditUnavailable, Gauges, JournalSettings, Message, Waiter};
use crate::audit::canonical::body_of;
use crate::audit::chain::{ChainEnd, Position, Receipt};
use crate::audit::segment::{self, Segment};
use crate::clock::{as_rfc3339, monotonic_ms};

/// Of the buffer that a commit is written from, kept for the next.
const BUFFER_BYTES_KEPT: usize = 1 << 20;
/// Of the places for messages, likewise.
const MESSAGES_KEPT: usize = 1_024;
/// Pause between two attempts to write again after a failure.
const RECOVERY_PAUSE: Duration = Duration::from_millis(250);

/// The thread that writes.
pub(super) struct Writer {
    settings: JournalSettings,
    kek_id: KekId,
    end: ChainEnd,
    segment: Option<Segment>,
    next_ordinal: u64,
    buffer: Vec<u8>,
    failed_at: Option<Instant>,
    gauges: Arc<Gauges>,
}

impl Writer {
    /// At the end of a chain, before its first segment.
    pub(super) fn new(settings: JournalSettings, kek_id: KekId, end: ChainEnd, next_ordinal: u64) -> Self {
        Self {
            settings,
            kek_id,
            end,
            segment: None,
            next_ordinal,
            buffer: Vec::new(),
            failed_at: None,
            gauges: Arc::default(),
        }
    }

    pub(super) fn gauges(&self) -> &Arc<Gauges> {
        &self.gauges
    }

    /// The last durable record.
    pub(super) fn last(&self) -> Position {
        self.end.last()
    }

    /// Until the end of the queue.
    pub(super) fn run(mut self, waiting: &Queue, committed: &watch::Sender<Position>) {
        // However this thread ends, nobody waits for it.
        let _end = EndsWhenDropped(waiting);
        let mut batch = Vec::new();
        while waiting.take(&mut batch) {
            self.gauges.commit_since_ms.store(monotonic_ms(), Ordering::Relaxed);
            let outcome = self.commit(&batch);
            self.tell(committed);
            let next_key = take_key(&mut batch);
            answer(batch.drain(..), outcome);
            // After the answers: they do not wait for a new file.
            if let Some((kek_id, key)) = next_key.filter(|(kek_id, _)| *kek_id != self.kek_id) {
                self.rekey(kek_id, *key);
            }
            self.rotate_if_full();
            self.tell(committed);
            self.gauges.commit_since_ms.store(0, Ordering::Relaxed);
            self.buffer.shrink_to(BUFFER_BYTES_KEPT);
            batch.shrink_to(MESSAGES_KEPT);
        }
        if let Some(segment) = &mut self.segment
            && let Err(cause) = segment.cut()
        {
            warn!(error = %cause, "the audit journal's last segment keeps its preallocated zeros");
        }
    }

    /// Tells how far the chain is durable, if it is further than before.
    fn tell(&self, committed: &watch::Sender<Position>) {
        let last = self.end.last();
        committed.send_if_modified(|told| std::mem::replace(told, last) != last);
    }

    /// One write and one sync for the whole batch; a receipt for each record of it.
    fn commit(&mut self, batch: &[Message]) -> Result<Vec<Receipt>, AuditUnavailable> {
        self.ensure_writable()?;
        let before = self.end.last();
        self.buffer.clear();
        let mut receipts = Vec::with_capacity(batch.len());
        for message in batch {
            if let Message::Record { body, .. } = message {
                receipts.push(self.end.append(body, &mut self.buffer));
            }
        }
        if receipts.is_empty() {
            return Ok(receipts);
        }
        let started = Instant::now();
        if let Err(cause) = self.write() {
            self.end.rewind(before);
            self.fail(&cause);
            return Err(AuditUnavailable);
        }
        self.gauges.commits.fetch_add(1, Ordering::Relaxed);
        self.gauges.records.fetch_add(receipts.len() as u64, Ordering::Relaxed);
        self.gauges.commit_time_us.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        Ok(receipts)
    }

    fn write(&mut self) -> io::Result<()> {
        match &mut self.segment {
            Some(segment) => segment.append(&self.buffer),
            None => Err(io::Error::other("no segment is open")),
        }
    }

    fn rotate_if_full(&mut self) {
        // What failed is begun anew when it is tried again.
        let is_full = self.failed_at.is_none()
            && self.segment.as_ref().is_some_and(|s| s.durable_len() >= self.settings.segment_bytes);
        if !is_full {
            return;
        }
        self.next_segment("full");
    }

    /// A segment is of one key. While nothing can be written, the segment that is begun then is the first.
    fn rekey(&mut self, kek_id: KekId, key: MacKey) {
        self.kek_id = kek_id;
        self.end.rekey(key);
        if self.failed_at.is_none() {
            self.next_segment("rekeyed");
        }
    }

    fn next_segment(&mut self, because: &'static str) {
        let start = SegmentStart::next(self.kek_id, because);
        let ended = self.segment.as_mut().map_or(Ok(()), Segment::cut);
        if let Err(cause) = ended.and_then(|()| self.begin_segment(&start)) {
            self.fail(&cause);
        }
    }

    /// A new segment with its first record.
    pub(super) fn begin_segment(&mut self, start: &SegmentStart) -> io::Result<()> {
        let ordinal = self.next_ordinal;
        let begun = self.try_begin_segment(ordinal, start);
        // A file that could not be taken away again keeps its number; a number without a file would be missed.
        if begun.is_ok() || segment::segment_path(&self.settings.dir, ordinal).exists() {
            self.next_ordinal += 1;
        }
        begun
    }

    fn try_begin_segment(&mut self, ordinal: u64, start: &SegmentStart) -> io::Result<()> {
        let mut segment = Segment::create(&self.settings.dir, ordinal, self.settings.durability)?;
        let before = self.end.last();
        self.buffer.clear();
        self.end.append(&body_of(start), &mut self.buffer);
        if let Err(cause) = segment.append(&self.buffer) {
            self.end.rewind(before);
            // What it holds is not of the chain. Where it cannot be taken away, verification shows it.
            if let Err(stays) = segment.remove() {
                warn!(error = %stays, "a segment that could not be begun stays in the audit journal");
            }
            return Err(cause);
        }
        self.gauges.segment.store(segment.ordinal(), Ordering::Relaxed);
        self.segment = Some(segment);
        Ok(())
    }

    /// After a failure: takes the tear off and goes on in a new segment, that says so. Until that works, everything is refused.
    fn ensure_writable(&mut self) -> Result<(), AuditUnavailable> {
        let Some(failed_at) = self.failed_at else { return Ok(()) };
        if failed_at.elapsed() < RECOVERY_PAUSE {
            return Err(AuditUnavailable);
        }
        let torn = self.segment.as_mut().map_or(Ok(()), Segment::cut);
        let start = SegmentStart::next(self.kek_id, "recovered");
        match torn.and_then(|()| self.begin_segment(&start)) {
            Ok(()) => {
                self.failed_at = None;
                self.gauges.is_failing.store(false, Ordering::Relaxed);
                info!(seq = self.end.last().seq, "the audit journal takes records again, in a new segment");
                Ok(())
            }
            Err(cause) => {
                self.fail(&cause);
                Err(AuditUnavailable)
            }
        }
    }

    fn fail(&mut self, cause: &io::Error) {
        self.failed_at = Some(Instant::now());
        self.gauges.is_failing.store(true, Ordering::Relaxed);
        self.gauges.failures.fetch_add(1, Ordering::Relaxed);
        error!(error = %cause, dir = %self.settings.dir.display(), "the audit journal cannot be written: everything audited is refused");
    }
}

/// Tells all of a batch what became of it.
///
/// Those that wait on one thread by one task there: it is woken once for all of them, and from there they are woken without a lock or a
/// call of the system for each. The next commit begins meanwhile.
fn answer(batch: impl Iterator<Item = Message>, outcome: Result<Vec<Receipt>, AuditUnavailable>) {
    let mut receipts = outcome.unwrap_or_default().into_iter();
    let mut groups: Vec<(Handle, Vec<Told>)> = Vec::new();
    for message in batch {
        let Message::Record { body, waiter } = message else { continue };
        let outcome = receipts.next().ok_or(AuditUnavailable);
        let Some(Waiter { tell, runtime }) = waiter else { continue };
        let told = Told { tell, outcome, _body: body };
        match groups.iter_mut().find(|(handle, _)| handle.id() == runtime.id()) {
            Some((_, group)) => group.push(told),
            None => groups.push((runtime, vec![told])),
        }
    }
    for (runtime, group) in groups {
        if group.len() > 1 {
            runtime.spawn(async { group.into_iter().for_each(Told::tell) });
        } else {
            group.into_iter().for_each(Told::tell);
        }
    }
}

/// Whom to tell what.
struct Told {
    tell: oneshot::Sender<Result<Receipt, AuditUnavailable>>,
    outcome: Result<Receipt, AuditUnavailable>,
    /// Wiped and let go where it was made, as a rule.
    _body: Vec<u8>,
}

impl Told {
    fn tell(self) {
        // Whoever no longer waits has been told 503, or is gone: the record stands either way.
        let _ = self.tell.send(self.outcome);
    }
}

/// The last key that `batch` brings.
fn take_key(batch: &mut [Message]) -> Option<(KekId, Box<MacKey>)> {
    let message = batch.iter_mut().rfind(|message| matches!(message, Message::Rekey(..)))?;
    match std::mem::replace(message, Message::Retry) {
        Message::Rekey(kek_id, key) => Some((kek_id, key)),
        Message::Record { .. } | Message::Retry => None,
    }
}

/// A queue that nobody drains any more once this is dropped.
struct EndsWhenDropped<'q>(&'q Queue);

impl Drop for EndsWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The first record of every segment.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SegmentStart {
    #[serde(serialize_with = "as_rfc3339")]
    time: SystemTime,
    action: &'static str,
    kek_id: String,
    because: &'static str,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    follows: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<serde_json::Value>,
}

impl SegmentStart {
    pub(super) fn new(kek_id: KekId, because: &'static str, past: &Past) -> Self {
        Self {
            follows: past.follows.map(|receipt| receipt.to_string()),
            repaired: past.repaired.as_ref().and_then(|repaired| serde_json::to_value(repaired).ok()),
            ..Self::next(kek_id, because)
        }
    }

    fn next(kek_id: KekId, because: &'static str) -> Self {
        Self {
            time: SystemTime::now(),
            action: "SEGMENT_START",
            kek_id: kek_id.to_string(),
            because,
            version: env!("CARGO_PKG_VERSION"),
            follows: None,
            repaired: None,
        }
    }
}
