//! Vault's HTTP API on loopback, for Vault itself cannot be had here. Written from its API reference and from nothing of ours, and held
//! against the source of its engines (`hashicorp/vault-plugin-secrets-kv`) where that says nothing:
//!
//! - "KV Secrets Engine, Version 2 (API)": `data`, `delete`, `undelete`, `destroy` and `metadata` below the mount; versions that are counted
//!   from 1. `path_data.go`: a version that was deleted or destroyed answers 404 with its metadata and `"data":null`. All versions are
//!   kept, and none ends by itself (`max_versions`, `delete_version_after`).
//! - "KV Secrets Engine, Version 1 (API)": the path below the mount; a field `ttl` sets `lease_duration`. `passthrough.go`: or `lease`;
//!   without either it is the system's, 2764800.
//! - "AppRole auth method (API)": `auth/approle/login`.
//! - "HTTP API": `X-Vault-Token` or `Authorization: Bearer`; `{"errors":[…]}`; 400, 403, 404, 405, 429, 503; `LIST`, `PUT` as `POST`.
//!
//! `provider_backends` has an independent client judge it before it judges us. Other engines are one more [`Engine`]; Transit is
//! `transit.rs`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::backend::{Answers, Asked, Backend, Reply};
use super::transit::Keys;

/// A Vault that runs.
pub type Vault = Backend<VaultServer>;

/// What it holds.
pub struct VaultServer {
    /// Mounts, without slashes at their ends.
    pub engines: BTreeMap<String, Engine>,
    /// Who may do everything but what is denied.
    pub tokens: Vec<String>,
    /// Paths that nobody may read, as they stand behind `/v1/`.
    pub denied: Vec<String>,
    /// Role and secret id that log in, and get the last token.
    pub approle: Option<(String, String)>,
}

/// One secrets engine.
pub enum Engine {
    Kv1(BTreeMap<String, Map<String, Value>>),
    Kv2(BTreeMap<String, Versions>),
    Transit(Keys),
}

/// A secret of KV 2.
#[derive(Default)]
pub struct Versions {
    /// From version 1.
    versions: Vec<Version>,
    cas_required: bool,
}

struct Version {
    data: Option<Map<String, Value>>,
    is_deleted: bool,
}

const TIME: &str = "2026-01-01T12:00:00.000000000Z";
/// 32 days, Vault's default for KV 1.
const LEASE_S: u64 = 2_764_800;

impl VaultServer {
    /// One that runs, with KV 2 at `secret`, KV 1 at `kv` and Transit at `transit`, and one token.
    pub async fn start(token: &str) -> Vault {
        Backend::start(Self::new(token)).await
    }

    pub fn new(token: &str) -> Self {
        let engines = [
            ("secret", Engine::Kv2(BTreeMap::new())),
            ("kv", Engine::Kv1(BTreeMap::new())),
            ("transit", Engine::Transit(Keys::default())),
        ];
        let engines = engines.into_iter().map(|(mount, engine)| (mount.to_owned(), engine)).collect();
        Self { engines, tokens: vec![token.to_owned()], denied: Vec::new(), approle: None }
    }

    /// As the operator's own client would write it.
    pub fn put(&mut self, path: &str, fields: Value) {
        let body = if path.starts_with("kv/") { fields } else { json!({ "data": fields }) };
        self.change("POST", path, body);
    }

    /// The Transit engine at `transit`.
    pub fn transit(&mut self) -> &mut Keys {
        let keys = match self.engines.get_mut("transit") {
            Some(Engine::Transit(keys)) => Some(keys),
            _ => None,
        };
        keys.expect("the engine at `transit`")
    }

    pub fn change(&mut self, method: &str, path: &str, body: Value) {
        let reply = self.operate(method, path, "", &body);
        assert!(reply.status < 300, "{method} {path}: {} {}", reply.status, reply.body);
    }

    fn operate(&mut self, method: &str, path: &str, query: &str, body: &Value) -> Reply {
        let mount =
            self.engines.keys().find(|mount| path.strip_prefix(mount.as_str()).is_some_and(|p| p.starts_with('/')));
        let Some(mount) = mount.cloned() else {
            return errors(404, &[&format!("no handler for route {path:?}. route entry not found.")]);
        };
        let rest = &path[mount.len() + 1..];
        match self.engines.get_mut(&mount).expect("just found") {
            Engine::Kv1(secrets) => kv1(secrets, method, rest, body),
            Engine::Kv2(secrets) => kv2(secrets, method, rest, query, body),
            Engine::Transit(keys) => keys.operate(method, rest, body),
        }
    }
}

