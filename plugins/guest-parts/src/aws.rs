//! Errors of AWS's services that speak JSON 1.1: `{"__type":…,"message":…}`, codes that mean the same in all of them, and where a service is asked.

use serde_json::Value;

use crate::http::Url;
use crate::secret::told;
use crate::settings::Table;

/// An error as a service tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// `AccessDeniedException`, without the namespace that may stand in front.
    pub code: String,
    /// For people.
    pub message: String,
}

impl ServiceError {
    /// Of `error`, whose code is under `key`: `__type` of an answer, `ErrorCode` in lists of errors.
    pub fn of(error: &Value, key: &str) -> Self {
        let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
        let code = text(key).rsplit('#').next().unwrap_or_default();
        let message = if text("Message").is_empty() { text("message") } else { text("Message") };
        Self { code: code.to_owned(), message: message.to_owned() }
    }

    /// Code and message, in one short line.
    pub fn said(&self) -> String {
        told(&format!("{}: {}", self.code, self.message))
    }

    /// Whether it is the caller who is refused: no permission, no token, a signature that does not fit, or a clock.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self.code.as_str(),
            "AccessDeniedException"
                | "AccessDenied"
                | "NotAuthorized"
                | "UnrecognizedClientException"
                | "InvalidSignatureException"
                | "SignatureDoesNotMatch"
                | "IncompleteSignature"
                | "IncompleteSignatureException"
                | "MissingAuthenticationToken"
                | "MissingAuthenticationTokenException"
                | "InvalidClientTokenId"
                | "ExpiredTokenException"
                | "ExpiredToken"
                | "RequestExpired"
                | "RequestTimeTooSkewed"
                | "OptInRequired"
        )
    }

    /// Whether there were too many requests.
    pub fn is_throttling(&self) -> bool {
        matches!(
            self.code.as_str(),
            "ThrottlingException" | "Throttling" | "RequestLimitExceeded" | "TooManyRequestsException"
        )
    }
}

/// Whether `text` can be a region; the services do not publish what else one may be.
fn is_region(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Where `service` is asked: the setting `url`, with a path, or the region's own endpoint by the setting `region`.
pub fn url(settings: &mut Table, service: &str) -> Option<String> {
    let (url, region) = (settings.optional::<Url>("url"), settings.optional::<String>("region"));
    match (url, region) {
        (Some(_), Some(_)) => {
            settings.problem("region", "contradicts url: write one of the two".to_owned());
            None
        }
        (Some(url), None) if url.0.contains('?') => {
            settings.problem("url", "must not have a query".to_owned());
            None
        }
        (Some(url), None) => Some(format!("{}/", url.0.trim_end_matches('/'))),
        (None, Some(region)) if is_region(&region) => Some(endpoint(service, &region)),
        (None, Some(region)) => {
            settings.problem("region", format!("{region:?} is not a region such as \"eu-central-1\""));
            None
        }
        // What is wrong with the URL has been told.
        (None, None) if settings.problem_count() > 0 => None,
        (None, None) => {
            settings.problem("region", "is required, or url in its place".to_owned());
            None
        }
    }
}

/// Where `service` answers in `region`. China's regions have a domain of their own.
fn endpoint(service: &str, region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://{service}.{region}.{domain}/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_is_its_code_and_its_message_however_they_are_spelt() {
        for error in [
            json!({"__type": "AccessDeniedException", "message": "no"}),
            json!({"__type": "com.amazonaws.kms#AccessDeniedException", "Message": "no"}),
        ] {
            let error = ServiceError::of(&error, "__type");
            assert_eq!(error.said(), "AccessDeniedException: no");
            assert!(error.is_refusal() && !error.is_throttling());
        }
        assert_eq!(ServiceError::of(&json!([]), "__type").said(), ":");
    }
}
