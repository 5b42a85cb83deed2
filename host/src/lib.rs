//! The core of codec, in wings that never import each other.
//!
//! [`crypto`] holds secrets, the key ring, the byte formats and the cipher. The plugin wing (wasmtime) stands beside it and
//! can name none of them.

pub mod crypto;
