//! Vault's HTTP API: `GET /v1/<path>`, the KV engines' own paths and answers.
//!
//! KV 2 (`/v1/<mount>/data/<path>?version=n`): `{"data":{"data":{…},"metadata":{"version":n,"deletion_time":"","destroyed":false,…}}}`; of
//! a version that was deleted or destroyed 404, with `"data":null` and its metadata. A `deletion_time` that has not come yet is that of
//! `delete_version_after`. KV 1 and engines with leases (`/v1/<mount>/<path>`): `{"data":{…},"lease_duration":seconds}`. What is wrong is
//! `{"errors":[…]}`. There is no call for several paths at once, so each is a request; fields of one path share it.
//!
//! As "KV Secrets Engine, Version 1 (API)", "Version 2 (API)" and "HTTP API" of Vault's documentation have it, and, where they say
//! nothing of a deleted version, the engine's source (`hashicorp/vault-plugin-secrets-kv`, `path_data.go`).

use guest_parts::http::escaped;
use guest_parts::json::parse;
use guest_parts::secret::{
    Answer, Backend, Reference, Request, ResolveError, Secret, field_of, resolve_each, told, trouble,
};
use guest_parts::time::rfc3339_date;
use serde_json::Value;

use crate::settings::Settings;

/// What one path and version holds.
struct Found {
    fields: Value,
    version: String,
    keep_ms: Option<u64>,
}

/// One result for each of `references`, in order.
pub fn resolve(
    settings: &Settings,
    vault: &mut impl Backend,
    references: &[Reference],
) -> Vec<Result<Secret, ResolveError>> {
    resolve_each(references, |path, version| read(settings, vault, path, version), Found::secret)
}

impl Found {
    fn secret(&self, field: Option<&str>) -> Result<Secret, ResolveError> {
        let value = field_of(&self.fields, field)?;
        Ok(Secret { value, version: self.version.clone(), keep_ms: self.keep_ms })
    }
}

fn read(
    settings: &Settings,
    vault: &mut impl Backend,
    path: &str,
    version: Option<&str>,
) -> Result<Found, ResolveError> {
    let is_versioned = is_versioned(settings, path)?;
    let request = Request {
        method: "GET",
        url: url(settings, path, version, is_versioned)?,
        headers: headers(settings),
        body: Vec::new(),
    };
    let answer = vault.send(request)?;
    let said = || said(&answer);
    match answer.status {
        200 => of_body(settings, &answer.body, is_versioned, vault.now_ms()),
        // No such path or version; or deleted, or destroyed; or hidden from this token.
        404 => Err(ResolveError::NotFound),
        403 => Err(ResolveError::Denied(said())),
        400 => Err(ResolveError::InvalidReference(said())),
        // A standby that has not caught up yet.
        412 => Err(ResolveError::Retry(None)),
        status => Err(trouble(status, answer.retry_after.as_deref(), vault.now_ms(), &said())),
    }
}

/// Told by the configuration, never guessed from an answer: a secret of KV 1 may look like one of KV 2.
fn is_versioned(settings: &Settings, path: &str) -> Result<bool, ResolveError> {
    let invalid = |why: &str| ResolveError::InvalidReference(why.to_owned());
    if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(invalid("a path is segments with one slash between each, none of them . or .."));
    }
    if is_of_the_host(path) {
        return Err(invalid("what is below auth/, or below auth/token anywhere, is the host's to ask of Vault"));
    }
    let is_below = |mount: &String| path.strip_prefix(mount.as_str()).is_some_and(|rest| rest.starts_with('/'));
    if settings.unversioned_mounts.iter().any(is_below) {
        return Ok(false);
    }
    let is_data = path.split_once("/data/").is_some_and(|(mount, secret)| !mount.is_empty() && !secret.is_empty());
    if is_data {
        Ok(true)
    } else {
        Err(invalid("a path of KV 2 is <mount>/data/<path>; of KV 1, unversioned_mounts must list its mount"))
    }
}

/// Whether logins or tokens are had there. The host lends its token for no such request, in whatever case it is written and whatever
/// namespace may stand in front: who wrote the reference is told, and nobody is asked.
fn is_of_the_host(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let segments: Vec<&str> = path.split('/').collect();
    segments.first() == Some(&"auth") || segments.windows(2).any(|pair| pair == ["auth", "token"])
}

