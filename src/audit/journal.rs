//! Where records become durable: one thread that writes and syncs for all that wait (group commit).
//!
//! While the disk is busy with one batch, the next one gathers. No record, no answer: whoever waits hears of a durable record, or
//! of [`AuditUnavailable`], at the latest at the deadline.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use origan_codec_host::crypto::{KekId, KeyRing, RandomnessUnavailable};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::chain::{ChainEnd, ChainId, Position, Receipt, body_of};
use super::reader::{Follower, SegmentScan, scan_segment};
use super::record::{Outcome, Record};
pub use super::segment::Durability;
use super::segment::{self, Segment};
use crate::clock::as_rfc3339;

/// Most records in one commit.
const BATCH_RECORDS_MAX: usize = 4_096;
/// Pause between two attempts to write again after a failure.
const RECOVERY_PAUSE: Duration = Duration::from_millis(250);

/// What operators set.
#[derive(Debug, Clone)]
pub struct JournalSettings {
    /// The folder of the segments.
    pub dir: PathBuf,
    /// When a record counts as durable.
    pub durability: Durability,
    /// How long an answer waits for its record.
    pub deadline: Duration,
    /// A segment that has grown to this ends.
    pub segment_bytes: u64,
    /// Records that may wait at once.
    pub queue: usize,
}

/// The record is not durable, or was not in time. Nothing is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit journal did not take the record")]
pub struct AuditUnavailable;

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenJournalError {
    /// The folder or a file in it.
    #[error("audit journal in {dir}: {source}")]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Two writers would tear the chain.
    #[error("another codec process writes the audit journal in {0}")]
    Locked(PathBuf),
    /// No randomness for a new chain.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
}

/// The way in, for any number of tasks.
#[derive(Debug)]
pub struct Journal {
    queue: mpsc::Sender<Message>,
    deadline: Duration,
    committed: watch::Receiver<Position>,
    gauges: Arc<Gauges>,
    chain: ChainId,
    writer: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
    /// Keeps other processes from writing here; the kernel takes it back however this one ends.
    _lock: fs::File,
}

/// What `/status` and `/metrics` show of it.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Commits so far.
    pub commits: AtomicU64,
    /// Records made durable.
    pub records: AtomicU64,
    /// Time spent in write and sync.
    pub commit_time_us: AtomicU64,
    /// Batches that could not be made durable.
    pub failures: AtomicU64,
    /// Whether it is refusing now.
    pub is_failing: AtomicBool,
    /// Ordinal of the active segment.
    pub segment: AtomicU64,
}

/// A record that is begun. Dropped before it is [committed](Pending::commit), it is recorded as failed, `abandoned`: a caller that
/// goes away in the middle leaves its record all the same.
#[derive(Debug)]
pub struct Pending {
    journal: Arc<Journal>,
    record: Option<Record>,
}

/// What the writer is told.
#[derive(Debug)]
enum Message {
    /// Make this durable, and say so to whoever waits.
    Record { body: Vec<u8>, answer: Option<oneshot::Sender<Result<Receipt, AuditUnavailable>>> },
    /// See whether records can be written again.
    Retry,
    /// Nothing comes after this.
    End,
}

