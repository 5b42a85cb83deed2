//! Compiled code, kept from one start to the next by whoever can vouch for it.
//!
//! What is kept is only what the compiler made of a component's bytes: a component is hashed, scanned, configured and tried on its cases
//! at every start all the same. Machine code runs outside the sandbox, so a cache must give back nothing but what was put there.

use std::hash::{Hash, Hasher};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Keeps compiled code.
///
/// An implementation is trusted as much as the compiler is: `find` may only return what `keep` was given under the same key, which is to
/// be told by a MAC where others could have written.
pub trait CodeCache: Send + Sync {
    /// The code that was kept under `key`, if it is still there and nobody has changed it.
    fn find(&self, key: &CodeKey) -> Option<Vec<u8>>;
    /// Keeps it, if possible.
    fn keep(&self, key: &CodeKey, code: &[u8]);
}

/// Which code: SHA-256 over what it was compiled from and what for (the compiler's version, the engine's settings, the processor).
pub type CodeKey = [u8; 32];

/// Remembers nothing.
pub(super) struct NoCache;

impl CodeCache for NoCache {
    fn find(&self, _: &CodeKey) -> Option<Vec<u8>> {
        None
    }

    fn keep(&self, _: &CodeKey, _: &[u8]) {}
}

/// The component that `bytes` are, by its code from `cache` or from the compiler.
pub(super) fn component(engine: &Engine, cache: &dyn CodeCache, bytes: &[u8]) -> wasmtime::Result<Component> {
    let key = key(engine, bytes);
    if let Some(code) = cache.find(&key) {
        // SAFETY: the cache's contract is that these bytes are what `serialize` gave below, for this component on this engine.
        #[expect(unsafe_code, reason = "bytes that are vouched for are the only ones that get here")]
        let found = unsafe { Component::deserialize(engine, code) };
        match found {
            Ok(component) => return Ok(component),
            Err(error) => tracing::warn!(%error, "compiled code that was kept does not load: it is compiled again"),
        }
    }
    let component = Component::from_binary(engine, bytes)?;
    if let Ok(code) = component.serialize() {
        cache.keep(&key, &code);
    }
    Ok(component)
}

fn key(engine: &Engine, bytes: &[u8]) -> CodeKey {
    let mut digest = HashInto(Sha256::new_with_prefix(b"origan-codec/code/v1"));
    engine.precompile_compatibility_hash().hash(&mut digest);
    digest.0.update(Sha256::digest(bytes));
    digest.0.finalize().into()
}

/// What hashes into 64 bits, into 256.
struct HashInto(Sha256);

impl Hasher for HashInto {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Nobody asks: the digest is taken instead.
        0
    }
}
