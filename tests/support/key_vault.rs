//! Azure Key Vault's REST API on loopback, for Key Vault cannot be had here. Written from knowledge of its description, not held against the pages yet ("Get Secret", "Authentication,
//! requests and responses", "Key Vault throttling guidance"): 401 with a challenge before a bearer token, `api-version` required, names in any
//! case, versions of 32 hexadecimal digits, `{"error":{"code":…,"message":…}}`.

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
    /// When what is written expires, in seconds since 1970.
    pub expires: Option<u64>,
}

impl KeyVaultServer {
    pub async fn start(token: &str) -> KeyVault {
        let (secrets, disabled, denied) = (BTreeMap::new(), Vec::new(), Vec::new());
        Backend::start(Self { token: token.to_owned(), secrets, disabled, denied, expires: None }).await
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
}

impl Answers for KeyVaultServer {
    fn answer(&mut self, asked: &Asked) -> Reply {
        // Its token endpoint, as RFC 6749 has it: who comes with the right assertion gets the token.
        if (asked.method.as_str(), asked.path.as_str()) == ("POST", "/tenant/oauth2/v2.0/token") {
            let form = String::from_utf8_lossy(&asked.body).into_owned();
            let is_right = [
                "grant_type=client_credentials",
                "client_assertion=assertion-of-the-tests",
                "scope=https%3A%2F%2Fvault.azure.net%2F.default",
            ]
            .iter()
            .all(|part| form.split('&').any(|pair| pair == *part));
            return match is_right {
                true => Reply::new(
                    200,
                    json!({"token_type": "Bearer", "expires_in": 3_599, "access_token": self.token}).to_string(),
                )
                .with("content-type", "application/json"),
                false => Reply::new(400, json!({"error": "invalid_client"}).to_string())
                    .with("content-type", "application/json"),
            };
        }
        let authorization = asked.headers.get("authorization").and_then(|value| value.to_str().ok());
        if authorization.is_none_or(|value| value.strip_prefix("Bearer ") != Some(&self.token)) {
            let challenge = "Bearer authorization=\"https://login.microsoftonline.com/common\", resource=\"https://vault.azure.net\"";
            return error(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
                .with("www-authenticate", challenge);
        }
        if !asked.query.split('&').any(|pair| pair == "api-version=7.4") {
            return error(400, "BadParameter", "api-version must be specified");
        }
        let parts: Vec<&str> = asked.path.split('/').collect();
        let (name, version) = match (asked.method.as_str(), parts.as_slice()) {
            ("GET", ["", "secrets", name]) => (*name, None),
            ("GET", ["", "secrets", name, version]) => (*name, Some(*version)),
            _ => return error(404, "NotFound", "no such resource"),
        };
        if self.denied.iter().any(|denied| denied == name) {
            return error(403, "Forbidden", "Caller is not authorized to perform action on resource.");
        }
        if self.disabled.iter().any(|disabled| disabled == name) {
            return error(403, "Forbidden", "Operation get is not allowed on a disabled secret.");
        }
        let versions = self.secrets.get(name).map(Vec::as_slice).unwrap_or_default();
        let number = match version {
            None => versions.len(),
            Some(version) => (1..=versions.len()).find(|number| version_id(*number) == version).unwrap_or(0),
        };
        let Some(value) = number.checked_sub(1).and_then(|at| versions.get(at)) else {
            return error(404, "SecretNotFound", "A secret with that name or id was not found in this key vault.");
        };
        let mut attributes = json!({"enabled": true, "created": 1_767_268_800, "updated": 1_767_268_800,
            "recoveryLevel": "Recoverable+Purgeable"});
        if let Some(expires) = self.expires {
            attributes["exp"] = json!(expires);
        }
        let id = format!("https://shop.vault.azure.net/secrets/{name}/{}", version_id(number));
        Reply::new(200, json!({"value": value, "id": id, "attributes": attributes}).to_string())
            .with("content-type", "application/json; charset=utf-8")
    }
}

fn version_id(number: usize) -> String {
    format!("{number:032x}")
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::new(status, json!({"error": {"code": code, "message": message}}).to_string())
        .with("content-type", "application/json; charset=utf-8")
}
