//! The core of codec, in two wings that never import each other.
//!
//! [`crypto`] holds secrets, the key ring, the byte formats and the cipher. [`plugin`] runs sandboxed WebAssembly components, and can
//! name none of them.

pub mod crypto;
pub mod plugin;
