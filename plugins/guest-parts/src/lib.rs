//! What several of the plugins need. Plain Rust without an import, so that all of it is tested natively.
//!
//! - [`settings`]: one JSON object, read strictly; every fault is named by a JSON pointer (RFC 6901).
//! - [`duration`], [`pattern`], [`action`], [`code`]: what settings are made of.
//! - [`http`]: URLs, and waits that servers ask for.
//! - [`json`]: JSON, no deeper than a small stack can follow.
//! - [`time`]: RFC 3339 and the calendar.
//! - [`delivery`]: lines to one output, with what becomes of each.
//! - [`backend`]: what a provider asks over HTTP.
//! - [`secret`], [`key`]: what secret providers and key providers have in common.
//! - [`base64`], [`aws`]: how some of them write bytes and errors.

pub mod action;
pub mod aws;
pub mod backend;
pub mod base64;
pub mod code;
pub mod delivery;
pub mod duration;
mod host_guest;
pub mod http;
pub mod json;
pub mod key;
mod key_guest;
pub mod pattern;
pub mod secret;
mod secret_guest;
pub mod settings;
pub mod time;
