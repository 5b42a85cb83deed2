//! Secrets are decrypted for recent deployments only.
//!
//! A leaked deployment id, or a runner that is compromised long after its deployments, opens nothing: the age counts from the object
//! store's own time, which no caller can send. [`recency`] decides, [`settings`] reads what the operator wrote.

#[cfg(target_arch = "wasm32")]
mod guest;
pub mod recency;
pub mod settings;
