//! Keys of Azure Key Vault on loopback: `wrapkey` and `unwrapkey`. Held against what Microsoft has published:
//!
//! - `Azure/azure-rest-api-specs`, `specification/keyvault/data-plane/Microsoft.KeyVault/stable/7.4`, `keys.json`: `wrapKey`, `unwrapKey`
//!   (`POST /keys/{key-name}/{key-version}/wrapkey`, `alg` and `value`), `KeyOperationResult` (`kid` and `value`, base64url), `KeyVaultError`.
//! - "Authentication, requests and responses", "Azure Key Vault throttling guidance": as for secrets, in `key_vault.rs`.
//!
//! What these leave open is as Azure's SDKs ask and answers are quoted in their issues: an empty version for the newest; `KeyNotFound`;
//! 403 with `KeyDisabled` within; `BadParameter` of what does not open.
//!
//! **It wraps by AES-256-GCM under a secret of its own, whatever `alg` says**: a server of tests need not be RSA. What differs from
//! Key Vault is what nobody sees from outside but the length; what is too long for the algorithm is refused as there. It has no public half.

use std::collections::BTreeMap;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::backend::{Answers, Asked, Backend, Reply};
use super::key_vault::{error, refusal, version_id};

/// One that runs.
pub type KeyVaultKeys = Backend<KeyVaultKeysServer>;

/// What it holds.
pub struct KeyVaultKeysServer {
    token: String,
    /// Secrets of each version by the key's name, oldest first.
    keys: BTreeMap<String, Vec<[u8; 32]>>,
    /// Names that are disabled, and that nobody may use.
    pub disabled: Vec<String>,
    pub denied: Vec<String>,
    /// Whether there have been too many requests.
    pub is_throttled: bool,
}

const NONCE_LEN: usize = 12;
const API_VERSIONS: [&str; 6] = ["7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01"];
/// What RSA with 2048 bits and OAEP with SHA-256 takes.
const OAEP_LEN_MAX: usize = 190;

impl KeyVaultKeysServer {
    pub async fn start(token: &str) -> KeyVaultKeys {
        Backend::start(Self {
            token: token.to_owned(),
            keys: BTreeMap::new(),
            disabled: Vec::new(),
            denied: Vec::new(),
            is_throttled: false,
        })
        .await
    }

    /// A new version of a key; its id.
    pub fn rotate(&mut self, name: &str) -> String {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("randomness");
        let versions = self.keys.entry(name.to_owned()).or_default();
        versions.push(secret);
        version_id(versions.len())
    }

    pub fn delete(&mut self, name: &str) {
        self.keys.remove(name);
    }

    fn operate(&self, name: &str, version: &str, operation: &str, body: &[u8]) -> Reply {
        let is_in = |names: &[String]| names.iter().any(|known| known == name);
        if is_in(&self.denied) {
            let why = "Caller is not authorized to perform action on resource.";
            return error(403, "Forbidden", why, Some("ForbiddenByRbac"));
        }
        let versions = self.keys.get(name).map(Vec::as_slice).unwrap_or_default();
        let number = match version {
            "" => versions.len(),
            version => (1..=versions.len()).find(|number| version_id(*number) == version).unwrap_or(0),
        };
        let Some(secret) = number.checked_sub(1).and_then(|at| versions.get(at)) else {
            let why = format!(
                "A key with (name/id) {name}/{version} was not found in this key vault. If you recently deleted this key you may be able to \
                 recover it using the correct recovery command. For help resolving this issue, please see \
                 https://go.microsoft.com/fwlink/?linkid=2125182"
            );
            return error(404, "KeyNotFound", &why, None);
        };
        if is_in(&self.disabled) {
            let why = format!("Operation {operation} is not allowed on a disabled key.");
            return error(403, "Forbidden", &why, Some("KeyDisabled"));
        }
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let value = asked["value"].as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let (Some(value), Some(alg)) = (value, asked["alg"].as_str()) else {
            return error(
                400,
                "BadParameter",
                "Content of 'value' is not base64url.\r\nProperty 'value' is required.\r\n",
                None,
            );
        };
        let done = match operation {
            "wrapkey" => wrapped(secret, alg, &value),
            _ => unwrapped(secret, alg, &value),
        };
        match done {
            Ok(bytes) => {
                let kid = format!("https://shop.vault.azure.net/keys/{name}/{}", version_id(number));
                let result = json!({"kid": kid, "value": URL_SAFE_NO_PAD.encode(bytes)});
                Reply::new(200, result.to_string()).with("content-type", "application/json; charset=utf-8")
            }
            Err(why) => error(400, "BadParameter", why, None),
        }
    }
}

impl Answers for KeyVaultKeysServer {
    fn answer(&mut self, asked: &Asked) -> Reply {
        if let Some(refusal) = refusal(asked, &self.token, &API_VERSIONS, self.is_throttled) {
            return refusal;
        }
        let parts: Vec<&str> = asked.path.split('/').collect();
        match (asked.method.as_str(), parts.as_slice()) {
            ("POST", ["", "keys", name, version, operation @ ("wrapkey" | "unwrapkey")]) => {
                self.operate(name, version, operation, &asked.body)
            }
            _ => error(404, "NotFound", "no such resource", None),
        }
    }
}

/// Nonce and sealed bytes, bound to the algorithm.
fn wrapped(secret: &[u8; 32], alg: &str, value: &[u8]) -> Result<Vec<u8>, &'static str> {
    match alg {
        "RSA-OAEP-256" if value.len() > OAEP_LEN_MAX => return Err("The value to wrap is too long for the key."),
        "A256KW" if !value.len().is_multiple_of(8) => return Err("The value to wrap is not whole blocks of 8 bytes."),
        "RSA-OAEP-256" | "A256KW" => {}
        _ => return Err("Key and algorithm are not compatible."),
    }
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).expect("randomness");
    let payload = Payload { msg: value, aad: alg.as_bytes() };
    let sealed = Aes256Gcm::new(&(*secret).into()).encrypt(&Nonce::from(nonce), payload).expect("sealed");
    Ok([&nonce[..], &sealed].concat())
}

fn unwrapped(secret: &[u8; 32], alg: &str, value: &[u8]) -> Result<Vec<u8>, &'static str> {
    let why = "Error occurred while decoding OAEP padding.";
    let (nonce, sealed) = value.split_first_chunk::<NONCE_LEN>().ok_or(why)?;
    let payload = Payload { msg: sealed, aad: alg.as_bytes() };
    Aes256Gcm::new(&(*secret).into()).decrypt(&Nonce::from(*nonce), payload).map_err(|_| why)
}
