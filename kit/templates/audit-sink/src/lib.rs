//! The glue between `codec` and this sink. What it writes, and by which settings, is in `sink.rs`.

mod sink;

// The Rust types of `wit/`: what the host gives and wants.
wit_bindgen::generate!({ path: "wit", world: "audit-sink-plugin" });

use std::sync::OnceLock;

use exports::origan::codec::audit_sink::{Entry, WriteError};
use exports::origan::codec::settings::Problem;
use origan::codec::{lines, log};

/// Written by `configure`.
static SETTINGS: OnceLock<sink::Settings> = OnceLock::new();

/// What the host sees.
pub struct Plugin;

impl exports::origan::codec::settings::Guest for Plugin {
    fn configure(json: String) -> Result<(), Vec<Problem>> {
        let settings = sink::Settings::parse(&json)?;
        SETTINGS.get_or_init(|| settings);
        Ok(())
    }
}

impl exports::origan::codec::audit_sink::Guest for Plugin {
    fn write(batch: Vec<Entry>) -> Result<(), WriteError> {
        let Some(settings) = SETTINGS.get() else { return Err(WriteError::Retry(None)) };
        sink::write(settings, &batch, |output, lines| {
            lines::write(output, lines)
                .inspect_err(|error| log::emit(log::Level::Warn, &format!("{output}: {error}"), &[]))
        })
    }
}

// The names of a component's exports are none that the linkers of other targets take; `cargo test` needs them not.
#[cfg(target_family = "wasm")]
export!(Plugin);
