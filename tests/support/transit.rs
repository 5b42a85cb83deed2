//! The Transit engine of the tests' Vault, written from its API reference and held against its source where that says nothing:
//!
//! - "Transit Secrets Engine (API)": `keys/:name` with `rotate` and `config`, `encrypt/:name`, `decrypt/:name`; bytes are base64;
//!   `associated_data` for AEAD ciphers, `context` for derived keys.
//! - `builtin/logical/transit/path_encrypt.go`, `path_decrypt.go`, `sdk/helper/keysutil/policy.go`: the texts of a 400. `encrypt` with a key
//!   that is not there is a creation: who may only update gets 403, who may create gets a new key.
//! - `vault:vN:` and then base64 of nonce and sealed bytes, AES-256-GCM with 96 bits of nonce, as the engine has it.
//!
//! What is under a derived key Vault could not open: the key is SHA-256 of key and context here, and HKDF there.

use std::collections::BTreeMap;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::reply::Reply;
use super::vault::{errors, listed, nothing, said};

/// A mount of the engine.
#[derive(Default)]
pub struct Keys {
    keys: BTreeMap<String, Key>,
    /// Whether `encrypt` may make a key that is missing: whether the token has `create`, and not `update` alone.
    pub may_create: bool,
    /// A Vault from before 1.13: it passes over `associated_data`, and says so.
    pub is_old: bool,
}

struct Key {
    kind: String,
    is_derived: bool,
    /// From version 1.
    versions: Vec<[u8; 32]>,
    min_decryption_version: usize,
    is_deletion_allowed: bool,
}

const NONCE_LEN: usize = 12;
const TOO_OLD: &str = "ciphertext or signature version is disallowed by policy (too old)";
const NO_CONTEXT: &str = "missing 'context' for key derivation; the key was created using a derived key, which means additional, \
     per-request information must be included in order to perform operations with the key";

impl Keys {
    /// One request; `path` is what stands below the mount.
    pub fn operate(&mut self, method: &str, path: &str, body: &Value) -> Reply {
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("LIST", ["keys"]) => listed(self.keys.keys(), ""),
            ("POST" | "PUT", ["keys", name]) => self.create(name, body),
            ("GET", ["keys", name]) => self.keys.get(*name).map_or_else(|| errors(404, &[]), |key| key.told(name)),
            ("DELETE", ["keys", name]) => self.delete(name),
            ("POST" | "PUT", ["keys", name, "rotate"]) => self.changed(name, |key| {
                key.versions.push(random());
                nothing()
            }),
            ("POST" | "PUT", ["keys", name, "config"]) => self.changed(name, |key| key.configured(body)),
            ("POST" | "PUT", ["encrypt", name]) => self.encrypt(name, body),
            ("POST" | "PUT", ["decrypt", name]) => self.decrypt(name, body),
            _ => errors(405, &["unsupported operation"]),
        }
    }

    /// Nothing happens where there is one already.
    fn create(&mut self, name: &str, body: &Value) -> Reply {
        let kind = body["type"].as_str().unwrap_or("aes256-gcm96");
        if !["aes256-gcm96", "rsa-4096"].contains(&kind) {
            return errors(400, &[&format!("unknown key type {kind}")]);
        }
        let is_derived = body["derived"].as_bool().unwrap_or(false);
        self.keys.entry(name.to_owned()).or_insert_with(|| Key::new(kind, is_derived));
        nothing()
    }

    fn delete(&mut self, name: &str) -> Reply {
        match self.keys.get(name) {
            None => errors(400, &["could not delete key; not found"]),
            Some(key) if !key.is_deletion_allowed => {
                errors(400, &[&format!("error deleting policy {name}: deletion is not allowed for this policy")])
            }
            Some(_) => {
                self.keys.remove(name);
                nothing()
            }
        }
    }

    fn changed(&mut self, name: &str, change: impl FnOnce(&mut Key) -> Reply) -> Reply {
        match self.keys.get_mut(name) {
            Some(key) => change(key),
            None => errors(400, &[&format!("no existing key named {name} could be found")]),
        }
    }

    fn encrypt(&mut self, name: &str, body: &Value) -> Reply {
        let Some(plaintext) = body["plaintext"].as_str() else { return errors(400, &["missing plaintext to encrypt"]) };
        if !self.keys.contains_key(name) {
            if !self.may_create {
                return errors(403, &["1 error occurred:\n\t* permission denied\n\n"]);
            }
            let is_derived = body["context"].as_str().is_some_and(|context| !context.is_empty());
            self.keys.insert(name.to_owned(), Key::new("aes256-gcm96", is_derived));
        }
        let key = &self.keys[name];
        let sealed = STANDARD
            .decode(plaintext)
            .map_err(|_| "illegal base64 data at input byte 0".to_owned())
            .and_then(|plaintext| key.seal(&plaintext, &Bound::of(body, self.is_old)?));
        match sealed {
            Ok(ciphertext) => self.answered(json!({"ciphertext": ciphertext, "key_version": key.versions.len()}), body),
            Err(why) => errors(400, &[&why]),
        }
    }

    fn decrypt(&self, name: &str, body: &Value) -> Reply {
        let Some(ciphertext) = body["ciphertext"].as_str().filter(|text| !text.is_empty()) else {
            return errors(400, &["missing ciphertext to decrypt"]);
        };
        let Some(key) = self.keys.get(name) else { return errors(400, &["encryption key not found"]) };
        match Bound::of(body, self.is_old).and_then(|bound| key.open(ciphertext, &bound)) {
            Ok(plaintext) => self.answered(json!({"plaintext": STANDARD.encode(plaintext)}), body),
            Err(why) => errors(400, &[&why]),
        }
    }

    /// `data`, and what an old Vault says of what it does not know.
    fn answered(&self, data: Value, asked: &Value) -> Reply {
        let mut reply = said(data, 0);
        if self.is_old && asked.get("associated_data").is_some() {
            let warning = r#""warnings":["Endpoint ignored these unrecognized parameters: [associated_data]"]"#;
            reply.body = reply.body.replace(r#""warnings":null"#, warning);
        }
        reply
    }
}

