//! From the journal to a sink: a cursor of its own, batches, back-off, a breaker. At least once, in order.
//!
//! A sink is only given what is durable: a line that was written and not yet synced may still be taken back, and its number given to
//! another record. It may be replaced between two batches, by another version or another backend; its place stays.

mod back_off;
mod entries;
mod place;
mod progress;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use origan_codec_host::plugin::{Entry, WriteOutcome};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::chain::{Line, Position};
use super::cursor::{Cursor, Portion};
use super::journal::Journal;
use back_off::{BACK_OFF_MAX, Failures};
use entries::{entry_of, is_of_this_journal};
use place::Kept;
pub use place::{KeptPlace, PlaceError};
pub use progress::{Acked, Breaker, Progress, SinkFigures};

/// Failures in a row after which the breaker opens.
const BREAKER_FAILURES: u32 = 5;
/// A sink that asks to be left alone longer than this is asked again all the same.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Who carries records away, behind the boundary.
#[async_trait]
pub trait Carry: Send {
    /// Takes a batch. An error says what went wrong, for operators.
    async fn write(&mut self, batch: &[Entry]) -> Result<WriteOutcome, CarryError>;

    /// What it last warned of, since this was asked.
    fn complaint(&self) -> Option<String>;

    /// What its instances have used so far.
    fn figures(&self) -> CarrierFigures;
}

/// What the instances of a sink have used.
#[derive(Debug, Clone, Copy, Default)]
pub struct CarrierFigures {
    /// Bytes of memory that the one at hand holds.
    pub memory_bytes: usize,
    /// How often it had to be replaced.
    pub replaced: u64,
    /// Lines of its log that were too many.
    pub log_dropped: u64,
    /// Requests that no grant covered.
    pub requests_refused: u64,
}

/// A sink that gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the sink {text}")]
pub struct CarryError {
    /// One of the plugin's faults.
    pub code: &'static str,
    /// For operators.
    pub text: String,
}

/// What operators set of one sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverySettings {
    /// Records in a batch.
    pub portion_lines: usize,
    /// Bytes of them.
    pub portion_bytes: usize,
}

/// What a running delivery is told.
pub enum Order {
    /// Go on with this one.
    Replace(Box<dyn Carry>, DeliverySettings),
}

/// One sink's way through the journal.
pub struct Delivery {
    name: String,
    journal: Arc<Journal>,
    cursor: Cursor,
    kept: KeptPlace,
    progress: Arc<Progress>,
    orders: mpsc::Receiver<Order>,
    carrier: Option<Box<dyn Carry>>,
    settings: DeliverySettings,
    failures: Failures,
    /// What was not taken: the same comes again.
    held: Option<(Cursor, Vec<Entry>)>,
}

impl Delivery {
    /// Goes on where the sink of this name was, or begins with `begin`.
    pub fn new(
        name: &str,
        journal: Arc<Journal>,
        kept: KeptPlace,
        begin: Cursor,
        progress: Arc<Progress>,
        orders: mpsc::Receiver<Order>,
    ) -> Result<Self, PlaceError> {
        let settings = DeliverySettings { portion_lines: 1, portion_bytes: 0 };
        let known = match kept.read()? {
            Kept::At(record) => {
                let cursor = Cursor::at(journal.dir(), record.place);
                let is_ours = is_of_this_journal(&cursor, &record.acked).map_err(|error| kept.wrong(error))?;
                is_ours.then(|| {
                    progress.acked(record.acked);
                    cursor
                })
            }
            Kept::Lost => None,
            Kept::Never => {
                // Kept at once: what comes before the first batch is taken is this sink's too.
                kept.begin(begin.place())?;
                Some(begin)
            }
        };
        let cursor = match known {
            Some(cursor) => cursor,
            None => {
                error!(
                    sink = name,
                    "a sink's place is lost, or not one of this journal: it begins with the oldest record, some may come twice"
                );
                Cursor::at_start(journal.dir()).map_err(|error| kept.wrong(error))?
            }
        };
        let (name, failures) = (name.to_owned(), Failures::default());
        Ok(Self { name, journal, cursor, kept, progress, orders, carrier: None, settings, failures, held: None })
    }