fn url(settings: &Settings, path: &str, version: Option<&str>, is_versioned: bool) -> Result<String, ResolveError> {
    let path: Vec<String> = path.split('/').map(escaped).collect();
    let url = format!("{}/v1/{}", settings.url, path.join("/"));
    match version {
        None => Ok(url),
        Some(_) if !is_versioned => Err(ResolveError::InvalidReference("KV 1 has no versions".to_owned())),
        // Vault takes 0 for the latest; who names a version means one.
        Some(version) => match version.parse::<u32>() {
            Ok(number) if number > 0 && version.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(format!("{url}?version={number}"))
            }
            _ => Err(ResolveError::InvalidReference("a version of KV 2 is a number from 1".to_owned())),
        },
    }
}

fn headers(settings: &Settings) -> Vec<(&'static str, String)> {
    // Keeps a request that somebody else forged from being one: Vault's agents and proxies may be set to ask for it.
    let mut headers = vec![("x-vault-request", "true".to_owned()), ("accept", "application/json".to_owned())];
    headers.extend(settings.namespace.iter().map(|namespace| ("x-vault-namespace", namespace.clone())));
    headers
}

fn of_body(settings: &Settings, body: &[u8], is_versioned: bool, now_ms: u64) -> Result<Found, ResolveError> {
    let wrong = |what: &str| ResolveError::Unavailable(format!("not an answer of Vault: {what}"));
    // The parser's own message says where, and repeats nothing.
    let answer = parse(body).map_err(|what| wrong(&what))?;
    let data = answer.get("data").ok_or_else(|| wrong("it has no `data`"))?;
    let lease_ms = answer.get("lease_duration").and_then(Value::as_u64).filter(|seconds| *seconds > 0);
    let lease_ms = lease_ms.map(|seconds| seconds.saturating_mul(1_000));
    let keep_ms = lease_ms.map_or(settings.keep.ms, |lease| lease.min(settings.keep.ms));
    let found = |fields: &Value, version: String, keep_ms: u64| Found {
        fields: fields.clone(),
        version,
        keep_ms: Some(keep_ms).filter(|ms| *ms > 0),
    };
    if !is_versioned {
        return match data {
            Value::Object(_) => Ok(found(data, String::new(), keep_ms)),
            Value::Null => Err(ResolveError::NotFound),
            _ => Err(wrong("`data` is no object")),
        };
    }
    let metadata = |key: &str| data.get("metadata").and_then(|metadata| metadata.get(key));
    let version = metadata("version").and_then(Value::as_u64);
    let version = version.ok_or_else(|| wrong("it has no `data.metadata.version`: is the mount KV 2?"))?;
    // When it ends by itself, if it does. Nobody should hold it for longer, nor where that cannot be read.
    let ends = metadata("deletion_time").and_then(Value::as_str).filter(|text| !text.is_empty());
    let left_ms = ends.map(|text| rfc3339_date(text).unwrap_or(0).saturating_sub(now_ms));
    let keep_ms = left_ms.map_or(keep_ms, |left| left.min(keep_ms));
    match data.get("data") {
        Some(fields @ Value::Object(_)) => Ok(found(fields, version.to_string(), keep_ms)),
        // Deleted or destroyed, as a proxy in front may tell it.
        Some(Value::Null) => Err(ResolveError::NotFound),
        _ => Err(wrong("`data.data` is no object")),
    }
}

