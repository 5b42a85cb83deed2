//! When operations are allowed: office hours, change freezes, by the clock of a time zone.
//!
//! [`clock`] tells what that clock shows, [`window`] whether a window is open, [`chain`] what follows from all of them, and [`settings`]
//! reads what the operator wrote. The time is the query's; the rules of the zones are compiled in.

pub mod chain;
pub mod clock;
#[cfg(target_arch = "wasm32")]
mod guest;
pub mod settings;
pub mod window;
