//! Between the component's interfaces and this crate.

use std::sync::OnceLock;

use guest_parts::delivery::{self, NotDelivered, Outputs, deliver};

use crate::line;
use crate::settings::{Sink, parse};

use bindings::exports::origan::codec::audit_sink::{self, Entry, WriteError};
use bindings::exports::origan::codec::settings::{self, Problem};
use bindings::origan::codec::lines;
use bindings::origan::codec::log::{Level, emit};

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
        let written = batch.iter().map(|entry| {
            let Entry { chain, seq, line, hash, .. } = entry;
            (*seq, sink.format.write(line::Entry { chain, seq: *seq, line, hash }))
        });
        deliver(&mut Host, &sink.output, written.collect(), Vec::new()).map_err(|not_delivered| match not_delivered {
            NotDelivered::Retry => WriteError::Retry(None),
            NotDelivered::Rejected(refused) => WriteError::Rejected(refused),
        })
    }
}

struct Host;

impl Outputs for Host {
    fn write(&mut self, output: &str, lines: &[String]) -> Result<(), delivery::WriteError> {
        lines::write(output, lines).map_err(|error| match error {
            lines::WriteError::NotGranted(why) => delivery::WriteError::NotGranted(why),
            lines::WriteError::Unavailable(why) => delivery::WriteError::Unavailable(why),
            lines::WriteError::TooLong(index) => delivery::WriteError::TooLong(index),
            lines::WriteError::Malformed(index) => delivery::WriteError::Malformed(index),
        })
    }

    fn error(&mut self, message: &str) {
        emit(Level::Error, message, &[]);
    }

    fn warn(&mut self, message: &str) {
        emit(Level::Warn, message, &[]);
    }
}
