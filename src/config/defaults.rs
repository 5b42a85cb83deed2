//! The defaults: `deploy/codec.toml` says the same, with reasons.

use std::net::SocketAddr;

use super::{
    AuditConfig, Config, DekRelease, DeploymentsConfig, Durability, KeysConfig, LimitsConfig, LogConfig, LogFormat,
    LogLevel, ServerConfig, StoreConfig, UnknownDek,
};

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: super::DEFAULT_DATA_DIR.into(),
            server: ServerConfig::default(),
            limits: LimitsConfig::default(),
            keys: KeysConfig::default(),
            values: super::ValuesConfig::default(),
            store: StoreConfig::default(),
            deployments: DeploymentsConfig::default(),
            audit: AuditConfig::default(),
            log: LogConfig::default(),
            callers: Vec::new(),
            plugins: super::PluginsConfig::default(),
            policies: Vec::new(),
            sinks: Vec::new(),
            providers: Vec::new(),
            outputs: Vec::new(),
            credentials: Vec::new(),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8686)),
            connections_max: 10_000,
            connections_per_address_max: 2_000,
            requests_max: 2_048,
            header_timeout_ms: 15_000,
            body_timeout_ms: 10_000,
            write_timeout_ms: 10_000,
            drain_delay_ms: 500,
            drain_timeout_ms: 20_000,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            batch_body_bytes: 16 << 20,
            bodies_bytes: 256 << 20,
            variables: 10_000,
            wrong_tokens_per_second: 20,
        }
    }
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            kek_file: None,
            kek_dir: None,
            pkcs11: None,
            provider: None,
            primary: None,
            unknown_dek: UnknownDek::Import,
            dek_release: DekRelease::Raw,
            dek_handle_ttl_s: 300,
            cache_ttl_s: 300,
            cache_entries: 100_000,
            dek_max_age_days: 0,
            kek_max_age_days: 0,
            reminder_every_s: 86_400,
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { url: None, deadline_ms: 2_000, connections: 8 }
    }
}

impl Default for DeploymentsConfig {
    fn default() -> Self {
        Self { url: None, required: false, cache_s: 30, object_bytes: 16 << 20, deadline_ms: 2_000 }
    }
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { dir: None, durability: Durability::Fsync, deadline_ms: 2_000, segment_bytes: 32 << 20, queue: 16_384 }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info }
    }
}
