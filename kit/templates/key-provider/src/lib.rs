//! The glue between `codec` and this provider. What it asks and answers, and by which settings, is in `provider.rs`.

mod provider;

// The Rust types of `wit/`: what the host gives and wants.
wit_bindgen::generate!({ path: "wit", world: "key-provider-plugin" });

use std::sync::OnceLock;

use exports::origan::codec::key_provider::{KeyError, Wrapped};
use exports::origan::codec::settings::Problem;
use origan::codec::facts::Attribute;
use origan::codec::http;

/// Written by `configure`.
static SETTINGS: OnceLock<provider::Settings> = OnceLock::new();

/// What the host sees.
pub struct Plugin;

impl exports::origan::codec::settings::Guest for Plugin {
    fn configure(json: String) -> Result<(), Vec<Problem>> {
        let settings = provider::Settings::parse(&json)?;
        SETTINGS.get_or_init(|| settings);
        Ok(())
    }
}

impl exports::origan::codec::key_provider::Guest for Plugin {
    fn wrap(dek: Vec<u8>, context: Vec<Attribute>) -> Result<Wrapped, KeyError> {
        provider::wrap(settings()?, &dek, &context, http::send)
    }

    fn unwrap(wrapped: Wrapped, context: Vec<Attribute>) -> Result<Vec<u8>, KeyError> {
        provider::unwrap(settings()?, &wrapped, &context, http::send)
    }
}

fn settings() -> Result<&'static provider::Settings, KeyError> {
    SETTINGS.get().ok_or_else(|| KeyError::Unavailable("not configured".into()))
}

// The names of a component's exports are none that the linkers of other targets take; `cargo test` needs them not.
#[cfg(target_family = "wasm")]
export!(Plugin);
