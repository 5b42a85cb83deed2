//! Asks a backend over HTTP, and answers one field of the JSON object that comes back.

use serde_json::{Map, Value};

use crate::exports::origan::codec::secret_provider::{Reference, ResolveError, Secret};
use crate::exports::origan::codec::settings::Problem;
use crate::origan::codec::http::{Header, Request, Response, SendError};

/// What the operator may set.
#[derive(Debug, PartialEq)]
pub struct Settings {
    /// `url`: the backend. Its origin must be granted to this plugin.
    url: String,
    /// `credential`: the name of the one that the host adds. This plugin never sees it.
    credential: Option<String>,
    /// `keep_ms`: how long the service may keep a secret; 0: not at all.
    keep_ms: u64,
}

impl Settings {
    /// Reads the operator's settings, one JSON object. Names every key that is wrong, and every key that is not known: a misspelt setting
    /// must not be a silent default.
    pub fn parse(json: &str) -> Result<Self, Vec<Problem>> {
        let object: Map<String, Value> =
            serde_json::from_str(json).map_err(|error| vec![problem("", error.to_string())])?;
        let mut settings = Self { url: String::new(), credential: None, keep_ms: 30_000 };
        let mut problems = Vec::new();
        for (key, value) in object {
            match (key.as_str(), value) {
                ("url", Value::String(url)) if !url.is_empty() => settings.url = url.trim_end_matches('/').into(),
                ("url", _) => problems.push(problem(&key, "wants an absolute URL".into())),
                ("credential", Value::String(name)) if !name.is_empty() => settings.credential = Some(name),
                ("credential", _) => problems.push(problem(&key, "wants the name of a credential".into())),
                ("keep_ms", value) => match value.as_u64() {
                    Some(keep_ms) => settings.keep_ms = keep_ms,
                    None => problems.push(problem(&key, "wants a whole number of milliseconds".into())),
                },
                _ => problems.push(problem(&key, "is not a setting of this provider".into())),
            }
        }
        if settings.url.is_empty() && problems.is_empty() {
            problems.push(problem("url", "is required".into()));
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }
}

/// Finds one secret by `send`.
pub fn resolve(
    settings: &Settings,
    reference: &Reference,
    send: impl FnOnce(&Request) -> Result<Response, SendError>,
) -> Result<Secret, ResolveError> {
    let invalid = |why: &str| Err(ResolveError::InvalidReference(why.into()));
    let Some(field) = reference.field.as_deref() else { return invalid("name a field behind a #") };
    if reference.version.is_some() {
        return invalid("this backend has no versions");
    }
    // What becomes a part of a URL must not lead elsewhere.
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !reference.path.split('/').all(|segment| !segment.is_empty() && segment.chars().all(is_safe)) {
        return invalid("a path is segments of A-Z a-z 0-9 - and _, with one slash between each");
    }
    let request = Request {
        method: "GET".into(),
        url: format!("{}/{}", settings.url, reference.path),
        headers: vec![Header { name: "accept".into(), value: "application/json".into() }],
        body: Vec::new(),
        credential: settings.credential.clone(),
    };
    let response = send(&request).map_err(|error| ResolveError::Unavailable(error.to_string()))?;
    match response.status {
        200 => {}
        404 => return Err(ResolveError::NotFound),
        401 | 403 => return Err(ResolveError::Denied(format!("HTTP {}", response.status))),
        429 => return Err(ResolveError::Retry(wait_ms(&response.headers))),
        status => return Err(ResolveError::Unavailable(format!("HTTP {status}"))),
    }
    // Never a part of the body in a message: it may hold the secret.
    let object: Map<String, Value> = serde_json::from_slice(&response.body)
        .map_err(|_| ResolveError::Unavailable("the answer is no JSON object".into()))?;
    match object.get(field) {
        Some(Value::String(text)) => Ok(Secret {
            value: text.clone().into_bytes(),
            version: String::new(),
            keep_ms: Some(settings.keep_ms).filter(|ms| *ms > 0),
        }),
        Some(_) => invalid("the field is not text"),
        None => Err(ResolveError::NotFound),
    }
}

/// Seconds; a date is left to the host's own patience.
fn wait_ms(headers: &[Header]) -> Option<u32> {
    let header = headers.iter().find(|header| header.name == "retry-after")?;
    header.value.trim().parse::<u32>().ok()?.checked_mul(1_000)
}

/// A problem with one key, or with the whole where `key` is empty.
fn problem(key: &str, message: String) -> Problem {
    let path = if key.is_empty() { String::new() } else { format!("/{}", key.replace('~', "~0").replace('/', "~1")) };
    Problem { path, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(path: &str, field: Option<&str>) -> Reference {
        Reference { path: path.into(), field: field.map(Into::into), version: None }
    }

    fn settings() -> Settings {
        Settings::parse(r#"{"url": "https://secrets.test/v1/", "credential": "secrets"}"#).expect("good")
    }

    fn answered(status: u16, body: &str) -> Result<Secret, ResolveError> {
        let response = Response { status, headers: Vec::new(), body: body.into() };
        resolve(&settings(), &reference("app/db", Some("password")), |request| {
            assert_eq!(request.url, "https://secrets.test/v1/app/db");
            assert_eq!(request.credential.as_deref(), Some("secrets"));
            Ok(response)
        })
    }

    #[test]
    fn a_field_is_found() {
        let secret = answered(200, r#"{"password": "p"}"#).expect("found");
        assert_eq!((secret.value, secret.keep_ms), (b"p".to_vec(), Some(30_000)));
    }

    #[test]
    fn every_answer_has_a_meaning() {
        assert!(matches!(answered(200, "{}"), Err(ResolveError::NotFound)));
        assert!(matches!(answered(200, r#"{"password": 1}"#), Err(ResolveError::InvalidReference(_))));
        assert!(matches!(answered(200, "[]"), Err(ResolveError::Unavailable(_))));
        assert!(matches!(answered(404, ""), Err(ResolveError::NotFound)));
        assert!(matches!(answered(403, ""), Err(ResolveError::Denied(_))));
        assert!(matches!(answered(429, ""), Err(ResolveError::Retry(None))));
        assert!(matches!(answered(500, ""), Err(ResolveError::Unavailable(_))));
    }

    #[test]
    fn what_is_no_reference_is_asked_nobody() {
        for (path, field) in [("app", None), ("", Some("a")), ("a//b", Some("a")), ("../a", Some("a")), ("a?b", Some("a"))] {
            let outcome = resolve(&settings(), &reference(path, field), |_| panic!("asked"));
            assert!(matches!(outcome, Err(ResolveError::InvalidReference(_))), "{path}");
        }
    }

    #[test]
    fn a_misspelt_or_wrong_setting_is_named() {
        for (json, path) in [("{}", "/url"), (r#"{"url": 1}"#, "/url"), (r#"{"url": "x", "keep": 1}"#, "/keep"), ("[]", "")] {
            let problems = Settings::parse(json).expect_err(json);
            assert_eq!(problems[0].path, path, "{json}");
        }
    }
}
