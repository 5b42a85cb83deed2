//! DEKs under a key of Azure Key Vault or Managed HSM.
//!
//! [`key_vault`] asks and reads the answers, [`bound`] ties a DEK to its context, [`settings`] reads what the operator wrote. The token is
//! the host's.

pub mod bound;
#[cfg(target_arch = "wasm32")]
mod guest {
    guest_parts::key_provider!(
        crate::settings::Settings,
        crate::settings::parse,
        crate::key_vault::wrap,
        crate::key_vault::unwrap
    );
}
pub mod key_vault;
pub mod settings;
