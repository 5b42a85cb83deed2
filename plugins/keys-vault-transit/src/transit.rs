//! The Transit engine: `POST /v1/<mount>/encrypt/<key>` with `{"plaintext":…,"associated_data":…}` answers
//! `{"data":{"ciphertext":"vault:v3:…","key_version":3}}`, `POST /v1/<mount>/decrypt/<key>` with `{"ciphertext":…,"associated_data":…}`
//! answers `{"data":{"plaintext":…}}`. Bytes are base64. What is wrong is `{"errors":[…]}`.
//!
//! As "Transit Secrets Engine (API)" and "HTTP API" of Vault's documentation have it; the texts of a 400 are in the engine's source alone
//! (`sdk/helper/keysutil/policy.go`, `builtin/logical/transit/path_encrypt.go`).

use guest_parts::base64;
use guest_parts::json::parse;
use guest_parts::key::{Answer, Backend, Context, KeyError, Request, Wrapped, trouble};
use guest_parts::secret::told;
use serde_json::{Value, json};

use crate::settings::Settings;

/// Wraps `dek` under the key's newest version.
pub fn wrap(settings: &Settings, vault: &mut impl Backend, dek: &[u8], context: &Context) -> Result<Wrapped, KeyError> {
    let body = bound(settings, "plaintext", base64::encode(dek), context);
    let answer = call(settings, vault, "encrypt", &body)?;
    // A Vault from before `associated_data` passes over it and binds nothing, but says so.
    let warnings = answer.get("warnings").and_then(Value::as_array).into_iter().flatten();
    if warnings.filter_map(Value::as_str).any(|warning| warning.contains("associated_data")) {
        return Err(KeyError::Unavailable(
            "this Vault does not know associated_data, so it cannot bind a DEK to its project".to_owned(),
        ));
    }
    let text = text_of(&answer, "ciphertext")?;
    let version = answer.get("data").and_then(|data| data.get("key_version")).and_then(Value::as_u64);
    let key_version = version.ok_or_else(|| wrong("it has no `data.key_version`"))?.to_string();
    if !is_of_version(text, &key_version) {
        return Err(wrong("`data.ciphertext` is not of `data.key_version`"));
    }
    Ok(Wrapped { ciphertext: text.as_bytes().to_vec(), key_version })
}

/// The DEK that [`wrap`] was given with the same context.
pub fn unwrap(
    settings: &Settings,
    vault: &mut impl Backend,
    wrapped: &Wrapped,
    context: &Context,
) -> Result<Vec<u8>, KeyError> {
    let text = std::str::from_utf8(&wrapped.ciphertext).map_err(|_| KeyError::Corrupt)?;
    if !is_of_version(text, &wrapped.key_version) {
        return Err(KeyError::Corrupt);
    }
    let body = bound(settings, "ciphertext", text.to_owned(), context);
    let answer = call(settings, vault, "decrypt", &body)?;
    base64::decode(text_of(&answer, "plaintext")?).ok_or_else(|| wrong("`data.plaintext` is no base64"))
}

/// `what`, and the context that it is bound to.
fn bound(settings: &Settings, what: &str, text: String, context: &Context) -> Value {
    let context = base64::encode(&context.canonical());
    match settings.is_derived {
        true => json!({ what: text, "associated_data": context, "context": context }),
        false => json!({ what: text, "associated_data": context }),
    }
}

