//! Key Vault's REST API: `POST /keys/<name>/<version>/wrapkey?api-version=7.4` with `{"alg":…,"value":…}` answers `{"kid":"https://…/keys/
//! <name>/<version>","value":…}`, `unwrapkey` the other way round. Bytes are base64url without padding; an empty version is the newest,
//! as Azure's SDKs ask. What is wrong is `{"error":{"code":…,"message":…,"innererror":{"code":…}}}`.
//!
//! As its published description has it (`Azure/azure-rest-api-specs`, `specification/keyvault/data-plane/Microsoft.KeyVault/stable/7.4`,
//! `keys.json`: `wrapKey`, `unwrapKey`, `KeyOperationResult`).

use guest_parts::base64;
use guest_parts::json::parse;
use guest_parts::key::{Answer, Backend, Context, KeyError, Request, Wrapped, trouble};
use guest_parts::secret::told;
use serde_json::{Value, json};

use crate::bound::{bind, open};
use crate::settings::{Settings, is_version};

/// "Wait 1 second, retry request": what Key Vault's throttling guidance begins with, for its 429 names no time.
const THROTTLED_MS: u32 = 1_000;

/// Wraps `dek` and the digest of `context` under the key.
pub fn wrap(settings: &Settings, vault: &mut impl Backend, dek: &[u8], context: &Context) -> Result<Wrapped, KeyError> {
    let bytes = bind(settings.algorithm, dek, context)?;
    let version = settings.version.as_deref();
    let answer = call(settings, vault, version.unwrap_or_default(), "wrapkey", &bytes)?;
    let answer = answer.map_err(|said| of_bad_request(said, KeyError::Denied))?;
    let (ciphertext, key_version) = result(settings, &answer)?;
    if version.is_some_and(|version| !version.eq_ignore_ascii_case(&key_version)) || ciphertext.is_empty() {
        return Err(wrong("it is of another version of the key, or empty"));
    }
    Ok(Wrapped { ciphertext, key_version })
}

/// The DEK that [`wrap`] was given with the same context.
pub fn unwrap(
    settings: &Settings,
    vault: &mut impl Backend,
    wrapped: &Wrapped,
    context: &Context,
) -> Result<Vec<u8>, KeyError> {
    // What is no version could lead elsewhere.
    if !is_version(&wrapped.key_version) || wrapped.ciphertext.is_empty() {
        return Err(KeyError::Corrupt);
    }
    let answer = call(settings, vault, &wrapped.key_version, "unwrapkey", &wrapped.ciphertext)?;
    // Key Vault does not tell a value that is altered from one that it cannot read.
    let answer = answer.map_err(|said| of_bad_request(said, |_| KeyError::Corrupt))?;
    let (bytes, key_version) = result(settings, &answer)?;
    if !key_version.eq_ignore_ascii_case(&wrapped.key_version) {
        return Err(wrong("it is of another version of the key"));
    }
    open(settings.algorithm, &bytes, context)
}

/// One request; what it answers with 200, as JSON, or what it says with 400.
fn call(
    settings: &Settings,
    vault: &mut impl Backend,
    version: &str,
    what: &str,
    bytes: &[u8],
) -> Result<Result<Value, String>, KeyError> {
    let Settings { url, key, api_version, algorithm, .. } = settings;
    let headers = vec![("accept", "application/json".to_owned()), ("content-type", "application/json".to_owned())];
    let body = json!({ "alg": algorithm.name(), "value": base64::encode_url(bytes) });
    let answer = vault.send(Request {
        method: "POST",
        url: format!("{url}/keys/{key}/{version}/{what}?api-version={api_version}"),
        headers,
        body: body.to_string().into_bytes(),
    })?;
    let said = said(&answer);
    match answer.status {
        // The parser's own message says where, and repeats nothing.
        200 => parse(&answer.body).map(Ok).map_err(|what| wrong(&what)),
        400 => Ok(Err(said)),
        401 | 403 => Err(KeyError::Denied(said)),
        // Never there, or deleted, or no such version.
        404 => Err(KeyError::UnknownKey(said)),
        status => Err(match trouble(status, answer.retry_after.as_deref(), vault.now_ms(), &said) {
            KeyError::Retry(None) if status == 429 => KeyError::Retry(Some(THROTTLED_MS)),
            error => error,
        }),
    }
}

/// It may be the version of the API that is wrong: the operator's to mend.
fn of_bad_request(said: String, otherwise: impl FnOnce(String) -> KeyError) -> KeyError {
    if said.contains("is not recognized") {
        KeyError::Unavailable(format!("set api_version to one that this vault takes: {said}"))
    } else {
        otherwise(said)
    }
}

/// The bytes of an answer, and the version of the key that it names.
fn result(settings: &Settings, answer: &Value) -> Result<(Vec<u8>, String), KeyError> {
    let text = |key: &str| {
        let text = answer.get(key).and_then(Value::as_str);
        text.ok_or_else(|| wrong(&format!("it has no `{key}`")))
    };
    let (kid, value) = (text("kid")?, text("value")?);
    let mut parts = kid.rsplit('/');
    let (version, of) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if !of.eq_ignore_ascii_case(&settings.key) {
        return Err(wrong("it is of another key"));
    }
    if !is_version(version) {
        return Err(wrong("`kid` names no version"));
    }
    let bytes = base64::decode_url(value).ok_or_else(|| wrong("`value` is no base64url"))?;
    Ok((bytes, version.to_owned()))
}

fn wrong(what: &str) -> KeyError {
    KeyError::Unavailable(format!("not an answer of Key Vault: {what}"))
}

/// What Key Vault says is wrong; nothing else of its answer. The inner code is the more exact one: `KeyDisabled`, `ForbiddenByRbac`.
fn said(answer: &Answer) -> String {
    let error = parse(&answer.body).ok().and_then(|answer| answer.get("error").cloned());
    let Some(error) = error else { return format!("HTTP {}", answer.status) };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let inner = error.get("innererror").map(|inner| format!(" ({})", text(inner, "code"))).unwrap_or_default();
    told(&format!("{}{inner}: {}", text(&error, "code"), text(&error, "message")))
}
