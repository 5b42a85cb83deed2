//! Secret providers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ComponentConfig, HttpGrantConfig};

/// A secret provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// As variables, records, logs and figures name it: 1 to 64 of a-z 0-9 and -.
    pub name: String,
    /// The component, relative to `plugins.dir` and inside it.
    pub path: PathBuf,
    /// The SHA-256 that the component must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// How long one call of it may take. Default 5000.
    #[serde(default = "deadline_ms")]
    pub deadline_ms: u64,
    /// References in one call of it, at the most. Default 20.
    #[serde(default = "batch_max")]
    pub batch_max: usize,
    /// Over how many instances at once the references of one request are spread. Default 1.
    #[serde(default = "parallel")]
    pub parallel: usize,
    /// Instances of it at once, for all requests. Default 16.
    #[serde(default = "calls_max")]
    pub calls_max: usize,
    /// How long a secret is kept at the most, whatever the provider says; 0: not at all. Default 60000.
    #[serde(default = "cache_max_ms")]
    pub cache_max_ms: u64,
    /// Calls without an answer, one after the other, after which it is left alone. Default 5.
    #[serde(default = "breaker_failures")]
    pub breaker_failures: u32,
    /// For how long. Default 5000.
    #[serde(default = "breaker_ms")]
    pub breaker_ms: u64,
    /// How long it may take to compile, beside what else is at work. Default 60000, at most 600000.
    #[serde(default = "super::plugins::compile_deadline_ms")]
    pub compile_deadline_ms: u64,
    /// Of one instance. Default 67108864.
    #[serde(default = "super::plugins::memory_bytes")]
    pub memory_bytes: usize,
    /// Whether it may import WASI, and find nothing there. Default false.
    #[serde(default)]
    pub wasi: bool,
    /// A file of cases that it must pass before it goes live, relative to `plugins.dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases: Option<PathBuf>,
    /// The origins that it may send requests to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrantConfig>,
    /// What `configure` is given.
    #[serde(default)]
    pub settings: toml::Table,
}

impl ProviderConfig {
    /// Where its component comes from.
    pub fn component(&self) -> ComponentConfig {
        ComponentConfig {
            name: self.name.clone(),
            path: self.path.clone(),
            sha256: self.sha256.clone(),
            settings: self.settings.clone(),
            wasi: self.wasi,
            cases: self.cases.clone(),
            deadline_ms: self.deadline_ms,
            compile_deadline_ms: self.compile_deadline_ms,
            memory_bytes: self.memory_bytes,
        }
    }
}

fn deadline_ms() -> u64 {
    5_000
}

/// What AWS Secrets Manager takes at once.
fn batch_max() -> usize {
    20
}

fn parallel() -> usize {
    1
}

fn calls_max() -> usize {
    16
}

fn cache_max_ms() -> u64 {
    60_000
}

fn breaker_failures() -> u32 {
    5
}

fn breaker_ms() -> u64 {
    5_000
}
