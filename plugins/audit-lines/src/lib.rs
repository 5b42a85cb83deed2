//! Audit records as lines of JSON to an output of the host: standard output, a file, a TCP or TLS peer.
//!
//! [`line`] makes a line of a record, [`settings`] reads what the operator wrote; `guest_parts::delivery` says what becomes of each line.

#[cfg(target_arch = "wasm32")]
mod guest;
pub mod line;
pub mod settings;
