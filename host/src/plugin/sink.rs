//! Sinks: one warm instance, replaced after a trap or a missed deadline.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

use super::admission::Problem;
use super::bindings::sink as wit;
use super::bindings::sink::exports::origan::codec::audit_sink as exported;
use super::bindings::sink::origan::codec::{clock, facts, http, lines, log};
use super::engine::{Clock, TICK};
use super::fault::{Fault, printable};
use super::imports::{LogLevel, PluginLog};
use super::limits::{Limits, Meter};
use super::outside::{HttpRequest, Outside, SendError, WriteLinesError};
use super::wasi::EmptyWasi;

pub use wit::exports::origan::codec::audit_sink::Entry;

/// A sink that may go live.
pub struct SinkPlugin {
    recipe: Recipe,
    warm: Option<Warm>,
    replaced: u64,
}

/// What an instance is made of.
struct Recipe {
    pre: wit::AuditSinkPluginPre<SinkState>,
    clock: Arc<Clock>,
    limits: Limits,
    log: Arc<PluginLog>,
    outside: Arc<dyn Outside>,
    settings: String,
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
    store: Store<SinkState>,
    instance: wit::AuditSinkPlugin,
}

/// What an instance of a sink has on the host's side.
pub(super) struct SinkState {
    meter: Meter,
    log: Arc<PluginLog>,
    outside: Arc<dyn Outside>,
    /// Only `log` answers during `configure`.
    configuring: bool,
    /// Ticks in which it has computed, in this call.
    ticks: u128,
    wasi: Option<EmptyWasi>,
}

/// How `configure` of a sink ended, if not well.
pub(super) enum ConfigureError {
    Refused(Vec<Problem>),
    Fault(Fault),
}

impl SinkPlugin {
    /// With an instance that has taken `settings`.
    pub(super) async fn new(
        pre: wit::AuditSinkPluginPre<SinkState>,
        clock: Arc<Clock>,
        limits: Limits,
        log: Arc<PluginLog>,
        outside: Arc<dyn Outside>,
        settings: String,
    ) -> Result<Self, ConfigureError> {
        let recipe = Recipe { pre, clock, limits, log, outside, settings };
        let warm = Some(recipe.fresh().await?);
        Ok(Self { recipe, warm, replaced: 0 })
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
        self.warm.as_ref().map_or(0, |warm| warm.store.data().meter.memory_used())
    }

