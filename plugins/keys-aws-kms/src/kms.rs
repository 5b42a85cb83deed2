//! AWS KMS: `Encrypt` and `Decrypt` of JSON 1.1, with the context as `EncryptionContext`. Bytes are base64.
//!
//! `Encrypt` answers `{"CiphertextBlob":…,"KeyId":<the key's ARN>,"EncryptionAlgorithm":…}`, also where it was asked by an alias, and that
//! ARN is the version that is kept. `Decrypt` is asked for that key alone, for KMS would take any that the caller may use, and answers
//! `{"Plaintext":…,"KeyId":…}`. What is wrong is `{"__type":…,"message":…}`.
//!
//! As the service's model of 2014-11-01 has it (AWS publishes it with its SDKs).

use guest_parts::aws::ServiceError;
use guest_parts::base64;
use guest_parts::json::parse;
use guest_parts::key::{Answer, Backend, Context, KeyError, Request, Wrapped, is_key_version, trouble};
use serde_json::{Map, Value, json};

use crate::settings::Settings;

/// The one algorithm that binds a context.
const ALGORITHM: &str = "SYMMETRIC_DEFAULT";
/// The longest `CiphertextBlob` of the service's model.
const CIPHERTEXT_LEN_MAX: usize = 6_144;

/// Wraps `dek` under the key that the operator named.
pub fn wrap(settings: &Settings, kms: &mut impl Backend, dek: &[u8], context: &Context) -> Result<Wrapped, KeyError> {
    let body = json!({
        "KeyId": settings.key,
        "Plaintext": base64::encode(dek),
        "EncryptionContext": map(context),
        "EncryptionAlgorithm": ALGORITHM,
    });
    let answer = call(settings, kms, "Encrypt", &body)?;
    let key_version = text_of(&answer, "KeyId")?.to_owned();
    if !is_key_version(&key_version) || !is_arn(&key_version) {
        return Err(wrong("`KeyId` is no ARN of a key"));
    }
    if !is_of(&key_version, &settings.key) {
        return Err(wrong("it is of another key"));
    }
    let ciphertext = base64::decode(text_of(&answer, "CiphertextBlob")?);
    match ciphertext {
        Some(ciphertext) if !ciphertext.is_empty() => Ok(Wrapped { ciphertext, key_version }),
        _ => Err(wrong("`CiphertextBlob` is no base64")),
    }
}

/// The DEK that [`wrap`] was given with the same context.
pub fn unwrap(
    settings: &Settings,
    kms: &mut impl Backend,
    wrapped: &Wrapped,
    context: &Context,
) -> Result<Vec<u8>, KeyError> {
    // KMS would say of these that the request is invalid, which may be anything.
    if !(1..=CIPHERTEXT_LEN_MAX).contains(&wrapped.ciphertext.len()) || !is_arn(&wrapped.key_version) {
        return Err(KeyError::Corrupt);
    }
    let body = json!({
        "KeyId": wrapped.key_version,
        "CiphertextBlob": base64::encode(&wrapped.ciphertext),
        "EncryptionContext": map(context),
        "EncryptionAlgorithm": ALGORITHM,
    });
    let answer = call(settings, kms, "Decrypt", &body)?;
    if text_of(&answer, "KeyId")? != wrapped.key_version {
        return Err(KeyError::Corrupt);
    }
    base64::decode(text_of(&answer, "Plaintext")?).ok_or_else(|| wrong("`Plaintext` is no base64"))
}

