//! Azure Key Vault's REST API on loopback, for Key Vault cannot be had here. Held against what Microsoft has published:
//!
//! - `Azure/azure-rest-api-specs`, `specification/keyvault/data-plane/Microsoft.KeyVault/stable/7.4`: `GetSecret` with or without a version,
//!   `SecretBundle`, `SecretAttributes`, `KeyVaultError` (an `error` with `code`, `message` and perhaps an `innererror`).
//! - "Authentication, requests and responses": 401 with `WWW-Authenticate: Bearer authorization="…", resource="…"` where there is no
//!   token or one that is not accepted; `api-version` is required, there is no default.
//! - "About Azure Key Vault secrets": a secret is answered outside of `nbf` and `exp` too.
//! - "Azure Key Vault throttling guidance": 429.
//!
//! What these leave open is as answers are quoted in issues of Azure's SDKs: the challenge's authority is the tenant's; `AKV10000` and
//! `AKV10022` of a 401; 403 `Forbidden` with `SecretDisabled` or `ForbiddenByRbac` within; the text of a 404; `BadParameter` of a version
//! that is not recognized; a 429 without `Retry-After`. Not known: whether it looks at the token or at `api-version` first.

use std::collections::BTreeMap;

use serde_json::json;

use super::backend::{Answers, Asked, Backend, Reply};

/// A Key Vault that runs.
pub type KeyVault = Backend<KeyVaultServer>;

/// What it holds.
pub struct KeyVaultServer {
    token: String,
    /// Values by name, oldest first; the place is the version.
    secrets: BTreeMap<String, Vec<String>>,
    /// Names that are disabled, and that nobody may read.
    pub disabled: Vec<String>,
    pub denied: Vec<String>,
    /// From when to when what is written is good, in seconds since 1970. Nothing hangs on it here.
    pub not_before: Option<u64>,
    pub expires: Option<u64>,
    /// Whether there have been too many requests.
    pub is_throttled: bool,
}

/// Those of `SecretClient` in Azure's SDKs, from the oldest that they know to the newest.
const API_VERSIONS: [&str; 9] = ["2016-10-01", "7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01"];

impl KeyVaultServer {
    pub async fn start(token: &str) -> KeyVault {
        Backend::start(Self {
            token: token.to_owned(),
            secrets: BTreeMap::new(),
            disabled: Vec::new(),
            denied: Vec::new(),
            not_before: None,
            expires: None,
            is_throttled: false,
        })
        .await
    }

    /// A new version of a secret; its id.
    pub fn set(&mut self, name: &str, value: &str) -> String {
        let versions = self.secrets.entry(name.to_owned()).or_default();
        versions.push(value.to_owned());
        version_id(versions.len())
    }

    pub fn delete(&mut self, name: &str) {
        self.secrets.remove(name);
    }

    /// Its token endpoint, as RFC 6749 has it: who comes with the right assertion gets the token.
    fn log_in(&self, body: &[u8]) -> Reply {
        let form = String::from_utf8_lossy(body).into_owned();
        let is_right = [
            "grant_type=client_credentials",
            "client_assertion=assertion-of-the-tests",
            "scope=https%3A%2F%2Fvault.azure.net%2F.default",
        ]
        .iter()
        .all(|part| form.split('&').any(|pair| pair == *part));
        let (status, answer) = match is_right {
            true => (200, json!({"token_type": "Bearer", "expires_in": 3_599, "access_token": self.token})),
            false => (400, json!({"error": "invalid_client"})),
        };
        Reply::new(status, answer.to_string()).with("content-type", "application/json")
    }

