//! The glue between `codec` and this provider. What it asks and answers, and by which settings, is in `provider.rs`.

mod provider;

// The Rust types of `wit/`: what the host gives and wants.
wit_bindgen::generate!({ path: "wit", world: "secret-provider-plugin" });

use std::sync::OnceLock;

use exports::origan::codec::secret_provider::{Reference, ResolveError, Secret};
use exports::origan::codec::settings::Problem;
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

impl exports::origan::codec::secret_provider::Guest for Plugin {
    fn resolve(references: Vec<Reference>) -> Vec<Result<Secret, ResolveError>> {
        let Some(settings) = SETTINGS.get() else {
            return references.iter().map(|_| Err(ResolveError::Unavailable("not configured".into()))).collect();
        };
        references.iter().map(|reference| provider::resolve(settings, reference, http::send)).collect()
    }
}

// The names of a component's exports are none that the linkers of other targets take; `cargo test` needs them not.
#[cfg(target_family = "wasm")]
export!(Plugin);
