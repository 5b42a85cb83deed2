//! DEKs under a symmetric key of AWS KMS.
//!
//! [`kms`] asks and reads the answers, [`settings`] reads what the operator wrote. Requests are signed by the host.

#[cfg(target_arch = "wasm32")]
mod guest {
    guest_parts::key_provider!(crate::settings::Settings, crate::settings::parse, crate::kms::wrap, crate::kms::unwrap);
}
pub mod kms;
pub mod settings;