    fn read(&self, name: &str, version: Option<&str>) -> Reply {
        let is_in = |names: &[String]| names.iter().any(|known| known == name);
        if is_in(&self.denied) {
            let why = "Caller is not authorized to perform action on resource.";
            return error(403, "Forbidden", why, Some("ForbiddenByRbac"));
        }
        if is_in(&self.disabled) {
            let why = "Operation get is not allowed on a disabled secret.";
            return error(403, "Forbidden", why, Some("SecretDisabled"));
        }
        let versions = self.secrets.get(name).map(Vec::as_slice).unwrap_or_default();
        let number = match version {
            None => versions.len(),
            Some(version) => (1..=versions.len()).find(|number| version_id(*number) == version).unwrap_or(0),
        };
        let Some(value) = number.checked_sub(1).and_then(|at| versions.get(at)) else {
            let why = format!(
                "A secret with (name/id) {name} was not found in this key vault. If you recently deleted this secret you may be able to \
                 recover it using the correct recovery command. For help resolving this issue, please see \
                 https://go.microsoft.com/fwlink/?linkid=2125182"
            );
            return error(404, "SecretNotFound", &why, None);
        };
        let mut attributes = json!({"enabled": true, "created": 1_767_268_800, "updated": 1_767_268_800,
            "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90});
        for (key, at) in [("nbf", self.not_before), ("exp", self.expires)] {
            if let Some(at) = at {
                attributes[key] = json!(at);
            }
        }
        let id = format!("https://shop.vault.azure.net/secrets/{name}/{}", version_id(number));
        let bundle =
            json!({"value": value, "contentType": "text/plain", "id": id, "attributes": attributes, "tags": {}});
        Reply::new(200, bundle.to_string()).with("content-type", "application/json; charset=utf-8")
    }
}

/// What is wrong with a request before anybody looks for a secret or a key.
pub fn refusal(asked: &Asked, token: &str, api_versions: &[&str], is_throttled: bool) -> Option<Reply> {
    let authorization = asked.headers.get("authorization").and_then(|value| value.to_str().ok());
    let given = authorization.and_then(|value| value.strip_prefix("Bearer "));
    if given != Some(token) {
        let message = match given {
            None => "AKV10000: Request is missing a Bearer or PoP token.",
            Some(_) => "AKV10022: Invalid audience. Expected https://vault.azure.net, found: https://elsewhere.test.",
        };
        let challenge = "Bearer authorization=\"https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000\", \
                         resource=\"https://vault.azure.net\"";
        return Some(error(401, "Unauthorized", message, None).with("www-authenticate", challenge));
    }
    let version = asked.query.split('&').find_map(|pair| pair.strip_prefix("api-version=")).unwrap_or_default();
    if !api_versions.contains(&version) {
        let message = format!(
            "The specified version ({version}) is not recognized. Consider using the latest supported version (2025-07-01)."
        );
        return Some(error(400, "BadParameter", &message, None));
    }
    let why = "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached";
    is_throttled.then(|| error(429, "Throttled", why, None))
}

impl Answers for KeyVaultServer {
    fn answer(&mut self, asked: &Asked) -> Reply {
        if (asked.method.as_str(), asked.path.as_str()) == ("POST", "/tenant/oauth2/v2.0/token") {
            return self.log_in(&asked.body);
        }
        if let Some(refusal) = refusal(asked, &self.token, &API_VERSIONS, self.is_throttled) {
            return refusal;
        }
        let parts: Vec<&str> = asked.path.split('/').collect();
        match (asked.method.as_str(), parts.as_slice()) {
            // Azure's SDKs leave an empty version at the end.
            ("GET", ["", "secrets", name] | ["", "secrets", name, ""]) => self.read(name, None),
            ("GET", ["", "secrets", name, version]) => self.read(name, Some(version)),
            _ => error(404, "NotFound", "no such resource", None),
        }
    }
}

pub fn version_id(number: usize) -> String {
    format!("{number:032x}")
}

pub fn error(status: u16, code: &str, message: &str, inner: Option<&str>) -> Reply {
    let mut error = json!({"code": code, "message": message});
    if let Some(inner) = inner {
        error["innererror"] = json!({ "code": inner });
    }
    Reply::new(status, json!({ "error": error }).to_string()).with("content-type", "application/json; charset=utf-8")
}
