//! Secrets of HashiCorp Vault, or OpenBao: the KV engines, version 1 and 2, and every other whose reads answer `data` with a lease.
//!
//! [`vault`] asks and reads the answers, [`settings`] reads what the operator wrote.

#[cfg(target_arch = "wasm32")]
mod guest {
    guest_parts::secret_provider!(crate::settings::Settings, crate::settings::parse, crate::vault::resolve);
}
pub mod settings;
pub mod vault;
