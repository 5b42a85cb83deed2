//! Where records become durable: one thread that writes and syncs for all that wait (group commit).
//!
//! While the disk is busy with one batch, the next one gathers. No record, no answer: whoever waits hears of a durable record, or
//! of [`AuditUnavailable`], at the latest at the deadline.

mod past;
mod queue;
mod writer;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use origan_codec_host::crypto::{KekId, KeyRing, MacKey, RandomnessUnavailable};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use super::canonical::body_of;
use super::chain::{ChainEnd, ChainId, Position, Receipt};
use super::record::{Outcome, Record};
use super::required::RequiredSinks;
pub use super::segment::Durability;
use crate::clock::monotonic_ms;
use past::Past;
use queue::Queue;
use writer::{SegmentStart, Writer};

/// How long the end of the process waits for the disk.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

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
    queue: Arc<Queue>,
    deadline: Duration,
    committed: watch::Receiver<Position>,
    gauges: Arc<Gauges>,
    chain: ChainId,
    dir: PathBuf,
    required: RequiredSinks,
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
    /// Since when the writer is busy, in milliseconds of the monotonic clock; 0 when it waits.
    pub commit_since_ms: AtomicI64,
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
    Record { body: Vec<u8>, waiter: Option<Waiter> },
    /// See whether records can be written again.
    Retry,
    /// A new segment, signed by this key of that KEK, which is boxed: queues are used again, and would keep what was moved out of them.
    Rekey(KekId, Box<MacKey>),
}

/// Who waits for a record, and where.
#[derive(Debug)]
struct Waiter {
    tell: oneshot::Sender<Result<Receipt, AuditUnavailable>>,
    runtime: Handle,
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
        let end = ChainEnd::new(chain, key, last);
        let mut writer = Writer::new(settings.clone(), kek_id, end, past.next_ordinal);
        writer.begin_segment(&start).map_err(io)?;
        let gauges = writer.gauges().clone();
        let queue = Arc::new(Queue::new(settings.queue));
        let (tell, committed) = watch::channel(writer.last());
        let waiting = queue.clone();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(&waiting, &tell))
            .map_err(io)?;
        info!(chain = %chain, seq = last.seq, dir = %settings.dir.display(), "audit journal open");
        let writer = std::sync::Mutex::new(Some(thread));
        Ok(Arc::new(Self {
            queue,
            deadline: settings.deadline,
            committed,
            gauges,
            chain,
            dir: settings.dir.clone(),
            required: RequiredSinks::default(),
            writer,
            _lock: lock,
        }))
    }

    /// Has what comes from now on signed by the primary of `ring`, in a new segment: a KEK that is retired is needed for what is older alone.
    pub fn rekey(&self, ring: &KeyRing) {
        let kek_id = ring.primary_id();
        let Some(key) = ring.journal_key(kek_id, &self.chain.to_string()) else { return };
        // Where it has ended, nothing comes any more.
        let _ = self.queue.push_hurried(Message::Rekey(kek_id, Box::new(key)));
    }

    /// Begins a record.
    pub fn begin(self: &Arc<Self>, record: Record) -> Pending {
        Pending { journal: self.clone(), record: Some(record) }
    }

    /// Makes `record` durable here and at every sink that is required, or says in time that it is not.
    pub async fn append(&self, record: &Record) -> Result<Receipt, AuditUnavailable> {
        if self.required.is_any_down() {
            // Nobody is made to wait for a sink that does not answer; what was not answered is recorded as such.
            let mut refused = record.clone();
            refused.end(Outcome::Failed, Some("audit_unavailable"));
            self.append_unheard(&refused);
            return Err(AuditUnavailable);
        }
        let (tell, receipt) = oneshot::channel();
        let runtime = Handle::current();
        let message =
            Message::Record { body: body_of(record), waiter: Some(Waiter { tell, runtime: runtime.clone() }) };
        if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
            // Which of its threads would be ready for that, and when, nobody knows.
            self.queue.push_hurried(message).map_err(|_| AuditUnavailable)?;
        } else if self.queue.push(message, runtime.id()).map_err(|_| AuditUnavailable)? {
            let queue = self.queue.clone();
            // Whoever goes away takes nobody's hurry along: it is a task of its own.
            tokio::spawn(async move {
                // Those that are ready too join the same commit.
                tokio::task::yield_now().await;
                queue.hurry(runtime.id());
            });
        }
        let recording = async {
            let receipt = receipt.await.map_err(|_| AuditUnavailable)??;
            self.required.have(&receipt).await.map(|()| receipt)
        };
        tokio::time::timeout(self.deadline, recording).await.unwrap_or(Err(AuditUnavailable))
    }

    /// Appends `record` for nobody who waits. Whether there was room for it.
    fn append_unheard(&self, record: &Record) -> bool {
        self.queue.push_hurried(Message::Record { body: body_of(record), waiter: None }).is_ok()
    }

    /// The sinks that every answer waits for.
    pub fn required(&self) -> &RequiredSinks {
        &self.required
    }

    /// The folder of its segments.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// While the journal is failing: looks whether it can be written again, without waiting for somebody's record.
    pub fn retry_if_failing(&self) {
        if self.gauges.is_failing.load(Ordering::Relaxed) {
            // A full queue holds records, which are attempts too.
            let _ = self.queue.push_hurried(Message::Retry);
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

    /// Whether the disk makes records durable in time, as far as can be told without one.
    pub fn writes(&self) -> bool {
        let since_ms = self.gauges.commit_since_ms.load(Ordering::Relaxed);
        let hangs = since_ms != 0 && monotonic_ms().saturating_sub(since_ms) > self.deadline.as_millis() as i64;
        !hangs && !self.queue.is_closed() && !self.gauges.is_failing.load(Ordering::Relaxed)
    }

    /// Whether every sink that is required has been admitted. One whose backend is down has been: that is the same for all replicas.
    pub fn has_required_sinks(&self) -> bool {
        !self.required.is_any_missing()
    }

    /// Waits, for a while, until all that was appended is written, and the segment is cut to its length. What comes later is refused.
    pub async fn close(&self) {
        let writer = self.writer.lock().ok().and_then(|mut slot| slot.take());
        let Some(writer) = writer else { return };
        self.queue.close();
        let closing = tokio::task::spawn_blocking(|| writer.join());
        match tokio::time::timeout(CLOSE_DEADLINE, closing).await {
            Ok(Ok(Ok(()))) => {}
            Ok(_) => error!("the audit journal's thread panicked"),
            Err(_) => error!("the disk does not answer: the audit journal's last segment is left as it is"),
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
        if let Some(record) = self.record.take()
            && !self.journal.append_unheard(&record)
        {
            warn!("an abandoned operation could not be recorded: the journal's queue is full or closed");
        }
    }
}

fn ensure_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
