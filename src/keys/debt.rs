//! What operators owe: DEKs that are not by the primary KEK yet, keys that are older than they should be, KEKs that could go.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use tracing::warn;

use super::{Keys, KeysError};
use crate::audit::Record;
use crate::clock::{monotonic_ms, unix_ms};
use crate::store::Debt;

const DAY_MS: i64 = 86_400_000;
/// What is done once for all replicas, as the store knows it.
const REMINDER: &str = "reminder";

/// What is no older is as good as now.
const FRESH: Duration = Duration::from_secs(60);

/// How old keys may become before operators are reminded, in days; 0: any age.
#[derive(Debug, Clone, Copy, Default)]
pub struct MaxAges {
    /// Of a primary DEK.
    pub dek_days: u32,
    /// Of the primary KEK.
    pub kek_days: u32,
}

/// What is owed, as it was summed up last.
#[derive(Default)]
pub(super) struct Owed {
    kept: ArcSwapOption<Debt>,
    /// By the monotonic clock.
    summed_at_ms: AtomicI64,
    /// One sums up at a time.
    summing: Mutex<()>,
}

/// How many rows are under each KEK.
pub type RowsByKek = Vec<(String, u64)>;

/// How many rows are under each KEK, for all who ask at once: every row is read for it.
#[derive(Default)]
pub(super) struct Counted(Mutex<Option<(Instant, Option<Arc<RowsByKek>>)>>);

impl Keys {
    /// How many rows are under each KEK, as it is after this was asked; none if the store does not answer. Counted once at a time: whoever waits for
    /// that meanwhile shares the next one.
    pub async fn rows_by_kek(&self) -> Option<Arc<RowsByKek>> {
        let asked = Instant::now();
        let mut latest = self.counted.0.lock().await;
        if let Some((begun, rows)) = &*latest
            && *begun >= asked
        {
            return rows.clone();
        }
        let begun = Instant::now();
        let rows = self.store.rows_by_kek().await.ok().map(Arc::new);
        *latest = Some((begun, rows.clone()));
        rows
    }

    /// What is owed, not older than `max_age`: every row is read for it. Where the store does not answer, as it was before.
    pub async fn debt(&self, max_age: Duration) -> Option<Arc<Debt>> {
        if let Some(kept) = self.kept_debt(max_age) {
            return Some(kept);
        }
        let _summing = self.owed.summing.lock().await;
        if let Some(kept) = self.kept_debt(max_age) {
            return Some(kept);
        }
        let overdue_before_ms = match self.max_ages.dek_days {
            0 => i64::MIN,
            days => unix_ms() - i64::from(days) * DAY_MS,
        };
        match self.store.debt(overdue_before_ms).await {
            Ok(debt) => {
                self.owed.kept.store(Some(Arc::new(debt)));
                self.owed.summed_at_ms.store(monotonic_ms(), Ordering::Release);
            }
            Err(error) => warn!(%error, "the store was not summed up: what /status says of the debt is as it was"),
        }
        self.owed.kept.load_full()
    }

    /// What is owed, as it was summed up last: nothing is read.
    pub fn last_debt(&self) -> Option<Arc<Debt>> {
        self.owed.kept.load_full()
    }

    /// When that was.
    pub fn debt_age(&self) -> Duration {
        Duration::from_millis((monotonic_ms() - self.owed.summed_at_ms.load(Ordering::Acquire)).unsigned_abs())
    }

    /// How old keys may become.
    pub fn max_ages(&self) -> MaxAges {
        self.max_ages
    }

    fn kept_debt(&self, max_age: Duration) -> Option<Arc<Debt>> {
        self.owed.kept.load_full().filter(|_| self.debt_age() <= max_age)
    }

    /// What is older than it should be, in words for operators.
    pub fn reminders(&self, debt: &Debt) -> Vec<String> {
        let mut reminders = Vec::new();
        let days = |since_ms: i64| (unix_ms() - since_ms) / DAY_MS;
        let MaxAges { dek_days, kek_days } = self.max_ages;
        if dek_days > 0 && debt.overdue() > 0 {
            let oldest = debt.oldest.first().map_or_else(String::new, |(project, version, made_ms)| {
                format!("; the oldest is {project} version {version}, of {} days", days(*made_ms))
            });
            reminders.push(format!("{} DEKs are older than {dek_days} days: rotate them{oldest}", debt.overdue()));
        }
        let primary = self.ring().primary_id().to_string();
        if let Some((id, made_ms)) = debt.keks.iter().find(|(id, _)| *id == primary)
            && kek_days > 0
            && days(*made_ms) >= i64::from(kek_days)
        {
            reminders.push(format!(
                "the primary KEK {id} is in use for {} days, more than {kek_days}: add another and promote it",
                days(*made_ms)
            ));
        }
        reminders
    }

    /// Records what is older than it should be, unless that was done within `every`, by whichever replica.
    pub async fn remind(&self, every: Duration) -> Result<(), KeysError> {
        if matches!(self.max_ages, MaxAges { dek_days: 0, kek_days: 0 }) {
            return Ok(());
        }
        let Some(debt) = self.debt(FRESH).await else { return Ok(()) };
        let reminders = self.reminders(&debt);
        let (now_ms, every_ms) = (unix_ms(), i64::try_from(every.as_millis()).unwrap_or(i64::MAX));
        let claim = self.store.claim(REMINDER, now_ms, now_ms.saturating_sub(every_ms));
        if !reminders.is_empty() && claim.await? {
            warn!(?reminders, "keys are older than they should be");
            if let Err(unrecorded) = self.journal.append(&Record::of_reminder(reminders)).await {
                // It was not done, whatever the store says now.
                self.store.claim(REMINDER, 0, i64::MAX).await?;
                return Err(unrecorded.into());
            }
        }
        Ok(())
    }
}
