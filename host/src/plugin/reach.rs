//! What an instance has on the host's side that reaches beyond its own memory: a sink's, a provider's.
//!
//! One state and one set of imports for all such worlds: what is granted and capped is so in one place.

mod leak;

use std::sync::Arc;

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

use super::admission::Problem;
use super::bindings::sink::origan::codec::{clock, facts, http, lines, log};
use super::engine::{Clock, TICK};
use super::fault::Fault;
use super::imports::{LogLevel, LogLine, PluginLog};
use super::limits::{Limits, Meter};
use super::outside::{HttpRequest, Outside, SendError, WriteLinesError};
use super::wasi::EmptyWasi;
pub(super) use leak::{LEAK_LEN, Pieces};

/// Lines of one call that wait, and bytes of all of them: each is searched for what it must not tell.
const LINES_HELD_MAX: usize = 100;
const LINES_HELD_BYTES_MAX: usize = 64 << 10;

/// The host's side of an instance.
pub(super) struct Reaching {
    meter: Meter,
    log: Arc<PluginLog>,
    outside: Arc<dyn Outside>,
    /// Lines that wait until it is known what they must not hold; none: they are written at once.
    lines_held: Option<Vec<LogLine>>,
    /// Whether a server has answered a request of this call with success.
    was_answered: bool,
    /// Whether a request of this call has failed at the server or on the way there.
    failed_outside: bool,
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

/// Makes a [`World`] of what the bindings have made of one.
macro_rules! world {
    ($plugin:ty, $pre:ident :: $pre_type:ident, $problem:ty) => {
        impl $crate::plugin::reach::World for $plugin {
            type Pre = $pre::$pre_type<$crate::plugin::reach::Reaching>;

            fn link(linker: &mut wasmtime::component::Linker<$crate::plugin::reach::Reaching>) -> wasmtime::Result<()> {
                Self::add_to_linker::<_, wasmtime::component::HasSelf<_>>(linker, |state| state)
            }

            fn pre(
                linked: wasmtime::component::InstancePre<$crate::plugin::reach::Reaching>,
            ) -> wasmtime::Result<Self::Pre> {
                Self::Pre::new(linked)
            }

            fn engine(pre: &Self::Pre) -> &wasmtime::Engine {
                pre.engine()
            }

            async fn configure(
                pre: &Self::Pre,
                store: &mut wasmtime::Store<$crate::plugin::reach::Reaching>,
                settings: &str,
            ) -> wasmtime::Result<(Self, Result<(), Vec<$crate::plugin::admission::Problem>>)> {
                let instance = pre.instantiate_async(&mut *store).await?;
                let outcome = instance.origan_codec_settings().call_configure(&mut *store, settings).await?;
                let problem =
                    |found: $problem| $crate::plugin::admission::Problem { path: found.path, message: found.message };
                Ok((instance, outcome.map_err(|found| found.into_iter().map(problem).collect())))
            }
        }
    };
}
pub(super) use world;

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

    /// One call of a fresh instance, in the time that it may take; and the store that it was made in, where its lines wait.
    pub(super) async fn call<T>(
        &self,
        ask: impl AsyncFnOnce(&W, &mut Store<Reaching>) -> wasmtime::Result<T>,
    ) -> (Result<T, Fault>, Store<Reaching>) {
        let _at_work = self.clock.begin();
        let mut store = self.store();
        let calling = async {
            let instance = self.configured(&mut store).await?;
            begin(&mut store);
            store.data_mut().hold_lines();
            let called = ask(&instance, &mut store).await;
            called.map_err(|error| store.data().fault(&error))
        };
        let outcome = tokio::time::timeout(self.limits.call_deadline, calling).await;
        (outcome.unwrap_or_else(|_| Err(Fault::Timeout(", waiting in an import".into()))), store)
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
    let meter = Meter::new(limits);
    let state = Reaching {
        meter,
        log,
        outside,
        lines_held: None,
        was_answered: false,
        failed_outside: false,
        configuring: true,
        ticks: 0,
        wasi: None,
    };
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

    /// From now on its lines wait.
    fn hold_lines(&mut self) {
        self.lines_held = Some(Vec::new());
    }

    /// Writes the lines that waited, but for those of which anything `tells` what they must not: a `what`.
    pub(super) fn let_lines_go(&mut self, what: &str, tells: impl Fn(&str) -> bool) {
        for line in self.lines_held.take().into_iter().flatten() {
            let fields = || line.fields.iter().map(|(name, value)| (&**name, &**value));
            if tells(&line.message) || fields().any(|(name, value)| tells(name) || tells(value)) {
                let message = format!("a line of its log is not written: it tells a {what}, or could");
                self.log.emit_fault(&message, [].into_iter());
            } else {
                self.log.emit(line.level, &line.message, fields());
            }
        }
    }

    /// Whether a server has answered it with success: from then on it may know what nobody else does.
    pub(super) fn was_answered(&self) -> bool {
        self.was_answered
    }

    /// Whether a request has failed at the server or on the way there: no connection, no whole answer in time, 429, 5xx.
    pub(super) fn failed_outside(&self) -> bool {
        self.failed_outside
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
        let fields = fields.iter().map(|field| (&*field.name, &*field.value));
        match &mut self.lines_held {
            None => self.log.emit(level, &message, fields),
            Some(lines) => {
                let line = LogLine::cut(level, &message, fields);
                let held: usize = lines.iter().map(LogLine::len).sum();
                if lines.len() < LINES_HELD_MAX && held + line.len() <= LINES_HELD_BYTES_MAX {
                    lines.push(line);
                } else {
                    // More than are ever written at once are not kept either.
                    self.log.drop_line();
                }
            }
        }
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
        self.failed_outside |= match &outcome {
            Ok(response) => response.status == 429 || response.status >= 500,
            Err(error) => error.is_outside(),
        };
        let response = outcome.map_err(|error| match error {
            SendError::NotGranted(why) => http::SendError::NotGranted(why),
            SendError::InvalidRequest(why) => http::SendError::InvalidRequest(why),
            SendError::Connect(why) => http::SendError::Connect(why),
            SendError::Tls(why) => http::SendError::Tls(why),
            SendError::Timeout => http::SendError::Timeout,
            SendError::TooLarge(bytes) => http::SendError::TooLarge(bytes),
            SendError::Protocol(why) => http::SendError::Protocol(why),
        })?;
        self.was_answered |= (200..300).contains(&response.status);
        let headers = response.headers.into_iter().map(|(name, value)| http::Header { name, value }).collect();
        Ok(http::Response { status: response.status, headers, body: response.body })
    }
}

impl wasmtime_wasi::WasiView for Reaching {
    fn ctx(&mut self) -> wasmtime_wasi::WasiCtxView<'_> {
        self.wasi.get_or_insert_with(EmptyWasi::timed).view()
    }
}