impl VaultServer {
    /// "AppRole auth method (API)".
    fn log_in(&self, body: &[u8]) -> Reply {
        let given: Value = serde_json::from_slice(body).unwrap_or_default();
        let is_right = self
            .approle
            .as_ref()
            .is_some_and(|(role, secret)| given["role_id"] == **role && given["secret_id"] == **secret);
        let Some(token) = self.tokens.last().filter(|_| is_right) else {
            return errors(400, &["invalid role or secret ID"]);
        };
        let auth = json!({"client_token": token, "accessor": "a", "policies": ["default"], "token_policies": ["default"],
            "metadata": {}, "lease_duration": 3_600, "renewable": true, "token_type": "service", "orphan": true});
        Reply::new(
            200,
            json!({"lease_id": "", "renewable": false, "lease_duration": 0, "data": null, "auth": auth}).to_string(),
        )
        .with("content-type", "application/json")
    }
}

impl Answers for VaultServer {
    fn answer(&mut self, asked: &Asked) -> Reply {
        let header = |name: &str| asked.headers.get(name).and_then(|value| value.to_str().ok());
        let token = header("x-vault-token").or_else(|| header("authorization")?.strip_prefix("Bearer "));
        let Some(mut path) = asked.path.strip_prefix("/v1/").map(unescaped) else { return errors(404, &[]) };
        // What is listed is a folder, with a slash at its end or without.
        if asked.method == "LIST" && !path.ends_with('/') {
            path.push('/');
        }
        if asked.method == "POST" && path == "auth/approle/login" {
            return self.log_in(&asked.body);
        }
        let is_known = token.is_some_and(|token| self.tokens.iter().any(|known| known == token));
        if !is_known || self.denied.contains(&path) {
            return errors(403, &["1 error occurred:\n\t* permission denied\n\n"]);
        }
        let body = if asked.body.is_empty() { Ok(json!({})) } else { serde_json::from_slice(&asked.body) };
        match body {
            Ok(body) => self.operate(&asked.method, &path, &asked.query, &body),
            Err(_) => errors(400, &["error parsing JSON"]),
        }
    }
}

fn kv1(secrets: &mut BTreeMap<String, Map<String, Value>>, method: &str, path: &str, body: &Value) -> Reply {
    match (method, secrets.get(path)) {
        ("GET", Some(fields)) => {
            let ttl = fields.get("ttl").or_else(|| fields.get("lease")).and_then(seconds);
            said(json!(fields), ttl.unwrap_or(LEASE_S))
        }
        ("GET", None) => errors(404, &[]),
        ("LIST", _) => listed(secrets.keys(), path),
        ("POST" | "PUT", _) => match body {
            Value::Object(fields) if !fields.is_empty() => {
                secrets.insert(path.to_owned(), fields.clone());
                nothing()
            }
            _ => errors(400, &["missing data fields"]),
        },
        ("DELETE", _) => {
            secrets.remove(path);
            nothing()
        }
        _ => errors(405, &["unsupported operation"]),
    }
}

/// A number, or Go's way of writing a duration, of one unit: `3600`, `"3600"`, `"1h"`.
fn seconds(ttl: &Value) -> Option<u64> {
    let Some(text) = ttl.as_str() else { return ttl.as_u64() };
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn kv2(secrets: &mut BTreeMap<String, Versions>, method: &str, path: &str, query: &str, body: &Value) -> Reply {
    let (part, name) = path.split_once('/').unwrap_or((path, ""));
    let numbers = || {
        let numbers = body["versions"].as_array().into_iter().flatten();
        numbers.filter_map(|number| usize::try_from(number.as_u64()?).ok()).collect::<Vec<_>>()
    };
    match (part, method) {
        ("data", "GET") => read(secrets.get(name), query),
        ("data", "POST" | "PUT") => written(secrets.entry(name.to_owned()).or_default(), body),
        ("data", "DELETE") => changed(secrets.get_mut(name), None, |version| version.is_deleted = true),
        ("delete", "POST" | "PUT") => {
            changed(secrets.get_mut(name), Some(numbers()), |version| version.is_deleted = true)
        }
        ("undelete", "POST" | "PUT") => {
            changed(secrets.get_mut(name), Some(numbers()), |version| version.is_deleted = false)
        }
        ("destroy", "POST" | "PUT") => changed(secrets.get_mut(name), Some(numbers()), |version| version.data = None),
        ("metadata", "LIST") => listed(secrets.keys(), name),
        ("metadata", "GET") => secrets.get(name).map_or_else(|| errors(404, &[]), |secret| said(secret.overview(), 0)),
        ("metadata", "DELETE") => {
            secrets.remove(name);
            nothing()
        }
        _ => errors(405, &["unsupported operation"]),
    }
}

fn read(secret: Option<&Versions>, query: &str) -> Reply {
    let Some(secret) = secret else { return errors(404, &[]) };
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("version="));
    let number = match asked.map(str::parse::<usize>) {
        None | Some(Ok(0)) => secret.versions.len(),
        Some(Ok(number)) => number,
        Some(Err(_)) => return errors(400, &["Field validation failed: error converting input for field \"version\""]),
    };
    let Some(version) = number.checked_sub(1).and_then(|at| secret.versions.get(at)) else { return errors(404, &[]) };
    let mut metadata = version.metadata();
    metadata["version"] = json!(number);
    metadata["custom_metadata"] = Value::Null;
    let is_there = version.data.is_some() && !version.is_deleted;
    let data = version.data.as_ref().filter(|_| is_there);
    let mut reply = said(json!({"data": data, "metadata": metadata}), 0);
    reply.status = if is_there { 200 } else { 404 };
    reply
}

