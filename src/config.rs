//! What operators set: `codec.toml`, one struct for each concern, and the environment, which wins.
//!
//! `deploy/codec.toml` shows every key with its default; a test keeps the two alike. Unknown keys are refused by name.

mod changes;
mod checks;
mod credentials;
mod defaults;
mod environment;
mod key_provider;
mod keys;
mod pkcs11;
mod plugin_checks;
mod plugins;
mod providers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use credentials::{CredentialConfig, CredentialKind};
pub use environment::Environment;
pub use key_provider::KeyProviderConfig;
pub use keys::{DekRelease, KekPlace, KeysConfig, UnknownDek};
pub use pkcs11::Pkcs11Config;
pub use plugins::{
    ComponentConfig, DefaultDecision, Framing, From as SinkFrom, HttpGrantConfig, Mode, OutputConfig, PluginsConfig,
    PolicyConfig, SinkConfig,
};
pub use providers::ProviderConfig;

pub use crate::audit::journal::Durability;
use crate::caller::Action;
use crate::names::ProjectPattern;

/// The file that is read where none is named.
pub const DEFAULT_PATH: &str = "codec.toml";
/// The data directory where none is named.
const DEFAULT_DATA_DIR: &str = "data";

/// All of `codec.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the embedded parts live: SQLite, journal, deployments. `CODEC_DATA_DIR`; default `./data`.
    pub data_dir: PathBuf,
    /// The edge.
    pub server: ServerConfig,
    /// How much one call may bring.
    pub limits: LimitsConfig,
    /// KEK, DEKs and their cache.
    pub keys: KeysConfig,
    /// How values are written.
    pub values: ValuesConfig,
    /// Where wrapped DEKs are kept.
    pub store: StoreConfig,
    /// Where deployments are looked up.
    pub deployments: DeploymentsConfig,
    /// The journal.
    pub audit: AuditConfig,
    /// What the process says of itself.
    pub log: LogConfig,
    /// Callers with tokens of their own, beside the shared `INTERNAL_SERVICE_TOKEN`.
    pub callers: Vec<CallerConfig>,
    /// Plugins in general.
    pub plugins: PluginsConfig,
    /// Access policies, in the order in which they are asked.
    pub policies: Vec<PolicyConfig>,
    /// Audit sinks.
    pub sinks: Vec<SinkConfig>,
    /// Secret providers.
    pub providers: Vec<ProviderConfig>,
    /// Places for lines.
    pub outputs: Vec<OutputConfig>,
    /// What the host adds to plugins' requests.
    pub credentials: Vec<CredentialConfig>,
}

/// The edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port. `CODEC_LISTEN`; default `127.0.0.1:8686`.
    pub listen: SocketAddr,
    /// Connections at once; more wait to be accepted. Default 10000.
    pub connections_max: usize,
    /// Connections at once from one address; more are closed. Default 2000.
    pub connections_per_address_max: usize,
    /// Requests worked on at once; more get 503 `overloaded`. Default 2048.
    pub requests_max: usize,
    /// From accept or the last answer to the end of the next request's headers. Default 15000.
    pub header_timeout_ms: u64,
    /// For a request's body. Default 10000.
    pub body_timeout_ms: u64,
    /// For a peer to take an answer, and a second more for each 256 KiB that it takes. Default 10000.
    pub write_timeout_ms: u64,
    /// After SIGTERM: how long it still accepts, being not ready, so that balancers notice. Default 500.
    pub drain_delay_ms: u64,
    /// After that: how long calls in flight may take. Default 20000.
    pub drain_timeout_ms: u64,
}

/// How much one call may bring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Body of a call with one value, in bytes. Default 1048576.
    pub body_bytes: usize,
    /// Body of `/encrypt-all`, `/decrypt-all`, `/re-encrypt` and `/explain`, in bytes. Default 16777216.
    pub batch_body_bytes: usize,
    /// Bodies of all requests together, and answers of more than 64 KiB until they are taken, in bytes; more are 503 `overloaded`. Default 268435456.
    pub bodies_bytes: usize,
    /// Variables in one call. Default 10000.
    pub variables: usize,
    /// Wrong tokens from one address in a second before they get 429. Default 20.
    pub wrong_tokens_per_second: u32,
}

