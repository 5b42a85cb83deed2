//! What AWS Secrets Manager answers: a secret, or why not.

use guest_parts::aws::ServiceError;
use guest_parts::base64;
use guest_parts::json::parse;
use guest_parts::secret::{Answer, ResolveError, Secret, field_of, trouble};
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
            (None, Some(encoded)) => {
                Held::Bytes(base64::decode(encoded).ok_or_else(|| wrong("`SecretBinary` is no base64"))?)
            }
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
    let error = ServiceError::of(error, key);
    let (code, message) = (error.code.as_str(), error.message.as_str());
    match code {
        "ResourceNotFoundException" => ResolveError::NotFound,
        // Deletion is told by the message alone.
        "InvalidRequestException" if message.contains("marked for deletion") || message.contains("marked deleted") => {
            ResolveError::NotFound
        }
        "InvalidRequestException" | "InvalidParameterException" | "ValidationException" => {
            ResolveError::InvalidReference(error.said())
        }
        "DecryptionFailure" => ResolveError::Denied(error.said()),
        _ if error.is_refusal() => ResolveError::Denied(error.said()),
        _ if error.is_throttling() => ResolveError::Retry(None),
        _ => ResolveError::Unavailable(error.said()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
