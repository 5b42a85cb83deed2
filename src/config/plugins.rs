//! Policies, sinks, and what plugins are granted.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Config;
use crate::caller::Action;
use crate::names::ProjectPattern;

/// Plugins in general.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginsConfig {
    /// The folder of the components. Default `plugins` in the data directory.
    pub dir: Option<PathBuf>,
    /// What is decided when no policy allows and none denies. Default: `deny`, unless no policy is enforced.
    pub default: Option<DefaultDecision>,
}

/// What is decided when no policy allows and none denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultDecision {
    /// Let pass.
    Allow,
    /// Refuse.
    Deny,
}

/// What becomes of a policy's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It counts.
    Enforce,
    /// It is recorded, and lets pass.
    Monitor,
}

/// Where a component comes from, and what it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct ComponentConfig {
    /// As records, logs and figures name it.
    pub name: String,
    /// Relative to `plugins.dir`, and inside it.
    pub path: PathBuf,
    /// SHA-256 that it must have.
    pub sha256: Option<String>,
    /// For its `configure`.
    pub settings: toml::Table,
    /// Whether it may import WASI, and find nothing there.
    pub wasi: bool,
    /// Cases that it must pass before it goes live: a file beside it.
    pub cases: Option<PathBuf>,
    /// For one call.
    pub deadline_ms: u64,
    /// Of an instance.
    pub memory_bytes: usize,
    /// For compiling it.
    pub compile_deadline_ms: u64,
}

/// An access policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// As records, logs and figures name it: 1 to 64 of a-z 0-9 and -.
    pub name: String,
    /// The component, relative to `plugins.dir` and inside it.
    pub path: PathBuf,
    /// The SHA-256 that the component must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// `enforce`, or `monitor`: recorded, and lets pass. Default `enforce`.
    #[serde(default = "enforce")]
    pub mode: Mode,
    /// The actions that it is asked about. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    /// The projects that it is asked about, by patterns with `*`. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<ProjectPattern>,
    /// Whether it may import WASI, and find nothing there. Default false.
    #[serde(default)]
    pub wasi: bool,
    /// A file of cases that it must pass before it goes live, relative to `plugins.dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases: Option<PathBuf>,
    /// How long one decision may compute. Default 20.
    #[serde(default = "policy_deadline_ms")]
    pub deadline_ms: u64,
    /// Of one instance. Default 67108864, at most 134217728.
    #[serde(default = "memory_bytes")]
    pub memory_bytes: usize,
    /// How long compiling it may take. Default 60000, at most 600000.
    #[serde(default = "compile_deadline_ms")]
    pub compile_deadline_ms: u64,
    /// What `configure` is given.
    #[serde(default)]
    pub settings: toml::Table,
}

/// An audit sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// As logs and figures name it, and as its place in the journal is kept under: 1 to 64 of a-z 0-9 and -.
    pub name: String,
    /// The component, relative to `plugins.dir` and inside it.
    pub path: PathBuf,
    /// The SHA-256 that the component must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Whether every answer waits until this sink has its record. Default false, which must be said of the last one that was required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// Where a sink that is new begins: `start` of the journal, or `now`. Default `start`.
    #[serde(default)]
    pub from: From,
    /// Records in a batch, at the most. Default 500.
    #[serde(default = "batch_records")]
    pub batch_records: usize,
    /// Bytes of records in a batch; a single larger one is a batch of its own. Default 1048576.
    #[serde(default = "batch_bytes")]
    pub batch_bytes: usize,
    /// How long one batch may take. Default 10000.
    #[serde(default = "sink_deadline_ms")]
    pub deadline_ms: u64,
    /// Of its instance. Default 67108864.
    #[serde(default = "memory_bytes")]
    pub memory_bytes: usize,
    /// How long compiling it may take. Default 60000, at most 600000.
    #[serde(default = "compile_deadline_ms")]
    pub compile_deadline_ms: u64,
    /// Whether it may import WASI, and find nothing there. Default false.
    #[serde(default)]
    pub wasi: bool,
    /// A file of cases that it must pass before it goes live, relative to `plugins.dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases: Option<PathBuf>,
    /// The outputs that it may write to, by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// The origins that it may send requests to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrantConfig>,
    /// What `configure` is given.
    #[serde(default)]
    pub settings: toml::Table,
}

/// Where a sink that is new begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// With the oldest record there is.
    #[default]
    Start,
    /// With the next one.
    Now,
}

/// An origin that a plugin may send requests to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrantConfig {
    /// Scheme, host and port, exactly.
    pub origin: String,
    /// Networks (CIDR) beyond the public ones in which its addresses may lie. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Credentials that may be sent there, by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
    /// Certificates (PEM) that its server's may be issued under, beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether secrets, a provider's or credentials, may go over `http://` to another machine, and be read on their way. Default false.
    #[serde(default)]
    pub plaintext: bool,
}

/// A place for lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// As sinks name it.
    pub name: String,
    /// `stdout`, `file:<name>` (in `outputs` in the data directory), `tcp://host:port` or `tls://host:port`.
    pub to: String,
    /// `newline` or `octet-counted`. Default `newline`.
    #[serde(default)]
    pub framing: Framing,
    /// Longest line. Default 4194304.
    #[serde(default = "line_bytes")]
    pub line_bytes: usize,
    /// How long one write may take. Default 5000.
    #[serde(default = "output_deadline_ms")]
    pub deadline_ms: u64,
    /// For `tls://`: certificates (PEM) that the peer's must be issued under, in place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// How lines are told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// A line feed after each.
    #[default]
    Newline,
    /// The number of bytes, a space, the bytes (RFC 5425, RFC 6587).
    OctetCounted,
}

impl Config {
    /// Where the components are.
    pub fn plugins_dir(&self) -> PathBuf {
        self.plugins.dir.clone().unwrap_or_else(|| self.data_dir.join("plugins"))
    }

    /// Where the files of outputs are, and nothing else.
    pub fn outputs_dir(&self) -> PathBuf {
        self.data_dir.join("outputs")
    }

    /// Where each sink's place in the journal is kept.
    pub fn cursors_dir(&self) -> PathBuf {
        self.data_dir.join("cursors")
    }
}

impl PolicyConfig {
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
            memory_bytes: self.memory_bytes,
            compile_deadline_ms: self.compile_deadline_ms,
        }
    }
}

impl SinkConfig {
    /// Whether every answer waits until this sink has its record.
    pub fn is_required(&self) -> bool {
        self.required == Some(true)
    }

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
            memory_bytes: self.memory_bytes,
            compile_deadline_ms: self.compile_deadline_ms,
        }
    }
}

/// Whether a relative path stays where it is, as far as its text tells.
pub(super) fn is_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, std::path::Component::Normal(_))) && path.file_name().is_some()
}

fn enforce() -> Mode {
    Mode::Enforce
}

fn policy_deadline_ms() -> u64 {
    20
}

fn sink_deadline_ms() -> u64 {
    10_000
}

fn output_deadline_ms() -> u64 {
    5_000
}

pub(super) fn compile_deadline_ms() -> u64 {
    60_000
}

pub(super) fn memory_bytes() -> usize {
    64 << 20
}

fn batch_records() -> usize {
    500
}

fn batch_bytes() -> usize {
    1 << 20
}

fn line_bytes() -> usize {
    4 << 20
}
