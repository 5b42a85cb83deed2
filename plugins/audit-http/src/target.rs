//! Where to, and with which headers: what can be known to be wrong before the first request.

use std::collections::BTreeMap;

use guest_parts::settings::{Problem, Setting, below};
use serde_json::Value;

/// An absolute URL, `http` or `https`, without userinfo or fragment: what the host's interface takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(pub String);

/// Headers beside those of the mapping and the host, names in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(pub BTreeMap<String, String>);

/// The host's, those of the connection (RFC 9110 section 7.6.1), and what would be untrue of the body.
const REFUSED: [&str; 15] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

impl Setting for Url {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        let text = String::read(value, path)?;
        match wrong_with_url(&text) {
            None => Ok(Self(text)),
            Some(what) => Err(Problem::new(path, what.to_owned())),
        }
    }
}

impl Setting for Headers {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        let mut headers = BTreeMap::new();
        for (name, text) in BTreeMap::<String, String>::read(value, path)? {
            let lower = name.to_ascii_lowercase();
            let wrong = wrong_with_header(&lower, &text);
            let twice =
                headers.insert(lower, text).is_some().then_some("is there twice: names differ by more than case");
            if let Some(what) = wrong.or(twice) {
                return Err(Problem::new(&below(path, &name), what.to_owned()));
            }
        }
        Ok(Self(headers))
    }
}

fn wrong_with_url(text: &str) -> Option<&'static str> {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return Some("must begin with http:// or https://");
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.starts_with(':') {
        return Some("has no host");
    }
    if authority.contains('@') {
        return Some("must not hold a user or password: bind a credential instead");
    }
    if text.contains('#') {
        return Some("must not have a fragment");
    }
    (!text.bytes().all(|b| b.is_ascii_graphic())).then_some("must be printable ASCII without a space")
}

fn wrong_with_header(lower: &str, text: &str) -> Option<&'static str> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if lower.is_empty() || !lower.bytes().all(is_token) {
        return Some("is not a header's name");
    }
    if lower == "authorization" {
        return Some("is the host's: bind a credential instead");
    }
    if REFUSED.contains(&lower) {
        return Some("is the host's, or would be untrue of the body");
    }
    let printable = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    (!printable || text.trim() != text).then_some("must be printable ASCII without a space at either end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_what_the_host_sends_to() {
        for text in [
            "http://c.test",
            "https://c.test:8088/services/collector/event?x=1",
            "http://[::1]:3100/",
            "https://c.test/a@b",
        ] {
            assert!(Url::read(&Value::from(text), "/url").is_ok(), "{text}");
        }
        for text in [
            "",
            "c.test",
            "ftp://c.test",
            "HTTP://c.test",
            "http://",
            "http:///x",
            "http://:80/",
            "http://u:p@c.test/",
            "http://u@c.test?x",
            "http://c.test/#x",
            "http://c.test/a b",
            "http://c.test/\n",
            "http://ü.test/",
        ] {
            assert!(Url::read(&Value::from(text), "/url").is_err(), "{text:?}");
        }
    }

    #[test]
    fn headers_are_the_operators_or_refused() {
        let read = |json: Value| Headers::read(&json, "/headers").map_err(|problem| problem.path);
        let headers = read(serde_json::json!({"X-Scope-OrgID": "tenant 1", "content-type": "text/plain"})).unwrap();
        assert_eq!(headers.0["x-scope-orgid"], "tenant 1");
        for (name, text) in [
            ("Host", "x"),
            ("Authorization", "x"),
            ("content-length", "1"),
            ("Transfer-Encoding", "x"),
            ("Connection", "x"),
            ("TE", "x"),
            ("content-encoding", "gzip"),
            ("a b", "x"),
            ("", "x"),
            ("x-a", "a\r\nb"),
            ("x-a", " a"),
            ("x-a", "ü"),
        ] {
            assert_eq!(read(serde_json::json!({ name: text })), Err(format!("/headers/{name}")), "{name} {text:?}");
        }
        assert!(read(serde_json::json!({"x-a": "1", "X-A": "2"})).is_err());
        assert_eq!(read(serde_json::json!({"x-a": 1})), Err("/headers/x-a".to_owned()));
        assert_eq!(read(serde_json::json!({"a/b": "x"})), Err("/headers/a~1b".to_owned()));
    }
}