fn map(context: &Context) -> Map<String, Value> {
    context.pairs().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// One request; what it answers with 200, as JSON.
fn call(settings: &Settings, kms: &mut impl Backend, what: &str, body: &Value) -> Result<Value, KeyError> {
    let headers = vec![
        ("content-type", "application/x-amz-json-1.1".to_owned()),
        ("x-amz-target", format!("TrentService.{what}")),
    ];
    let url = settings.url.clone();
    let answer = kms.send(Request { method: "POST", url, headers, body: body.to_string().into_bytes() })?;
    if answer.status != 200 {
        return Err(failure(&answer, kms.now_ms()));
    }
    // The parser's own message says where, and repeats nothing.
    parse(&answer.body).map_err(|what| wrong(&what))
}

/// What an answer that is no 200 means.
fn failure(answer: &Answer, now_ms: u64) -> KeyError {
    let error = parse(&answer.body).ok().map(|error| ServiceError::of(&error, "__type"));
    let error = error.filter(|error| !error.code.is_empty());
    let by_status = |said: &str| trouble(answer.status, answer.retry_after.as_deref(), now_ms, said);
    // Names a wait where the answer does.
    let again = || trouble(503, answer.retry_after.as_deref(), now_ms, "");
    let Some(error) = error else {
        return match answer.status {
            401 | 403 => KeyError::Denied(format!("HTTP {}", answer.status)),
            _ => by_status("no reason given"),
        };
    };
    match error.code.as_str() {
        // Altered, another context, or another key: KMS does not tell which.
        "InvalidCiphertextException" | "IncorrectKeyException" => KeyError::Corrupt,
        "NotFoundException" | "InvalidArnException" => KeyError::UnknownKey(error.said()),
        "DisabledException"
        | "KMSInvalidStateException"
        | "InvalidKeyUsageException"
        | "InvalidGrantTokenException" => KeyError::Denied(error.said()),
        "LimitExceededException"
        | "KeyUnavailableException"
        | "DependencyTimeoutException"
        | "KMSInternalException"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => again(),
        _ if error.is_throttling() => again(),
        _ if error.is_refusal() => KeyError::Denied(with_hint(&error)),
        _ => by_status(&error.said()),
    }
}

/// A signature is good for five minutes, so that a clock that is wrong looks like a key that is.
fn with_hint(error: &ServiceError) -> String {
    let is_of_time = error.message.contains("Signature expired")
        || error.message.contains("Signature not yet current")
        || matches!(error.code.as_str(), "RequestExpired" | "RequestTimeTooSkewed");
    if is_of_time { format!("the clock of this machine may be wrong: {}", error.said()) } else { error.said() }
}

/// `arn:<partition>:kms:<region>:<account>:key/<id>`.
fn is_arn(text: &str) -> bool {
    let resource = text.strip_prefix("arn:").and_then(|rest| rest.splitn(5, ':').nth(4));
    text.contains(":kms:") && resource.is_some_and(|key| key.strip_prefix("key/").is_some_and(|id| !id.is_empty()))
}

/// Whether the key of `arn` is the one that was asked for as `key_id`; what an alias stands for only KMS knows.
fn is_of(arn: &str, key_id: &str) -> bool {
    match key_id.strip_prefix("arn:") {
        _ if key_id.starts_with("alias/") => true,
        Some(rest) => rest.contains(":alias/") || arn == key_id,
        None => arn.rsplit('/').next() == Some(key_id),
    }
}

fn text_of<'a>(answer: &'a Value, key: &str) -> Result<&'a str, KeyError> {
    answer.get(key).and_then(Value::as_str).ok_or_else(|| wrong(&format!("it has no `{key}`")))
}

fn wrong(what: &str) -> KeyError {
    KeyError::Unavailable(format!("not an answer of KMS: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn an_answer_is_of_the_key_that_was_asked_for() {
        for key_id in
            [ARN, "1234abcd-12ab-34cd-56ef-1234567890ab", "alias/codec", "arn:aws:kms:eu-central-1:1:alias/codec"]
        {
            assert!(is_of(ARN, key_id), "{key_id}");
        }
        for key_id in ["1234abcd", &ARN[..ARN.len() - 1], "ab"] {
            assert!(!is_of(ARN, key_id), "{key_id}");
        }
        for (text, is_one) in [
            (ARN, true),
            ("arn:aws-cn:kms:cn-north-1:1:key/mrk-1", true),
            ("arn:aws:kms:eu-central-1:1:alias/codec", false),
            ("arn:aws:kms:eu-central-1:1:key/", false),
            ("arn:aws:s3:::key/x", false),
            ("", false),
        ] {
            assert_eq!(is_arn(text), is_one, "{text}");
        }
    }

    #[test]
    fn every_code_has_a_meaning() {
        let of = |status, code: &str, message: &str| {
            let body = json!({"__type": code, "message": message}).to_string().into_bytes();
            failure(&Answer { status, retry_after: None, body }, 0)
        };
        for code in ["InvalidCiphertextException", "IncorrectKeyException", "com.amazonaws.kms#IncorrectKeyException"] {
            assert_eq!(of(400, code, ""), KeyError::Corrupt, "{code}");
        }
        assert!(matches!(of(400, "NotFoundException", ""), KeyError::UnknownKey(_)));
        for code in [
            "DisabledException",
            "KMSInvalidStateException",
            "InvalidKeyUsageException",
            "AccessDeniedException",
            "UnrecognizedClientException",
            "ExpiredTokenException",
        ] {
            assert_eq!(of(400, code, "why"), KeyError::Denied(format!("{code}: why")));
        }
        for code in ["RequestExpired", "RequestTimeTooSkewed"] {
            assert!(matches!(of(403, code, ""), KeyError::Denied(why) if why.contains("clock") && why.contains(code)));
        }
        let skewed = of(403, "InvalidSignatureException", "Signature expired: 20260101T120000Z is now earlier than …");
        assert!(matches!(skewed, KeyError::Denied(why) if why.contains("clock")));
        for (status, code) in [
            (400, "ThrottlingException"),
            (400, "LimitExceededException"),
            (500, "KeyUnavailableException"),
            (500, "DependencyTimeoutException"),
            (500, "KMSInternalException"),
        ] {
            assert_eq!(of(status, code, ""), KeyError::Retry(None), "{code}");
        }
        assert!(matches!(of(400, "ValidationException", ""), KeyError::Unavailable(_)));
        assert!(matches!(of(500, "", ""), KeyError::Unavailable(_)));
    }
}
