//! Audit records as RFC 5424 messages to an output of the host.
//!
//! [`message`] makes a message of a record, [`field`] keeps what goes into its header within the RFC, [`settings`] reads what the
//! operator wrote. The host frames messages by their octet count (RFC 6587, RFC 5425), as the output is configured.

pub mod field;
#[cfg(target_arch = "wasm32")]
mod guest;
pub mod message;
pub mod settings;