impl Journal {
    /// Repairs the end of what is there, begins a new segment and starts the writer.
    pub fn open(settings: &JournalSettings, ring: &Arc<KeyRing>) -> Result<Arc<Self>, OpenJournalError> {
        let io = |source| OpenJournalError::Io { dir: settings.dir.clone(), source };
        ensure_dir(&settings.dir).map_err(io)?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(settings.dir.join("lock"))
            .map_err(io)?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => OpenJournalError::Locked(settings.dir.clone()),
            fs::TryLockError::Error(error) => io(error),
        })?;
        let past = Past::read(&settings.dir, ring).map_err(io)?;
        let kek_id = ring.primary_id();
        let (chain, last) = match past.continues {
            Some((chain, last)) => (chain, last),
            None => (ChainId::fresh()?, Position::START),
        };
        #[expect(clippy::expect_used, reason = "the primary is always in its ring")]
        let key = ring.journal_key(kek_id, &chain.to_string()).expect("the primary is in the ring");
        let start = SegmentStart::new(kek_id, if past.segments == 0 { "first" } else { "start" }, &past);
        let mut writer = Writer {
            settings: settings.clone(),
            kek_id,
            end: ChainEnd::new(chain, key, last),
            segment: None,
            next_ordinal: past.next_ordinal,
            buffer: Vec::new(),
            failed_at: None,
            gauges: Arc::default(),
        };
        writer.begin_segment(&start).map_err(io)?;
        let gauges = writer.gauges.clone();
        let (queue, waiting) = mpsc::channel(settings.queue);
        let (tell, committed) = watch::channel(writer.end.last());
        let thread =
            std::thread::Builder::new().name("journal".into()).spawn(move || writer.run(waiting, &tell)).map_err(io)?;
        info!(chain = %chain, seq = last.seq, dir = %settings.dir.display(), "audit journal open");
        let writer = std::sync::Mutex::new(Some(thread));
        Ok(Arc::new(Self { queue, deadline: settings.deadline, committed, gauges, chain, writer, _lock: lock }))
    }

    /// Begins a record.
    pub fn begin(self: &Arc<Self>, record: Record) -> Pending {
        Pending { journal: self.clone(), record: Some(record) }
    }

    /// Makes `record` durable, or says in time that it is not.
    pub async fn append(&self, record: &Record) -> Result<Receipt, AuditUnavailable> {
        let (answer, receipt) = oneshot::channel();
        let message = Message::Record { body: body_of(record), answer: Some(answer) };
        self.queue.try_send(message).map_err(|_| AuditUnavailable)?;
        match tokio::time::timeout(self.deadline, receipt).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(AuditUnavailable),
        }
    }

    /// While the journal is failing: looks whether it can be written again, without waiting for somebody's record.
    pub fn retry_if_failing(&self) {
        if self.gauges.is_failing.load(Ordering::Relaxed) {
            // A full queue holds records, which are attempts too.
            let _ = self.queue.try_send(Message::Retry);
        }
    }

    /// The last durable record, as it moves on: what sinks follow.
    pub fn committed(&self) -> watch::Receiver<Position> {
        self.committed.clone()
    }

    /// The chain that grows.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// Its figures.
    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// Waits until all that was appended is written, and the segment is cut to its length. What comes later is refused.
    pub async fn close(&self) {
        let writer = self.writer.lock().ok().and_then(|mut slot| slot.take());
        let Some(writer) = writer else { return };
        // The queue ends only with the writer, so this fails only if that is gone already.
        let _ = self.queue.send(Message::End).await;
        if !matches!(tokio::task::spawn_blocking(|| writer.join()).await, Ok(Ok(()))) {
            error!("the audit journal's thread panicked");
        }
    }
}

impl Pending {
    /// The record so far, to be added to.
    pub fn record(&mut self) -> &mut Record {
        #[expect(clippy::expect_used, reason = "only `commit` takes it, and it consumes self")]
        self.record.as_mut().expect("there until committed")
    }

    /// Leaves no record: for what is only worth one when it is refused.
    pub fn forget(mut self) {
        self.record = None;
    }

    /// Ends the record and waits until it is durable.
    pub async fn commit(mut self, outcome: Outcome, reason: Option<&'static str>) -> Result<Receipt, AuditUnavailable> {
        let mut record = self.record.take().ok_or(AuditUnavailable)?;
        record.end(outcome, reason);
        self.journal.append(&record).await
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            let message = Message::Record { body: body_of(&record), answer: None };
            if self.journal.queue.try_send(message).is_err() {
                warn!("an abandoned operation could not be recorded: the journal's queue is full or closed");
            }
        }
    }
}

/// What an earlier process left.
struct Past {
    segments: usize,
    next_ordinal: u64,
    /// Where the chain goes on; none if it cannot, and a new one begins.
    continues: Option<(ChainId, Position)>,
    /// The last record as far as it can be told, where a new chain begins.
    follows: Option<Receipt>,
    repaired: Option<Repaired>,
}

/// What was taken off a segment's end.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Repaired {
    segment: String,
    torn_bytes: u64,
    kept_as: String,
}

