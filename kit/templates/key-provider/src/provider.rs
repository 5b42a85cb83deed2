//! Has a key service wrap and unwrap over HTTP: `POST <url>/<key>/wrap` and `POST <url>/<key>/unwrap`, JSON both ways.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::exports::origan::codec::key_provider::{KeyError, Wrapped};
use crate::exports::origan::codec::settings::Problem;
use crate::origan::codec::facts::Attribute;
use crate::origan::codec::http::{Header, Request, Response, SendError};

/// What the operator may set.
#[derive(Debug, PartialEq)]
pub struct Settings {
    /// `url`: the key service. Its origin must be granted to this plugin.
    url: String,
    /// `key`: the name of the key that wraps.
    key: String,
    /// `credential`: the name of the one that the host adds. This plugin never sees it.
    credential: Option<String>,
}

impl Settings {
    /// Reads the operator's settings, one JSON object. Names every key that is wrong, and every key that is not known: a misspelt setting
    /// must not be a silent default.
    pub fn parse(json: &str) -> Result<Self, Vec<Problem>> {
        let object: Map<String, Value> =
            serde_json::from_str(json).map_err(|error| vec![problem("", error.to_string())])?;
        let mut settings = Self { url: String::new(), key: String::new(), credential: None };
        let mut problems = Vec::new();
        // What becomes a part of a URL must not lead elsewhere.
        let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        for (key, value) in object {
            match (key.as_str(), value) {
                ("url", Value::String(url)) if !url.is_empty() => settings.url = url.trim_end_matches('/').into(),
                ("url", _) => problems.push(problem(&key, "wants an absolute URL".into())),
                ("key", Value::String(name)) if !name.is_empty() && name.chars().all(is_safe) => settings.key = name,
                ("key", _) => problems.push(problem(&key, "wants a name of A-Z a-z 0-9 - and _".into())),
                ("credential", Value::String(name)) if !name.is_empty() => settings.credential = Some(name),
                ("credential", _) => problems.push(problem(&key, "wants the name of a credential".into())),
                _ => problems.push(problem(&key, "is not a setting of this provider".into())),
            }
        }
        for (key, value) in [("url", &settings.url), ("key", &settings.key)] {
            if value.is_empty() && problems.is_empty() {
                problems.push(problem(key, "is required".into()));
            }
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }
}

/// Has `dek` wrapped by `send`.
pub fn wrap(
    settings: &Settings,
    dek: &[u8],
    context: &[Attribute],
    send: impl FnOnce(&Request) -> Result<Response, SendError>,
) -> Result<Wrapped, KeyError> {
    let body = json!({ "plaintext": STANDARD.encode(dek), "context": bound(context) });
    let answer = ask(settings, "wrap", &body, send)?;
    match (text(&answer, "ciphertext"), text(&answer, "version")) {
        (Some(ciphertext), Some(version)) => {
            Ok(Wrapped { ciphertext: ciphertext.as_bytes().to_vec(), key_version: version.into() })
        }
        _ => Err(KeyError::Unavailable("the answer has no ciphertext with its version".into())),
    }
}

/// Has it unwrapped by `send`.
pub fn unwrap(
    settings: &Settings,
    wrapped: &Wrapped,
    context: &[Attribute],
    send: impl FnOnce(&Request) -> Result<Response, SendError>,
) -> Result<Vec<u8>, KeyError> {
    // This key service's ciphertexts are text. What is not was never wrapped by it, and it need not be asked.
    let Ok(ciphertext) = std::str::from_utf8(&wrapped.ciphertext) else { return Err(KeyError::Corrupt) };
    let body = json!({ "ciphertext": ciphertext, "version": wrapped.key_version, "context": bound(context) });
    let answer = ask(settings, "unwrap", &body, send)?;
    let plaintext = text(&answer, "plaintext").and_then(|text| STANDARD.decode(text).ok());
    plaintext.ok_or_else(|| KeyError::Unavailable("the answer has no plaintext in base64".into()))
}

/// All of the context, whatever its names: what is left out is not bound, and opens in another's place.
fn bound(context: &[Attribute]) -> Map<String, Value> {
    context.iter().map(|attribute| (attribute.name.clone(), attribute.value.clone().into())).collect()
}

fn ask(
    settings: &Settings,
    verb: &str,
    body: &Value,
    send: impl FnOnce(&Request) -> Result<Response, SendError>,
) -> Result<Map<String, Value>, KeyError> {
    let request = Request {
        method: "POST".into(),
        url: format!("{}/{}/{verb}", settings.url, settings.key),
        headers: vec![Header { name: "content-type".into(), value: "application/json".into() }],
        body: body.to_string().into_bytes(),
        credential: settings.credential.clone(),
    };
    let response = send(&request).map_err(|error| KeyError::Unavailable(error.to_string()))?;
    // Never a part of the body in a message: a server that repeats what it was sent would have the key in the log.
    match response.status {
        200 => {}
        // This key service's word for what does not open. Whatever else is wrong is no damage to what is stored.
        422 if verb == "unwrap" => return Err(KeyError::Corrupt),
        401 | 403 => return Err(KeyError::Denied(format!("HTTP {}", response.status))),
        404 => return Err(KeyError::UnknownKey(settings.key.clone())),
        429 => return Err(KeyError::Retry(wait_ms(&response.headers))),
        status => return Err(KeyError::Unavailable(format!("HTTP {status}"))),
    }
    serde_json::from_slice(&response.body).map_err(|_| KeyError::Unavailable("the answer is no JSON object".into()))
}

fn text<'a>(answer: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    answer.get(field)?.as_str()
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