/// One request; what it answers with 200, as JSON.
fn call(settings: &Settings, vault: &mut impl Backend, what: &str, body: &Value) -> Result<Value, KeyError> {
    let Settings { url, mount, key, .. } = settings;
    // Keeps a request that somebody else forged from being one: Vault's agents and proxies may be set to ask for it.
    let mut headers = vec![("x-vault-request", "true".to_owned()), ("content-type", "application/json".to_owned())];
    headers.extend(settings.namespace.iter().map(|namespace| ("x-vault-namespace", namespace.clone())));
    let url = format!("{url}/v1/{mount}/{what}/{key}");
    let answer = vault.send(Request { method: "POST", url, headers, body: body.to_string().into_bytes() })?;
    let said = || said(&answer);
    match answer.status {
        // The parser's own message says where, and repeats nothing.
        200 => parse(&answer.body).map_err(|what| wrong(&what)),
        400 => Err(of_bad_request(said())),
        403 => Err(KeyError::Denied(said())),
        // No engine at that mount.
        404 => Err(KeyError::UnknownKey(said())),
        // A standby that has not caught up, or one of Enterprise's that serves nobody now.
        412 | 472 | 473 => Err(trouble(503, answer.retry_after.as_deref(), vault.now_ms(), "")),
        status => Err(trouble(status, answer.retry_after.as_deref(), vault.now_ms(), &said())),
    }
}

/// What Vault tells by its text alone.
fn of_bad_request(said: String) -> KeyError {
    // The key has no such version: another of the same name, or a backup from before it.
    if said.contains("encryption key not found") || said.contains("version is too new") {
        KeyError::UnknownKey(said)
    } else if said.contains("message authentication failed") || said.contains("invalid ciphertext") {
        KeyError::Corrupt
    } else {
        // `min_decryption_version`, a key without associated data, a derived key that is not said to be one.
        KeyError::Denied(said)
    }
}

/// Whether `text` is `vault:vN:…` with `key_version` for N.
fn is_of_version(text: &str, key_version: &str) -> bool {
    let rest = text.strip_prefix("vault:v").and_then(|rest| rest.strip_prefix(key_version));
    let sealed = rest.and_then(|rest| rest.strip_prefix(':'));
    let is_number = key_version.parse::<u32>().is_ok_and(|number| number > 0 && number.to_string() == key_version);
    is_number && sealed.is_some_and(|sealed| !sealed.is_empty() && sealed.bytes().all(|b| b.is_ascii_graphic()))
}

fn text_of<'a>(answer: &'a Value, key: &str) -> Result<&'a str, KeyError> {
    let text = answer.get("data").and_then(|data| data.get(key)).and_then(Value::as_str);
    text.ok_or_else(|| wrong(&format!("it has no `data.{key}`")))
}

fn wrong(what: &str) -> KeyError {
    KeyError::Unavailable(format!("not an answer of Vault: {what}"))
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
    use super::*;

    #[test]
    fn a_ciphertext_is_of_one_version() {
        for (text, version, is_of) in [
            ("vault:v3:YWJj", "3", true),
            ("vault:v12:YWJj", "12", true),
            ("vault:v12:YWJj", "1", false),
            ("vault:v3:YWJj", "4", false),
            ("vault:v3:", "3", false),
            ("vault:v3:a b", "3", false),
            ("vault:v03:YWJj", "03", false),
            ("vault:v0:YWJj", "0", false),
            ("vault:v3:YWJj", "", false),
            ("vault:vx:YWJj", "x", false),
            ("YWJj", "3", false),
        ] {
            assert_eq!(is_of_version(text, version), is_of, "{text} {version}");
        }
    }

    #[test]
    fn a_bad_request_is_what_its_text_says() {
        for text in ["cipher: message authentication failed", "invalid ciphertext: no prefix"] {
            assert_eq!(of_bad_request(text.into()), KeyError::Corrupt, "{text}");
        }
        for text in ["encryption key not found", "invalid ciphertext: version is too new"] {
            assert!(matches!(of_bad_request(text.into()), KeyError::UnknownKey(_)), "{text}");
        }
        for text in [
            "ciphertext or signature version is disallowed by policy (too old)",
            "'[0].associated_data' provided for non-AEAD cipher suite rsa-4096",
            "missing 'context' for key derivation; the key was created using a derived key, which means additional, \
             per-request information must be included in order to perform operations with the key",
        ] {
            assert!(matches!(of_bad_request(text.into()), KeyError::Denied(_)), "{text}");
        }
    }
}
