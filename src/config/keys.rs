//! `[keys]`: where the KEKs are, and what becomes of DEKs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Environment, KeyProviderConfig, Pkcs11Config};

/// KEK, DEKs and their cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeysConfig {
    /// A file that holds the KEK as `KEK_SECRET` would; not both.
    pub kek_file: Option<PathBuf>,
    /// A folder that holds several KEKs, one of them primary, and is followed while the service runs; in place of either.
    pub kek_dir: Option<PathBuf>,
    /// A token that holds the KEK, in place of either.
    pub pkcs11: Option<Pkcs11Config>,
    /// A plugin that asks a key service, in place of any of them.
    pub provider: Option<KeyProviderConfig>,
    /// Where the KEK is that wraps, when there is one in memory and one outside; the other only unwraps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<KekPlace>,
    /// What becomes of a DEK that opens under the KEK and that no project owns yet. Default `import`.
    pub unknown_dek: UnknownDek,
    /// How `/decrypt-dek` answers. Default `raw`, the contract's.
    pub dek_release: DekRelease,
    /// How long a sealed DEK handle is good for. Default 300.
    pub dek_handle_ttl_s: u64,
    /// How long an unwrapped DEK is kept. Default 300.
    pub cache_ttl_s: u64,
    /// How many are kept. Default 100000.
    pub cache_entries: u64,
    /// Days after which a primary DEK is to be rotated; 0: it may become any age. Default 0.
    pub dek_max_age_days: u32,
    /// Days after which the primary KEK is to be followed by another; 0: it may become any age. Default 0.
    pub kek_max_age_days: u32,
    /// How often what is older is recorded. Default 86400.
    pub reminder_every_s: u64,
}

/// Where a KEK is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KekPlace {
    /// In this process: `KEK_SECRET`, `keys.kek_file`, `keys.kek_dir`.
    Memory,
    /// In a token.
    Pkcs11,
    /// Behind a key service.
    Provider,
}

/// What becomes of a DEK that opens under the KEK and that no project owns yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownDek {
    /// Becomes the project's that brings it, to decrypt only.
    Import,
    /// Refused.
    Refuse,
}

/// How `/decrypt-dek` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DekRelease {
    /// The DEK itself, as the contract says.
    Raw,
    /// A handle that `/decrypt-value` takes and nobody else can use.
    Sealed,
    /// 403.
    Never,
}

impl KeysConfig {
    /// One KEK; or one in memory and one outside, and which of them is primary.
    pub(super) fn refuse_contradictions(&self, environment: &Environment) -> Result<(), ConfigError> {
        let outside = match (&self.pkcs11, &self.provider) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::value("keys.provider", "keys.pkcs11 is set too; give the KEK once"));
            }
            (Some(_), None) => Some(("keys.pkcs11", KekPlace::Pkcs11)),
            (None, Some(_)) => Some(("keys.provider", KekPlace::Provider)),
            (None, None) => None,
        };
        let in_memory = match (&self.kek_file, &self.kek_dir, &environment.kek_secret) {
            (Some(_), ..) => Some("keys.kek_file"),
            (None, Some(_), _) => Some("keys.kek_dir"),
            (None, None, Some(_)) => Some("KEK_SECRET"),
            (None, None, None) => None,
        };
        match (outside, in_memory, self.primary) {
            (Some((key, _)), Some(other), None) => {
                let message =
                    format!("{other} is set too; give the KEK once, or say by keys.primary which of them wraps");
                Err(ConfigError::value(key, message))
            }
            (_, None, Some(KekPlace::Memory)) => Err(ConfigError::value(
                "keys.primary",
                "there is no KEK in memory: KEK_SECRET, keys.kek_file, keys.kek_dir",
            )),
            (outside, _, Some(place @ (KekPlace::Pkcs11 | KekPlace::Provider)))
                if outside.is_none_or(|(_, is)| is != place) =>
            {
                Err(ConfigError::value("keys.primary", "there is no such KEK: keys.pkcs11, keys.provider"))
            }
            _ => Ok(()),
        }
    }
}
