//! Which caller may do what with which variables of which projects. Everything else is denied.
//!
//! Doubt never allows: what a call does not name (its project, a variable's name) is covered only by the cell that says so, and every
//! denying row that might be meant applies. The order of rows never matters. [`access`] decides, [`settings`] and [`text`] read what the
//! operator wrote.

pub mod access;
#[cfg(target_arch = "wasm32")]
mod guest;
pub mod settings;
pub mod text;
mod touched;
