//! Sandboxed WebAssembly components: access policies, audit sinks, secret providers, key providers.
//!
//! wasmtime is wrapped here, once; nobody else names it. What a plugin may use ([`Limits`]) and reach ([`Outside`]) is a required
//! argument wherever one is made, and there is one way in, for the start, for a reload and for `codec-plugin check`:
//! [`Engines::admit_policy`], [`Engines::admit_sink`], [`Engines::admit_secret_provider`] and [`Engines::admit_key_provider`].

mod admission;
mod bindings;
pub mod cases;
mod code;
mod deadline;
mod engine;
mod fault;
mod held;
mod imports;
mod key_provider;
mod lane;
mod limits;
pub mod outside;
mod policy;
mod reach;
mod scan;
mod secret_provider;
mod sink;
mod snapshot;
mod trim;
mod wasi;
mod weight;

pub use admission::{AdmissionError, Candidate, Problem, Sha256Digest};
pub use code::{CodeCache, CodeFor, CodeKey, CompileError, Compiler, NoCache, compile};
pub use engine::Engines;
pub use fault::Fault;
pub use held::HeldQuery;
pub use imports::{LogLevel, LogLine, PluginLog};
pub use key_provider::{CIPHERTEXT_BYTES_MAX, KeyContext, KeyError, KeyProvider, OUTSIDE_VERSION_LEN_MAX, Wrapped};
pub use lane::{Progress, Work, let_requests_go_first, live_on_spare_time, lives_on_spare_time, starved};
pub use limits::Limits;
pub use outside::Outside;
pub use policy::{
    Attribute, Caller, Decision, Denial, DeploymentFact, KnownDeployment, Lookups, PolicyPlugin, Query, Variable,
    WarmPolicy,
};
pub use scan::{Kind, Scan, ScanError};
pub use secret_provider::{
    ResolveError, ResolvedSecret, SECRET_BYTES_MAX, SECRET_VERSION_LEN_MAX, SecretProvider, SecretReference,
};
pub use sink::{Entry, SinkPlugin, WriteOutcome};
pub use weight::TooHeavy;
