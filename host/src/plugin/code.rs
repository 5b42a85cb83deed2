//! From a component's bytes to code that an engine runs: by whoever kept it, by a compiler elsewhere, or by the one in this process.
//!
//! What is kept is only what the compiler made of a component's bytes: a component is hashed, scanned, configured and tried on its cases
//! at every start all the same. Machine code runs outside the sandbox, so a cache must give back nothing but what was put there, and a
//! compiler elsewhere is trusted with what plugins may do, as the one here would be.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::admission::{AdmissionError, is_given_up};
use super::engine::{Engines, config};
use super::fault::printable;

/// What code is for: each engine has settings of its own, and runs only what was compiled with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeFor {
    /// Policies that decide.
    Decisions,
    /// Sinks and providers.
    Calls,
    /// `configure` of a policy, once.
    Snapshots,
}

impl CodeFor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Decisions, Self::Calls, Self::Snapshots];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decisions => "decisions",
            Self::Calls => "calls",
            Self::Snapshots => "snapshots",
        }
    }
}

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

/// A compiler outside of this process. What it gives is run: it must be this very program.
pub trait Compiler: Send + Sync {
    /// What [`compile`] makes of `component`, within `deadline`. Blocks; is called on threads that may. On one that lives on spare time, so
    /// does the compiler, and [`CompileError::Starved`] is told soon.
    fn compile(&self, component: &[u8], code_for: CodeFor, deadline: Duration) -> Result<Vec<u8>, CompileError>;
}

/// Why there is no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The compiler will not have it. The text is printable.
    #[error("{0}")]
    Refused(String),
    /// It took too long, and was ended.
    #[error("not within {} ms", .0.as_millis())]
    Late(Duration),
    /// It was to live on spare time, and there is too little. With time of its own it may do.
    #[error("there is no time to spare")]
    Starved,
    /// There is no compiler to be had.
    #[error("{0}")]
    NoCompiler(String),
}

impl From<CompileError> for AdmissionError {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Refused(why) => Self::Compile(why),
            CompileError::Late(deadline) => Self::CompileTimeout(deadline.as_millis()),
            CompileError::Starved => Self::Starved,
            CompileError::NoCompiler(why) => Self::Compiler(why),
        }
    }
}

/// Remembers nothing.
pub struct NoCache;

impl CodeCache for NoCache {
    fn find(&self, _: &CodeKey) -> Option<Vec<u8>> {
        None
    }

    fn keep(&self, _: &CodeKey, _: &[u8]) {}
}

/// The code of `component`, as [`Engines`] of the same program run it. Takes time, memory and stack; needs nothing else.
pub fn compile(component: &[u8], code_for: CodeFor) -> Result<Vec<u8>, CompileError> {
    let engine = Engine::new(&config(code_for)).map_err(|error| CompileError::NoCompiler(format!("{error:#}")))?;
    engine.precompile_component(component).map_err(|error| refused(&error))
}

fn refused(error: &wasmtime::Error) -> CompileError {
    CompileError::Refused(printable(&format!("{error:#}")))
}

impl Engines {
    /// The component that `bytes` are. Blocks.
    pub(super) fn component(
        &self,
        bytes: &[u8],
        code_for: CodeFor,
        deadline: Duration,
    ) -> Result<Component, CompileError> {
        if is_given_up() {
            return Err(CompileError::Starved);
        }
        let engine = self.engine(code_for);
        let key = key(engine, bytes);
        if let Some(code) = self.code.find(&key) {
            match loaded(engine, &code) {
                Ok(component) => return Ok(component),
                Err(error) => tracing::warn!(%error, "compiled code that was kept does not load: it is compiled again"),
            }
        }
        let Some(compiler) = &self.compiler else {
            let component = Component::from_binary(engine, bytes).map_err(|error| refused(&error))?;
            if let Ok(code) = component.serialize() {
                self.code.keep(&key, &code);
            }
            return Ok(component);
        };
        let code = compiler.compile(bytes, code_for, deadline)?;
        let component = loaded(engine, &code).map_err(|error| CompileError::NoCompiler(format!("{error:#}")))?;
        self.code.keep(&key, &code);
        Ok(component)
    }
}

fn loaded(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the contracts of the cache and of the compiler are that these bytes are what `compile` or `serialize` gave, for this
    // component and an engine of these settings.
    #[expect(unsafe_code, reason = "bytes that are vouched for are the only ones that get here")]
    unsafe {
        Component::deserialize(engine, code)
    }
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