#[cfg(test)]
mod tests {
    use super::super::outside::{Answering, Granted, HttpResponse};
    use super::*;

    /// Answers every request with the same.
    struct Says(Result<u16, SendError>);

    impl Outside for Says {
        fn send(&self, _request: HttpRequest) -> Answering<'_, Result<HttpResponse, SendError>> {
            let answer = |status| HttpResponse { status, headers: Vec::new(), body: Vec::new() };
            Box::pin(async move { self.0.clone().map(answer) })
        }

        fn write_lines(&self, _output: String, _lines: Vec<String>) -> Answering<'_, Result<(), WriteLinesError>> {
            Box::pin(async { Ok(()) })
        }

        fn now_ms(&self) -> u64 {
            0
        }
    }

    fn state(log: Arc<PluginLog>, outside: Arc<dyn Outside>) -> Reaching {
        Reaching {
            meter: Meter::new(&Limits::key_provider()),
            log,
            outside,
            lines_held: None,
            was_answered: false,
            failed_outside: false,
            configuring: false,
            ticks: 0,
            wasi: None,
        }
    }

    #[tokio::test]
    async fn what_fails_at_the_server_or_on_the_way_there_is_told_from_what_is_never_sent() {
        let why = || "why".to_owned();
        for (says, was_answered, failed_outside) in [
            (Ok(200), true, false),
            (Ok(307), false, false),
            (Ok(403), false, false),
            (Ok(405), false, false),
            (Ok(429), false, true),
            (Ok(500), false, true),
            (Ok(503), false, true),
            (Err(SendError::NotGranted(why())), false, false),
            (Err(SendError::InvalidRequest(why())), false, false),
            (Err(SendError::TooLarge(1)), false, false),
            (Err(SendError::Connect(why())), false, true),
            (Err(SendError::Tls(why())), false, true),
            (Err(SendError::Timeout), false, true),
            (Err(SendError::Protocol(why())), false, true),
        ] {
            let mut state = state(PluginLog::kept("secrets"), Arc::new(Says(says.clone())));
            for _ in 0..2 {
                let (url, headers, body) = ("https://a.test/".to_owned(), Vec::new(), Vec::new());
                let request = http::Request { method: "GET".to_owned(), url, headers, body, credential: None };
                drop(http::Host::send(&mut state, request).await);
            }
            assert_eq!((state.was_answered(), state.failed_outside()), (was_answered, failed_outside), "{says:?}");
        }
    }

    #[test]
    fn lines_that_wait_are_written_but_for_those_that_tell() {
        let log = PluginLog::kept("keys");
        let mut state = state(log.clone(), Arc::new(Granted::default()));
        let field = |value: &str| log::Attribute { name: "field".into(), value: value.into() };
        state.hold_lines();
        for (message, value) in [("one", "a"), ("the key", "a"), ("two", "the key"), ("three", "b")] {
            log::Host::emit(&mut state, log::Level::Info, message.into(), vec![field(value)]);
        }
        assert_eq!(log.take(), []);
        state.let_lines_go("key", |text| text.contains("key"));
        let said: Vec<String> = log.take().into_iter().map(|line| line.message).collect();
        let kept_back = "a line of its log is not written: it tells a key, or could";
        assert_eq!(said, ["one", kept_back, kept_back, "three"]);
        // And what comes afterwards is written at once, without end of what waits.
        log::Host::emit(&mut state, log::Level::Warn, "later".into(), Vec::new());
        assert_eq!(log.take().len(), 1);
        state.hold_lines();
        for _ in 0..10_000 {
            log::Host::emit(&mut state, log::Level::Info, "flood".into(), Vec::new());
        }
        assert_eq!(state.lines_held.as_ref().map(Vec::len), Some(LINES_HELD_MAX));
    }
}