    /// Hands over a batch. After any fault the instance is gone, and the next call begins with a fresh one.
    pub async fn write(&mut self, batch: &[Entry]) -> Result<WriteOutcome, Fault> {
        let _at_work = self.recipe.clock.begin();
        let mut warm = match self.warm.take() {
            Some(warm) => warm,
            None => {
                self.replaced += 1;
                self.recipe.fresh().await.map_err(|error| match error {
                    ConfigureError::Fault(fault) => fault,
                    ConfigureError::Refused(_) => {
                        Fault::BadAnswer("`configure` refused settings that it had taken".into())
                    }
                })?
            }
        };
        warm.store.data_mut().ticks = 0;
        warm.store.set_epoch_deadline(1);
        let calling = warm.instance.origan_codec_audit_sink().call_write(&mut warm.store, batch);
        let outcome = match tokio::time::timeout(self.recipe.limits.call_deadline, calling).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => return Err(Fault::of(&error, warm.store.data().meter.refused())),
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

impl Recipe {
    async fn fresh(&self) -> Result<Warm, ConfigureError> {
        let _at_work = self.clock.begin();
        let mut store = self.store();
        let calling = async {
            let instance = self.pre.instantiate_async(&mut store).await?;
            let outcome = instance.origan_codec_settings().call_configure(&mut store, &self.settings).await?;
            Ok((instance, outcome))
        };
        let outcome: Result<wasmtime::Result<_>, _> =
            tokio::time::timeout(self.limits.configure_deadline, calling).await;
        match outcome {
            Ok(Ok((instance, Ok(())))) => {
                store.data_mut().configuring = false;
                Ok(Warm { store, instance })
            }
            Ok(Ok((_, Err(problems)))) => {
                let problems = problems.into_iter();
                let problems = problems.map(|problem| Problem { path: problem.path, message: problem.message });
                Err(ConfigureError::Refused(problems.collect()))
            }
            Ok(Err(error)) => Err(ConfigureError::Fault(Fault::of(&error, store.data().meter.refused()))),
            Err(_) => Err(ConfigureError::Fault(Fault::Timeout(" in `configure`".into()))),
        }
    }

    fn store(&self) -> Store<SinkState> {
        let state = SinkState {
            meter: Meter::new(&self.limits),
            log: self.log.clone(),
            outside: self.outside.clone(),
            configuring: true,
            ticks: 0,
            wasi: None,
        };
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(self.limits.transfer_bytes);
        store.set_epoch_deadline(1);
        let budget = self.limits.compute_deadline.as_millis() / TICK.as_millis();
        // Called only while the guest computes: time in which it waits for the network is not its own.
        store.epoch_deadline_callback(move |mut context| {
            let state = context.data_mut();
            state.ticks += 1;
            Ok(if state.ticks > budget { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
        });
        store
    }
}

/// A linker with the imports of the world, and WASI if it is granted.
pub(super) fn linker(engine: &Engine, wasi: bool) -> wasmtime::Result<Linker<SinkState>> {
    let mut linker = Linker::new(engine);
    wit::AuditSinkPlugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut SinkState| state)?;
    if wasi {
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    }
    Ok(linker)
}

/// What a sink rejects was in the batch, each once.
fn plausible(mut rejected: Vec<(u64, String)>, batch: &[Entry]) -> Result<Vec<(u64, String)>, Fault> {
    rejected.sort_unstable_by_key(|(seq, _)| *seq);
    rejected.dedup_by_key(|(seq, _)| *seq);
    if let Some((seq, _)) = rejected.iter().find(|(seq, _)| !batch.iter().any(|entry| entry.seq == *seq)) {
        return Err(Fault::BadAnswer(format!("it rejected record {seq}, which it was not given")));
    }
    Ok(rejected.into_iter().map(|(seq, why)| (seq, printable(&why))).collect())
}

impl facts::Host for SinkState {}

impl log::Host for SinkState {
    fn emit(&mut self, level: log::Level, message: String, fields: Vec<log::Attribute>) {
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        self.log.emit(level, &message, fields.iter().map(|field| (&*field.name, &*field.value)));
    }
}

impl clock::Host for SinkState {
    fn now(&mut self) -> u64 {
        self.outside.now_ms()
    }
}

impl lines::Host for SinkState {
    async fn write(&mut self, output: String, lines: Vec<String>) -> Result<(), lines::WriteError> {
        if self.configuring {
            return Err(lines::WriteError::NotGranted("nothing is written during `configure`".into()));
        }
        self.outside.write_lines(output, lines).await.map_err(|error| match error {
            WriteLinesError::NotGranted(why) => lines::WriteError::NotGranted(why),
            WriteLinesError::Unavailable(why) => lines::WriteError::Unavailable(why),
            WriteLinesError::TooLong(index) => lines::WriteError::TooLong(index),
            WriteLinesError::Malformed(index) => lines::WriteError::Malformed(index),
        })
    }
}

impl http::Host for SinkState {
    async fn send(&mut self, request: http::Request) -> Result<http::Response, http::SendError> {
        if self.configuring {
            return Err(http::SendError::NotGranted("nothing is sent during `configure`".into()));
        }
        let http::Request { method, url, headers, body, credential } = request;
        let headers = headers.into_iter().map(|header| (header.name, header.value)).collect();
        let outcome = self.outside.send(HttpRequest { method, url, headers, body, credential }).await;
        let response = outcome.map_err(|error| match error {
            SendError::NotGranted(why) => http::SendError::NotGranted(why),
            SendError::InvalidRequest(why) => http::SendError::InvalidRequest(why),
            SendError::Connect(why) => http::SendError::Connect(why),
            SendError::Tls(why) => http::SendError::Tls(why),
            SendError::Timeout => http::SendError::Timeout,
            SendError::TooLarge(bytes) => http::SendError::TooLarge(bytes),
            SendError::Protocol(why) => http::SendError::Protocol(why),
        })?;
        let headers = response.headers.into_iter().map(|(name, value)| http::Header { name, value }).collect();
        Ok(http::Response { status: response.status, headers, body: response.body })
    }
}

impl wasmtime_wasi::WasiView for SinkState {
    fn ctx(&mut self) -> wasmtime_wasi::WasiCtxView<'_> {
        self.wasi.get_or_insert_with(EmptyWasi::timed).view()
    }
}
