//! The host's side of an instance: what it has been given and has done, and what its imports come to.

use std::sync::Arc;

use crate::plugin::bindings::sink::origan::codec::{clock, facts, http, lines, log};
use crate::plugin::fault::Fault;
use crate::plugin::imports::{LogLevel, LogLine, PluginLog};
use crate::plugin::limits::Meter;
use crate::plugin::outside::{HttpRequest, Outside, SendError, WriteLinesError};
use crate::plugin::wasi::EmptyWasi;

/// Lines of one call that wait, and bytes of all of them: each is searched for what it must not tell.
const LINES_HELD_MAX: usize = 100;
const LINES_HELD_BYTES_MAX: usize = 64 << 10;

/// The host's side of an instance.
pub(in crate::plugin) struct Reaching {
    pub(super) meter: Meter,
    log: Arc<PluginLog>,
    outside: Arc<dyn Outside>,
    /// Lines that wait until it is known what they must not hold; none: they are written at once.
    lines_held: Option<Vec<LogLine>>,
    /// Whether a server has answered a request of this call with success.
    was_answered: bool,
    /// Whether a request of this call has failed at the server or on the way there.
    failed_outside: bool,
    /// Only `log` and `clock` answer during `configure`.
    pub(super) configuring: bool,
    /// Ticks in which it has computed, in this call.
    pub(super) ticks: u128,
    wasi: Option<EmptyWasi>,
}

impl Reaching {
    /// Of an instance that is about to be configured.
    pub(super) fn new(meter: Meter, log: Arc<PluginLog>, outside: Arc<dyn Outside>) -> Self {
        Self {
            meter,
            log,
            outside,
            lines_held: None,
            was_answered: false,
            failed_outside: false,
            configuring: true,
            ticks: 0,
            wasi: None,
        }
    }

    /// What a call ended with.
    pub(in crate::plugin) fn fault(&self, error: &wasmtime::Error) -> Fault {
        Fault::of(error, self.meter.refused())
    }

    /// From now on its lines wait.
    pub(super) fn hold_lines(&mut self) {
        self.lines_held = Some(Vec::new());
    }

    /// Writes the lines that waited, but for those of which anything `tells` what they must not: a `what`.
    pub(in crate::plugin) fn let_lines_go(&mut self, what: &str, tells: impl Fn(&str) -> bool) {
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
    pub(in crate::plugin) fn was_answered(&self) -> bool {
        self.was_answered
    }

    /// Whether a request has failed at the server or on the way there: no connection, no whole answer in time, 429, 5xx.
    pub(in crate::plugin) fn failed_outside(&self) -> bool {
        self.failed_outside
    }

    /// Bytes of all its memories.
    pub(in crate::plugin) fn memory_used(&self) -> usize {
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
    use super::*;
    use crate::plugin::limits::Limits;
    use crate::plugin::outside::{Answering, Granted, HttpResponse};

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
        let mut state = Reaching::new(Meter::new(&Limits::key_provider()), log, outside);
        state.configuring = false;
        state
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
