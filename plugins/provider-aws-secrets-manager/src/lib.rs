//! Secrets of AWS Secrets Manager: the current ones twenty in a request, others one by one.
//!
//! [`manager`] asks, [`answer`] reads what comes back, [`settings`] reads what the operator wrote. Requests are signed by the host.

pub mod answer;
#[cfg(target_arch = "wasm32")]
mod guest {
    guest_parts::secret_provider!(crate::settings::Settings, crate::settings::parse, crate::manager::resolve);
}
pub mod manager;
pub mod settings;
