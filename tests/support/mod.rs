//! Real processes for tests: `codec` itself, PostgreSQL, Node, S3, ClickHouse, HAProxy, rsyslogd; SoftHSM's tokens. Each ends with the test that started it.

pub mod backend;
pub mod callers;
pub mod certificates;
pub mod clickhouse;
pub mod client;
pub mod codec;
pub mod collector;
pub mod haproxy;
pub mod keks;
pub mod key_vault;
pub mod key_vault_keys;
pub mod load;
pub mod loopback;
pub mod node;
pub mod outside_kek;
pub mod plugins;
pub mod ports;
pub mod postgres;
pub mod proc;
pub mod proxy;
pub mod reply;
pub mod s3;
#[cfg(feature = "pkcs11")]
pub mod softhsm;
pub mod stub;
pub mod syslog;
pub mod transit;
pub mod vault;
pub mod vault_login;
pub mod walk_through;

use std::path::PathBuf;

pub use client::{Answer, Client};
pub use codec::{Codec, Launch};
pub use ports::free_port;

/// Every secret value in tests begins with this, and every process's traces are searched for it.
pub const CANARY: &str = "canary-7c1f5e";

/// A secret for tests.
pub fn secret(name: &str) -> String {
    format!("{CANARY}-{name}")
}

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file that `make test` puts there.
pub fn tool(path: &str) -> PathBuf {
    let found = root().join("target/tools").join(path);
    assert!(found.exists(), "{} is missing: run the tests with `make test`", found.display());
    found
}