/// What Vault says is wrong; nothing else of its answer.
fn said(answer: &Answer) -> String {
    let errors = parse(&answer.body).ok().and_then(|answer| match answer.get("errors") {
        Some(Value::Array(errors)) => Some(errors.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")),
        _ => None,
    });
    errors.filter(|errors| !errors.is_empty()).map_or_else(|| "no reason given".to_owned(), |errors| told(&errors))
}

#[cfg(test)]
mod tests {
    use guest_parts::backend::NoAnswer;

    use super::*;
    use crate::settings;

    /// A host that sends nothing, and says why.
    struct Refusing(NoAnswer);

    impl Backend for Refusing {
        fn send(&mut self, _request: Request) -> Result<Answer, NoAnswer> {
            Err(self.0.clone())
        }

        fn now_ms(&mut self) -> u64 {
            0
        }
    }

    fn settings(rest: &str) -> Settings {
        settings::parse(&format!(r#"{{"url": "https://v.test", "unversioned_mounts": ["kv", "a/b"]{rest}}}"#))
            .expect("good")
    }

    #[test]
    fn a_path_is_one_url_and_no_other() {
        let settings = settings("");
        let of = |path: &str, version| url(&settings, path, version, is_versioned(&settings, path)?);
        assert_eq!(of("secret/data/a b/c?d", None).as_deref(), Ok("https://v.test/v1/secret/data/a%20b/c%3Fd"));
        assert_eq!(of("secret/data/app", Some("7")).as_deref(), Ok("https://v.test/v1/secret/data/app?version=7"));
        assert_eq!(of("kv/app", None).as_deref(), Ok("https://v.test/v1/kv/app"));
        assert_eq!(of("a/b/data/app", None).as_deref(), Ok("https://v.test/v1/a/b/data/app"));
        for path in ["secret/data/auth", "secret/data/auth/app", "secret/data/token/auth", "secret/data/oauth/token"] {
            assert_eq!(of(path, None), Ok(format!("https://v.test/v1/{path}")));
        }
        for path in [
            "",
            "/",
            "app",
            "secret/app",
            "secret/data/",
            "/data/app",
            "secret/data//app",
            "secret/data/../../sys/seal",
            "secret/data/./app",
            "kv",
            "kv/",
            "kvx/app",
            "a/bc/app",
            "auth/approle/data/login",
            "AUTH/token/data/create",
            "secret/data/shop/auth/token/1",
            "secret/data/Auth/TOKEN",
            "kv/auth/token",
            "team/auth/token/data/create",
        ] {
            assert!(matches!(of(path, None), Err(ResolveError::InvalidReference(_))), "{path}");
        }
        for version in ["", "0", "-1", "+1", "1.0", "latest", "4294967296"] {
            assert!(of("secret/data/app", Some(version)).is_err(), "{version}");
        }
        assert!(of("kv/app", Some("1")).is_err());
    }

    #[test]
    fn what_the_host_does_not_send_is_no_reference_and_what_is_not_granted_is_the_operators() {
        let reference = Reference { path: "secret/data/app".into(), field: None, version: None };
        let of = |no_answer: NoAnswer| {
            let found = resolve(&settings(""), &mut Refusing(no_answer), std::slice::from_ref(&reference));
            found.into_iter().next().and_then(Result::err)
        };
        let why = || "why".to_owned();
        assert!(matches!(of(NoAnswer::InvalidRequest(why())), Some(ResolveError::InvalidReference(_))));
        assert_eq!(of(NoAnswer::NotGranted(why())), Some(ResolveError::Unavailable(why())));
        assert_eq!(of(NoAnswer::Failed(why())), Some(ResolveError::Unavailable(why())));
    }

    #[test]
    fn the_shorter_of_lease_and_setting_counts() {
        let keep = |rest: &str, lease: u64| {
            let body = format!(r#"{{"lease_duration": {lease}, "data": {{"a": "b"}}}}"#);
            of_body(&settings(rest), body.as_bytes(), false, 0).map(|found| found.keep_ms).expect("found")
        };
        assert_eq!(keep("", 0), Some(60_000));
        assert_eq!(keep("", 7), Some(7_000));
        assert_eq!(keep("", u64::MAX), Some(60_000));
        assert_eq!(keep(r#", "keep": "0s""#, 7), None);
    }

    #[test]
    fn nobody_keeps_a_version_that_ends_by_itself_for_longer() {
        let keep = |deletion_time: &str| {
            let metadata = format!(r#"{{"version": 1, "deletion_time": "{deletion_time}", "destroyed": false}}"#);
            let body = format!(r#"{{"data": {{"data": {{"a": "b"}}, "metadata": {metadata}}}}}"#);
            of_body(&settings(""), body.as_bytes(), true, 1_000).map(|found| found.keep_ms).expect("found")
        };
        assert_eq!(keep(""), Some(60_000));
        assert_eq!(keep("2100-01-01T00:00:00Z"), Some(60_000));
        assert_eq!(keep("1970-01-01T00:00:08.5Z"), Some(7_500));
        assert_eq!(keep("1970-01-01T00:00:00Z"), None);
        assert_eq!(keep("soon"), None);
    }
}
