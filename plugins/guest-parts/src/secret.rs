//! What secret providers have in common: references that share a request, fields of structured secrets, what a backend's answer means
//! where it gives no secret.
//!
//! Nothing here has a `Debug` that would show a value.

use serde_json::Value;

use crate::backend::NoAnswer;
use crate::duration::Duration;
use crate::http::wait_ms;

pub use crate::backend::{Answer, Backend, Request};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Up to a `#`.
    pub path: String,
    /// Behind it: one field of a structured secret.
    pub field: Option<String>,
    /// Which version; none: the latest.
    pub version: Option<String>,
}

/// What was found.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its bytes.
    pub value: Vec<u8>,
    /// Which version it is; empty where the backend has none.
    pub version: String,
    /// How long it may be kept; none: not at all.
    pub keep_ms: Option<u64>,
}

/// Why nothing was, as the interface `secret-provider` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError {
    /// There is none.
    NotFound,
    /// The backend refuses.
    Denied(String),
    /// Not a reference of this provider.
    InvalidReference(String),
    /// Again after so many milliseconds.
    Retry(Option<u32>),
    /// The backend does not answer as it should.
    Unavailable(String),
}

impl From<NoAnswer> for ResolveError {
    /// Where the reference is a part of the URL: what the host does not send is no reference then. A grant is the operator's to give,
    /// whatever is asked for.
    fn from(no_answer: NoAnswer) -> Self {
        match no_answer {
            NoAnswer::InvalidRequest(_) => Self::InvalidReference(no_answer.why()),
            NoAnswer::NotGranted(_) | NoAnswer::Failed(_) => Self::Unavailable(no_answer.why()),
        }
    }
}

/// How long a secret may be kept where the operator says nothing. A minute: short enough that a new version is soon seen, long enough
/// for a deployment of many workers.
pub const KEEP: Duration = Duration { ms: 60_000 };

/// How much of an answer is told to the operator.
const TOLD_CHARS: usize = 200;

/// The bytes of `field` in a structured secret, or of all of it: a text as it is, anything else as JSON writes it. What is null is not
/// there.
pub fn field_of(secret: &Value, field: Option<&str>) -> Result<Vec<u8>, ResolveError> {
    let found = match field {
        None => secret,
        Some(field) => match secret {
            Value::Object(fields) => fields.get(field).ok_or(ResolveError::NotFound)?,
            _ => return Err(ResolveError::InvalidReference("the secret has no fields".to_owned())),
        },
    };
    match found {
        Value::Null => Err(ResolveError::NotFound),
        Value::String(text) => Ok(text.clone().into_bytes()),
        other => Ok(other.to_string().into_bytes()),
    }
}

/// The places of `references` that `same` says share a request, in the order in which each first appears.
pub fn grouped<K: PartialEq>(references: &[Reference], key: impl Fn(&Reference) -> K) -> Vec<(K, Vec<usize>)> {
    let mut groups: Vec<(K, Vec<usize>)> = Vec::new();
    for (place, reference) in references.iter().enumerate() {
        let of = key(reference);
        match groups.iter_mut().find(|(known, _)| *known == of) {
            Some((_, places)) => places.push(place),
            None => groups.push((of, vec![place])),
        }
    }
    groups
}

/// One result for each of `references`, in order, where a backend is asked for one path and version at a time: `read` asks for what
/// each holds, once, and `pick` takes a reference's field out of it.
pub fn resolve_each<F>(
    references: &[Reference],
    mut read: impl FnMut(&str, Option<&str>) -> Result<F, ResolveError>,
    pick: impl Fn(&F, Option<&str>) -> Result<Secret, ResolveError>,
) -> Vec<Result<Secret, ResolveError>> {
    let mut results: Vec<_> = references.iter().map(|_| Err(ResolveError::NotFound)).collect();
    for ((path, version), places) in
        grouped(references, |reference| (reference.path.clone(), reference.version.clone()))
    {
        let found = read(&path, version.as_deref());
        for place in places {
            let (Some(reference), Some(slot)) = (references.get(place), results.get_mut(place)) else { continue };
            *slot = found.as_ref().map_err(Clone::clone).and_then(|found| pick(found, reference.field.as_deref()));
        }
    }
    results
}

/// What passes by itself, or only the operator can repair: every status that says nothing of the secret.
pub fn trouble(status: u16, retry_after: Option<&str>, now_ms: u64, said: &str) -> ResolveError {
    let wait = wait_ms(retry_after, now_ms);
    match status {
        429 => ResolveError::Retry(wait),
        503 if wait.is_some() => ResolveError::Retry(wait),
        300..=399 => {
            ResolveError::Unavailable(format!("HTTP {status}: redirects are not followed: set url to the final one"))
        }
        _ => ResolveError::Unavailable(format!("HTTP {status}: {}", told(said))),
    }
}

/// `text` for people, in one short line. Never a body that could hold a secret.
pub fn told(text: &str) -> String {
    let short: String = text.trim().chars().take(TOLD_CHARS).collect();
    short.escape_debug().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_is_its_text_and_everything_else_is_json() {
        let secret = json!({"text": "a\"b", "number": 5432, "yes": true, "list": [1, "x"], "empty": "", "null": null});
        let of = |field: &str| field_of(&secret, Some(field)).map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
        for (field, value) in
            [("text", "a\"b"), ("number", "5432"), ("yes", "true"), ("list", "[1,\"x\"]"), ("empty", "")]
        {
            assert_eq!(of(field).as_deref(), Ok(value), "{field}");
        }
        assert_eq!(of("null"), Err(ResolveError::NotFound));
        assert_eq!(of("missing"), Err(ResolveError::NotFound));
        assert_eq!(field_of(&json!({"a": 1}), None), Ok(b"{\"a\":1}".to_vec()));
        assert!(matches!(field_of(&json!("text"), Some("a")), Err(ResolveError::InvalidReference(_))));
    }

    #[test]
    fn what_shares_a_request_is_grouped_in_order() {
        let reference = |path: &str| Reference { path: path.into(), field: None, version: None };
        let references = [reference("b"), reference("a"), reference("b")];
        let groups = grouped(&references, |reference| reference.path.clone());
        assert_eq!(groups, [("b".to_owned(), vec![0, 2]), ("a".to_owned(), vec![1])]);
    }

    #[test]
    fn what_the_host_does_not_send_is_no_reference_and_everything_else_is_not_there_now() {
        let why = || "why".to_owned();
        for (no_answer, error) in [
            (NoAnswer::InvalidRequest(why()), ResolveError::InvalidReference("no request: why".to_owned())),
            (NoAnswer::NotGranted(why()), ResolveError::Unavailable(why())),
            (NoAnswer::Failed(why()), ResolveError::Unavailable(why())),
        ] {
            assert_eq!(ResolveError::from(no_answer), error);
        }
    }

    #[test]
    fn who_asks_for_a_wait_gets_it() {
        assert_eq!(trouble(429, Some("7"), 0, ""), ResolveError::Retry(Some(7_000)));
        assert_eq!(trouble(429, None, 0, ""), ResolveError::Retry(None));
        assert_eq!(trouble(503, Some("1"), 0, ""), ResolveError::Retry(Some(1_000)));
        for status in [301, 500, 503, 418] {
            assert!(matches!(trouble(status, None, 0, "x\n"), ResolveError::Unavailable(_)), "{status}");
        }
    }
}
