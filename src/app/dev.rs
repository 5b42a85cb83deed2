//! What `--dev` makes for itself: a KEK, a token, a configuration with the plugins that ship. All of it is kept under the data directory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use origan_codec_host::crypto::{Kek, ServiceToken};
use zeroize::Zeroizing;

use super::secrets::read_secret;
use crate::config::{Config, ConfigError, Environment};

/// The plugins that ship.
const SHIPPED: [&str; 12] = [
    "policy-recency",
    "policy-access",
    "policy-window",
    "audit-lines",
    "audit-http",
    "audit-syslog",
    "provider-vault",
    "provider-aws-secrets-manager",
    "provider-azure-key-vault",
    "keys-vault-transit",
    "keys-aws-kms",
    "keys-azure-key-vault",
];
/// Where they lie, seen from the program: beside it in an archive, beside its profile's folder after `make plugins`, or installed.
const SHIPPED_PLACES: [&str; 3] = ["plugins", "../plugins", "../lib/codec/plugins"];

/// The configuration of `--dev`, where there is no other.
const DEV_CONFIG: &str = include_str!("dev.toml");

/// Where `--dev` keeps what it makes.
#[derive(Debug)]
pub struct DevFiles {
    /// The KEK.
    pub kek: PathBuf,
    /// The token.
    pub token: PathBuf,
    /// The configuration.
    pub config: PathBuf,
    /// The plugins.
    pub plugins: PathBuf,
}

impl DevFiles {
    /// Where they are, or will be.
    pub fn under(data_dir: &Path) -> Self {
        let dev = data_dir.join("dev");
        let plugins = data_dir.join("plugins");
        Self { kek: dev.join("kek"), token: dev.join("token"), config: dev.join("codec.toml"), plugins }
    }

    /// Makes the configuration, if there is none, and puts the plugins that ship where it looks for them.
    pub fn make_plugins(&self) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("where this program lies is not known")?;
        let beside = program.parent().unwrap_or(Path::new("."));
        let places = SHIPPED_PLACES.iter().map(|place| beside.join(place));
        let from = places.into_iter().find(|place| place.join(format!("{}.wasm", SHIPPED[0])).exists());
        let from = from.ok_or_else(|| {
            let message = "the plugins that ship are not there: build them with `make plugins`, or name a configuration of your own";
            ConfigError::value("--dev", message)
        })?;
        make_dir(&self.plugins)?;
        for name in SHIPPED {
            let (from, to) = (from.join(format!("{name}.wasm")), self.plugins.join(format!("{name}.wasm")));
            let shipped = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
            if fs::read(&to).is_ok_and(|there| there == shipped) {
                continue;
            }
            // Whole or not at all: a service that runs looks on.
            let next = self.plugins.join(format!("{name}.wasm.next"));
            let put = fs::write(&next, &shipped).and_then(|()| fs::rename(&next, &to));
            put.with_context(|| format!("cannot write {}", to.display()))?;
        }
        kept(&self.config, DEV_CONFIG).map(drop)
    }

    /// Makes what is missing, and fills `environment` where it is silent.
    pub fn fill(&self, environment: &mut Environment, config: &Config) -> anyhow::Result<()> {
        if environment.kek_secret.is_none()
            && config.keys.kek_file.is_none()
            && config.keys.kek_dir.is_none()
            && config.keys.pkcs11.is_none()
            && config.keys.provider.is_none()
        {
            let fresh = Kek::generate()?.encode_base64();
            environment.kek_secret = Some(kept(&self.kek, &fresh)?);
        }
        if environment.service_token.is_none() {
            let mut bytes = Zeroizing::new([0; 24]);
            getrandom::fill(&mut *bytes).context("the operating system's randomness is unavailable")?;
            let fresh = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes));
            environment.service_token = Some(ServiceToken::new(kept(&self.token, &fresh)?.to_string()));
        }
        Ok(())
    }
}

/// What `path` holds; `fresh`, now kept there, if it is not there yet.
fn kept(path: &Path, fresh: &str) -> anyhow::Result<Zeroizing<String>> {
    if let Some(dir) = path.parent() {
        make_dir(dir)?;
    }
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let written = file.write_all(fresh.as_bytes()).and_then(|()| file.write_all(b"\n"));
            written.and_then(|()| file.sync_all()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("cannot create {}", path.display())),
    }
    let text = read_secret(path)?;
    Ok(Zeroizing::new(text.trim_end().to_owned()))
}

fn make_dir(dir: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot create {}", dir.display()))
}
