//! Secrets of Azure Key Vault, one request for each: it has none for many.
//!
//! [`key_vault`] asks and reads the answers, [`settings`] reads what the operator wrote. The token is the host's.

#[cfg(target_arch = "wasm32")]
mod guest {
    guest_parts::secret_provider!(crate::settings::Settings, crate::settings::parse, crate::key_vault::resolve);
}
pub mod key_vault;
pub mod settings;
