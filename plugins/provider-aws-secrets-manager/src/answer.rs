//! What AWS Secrets Manager answers: a secret, or why not.

use guest_parts::json::parse;
use guest_parts::secret::{Answer, ResolveError, Secret, field_of, told, trouble};
use serde_json::Value;

/// A secret as it is kept there.
#[derive(Clone)]
pub struct Found {
    value: Held,
    version: String,
}

#[derive(Clone)]
enum Held {
    Text(String),
    Bytes(Vec<u8>),
}

impl Found {
    /// Of an element of `SecretValues`, or of an answer to `GetSecretValue`.
    pub fn of(secret: &Value) -> Result<Self, ResolveError> {
        let wrong = |what: &str| ResolveError::Unavailable(format!("not an answer of Secrets Manager: {what}"));
        let text = |key: &str| secret.get(key).and_then(Value::as_str);
        let version = text("VersionId").ok_or_else(|| wrong("it has no `VersionId`"))?.to_owned();
        let value = match (text("SecretString"), text("SecretBinary")) {
            (Some(text), None) => Held::Text(text.to_owned()),
            (None, Some(encoded)) => Held::Bytes(base64(encoded).ok_or_else(|| wrong("`SecretBinary` is no base64"))?),
            _ => return Err(wrong("it has neither `SecretString` nor `SecretBinary`, or both")),
        };
        Ok(Self { value, version })
    }

    /// All of it, or one field of the JSON object that it is.
    pub fn secret(&self, field: Option<&str>, keep_ms: u64) -> Result<Secret, ResolveError> {
        let not_json =
            || ResolveError::InvalidReference("the secret is no JSON object, so it has no fields".to_owned());
        let value = match (&self.value, field) {
            (Held::Text(text), None) => text.clone().into_bytes(),
            (Held::Bytes(bytes), None) => bytes.clone(),
            (Held::Text(text), Some(_)) => field_of(&parse(text.as_bytes()).map_err(|_| not_json())?, field)?,
            (Held::Bytes(_), Some(_)) => return Err(not_json()),
        };
        Ok(Secret { value, version: self.version.clone(), keep_ms: Some(keep_ms).filter(|ms| *ms > 0) })
    }
}

/// What an error means: an element of `Errors`, or the body of an answer.
pub fn error_of(error: &Value, key: &str) -> ResolveError {
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    // `__type` may have a namespace in front, and `ErrorCode` never has.
    let code = text(key).rsplit('#').next().unwrap_or_default();
    let message = if text("Message").is_empty() { text("message") } else { text("Message") };
    let said = || told(&format!("{code}: {message}"));
    match code {
        "ResourceNotFoundException" => ResolveError::NotFound,
        // Deletion is told by the message alone.
        "InvalidRequestException" if message.contains("marked for deletion") || message.contains("marked deleted") => {
            ResolveError::NotFound
        }
        "InvalidRequestException" | "InvalidParameterException" | "ValidationException" => {
            ResolveError::InvalidReference(said())
        }
        "AccessDeniedException"
        | "DecryptionFailure"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException"
        | "OptInRequired" => ResolveError::Denied(said()),
        "ThrottlingException" | "Throttling" | "RequestLimitExceeded" | "TooManyRequestsException" => {
            ResolveError::Retry(None)
        }
        _ => ResolveError::Unavailable(said()),
    }
}

/// What an answer that is no 200 means.
pub fn failure(answer: &Answer, now_ms: u64) -> ResolveError {
    let error = parse(&answer.body).ok();
    let said = error.as_ref().map(|error| error_of(error, "__type"));
    match (answer.status, said) {
        // Whatever the body says, this is what the status means.
        (429 | 500..=599, said) => match (trouble(answer.status, answer.retry_after.as_deref(), now_ms, ""), said) {
            (ResolveError::Unavailable(_), Some(ResolveError::Unavailable(why))) => {
                ResolveError::Unavailable(format!("HTTP {}: {why}", answer.status))
            }
            (error, _) => error,
        },
        (400..=499, Some(said)) => said,
        (401 | 403, None) => ResolveError::Denied(format!("HTTP {}", answer.status)),
        (status, None | Some(_)) => trouble(status, answer.retry_after.as_deref(), now_ms, "no reason given"),
    }
}

