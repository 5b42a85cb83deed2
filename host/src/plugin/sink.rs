//! Sinks: one warm instance, replaced after a trap or a missed deadline.

use wasmtime::Store;

use super::bindings::sink as wit;
use super::bindings::sink::exports::origan::codec::{audit_sink as exported, settings as exported_settings};
use super::fault::{Fault, printable};
use super::imports::PluginLog;
use super::reach::{self, ConfigureError, Reaching, Recipe};

pub use wit::exports::origan::codec::audit_sink::Entry;

/// A sink that may go live.
pub struct SinkPlugin {
    recipe: Recipe<wit::AuditSinkPlugin>,
    warm: Option<Warm>,
    replaced: u64,
}

/// How a sink took a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The backend has all of it.
    Written,
    /// The same batch again, after so many milliseconds or when the host thinks fit.
    Retry(Option<u32>),
    /// The backend will never take these (seq, why); it has the rest.
    Rejected(Vec<(u64, String)>),
}

struct Warm {
    store: Store<Reaching>,
    instance: wit::AuditSinkPlugin,
}

impl SinkPlugin {
    /// With an instance that has taken its settings.
    pub(super) async fn new(recipe: Recipe<wit::AuditSinkPlugin>) -> Result<Self, ConfigureError> {
        let (store, instance) = recipe.fresh().await?;
        Ok(Self { recipe, warm: Some(Warm { store, instance }), replaced: 0 })
    }

    /// Its lines in the log.
    pub fn log(&self) -> &PluginLog {
        &self.recipe.log
    }

    /// How often its instance had to be replaced.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Bytes of its instance's memory; 0 while it has none.
    pub fn memory_bytes(&self) -> usize {
        self.warm.as_ref().map_or(0, |warm| warm.store.data().memory_used())
    }

    /// Hands over a batch. After any fault the instance is gone, and the next call begins with a fresh one.
    pub async fn write(&mut self, batch: &[Entry]) -> Result<WriteOutcome, Fault> {
        let _at_work = self.recipe.clock.begin();
        let mut warm = match self.warm.take() {
            Some(warm) => warm,
            None => {
                self.replaced += 1;
                let (store, instance) = self.recipe.fresh().await?;
                Warm { store, instance }
            }
        };
        reach::begin(&mut warm.store);
        let calling = warm.instance.origan_codec_audit_sink().call_write(&mut warm.store, batch);
        let outcome = match tokio::time::timeout(self.recipe.limits.call_deadline, calling).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => return Err(warm.store.data().fault(&error)),
            Err(_) => return Err(Fault::Timeout(", waiting in an import".into())),
        };
        let outcome = match outcome {
            Ok(()) => WriteOutcome::Written,
            Err(exported::WriteError::Retry(after_ms)) => WriteOutcome::Retry(after_ms),
            Err(exported::WriteError::Rejected(rejected)) => WriteOutcome::Rejected(plausible(rejected, batch)?),
        };
        self.warm = Some(warm);
        Ok(outcome)
    }
}

reach::world!(wit::AuditSinkPlugin, wit::AuditSinkPluginPre, exported_settings::Problem);

/// What a sink rejects was in the batch, each once.
fn plausible(mut rejected: Vec<(u64, String)>, batch: &[Entry]) -> Result<Vec<(u64, String)>, Fault> {
    rejected.sort_unstable_by_key(|(seq, _)| *seq);
    rejected.dedup_by_key(|(seq, _)| *seq);
    if let Some((seq, _)) = rejected.iter().find(|(seq, _)| !batch.iter().any(|entry| entry.seq == *seq)) {
        return Err(Fault::BadAnswer(format!("it rejected record {seq}, which it was not given")));
    }
    Ok(rejected.into_iter().map(|(seq, why)| (seq, printable(&why))).collect())
}
