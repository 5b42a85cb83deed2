//! Between the component's interfaces and this crate.

use std::sync::OnceLock;

use crate::answer::Answer;
use crate::deliver::{Collector, NotDelivered, SendError, deliver};
use crate::mapping;
use crate::settings::{Sink, parse};

use bindings::exports::origan::codec::audit_sink::{self, Entry, WriteError};
use bindings::exports::origan::codec::settings::{self, Problem};
use bindings::origan::codec::log::{Level, emit};
use bindings::origan::codec::{clock, http};

mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "audit-sink-plugin" });
}

struct Guest;

bindings::export!(Guest with_types_in bindings);

/// Set by `configure`.
static SINK: OnceLock<Sink> = OnceLock::new();

impl settings::Guest for Guest {
    fn configure(json: String) -> Result<(), Vec<Problem>> {
        let sink = parse(&json).map_err(|problems| {
            problems
                .into_iter()
                .map(|problem| Problem { path: problem.path, message: problem.message })
                .collect::<Vec<_>>()
        })?;
        SINK.set(sink).map_err(|_| vec![Problem { path: String::new(), message: "configured twice".to_owned() }])
    }
}

impl audit_sink::Guest for Guest {
    fn write(batch: Vec<Entry>) -> Result<(), WriteError> {
        let Some(sink) = SINK.get() else {
            emit(Level::Error, "asked to write before it was configured", &[]);
            return Err(WriteError::Retry(None));
        };
        let entries: Vec<mapping::Entry> = batch
            .iter()
            .map(|Entry { chain, seq, time, line, hash }| mapping::Entry {
                chain,
                seq: *seq,
                time_ms: *time,
                line,
                hash,
            })
            .collect();
        deliver(sink, &mut Host { sink }, &entries).map_err(|not_delivered| match not_delivered {
            NotDelivered::Retry(wait_ms) => WriteError::Retry(wait_ms),
            NotDelivered::Rejected(refused) => WriteError::Rejected(refused),
        })
    }
}

struct Host<'a> {
    sink: &'a Sink,
}

impl Collector for Host<'_> {
    fn send(&mut self, body: Vec<u8>) -> Result<Answer, SendError> {
        let request = http::Request {
            method: "POST".to_owned(),
            url: self.sink.url.0.clone(),
            headers: headers(self.sink),
            body,
            credential: self.sink.credential.clone(),
        };
        let response = http::send(&request).map_err(send_error)?;
        let retry_after =
            response.headers.into_iter().find(|header| header.name == "retry-after").map(|header| header.value);
        Ok(Answer { status: response.status, retry_after, body: response.body })
    }

    fn now_ms(&mut self) -> u64 {
        clock::now()
    }

    fn error(&mut self, message: &str) {
        emit(Level::Error, message, &[]);
    }

    fn warn(&mut self, message: &str) {
        emit(Level::Warn, message, &[]);
    }
}

/// The operator's headers, and the mapping's content type where they have none.
fn headers(sink: &Sink) -> Vec<http::Header> {
    let mut headers: Vec<http::Header> =
        sink.headers.0.iter().map(|(name, value)| http::Header { name: name.clone(), value: value.clone() }).collect();
    if !sink.headers.0.contains_key("content-type") {
        headers.push(http::Header { name: "content-type".to_owned(), value: sink.mapping.content_type().to_owned() });
    }
    headers
}

fn send_error(error: http::SendError) -> SendError {
    match error {
        http::SendError::NotGranted(why) => SendError::NotGranted(why),
        http::SendError::InvalidRequest(why) => SendError::InvalidRequest(why),
        http::SendError::Connect(why) => SendError::Broken(format!("no connection: {why}")),
        http::SendError::Tls(why) => SendError::Broken(format!("no TLS: {why}")),
        http::SendError::Timeout => SendError::Broken("no whole answer in time".to_owned()),
        http::SendError::TooLarge(limit) => SendError::TooLarge(limit),
        http::SendError::Protocol(why) => SendError::Broken(format!("not HTTP: {why}")),
    }
}
