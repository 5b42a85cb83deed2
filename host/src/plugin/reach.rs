//! What an instance has on the host's side that reaches beyond its own memory: a sink's, a provider's.
//!
//! One state and one set of imports for all such worlds: what is granted and capped is so in one place.

use std::sync::Arc;

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

use super::admission::Problem;
use super::bindings::sink::origan::codec::{clock, facts, http, lines, log};
use super::engine::{Clock, TICK};
use super::fault::Fault;
use super::imports::{LogLevel, PluginLog};
use super::limits::{Limits, Meter};
use super::outside::{HttpRequest, Outside, SendError, WriteLinesError};
use super::wasi::EmptyWasi;

/// The host's side of an instance.
pub(super) struct Reaching {
    meter: Meter,
    log: Arc<PluginLog>,
    outside: Arc<dyn Outside>,
    /// Only `log` and `clock` answer during `configure`.
    configuring: bool,
    /// Ticks in which it has computed, in this call.
    ticks: u128,
    wasi: Option<EmptyWasi>,
}

/// How `configure` ended, if not well.
pub(super) enum ConfigureError {
    Refused(Vec<Problem>),
    Fault(Fault),
}

/// A world whose instances reach beyond their own memory: what the bindings of each make under the same names, and yet apart.
pub(super) trait World: Sized + Send + 'static {
    /// Compiled and linked.
    type Pre: Clone + Send + Sync + 'static;

    fn link(linker: &mut Linker<Reaching>) -> wasmtime::Result<()>;

    fn pre(linked: InstancePre<Reaching>) -> wasmtime::Result<Self::Pre>;

    fn engine(pre: &Self::Pre) -> &Engine;

    /// An instance, and what its `configure` says of `settings`.
    fn configure(
        pre: &Self::Pre,
        store: &mut Store<Reaching>,
        settings: &str,
    ) -> impl Future<Output = wasmtime::Result<(Self, Result<(), Vec<Problem>>)>> + Send;
}

/// What an instance is made of.
pub(super) struct Recipe<W: World> {
    pub(super) pre: W::Pre,
    pub(super) clock: Arc<Clock>,
    pub(super) limits: Limits,
    pub(super) log: Arc<PluginLog>,
    pub(super) outside: Arc<dyn Outside>,
    pub(super) settings: String,
}

impl<W: World> Recipe<W> {
    /// A store for one instance, which is about to be configured.
    pub(super) fn store(&self) -> Store<Reaching> {
        store(W::engine(&self.pre), &self.limits, self.log.clone(), self.outside.clone())
    }

    /// An instance in `store` that has taken the settings.
    pub(super) async fn configured(&self, store: &mut Store<Reaching>) -> Result<W, ConfigureError> {
        match W::configure(&self.pre, store, &self.settings).await {
            Ok((instance, Ok(()))) => {
                store.data_mut().configuring = false;
                Ok(instance)
            }
            Ok((_, Err(problems))) => Err(ConfigureError::Refused(problems)),
            Err(error) => Err(ConfigureError::Fault(store.data().fault(&error))),
        }
    }

    /// One in a store of its own, in the time that `configure` may take.
    pub(super) async fn fresh(&self) -> Result<(Store<Reaching>, W), ConfigureError> {
        let _at_work = self.clock.begin();
        let mut store = self.store();
        let configured = tokio::time::timeout(self.limits.configure_deadline, self.configured(&mut store)).await;
        let late = |_| Err(ConfigureError::Fault(Fault::Timeout(" in `configure`".into())));
        let instance = configured.unwrap_or_else(late)?;
        Ok((store, instance))
    }
}

/// `component`, linked with the imports of its world, and WASI if it is granted.
pub(super) fn linked<W: World>(component: &Component, wasi: bool) -> wasmtime::Result<W::Pre> {
    let mut linker = Linker::new(component.engine());
    W::link(&mut linker)?;
    if wasi {
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    }
    W::pre(linker.instantiate_pre(component)?)
}

fn store(engine: &Engine, limits: &Limits, log: Arc<PluginLog>, outside: Arc<dyn Outside>) -> Store<Reaching> {
    let state = Reaching { meter: Meter::new(limits), log, outside, configuring: true, ticks: 0, wasi: None };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.meter);
    store.set_hostcall_fuel(limits.transfer_bytes);
    store.set_epoch_deadline(1);
    let budget = limits.compute_deadline.as_millis() / TICK.as_millis();
    // Called only while the guest computes: time in which it waits for the network is not its own.
    store.epoch_deadline_callback(move |mut context| {
        let state = context.data_mut();
        state.ticks += 1;
        Ok(if state.ticks > budget { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
    });
    store
}

/// A call begins, with all of its time to compute before it.
pub(super) fn begin(store: &mut Store<Reaching>) {
    store.data_mut().ticks = 0;
    store.set_epoch_deadline(1);
}

impl From<ConfigureError> for Fault {
    /// Of settings that were good when it was admitted: a guest that changes its mind is not believed.
    fn from(error: ConfigureError) -> Self {
        match error {
            ConfigureError::Fault(fault) => fault,
            ConfigureError::Refused(_) => Self::BadAnswer("`configure` refused settings that it had taken".into()),
        }
    }
}

impl Reaching {
    /// What a call ended with.
    pub(super) fn fault(&self, error: &wasmtime::Error) -> Fault {
        Fault::of(error, self.meter.refused())
    }

    /// Bytes of all its memories.
    pub(super) fn memory_used(&self) -> usize {
        self.meter.memory_used()
    }
}

impl facts::Host for Reaching {}

impl log::Host for Reaching {
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

impl clock::Host for Reaching {
    fn now(&mut self) -> u64 {
        self.outside.now_ms()
    }
}

impl lines::Host for Reaching {
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

impl http::Host for Reaching {
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

impl wasmtime_wasi::WasiView for Reaching {
    fn ctx(&mut self) -> wasmtime_wasi::WasiCtxView<'_> {
        self.wasi.get_or_insert_with(EmptyWasi::timed).view()
    }
}
