//! `[keys.provider]`: a KEK behind a key service, reached through a plugin.

use std::path::PathBuf;

use origan_codec_host::crypto::KekId;
use serde::{Deserialize, Serialize};

use super::{ComponentConfig, ConfigError, HttpGrantConfig};

/// A KEK behind a key service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyProviderConfig {
    /// As logs, `/status` and figures name it: 1 to 64 of a-z 0-9 and -.
    pub name: String,
    /// The component, relative to `plugins.dir` and inside it.
    pub path: PathBuf,
    /// The SHA-256 that the component must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The KEK id that the store must have, 16 hexadecimal digits; none: whichever opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kek_id: Option<String>,
    /// How long one call of it may take. Default 5000.
    #[serde(default = "deadline_ms")]
    pub deadline_ms: u64,
    /// Instances of it at once. Default 16.
    #[serde(default = "calls_max")]
    pub calls_max: usize,
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

impl KeyProviderConfig {
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

    /// `kek_id`, as rows have it.
    pub fn pinned_id(&self) -> Option<KekId> {
        self.kek_id.as_deref().and_then(|text| text.parse().ok())
    }

    /// Which KEK it is to the process, and nothing else of it: the rest may change while it runs, once what is new has proven to open
    /// the same.
    pub(super) fn identity(&self) -> Self {
        Self {
            name: self.name.clone(),
            kek_id: self.kek_id.clone(),
            path: PathBuf::new(),
            sha256: None,
            deadline_ms: deadline_ms(),
            calls_max: calls_max(),
            breaker_failures: breaker_failures(),
            breaker_ms: breaker_ms(),
            compile_deadline_ms: super::plugins::compile_deadline_ms(),
            memory_bytes: super::plugins::memory_bytes(),
            wasi: false,
            cases: None,
            http: Vec::new(),
            settings: toml::Table::new(),
        }
    }

    pub(super) fn refuse_contradictions(&self) -> Result<(), ConfigError> {
        if self.kek_id.is_some() && self.pinned_id().is_none() {
            return Err(ConfigError::value("keys.provider.kek_id", "must be 16 lower-case hexadecimal digits"));
        }
        Ok(())
    }
}

fn deadline_ms() -> u64 {
    5_000
}

fn calls_max() -> usize {
    16
}

fn breaker_failures() -> u32 {
    5
}

fn breaker_ms() -> u64 {
    5_000
}