/// How values are written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValuesConfig {
    /// Projects whose values are written in v2 unless a call says otherwise: ids, with `*` for any part. Default none.
    pub v2_projects: Vec<ProjectPattern>,
}

/// Where wrapped DEKs are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `postgres://…`, or `sqlite:<path>`. `DATABASE_URL`; default: SQLite in the data directory.
    pub url: Option<String>,
    /// How long one operation may take. Default 2000.
    pub deadline_ms: u64,
    /// Connections to PostgreSQL. Default 8.
    pub connections: u32,
}

/// Where deployments are looked up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeploymentsConfig {
    /// What holds `deployments/<id>/metadata.json`: `file:///…`, `s3://bucket[/prefix]`, `gs://…`, `az://…`. Default: the data directory.
    pub url: Option<String>,
    /// Whether `/decrypt-all` needs a deployment that is known. Default false.
    pub required: bool,
    /// How long what was read is believed, at most 30. Default 30.
    pub cache_s: u64,
    /// Largest object read. Default 16777216.
    pub object_bytes: u64,
    /// How long a look-up may take. Default 2000.
    pub deadline_ms: u64,
}

/// The journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// The folder of its segments. Default `audit` in the data directory.
    pub dir: Option<PathBuf>,
    /// `fsync`: survives a crash of the machine; `os`: of the process only. Default `fsync`.
    pub durability: Durability,
    /// How long an answer waits for its record before it becomes 503. Default 2000.
    pub deadline_ms: u64,
    /// A segment that has grown to this many bytes ends. Default 33554432.
    pub segment_bytes: u64,
    /// Records that may wait at once. Default 16384.
    pub queue: usize,
}

/// What the process says of itself, on standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `text` or `json`. Default `text`.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`. Default `info`.
    pub level: LogLevel,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// From what weight on lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names of tracing's levels")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// A caller with tokens of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerConfig {
    /// As records and policies name it.
    pub name: String,
    /// `sha256:<hex>` of each token that is valid; two while one replaces the other.
    #[serde(default)]
    pub tokens: Vec<String>,
    /// A file with the tokens themselves, one a line. Read again when it changes.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// What it may ask for, by the names of the paths.
    pub actions: Vec<Action>,
}

/// What is wrong with the configuration. The operator sees it, and exit code 2, before anything is touched.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, a wrong type.
    #[error("{path}: {message}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where in it and what, as the parser says.
        message: String,
    },
    /// An environment variable.
    #[error("environment variable {name}: {message}")]
    Variable {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A value out of bounds, or two that contradict each other.
    #[error("{key}: {message}")]
    Value {
        /// Which key.
        key: String,
        /// What is wrong with it.
        message: String,
    },
}

impl ConfigError {
    pub(crate) fn value(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Value { key: key.into(), message: message.into() }
    }
}

impl Config {
    /// Reads `path`, or `./codec.toml` if there is one, or takes the defaults; then the environment; then checks.
    pub fn load(path: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let mut config = match path {
            Some(path) => Self::read(path)?,
            None => Self::read_or_default(Path::new(DEFAULT_PATH))?,
        };
        environment.apply(&mut config);
        config.refuse_contradictions(environment)?;
        Ok(config)
    }

    /// Where the journal's segments are.
    pub fn journal_dir(&self) -> PathBuf {
        self.audit.dir.clone().unwrap_or_else(|| self.data_dir.join("audit"))
    }

    /// What `path` says, without the environment; the defaults, if it is not there.
    pub fn read_or_default(path: &Path) -> Result<Self, ConfigError> {
        match path.try_exists() {
            Ok(false) => Ok(Self::default()),
            _ => Self::read(path),
        }
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.into(), message: checks::harmless(&error, &text) })
    }
}
