//! DEKs under a key of the Transit engine of HashiCorp Vault, or OpenBao.
//!
//! [`transit`] asks and reads the answers, [`settings`] reads what the operator wrote.

#[cfg(target_arch = "wasm32")]
mod guest {
    guest_parts::key_provider!(
        crate::settings::Settings,
        crate::settings::parse,
        crate::transit::wrap,
        crate::transit::unwrap
    );
}
pub mod settings;
pub mod transit;
