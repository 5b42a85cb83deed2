//! `[keys.pkcs11]`: a KEK in a token.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Environment};

/// Sessions at once, at the most: each has a thread.
const SESSIONS_MAX: usize = 64;
/// Bytes of a token's label (PKCS #11, `CK_TOKEN_INFO`).
const TOKEN_LABEL_MAX: usize = 32;

/// A KEK in a token, reached through a PKCS #11 module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11Config {
    /// The vendor's module, a shared library.
    pub module: PathBuf,
    /// The token, by its label; or `slot`.
    #[serde(default)]
    pub token: Option<String>,
    /// The token, by the number of its slot.
    #[serde(default)]
    pub slot: Option<u64>,
    /// The KEK, by its label; or `key_id`, or both.
    #[serde(default)]
    pub key_label: Option<String>,
    /// The KEK, by its id in hexadecimal.
    #[serde(default)]
    pub key_id: Option<String>,
    /// A file that holds the user's PIN; or the variable `CODEC_PKCS11_PIN`.
    #[serde(default)]
    pub pin_file: Option<PathBuf>,
    /// Sessions, and so calls to the token at once. Default 4.
    #[serde(default = "default_sessions")]
    pub sessions: usize,
    /// How long one call may take, its wait for a session included. Default 2000.
    #[serde(default = "default_deadline_ms")]
    pub deadline_ms: u64,
}

impl Pkcs11Config {
    /// `key_id`, as the token has it.
    pub fn key_id(&self) -> Option<Vec<u8>> {
        self.key_id.as_deref().and_then(bytes_of_hex)
    }

    pub(super) fn refuse_contradictions(&self, environment: &Environment) -> Result<(), ConfigError> {
        let refuse = |field: &str, message: &str| Err(ConfigError::value(format!("keys.pkcs11.{field}"), message));
        match (&self.token, self.slot) {
            (Some(_), Some(_)) => return refuse("slot", "name the token by `token` or by `slot`, not by both"),
            (None, None) => return refuse("token", "name the token by `token` or by `slot`"),
            (Some(label), None) if label.is_empty() || label.len() > TOKEN_LABEL_MAX => {
                return refuse("token", "1 to 32 bytes");
            }
            _ => {}
        }
        if self.key_label.as_deref().is_none_or(str::is_empty) && self.key_id.is_none() {
            return refuse("key_label", "name the key by `key_label` or by `key_id`");
        }
        if self.key_id.is_some() && self.key_id().is_none_or(|id| id.is_empty()) {
            return refuse("key_id", "is not hexadecimal, two digits a byte");
        }
        match (&self.pin_file, &environment.pkcs11_pin) {
            (Some(_), Some(_)) => return refuse("pin_file", "CODEC_PKCS11_PIN is set too; give the PIN once"),
            (None, None) => return refuse("pin_file", "name a file with the PIN, or set CODEC_PKCS11_PIN"),
            _ => {}
        }
        if self.sessions == 0 || self.sessions > SESSIONS_MAX {
            return refuse("sessions", "1 to 64");
        }
        if self.deadline_ms == 0 {
            return refuse("deadline_ms", "must not be 0");
        }
        Ok(())
    }
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

fn default_sessions() -> usize {
    4
}

fn default_deadline_ms() -> u64 {
    2_000
}
