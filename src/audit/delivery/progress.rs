//! How far a sink is, for whoever waits for it and for whoever watches.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::CarrierFigures;

/// Rejected records that are remembered, for those who wait for them.
const REJECTED_KEPT: usize = 4_096;

/// The last record that a sink has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acked {
    /// Of which chain; empty before the first.
    pub chain: String,
    /// Its number there.
    pub seq: u64,
}

/// Whether a sink is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// It answers, or has not failed often enough.
    Closed,
    /// It has failed several times in a row: what requires it is refused at once.
    Open,
}

/// How far a sink is.
#[derive(Debug)]
pub struct Progress {
    acked: watch::Sender<Acked>,
    open: AtomicBool,
    /// Time of the oldest record that it does not have, in milliseconds since 1970; 0 when it has all.
    waits_since: AtomicU64,
    last_failure: Mutex<Option<String>>,
    /// The last records that its backend will never take: who waits for one of them is not answered.
    rejected: Mutex<VecDeque<Acked>>,
    figures: SinkFigures,
}

/// Counts.
#[derive(Debug, Default)]
pub struct SinkFigures {
    /// Records that it has taken.
    pub records: AtomicU64,
    /// Batches that it has taken.
    pub batches: AtomicU64,
    /// Time that they took.
    pub batch_time_us: AtomicU64,
    /// Times that it asked for the same batch again.
    pub retries: AtomicU64,
    /// Records that its backend will never take.
    pub rejected: AtomicU64,
    /// Traps.
    pub traps: AtomicU64,
    /// Deadlines missed.
    pub timeouts: AtomicU64,
    /// Other faults.
    pub faults: AtomicU64,
    /// Bytes of memory that its instance holds.
    pub memory_bytes: AtomicU64,
    /// How often its instance had to be replaced.
    pub replaced: AtomicU64,
    /// Lines of its log that were too many.
    pub log_dropped: AtomicU64,
    /// Requests that no grant covered.
    pub requests_refused: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            acked: watch::Sender::new(Acked::default()),
            open: AtomicBool::new(false),
            waits_since: AtomicU64::new(0),
            last_failure: Mutex::default(),
            rejected: Mutex::default(),
            figures: SinkFigures::default(),
        }
    }
}

impl Progress {
    /// The last record that it has, as it moves on.
    pub fn watch(&self) -> watch::Receiver<Acked> {
        self.acked.subscribe()
    }

    /// The last record that it has.
    pub fn last(&self) -> Acked {
        self.acked.borrow().clone()
    }

    /// Whether it is waited for.
    pub fn breaker(&self) -> Breaker {
        if self.open.load(Ordering::Relaxed) { Breaker::Open } else { Breaker::Closed }
    }

    /// Since when the oldest record waits that it does not have, in milliseconds since 1970.
    pub fn waiting_since_ms(&self) -> Option<u64> {
        Some(self.waits_since.load(Ordering::Relaxed)).filter(|ms| *ms != 0)
    }

    /// What went wrong last, while it goes wrong.
    pub fn last_failure(&self) -> Option<String> {
        self.last_failure.lock().ok().and_then(|failure| failure.clone())
    }

    /// Its counts.
    pub fn figures(&self) -> &SinkFigures {
        &self.figures
    }

    /// Whether its backend has refused this record for good.
    pub fn has_rejected(&self, chain: &str, seq: u64) -> bool {
        let is_it = |record: &Acked| record.seq == seq && record.chain == chain;
        self.rejected.lock().is_ok_and(|rejected| rejected.iter().any(is_it))
    }

    pub(super) fn rejected(&self, records: impl Iterator<Item = Acked>) {
        let Ok(mut rejected) = self.rejected.lock() else { return };
        for record in records {
            self.figures.rejected.fetch_add(1, Ordering::Relaxed);
            if rejected.len() == REJECTED_KEPT {
                rejected.pop_front();
            }
            rejected.push_back(record);
        }
    }

    pub(super) fn acked(&self, acked: Acked) {
        self.acked.send_replace(acked);
    }

    pub(super) fn delivered(&self, acked: Acked) {
        self.open.store(false, Ordering::Relaxed);
        if let Ok(mut failure) = self.last_failure.lock() {
            *failure = None;
        }
        self.acked(acked);
    }

    pub(super) fn waits_since(&self, time_ms: Option<u64>) {
        self.waits_since.store(time_ms.unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn failed(&self, why: String) {
        if let Ok(mut failure) = self.last_failure.lock() {
            *failure = Some(why);
        }
    }

    pub(super) fn open_breaker(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    /// Another one carries on: it gets its chance.
    pub(super) fn replaced(&self) {
        self.open.store(false, Ordering::Relaxed);
    }
}

impl SinkFigures {
    pub(super) fn delivered(&self, records: u64, took: Duration) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.batch_time_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn faulted(&self, code: &str) {
        let count = match code {
            "trap" => &self.traps,
            "timeout" => &self.timeouts,
            _ => &self.faults,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn instance(&self, figures: &CarrierFigures) {
        self.memory_bytes.store(figures.memory_bytes as u64, Ordering::Relaxed);
        self.replaced.store(figures.replaced, Ordering::Relaxed);
        self.log_dropped.store(figures.log_dropped, Ordering::Relaxed);
        self.requests_refused.store(figures.requests_refused, Ordering::Relaxed);
    }
}