    /// Base64 of 32 bytes.
    const DEK: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

    fn settings() -> Settings {
        Settings::parse(r#"{"url": "https://keys.test/v1/", "key": "codec", "credential": "keys"}"#).expect("good")
    }

    fn context() -> Vec<Attribute> {
        [("project", "shop"), ("version", "1")]
            .map(|(name, value)| Attribute { name: name.into(), value: value.into() })
            .into()
    }

    fn wraps(status: u16, body: &str) -> Result<Wrapped, KeyError> {
        let response = Response { status, headers: Vec::new(), body: body.into() };
        wrap(&settings(), &[7; 32], &context(), |request| {
            assert_eq!(
                (&*request.url, request.credential.as_deref()),
                ("https://keys.test/v1/codec/wrap", Some("keys"))
            );
            let sent = format!(r#"{{"context":{{"project":"shop","version":"1"}},"plaintext":"{DEK}"}}"#);
            assert_eq!(String::from_utf8_lossy(&request.body), sent);
            Ok(response)
        })
    }

    fn unwraps(status: u16, body: &str) -> Result<Vec<u8>, KeyError> {
        let response = Response { status, headers: Vec::new(), body: body.into() };
        let wrapped = Wrapped { ciphertext: b"sealed".to_vec(), key_version: "3".into() };
        unwrap(&settings(), &wrapped, &context(), |request| {
            assert_eq!(request.url, "https://keys.test/v1/codec/unwrap");
            let sent = r#"{"ciphertext":"sealed","context":{"project":"shop","version":"1"},"version":"3"}"#;
            assert_eq!(String::from_utf8_lossy(&request.body), sent);
            Ok(response)
        })
    }

    #[test]
    fn a_key_goes_and_comes_back() {
        let wrapped = wraps(200, r#"{"ciphertext": "sealed", "version": "3"}"#).expect("wrapped");
        assert_eq!((wrapped.ciphertext, &*wrapped.key_version), (b"sealed".to_vec(), "3"));
        assert_eq!(unwraps(200, &format!(r#"{{"plaintext": "{DEK}"}}"#)).expect("unwrapped"), [7; 32]);
    }

    #[test]
    fn every_answer_has_a_meaning() {
        assert!(matches!(unwraps(422, ""), Err(KeyError::Corrupt)));
        assert!(matches!(wraps(422, ""), Err(KeyError::Unavailable(_))));
        assert!(matches!(wraps(404, ""), Err(KeyError::UnknownKey(_))));
        assert!(matches!(wraps(403, ""), Err(KeyError::Denied(_))));
        assert!(matches!(unwraps(429, ""), Err(KeyError::Retry(None))));
        for (status, body) in
            [(500, ""), (200, "[]"), (200, "{}"), (200, r#"{"plaintext": "*", "ciphertext": 1, "version": "1"}"#)]
        {
            assert!(matches!(wraps(status, body), Err(KeyError::Unavailable(_))), "{body}");
            assert!(matches!(unwraps(status, body), Err(KeyError::Unavailable(_))), "{body}");
        }
    }

    #[test]
    fn what_a_server_repeats_is_not_told() {
        let Err(KeyError::Unavailable(why)) = wraps(500, DEK) else { panic!("an error") };
        assert_eq!(why, "HTTP 500");
    }

    #[test]
    fn a_misspelt_or_wrong_setting_is_named() {
        for (json, path) in [
            ("{}", "/url"),
            (r#"{"url": "x"}"#, "/key"),
            (r#"{"url": 1}"#, "/url"),
            (r#"{"url": "x", "key": "../admin"}"#, "/key"),
            (r#"{"url": "x", "key": "k", "keys": 1}"#, "/keys"),
            ("[]", ""),
        ] {
            let problems = Settings::parse(json).expect_err(json);
            assert_eq!(problems[0].path, path, "{json}");
        }
    }
}