fn written(secret: &mut Versions, body: &Value) -> Reply {
    let Some(data) = body["data"].as_object() else { return errors(400, &["no data provided"]) };
    match body["options"]["cas"].as_u64() {
        None if secret.cas_required => return errors(400, &["check-and-set parameter required for this call"]),
        Some(cas) if cas != secret.versions.len() as u64 => {
            return errors(400, &["check-and-set parameter did not match the current version"]);
        }
        _ => {}
    }
    secret.versions.push(Version { data: Some(data.clone()), is_deleted: false });
    let mut metadata = secret.versions.last().expect("just pushed").metadata();
    metadata["version"] = json!(secret.versions.len());
    metadata["custom_metadata"] = Value::Null;
    said(metadata, 0)
}

/// The latest version, or those of these numbers.
fn changed(secret: Option<&mut Versions>, numbers: Option<Vec<usize>>, change: impl Fn(&mut Version)) -> Reply {
    if numbers.as_ref().is_some_and(Vec::is_empty) {
        return errors(400, &["no version number provided"]);
    }
    if let Some(secret) = secret {
        for number in numbers.unwrap_or_else(|| vec![secret.versions.len()]) {
            if let Some(version) = number.checked_sub(1).and_then(|at| secret.versions.get_mut(at)) {
                change(version);
            }
        }
    }
    nothing()
}

impl Versions {
    fn overview(&self) -> Value {
        let versions: Map<String, Value> =
            (1..).zip(&self.versions).map(|(number, version)| (i32::to_string(&number), version.metadata())).collect();
        json!({"cas_required": self.cas_required, "created_time": TIME, "current_version": self.versions.len(),
            "delete_version_after": "0s", "max_versions": 0, "oldest_version": 0, "updated_time": TIME,
            "custom_metadata": null, "versions": versions})
    }
}

impl Version {
    fn metadata(&self) -> Value {
        let deletion_time = if self.is_deleted { TIME } else { "" };
        json!({"created_time": TIME, "deletion_time": deletion_time, "destroyed": self.data.is_none()})
    }
}

/// Names below a folder; what has more below it ends in a slash.
pub fn listed<'a>(names: impl Iterator<Item = &'a String>, folder: &str) -> Reply {
    let folder = if folder.is_empty() || folder.ends_with('/') { folder.to_owned() } else { format!("{folder}/") };
    let below = names.filter_map(|name| name.strip_prefix(&*folder));
    let mut keys: Vec<String> =
        below.map(|rest| rest.split_inclusive('/').next().unwrap_or_default().to_owned()).collect();
    keys.dedup();
    if keys.is_empty() { errors(404, &[]) } else { said(json!({ "keys": keys }), 0) }
}

pub fn said(data: Value, lease_s: u64) -> Reply {
    let body = json!({"request_id": "b7e6a5d0-0000-4000-8000-000000000000", "lease_id": "", "renewable": false,
        "lease_duration": lease_s, "data": data, "wrap_info": null, "warnings": null, "auth": null});
    Reply::new(200, body.to_string()).with("content-type", "application/json")
}

pub fn nothing() -> Reply {
    Reply::new(204, "")
}

pub fn errors(status: u16, errors: &[&str]) -> Reply {
    Reply::new(status, json!({ "errors": errors }).to_string()).with("content-type", "application/json")
}

fn unescaped(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let pair = (first == b'%').then(|| tail.get(..2)).flatten();
        let byte = pair.and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).expect("UTF-8")
}
