//! With which headers: what can be known to be wrong before the first request.

use std::collections::BTreeMap;

use guest_parts::settings::{Problem, Setting, below};
use serde_json::Value;

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