/// The first record of every segment.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SegmentStart {
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
    fn new(kek_id: KekId, because: &'static str, past: &Past) -> Self {
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

impl Past {
    fn read(dir: &Path, ring: &KeyRing) -> io::Result<Self> {
        let segments = segment::list(dir)?;
        let next_ordinal = segments.last().map_or(1, |(ordinal, _)| ordinal + 1);
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
                past.repaired = Some(keep_torn_end(path, &scan)?);
            }
            // The torn line, or the zeros ahead of the records.
            let file = fs::OpenOptions::new().write(true).open(path)?;
            file.set_len(scan.good_len)?;
            file.sync_all()?;
            if follower.last.is_some() {
                past.continues = follower.last;
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
    fs::write(&kept, torn)?;
    fs::File::open(&kept)?.sync_all()?;
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    warn!(segment = %path.display(), torn_bytes = scan.torn_len, kept_as = %kept.display(),
          "the audit journal's end was torn by a crash; nothing was ever answered for it");
    Ok(Repaired { segment: name(path), torn_bytes: scan.torn_len, kept_as: name(&kept) })
}

fn ensure_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The thread that writes.
struct Writer {
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
    fn run(mut self, mut waiting: mpsc::Receiver<Message>, committed: &watch::Sender<Position>) {
        let mut batch = Vec::with_capacity(BATCH_RECORDS_MAX);
        let mut receipts = Vec::with_capacity(BATCH_RECORDS_MAX);
        let mut goes_on = true;
        while goes_on && waiting.blocking_recv_many(&mut batch, BATCH_RECORDS_MAX) > 0 {
            if let Some(end) = batch.iter().position(|message| matches!(message, Message::End)) {
                batch.truncate(end);
                goes_on = false;
            }
            let outcome = self.commit(&batch, &mut receipts);
            if outcome.is_ok() {
                committed.send_replace(self.end.last());
            }
            let mut receipts = receipts.drain(..);
            for message in batch.drain(..) {
                let Message::Record { answer, .. } = message else { continue };
                let receipt = receipts.next().filter(|_| outcome.is_ok());
                if let Some(answer) = answer {
                    // Whoever no longer waits has been told 503, or is gone: the record stands either way.
                    let _ = answer.send(receipt.ok_or(AuditUnavailable));
                }
            }
        }
        if let Some(segment) = &mut self.segment
            && let Err(cause) = segment.cut()
        {
            warn!(error = %cause, "the audit journal's last segment keeps its preallocated zeros");
        }
    }

    /// One write and one sync for the whole batch.
    fn commit(&mut self, batch: &[Message], receipts: &mut Vec<Receipt>) -> Result<(), AuditUnavailable> {
        self.ensure_writable()?;
        let before = self.end.last();
        self.buffer.clear();
        for message in batch {
            if let Message::Record { body, .. } = message {
                receipts.push(self.end.append(body, &mut self.buffer));
            }
        }
        if receipts.is_empty() {
            return Ok(());
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
        self.rotate_if_full();
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        match &mut self.segment {
            Some(segment) => segment.append(&self.buffer),
            None => Err(io::Error::other("no segment is open")),
        }
    }

    fn rotate_if_full(&mut self) {
        let is_full = self.segment.as_ref().is_some_and(|s| s.durable_len() >= self.settings.segment_bytes);
        if !is_full {
            return;
        }
        let start = SegmentStart::next(self.kek_id, "full");
        let ended = self.segment.as_mut().map_or(Ok(()), Segment::cut);
        if let Err(cause) = ended.and_then(|()| self.begin_segment(&start)) {
            self.fail(&cause);
        }
    }

    /// A new segment with its first record.
    fn begin_segment(&mut self, start: &SegmentStart) -> io::Result<()> {
        let mut segment = Segment::create(&self.settings.dir, self.next_ordinal, self.settings.durability)?;
        self.next_ordinal += 1;
        let before = self.end.last();
        self.buffer.clear();
        self.end.append(&body_of(start), &mut self.buffer);
        if let Err(cause) = segment.append(&self.buffer) {
            self.end.rewind(before);
            // What it holds is not of the chain.
            let _ = segment.cut();
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