/// RFC 4648, padded, as AWS writes it.
fn base64(text: &str) -> Option<Vec<u8>> {
    let value = |b: u8| match b {
        b'A'..=b'Z' => b.checked_sub(b'A'),
        b'a'..=b'z' => b.checked_sub(b'a')?.checked_add(26),
        b'0'..=b'9' => b.checked_sub(b'0')?.checked_add(52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len());
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut chunks = text.as_bytes().chunks_exact(4).peekable();
    while let Some(chunk) = chunks.next() {
        let padding = chunk.iter().rev().take_while(|b| **b == b'=').count();
        if padding > 2 || (padding > 0 && chunks.peek().is_some()) {
            return None;
        }
        let digits = chunk.iter().map(|b| if *b == b'=' { Some(0) } else { value(*b) });
        let number = digits.enumerate().try_fold(0_u32, |number, (at, digit)| {
            let is_padding = at >= 4_usize.checked_sub(padding)?;
            let digit = if is_padding { 0 } else { chunk.get(at).filter(|b| **b != b'=').and(digit)? };
            Some(number << 6 | u32::from(digit))
        })?;
        let [_, first, second, third] = number.to_be_bytes();
        bytes.extend([first, second, third].into_iter().take(3_usize.checked_sub(padding)?));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn base64_is_as_rfc_4648_has_it() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("/+7/", b"\xff\xee\xff"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(bytes), "{text}");
        }
        for text in ["Z", "Zg", "Zg=", "Zg==Zg==", "====", "Z===", "Z g=", "Z-8=", "=g=="] {
            assert_eq!(base64(text), None, "{text}");
        }
    }

    #[test]
    fn every_code_has_a_meaning() {
        let of = |code: &str, message: &str| error_of(&json!({"__type": code, "Message": message}), "__type");
        assert_eq!(of("com.amazonaws.secretsmanager#ResourceNotFoundException", ""), ResolveError::NotFound);
        assert_eq!(of("InvalidRequestException", "it was marked for deletion."), ResolveError::NotFound);
        assert!(matches!(of("InvalidRequestException", "no"), ResolveError::InvalidReference(_)));
        assert!(matches!(of("AccessDeniedException", "no"), ResolveError::Denied(_)));
        assert_eq!(of("ThrottlingException", ""), ResolveError::Retry(None));
        assert!(matches!(of("InternalServiceError", ""), ResolveError::Unavailable(_)));
        assert!(matches!(of("", ""), ResolveError::Unavailable(_)));
    }

    #[test]
    fn a_status_counts_more_than_a_body() {
        let of = |status, retry_after: Option<&str>, body: &str| {
            let retry_after = retry_after.map(str::to_owned);
            failure(&Answer { status, retry_after, body: body.as_bytes().to_vec() }, 0)
        };
        assert_eq!(of(400, None, r#"{"__type":"ResourceNotFoundException"}"#), ResolveError::NotFound);
        assert_eq!(of(429, Some("3"), "{}"), ResolveError::Retry(Some(3_000)));
        assert!(matches!(of(500, None, r#"{"__type":"InternalServiceError"}"#), ResolveError::Unavailable(_)));
        assert!(matches!(of(500, None, r#"{"__type":"ResourceNotFoundException"}"#), ResolveError::Unavailable(_)));
        assert!(matches!(of(403, None, "<html>"), ResolveError::Denied(_)));
        assert!(matches!(of(404, None, "<html>"), ResolveError::Unavailable(_)));
        assert!(matches!(of(301, None, ""), ResolveError::Unavailable(_)));
    }
}