/// What a ciphertext is bound to.
struct Bound {
    associated_data: Vec<u8>,
    context: Vec<u8>,
}

impl Bound {
    fn of(body: &Value, is_old: bool) -> Result<Self, String> {
        let bytes = |key: &str| {
            let text = body[key].as_str().unwrap_or_default();
            STANDARD.decode(text).map_err(|_| format!("failed to base64-decode {key}"))
        };
        let associated_data = if is_old { Vec::new() } else { bytes("associated_data")? };
        Ok(Self { associated_data, context: bytes("context")? })
    }
}

impl Key {
    fn new(kind: &str, is_derived: bool) -> Self {
        Self {
            kind: kind.to_owned(),
            is_derived,
            versions: vec![random()],
            min_decryption_version: 1,
            is_deletion_allowed: false,
        }
    }

    fn told(&self, name: &str) -> Reply {
        let kept = self.min_decryption_version..=self.versions.len();
        let versions: Map<String, Value> = kept.map(|version| (version.to_string(), json!(1_767_268_800))).collect();
        said(
            json!({"name": name, "type": self.kind, "derived": self.is_derived, "exportable": false,
                "allow_plaintext_backup": false, "deletion_allowed": self.is_deletion_allowed, "keys": versions,
                "latest_version": self.versions.len(), "min_available_version": 0, "min_encryption_version": 0,
                "min_decryption_version": self.min_decryption_version, "supports_encryption": true,
                "supports_decryption": true, "supports_derivation": true, "supports_signing": false}),
            0,
        )
    }

    fn configured(&mut self, body: &Value) -> Reply {
        if let Some(version) = body["min_decryption_version"].as_u64() {
            let version = usize::try_from(version).unwrap_or(usize::MAX).max(1);
            if version > self.versions.len() {
                let latest = self.versions.len();
                let why = format!("cannot set min decryption version of {version}, latest key version is {latest}");
                return errors(400, &[&why]);
            }
            self.min_decryption_version = version;
        }
        if let Some(is_allowed) = body["deletion_allowed"].as_bool() {
            self.is_deletion_allowed = is_allowed;
        }
        nothing()
    }

    fn seal(&self, plaintext: &[u8], bound: &Bound) -> Result<String, String> {
        let cipher = self.cipher(self.versions.len(), bound)?;
        let nonce: [u8; NONCE_LEN] = random();
        let payload = Payload { msg: plaintext, aad: &bound.associated_data };
        let sealed = cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| "it cannot be sealed".to_owned())?;
        Ok(format!("vault:v{}:{}", self.versions.len(), STANDARD.encode([&nonce[..], &sealed].concat())))
    }

    fn open(&self, ciphertext: &str, bound: &Bound) -> Result<Vec<u8>, String> {
        let rest = ciphertext.strip_prefix("vault:v").ok_or("invalid ciphertext: no prefix")?;
        let (version, sealed) = rest.split_once(':').ok_or("invalid ciphertext: wrong number of fields")?;
        let version =
            version.parse::<usize>().map_err(|_| "invalid ciphertext: version number could not be decoded")?;
        // As the engine began, versions were counted from 0.
        let version = version.max(1);
        if version > self.versions.len() {
            return Err("invalid ciphertext: version is too new".to_owned());
        }
        if version < self.min_decryption_version {
            return Err(TOO_OLD.to_owned());
        }
        let sealed = STANDARD.decode(sealed).map_err(|_| "invalid ciphertext: could not decode base64")?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or("invalid ciphertext length")?;
        let payload = Payload { msg: sealed, aad: &bound.associated_data };
        let opened = self.cipher(version, bound)?.decrypt(&Nonce::from(*nonce), payload);
        opened.map_err(|_| "cipher: message authentication failed".to_owned())
    }

    fn cipher(&self, version: usize, bound: &Bound) -> Result<Aes256Gcm, String> {
        if self.kind != "aes256-gcm96" {
            return Err(format!("'[0].associated_data' provided for non-AEAD cipher suite {}", self.kind));
        }
        let key = self.versions[version - 1];
        let key: [u8; 32] = match (self.is_derived, bound.context.as_slice()) {
            (false, _) => key,
            (true, []) => return Err(NO_CONTEXT.to_owned()),
            (true, context) => Sha256::digest([&key[..], context].concat()).into(),
        };
        Ok(Aes256Gcm::new(&key.into()))
    }
}

fn random<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).expect("randomness");
    bytes
}