    /// Until the last order can come.
    pub async fn run(mut self) {
        let mut committed = self.journal.committed();
        let mut ends = false;
        loop {
            // Taken before the file is looked at: what is read then, up to here, is durable.
            let durable = *committed.borrow_and_update();
            let next = match self.held.take() {
                Some(held) => Ok(held),
                None => self.next_batch(durable),
            };
            let (after, batch) = match next {
                Ok(next) => next,
                Err(cause) => {
                    error!(sink = self.name, error = %cause, "the journal cannot be read for a sink: trying again");
                    if self.pause(BACK_OFF_MAX).await.is_none() {
                        return;
                    }
                    continue;
                }
            };
            self.progress.waits_since(batch.first().map(|entry| entry.time));
            if batch.is_empty() && after.place() != self.cursor.place() {
                // Nothing of it was a record.
                self.cursor = after;
                continue;
            }
            if batch.is_empty() || self.carrier.is_none() {
                // Without a carrier, one record is enough to know how long the sink lags.
                let looks = self.carrier.is_some() || batch.is_empty();
                let moves = async {
                    if looks {
                        // Ends only with the journal.
                        let _ = committed.changed().await;
                    } else {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    () = moves => {}
                    order = self.orders.recv() => match order {
                        Some(order) => self.obey(order),
                        None => return,
                    },
                }
                if committed.has_changed().is_err() {
                    // The journal has ended; once more for what came last.
                    if ends {
                        return;
                    }
                    ends = true;
                }
                continue;
            }
            let pause = self.deliver(&batch, &after).await;
            if pause.is_some() {
                self.held = Some((after, batch));
            }
            // An order is obeyed between two batches.
            let obeyed = match pause {
                Some(pause) => self.pause(pause).await,
                None => self.obey_waiting(),
            };
            if obeyed.is_none() {
                return;
            }
        }
    }

    /// Hands over one batch; says how long to wait before the next attempt, if it was not taken.
    async fn deliver(&mut self, batch: &[Entry], after: &Cursor) -> Option<Duration> {
        let carrier = self.carrier.as_mut()?;
        let started = Instant::now();
        let outcome = carrier.write(batch).await;
        self.progress.figures().instance(&carrier.figures());
        let complaint = carrier.complaint();
        let (why, wanted) = match outcome {
            Ok(WriteOutcome::Written) => {
                self.advance(batch, after, started);
                return None;
            }
            Ok(WriteOutcome::Rejected(rejected)) => {
                if let Some((seq, why)) = rejected.first() {
                    let (sink, records) = (&self.name, rejected.len());
                    error!(
                        sink,
                        records,
                        seq,
                        why,
                        "a sink's backend will never take these records, of which this is the first; the journal keeps them"
                    );
                }
                self.progress.rejected(rejected.iter().filter_map(|(seq, _)| {
                    let entry = batch.iter().find(|entry| entry.seq == *seq)?;
                    Some(Acked { chain: entry.chain.clone(), seq: *seq })
                }));
                self.advance(batch, after, started);
                return None;
            }
            Ok(WriteOutcome::Retry(after_ms)) => {
                self.progress.figures().retried();
                (complaint, after_ms.map(|ms| Duration::from_millis(ms.into()).min(RETRY_AFTER_MAX)))
            }
            Err(fault) => {
                self.progress.figures().faulted(fault.code);
                (Some(fault.to_string()), None)
            }
        };
        let pause = self.failures.next(wanted);
        if self.failures.in_a_row == 1 || self.failures.in_a_row == BREAKER_FAILURES {
            let cause = why.as_deref().unwrap_or("it asks for the same batch again");
            warn!(
                sink = self.name,
                cause,
                records = batch.len(),
                pause_ms = pause.as_millis(),
                "a sink did not take its batch"
            );
        }
        if self.failures.in_a_row >= BREAKER_FAILURES {
            self.progress.open_breaker();
        }
        self.progress.failed(why.unwrap_or_else(|| "asks for the same batch again".into()));
        Some(pause)
    }

    fn advance(&mut self, batch: &[Entry], after: &Cursor, started: Instant) {
        let Some(last) = batch.last() else { return };
        let acked = Acked { chain: last.chain.clone(), seq: last.seq };
        self.cursor = after.clone();
        // Not there after a crash: the same records again, which sinks allow for.
        if let Err(error) = self.kept.write(self.cursor.place(), &acked) {
            warn!(sink = self.name, %error, "a sink's place in the journal could not be kept");
        }
        if self.failures.in_a_row >= BREAKER_FAILURES {
            info!(sink = self.name, "a sink takes records again");
        }
        self.failures = Failures::default();
        self.progress.figures().delivered(batch.len() as u64, started.elapsed());
        self.progress.delivered(acked);
    }

    fn next_batch(&self, durable: Position) -> io::Result<(Cursor, Vec<Entry>)> {
        let mut after = self.cursor.clone();
        let chain = self.journal.chain();
        let portion = Portion { lines: self.settings.portion_lines, bytes: self.settings.portion_bytes };
        let lines = after.next_lines(portion, |line| match Line::parse(line) {
            Ok(line) => line.chain != chain || line.at.seq <= durable.seq,
            // No line of a journal: `codec audit verify` shows it, and no sink can be told of it.
            Err(_) => true,
        })?;
        let entries = lines.into_iter().filter_map(|line| entry_of(&self.name, line));
        Ok((after, entries.collect()))
    }

    /// Waits, and obeys meanwhile. None: no more orders can come.
    async fn pause(&mut self, pause: Duration) -> Option<()> {
        match tokio::time::timeout(pause, self.orders.recv()).await {
            Ok(Some(order)) => self.obey(order),
            Ok(None) => return None,
            Err(_) => {}
        }
        Some(())
    }

    fn obey_waiting(&mut self) -> Option<()> {
        match self.orders.try_recv() {
            Ok(order) => self.obey(order),
            Err(mpsc::error::TryRecvError::Empty) => {}
            Err(mpsc::error::TryRecvError::Disconnected) => return None,
        }
        Some(())
    }

    fn obey(&mut self, order: Order) {
        let Order::Replace(carrier, settings) = order;
        (self.carrier, self.settings, self.failures) = (Some(carrier), settings, Failures::default());
        // The new one may want smaller portions.
        self.held = None;
        self.progress.replaced();
    }
}

/// The way in for whoever replaces a sink.
pub type Orders = mpsc::Sender<Order>;
