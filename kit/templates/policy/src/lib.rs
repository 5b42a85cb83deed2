//! The glue between `codec` and this policy. What it decides, and by which settings, is in `policy.rs`.

mod policy;

// The Rust types of `wit/`: what the host gives and wants.
wit_bindgen::generate!({ path: "wit", world: "policy-plugin" });

use std::sync::OnceLock;

use exports::origan::codec::policy::{Decision, Denial, Lookups, Query};
use exports::origan::codec::settings::Problem;

/// Written by `configure`. The host then keeps a picture of the memory, and every decision begins from that.
static SETTINGS: OnceLock<policy::Settings> = OnceLock::new();

/// What the host sees.
pub struct Plugin;

impl exports::origan::codec::settings::Guest for Plugin {
    fn configure(json: String) -> Result<(), Vec<Problem>> {
        let settings = policy::Settings::parse(&json)?;
        SETTINGS.get_or_init(|| settings);
        Ok(())
    }
}

impl exports::origan::codec::policy::Guest for Plugin {
    fn needs() -> Lookups {
        policy::NEEDS
    }

    fn evaluate(query: Query) -> Decision {
        match SETTINGS.get() {
            Some(settings) => policy::evaluate(settings, &query),
            None => Decision::Deny(Denial {
                code: "not-configured".into(),
                reason: "evaluate was called before configure".into(),
            }),
        }
    }
}

// The names of a component's exports are none that the linkers of other targets take; `cargo test` needs them not.
#[cfg(target_family = "wasm")]
export!(Plugin);
