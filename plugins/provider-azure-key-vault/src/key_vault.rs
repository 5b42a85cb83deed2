//! Key Vault's REST API: `GET /secrets/<name>[/<version>]?api-version=7.4` answers `{"value":…,"id":"https://…/secrets/<name>/<version>",
//! "attributes":{…}}`; what is wrong is `{"error":{"code":…,"message":…,"innererror":{"code":…}}}`.
//!
//! As its published description has it (`Azure/azure-rest-api-specs`, `specification/keyvault/data-plane/Microsoft.KeyVault/stable/7.4`), and
//! "About Azure Key Vault secrets": a secret is answered outside of its `nbf` and `exp` too, a disabled one is not.
//!
//! Without a token it answers 401 and says where to get one. That is the host's to follow, never a guest's: a credential goes where the
//! operator has bound it, and not where a server points.

use guest_parts::json::parse;
use guest_parts::secret::{
    Answer, Backend, Reference, Request, ResolveError, Secret, field_of, resolve_each, told, trouble,
};
use serde_json::Value;

use crate::settings::Settings;

/// "Wait 1 second, retry request": what Key Vault's throttling guidance begins with, for its 429 names no time.
const THROTTLED_MS: u32 = 1_000;

/// What one name and version holds.
struct Found {
    text: String,
    version: String,
    keep_ms: Option<u64>,
}

/// One result for each of `references`, in order.
pub fn resolve(
    settings: &Settings,
    vault: &mut impl Backend,
    references: &[Reference],
) -> Vec<Result<Secret, ResolveError>> {
    resolve_each(references, |name, version| read(settings, vault, name, version), Found::secret)
}

impl Found {
    fn secret(&self, field: Option<&str>) -> Result<Secret, ResolveError> {
        let value = match field {
            None => self.text.clone().into_bytes(),
            Some(_) => {
                let why = "the secret is no JSON object, so it has no fields";
                let secret = parse(self.text.as_bytes()).map_err(|_| ResolveError::InvalidReference(why.to_owned()))?;
                field_of(&secret, field)?
            }
        };
        Ok(Secret { value, version: self.version.clone(), keep_ms: self.keep_ms })
    }
}

fn read(
    settings: &Settings,
    vault: &mut impl Backend,
    name: &str,
    version: Option<&str>,
) -> Result<Found, ResolveError> {
    let invalid = |why: &str| ResolveError::InvalidReference(why.to_owned());
    let is_name = (1..=127).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_name {
        return Err(invalid("a name is 1 to 127 of A-Z a-z 0-9 and -"));
    }
    let is_version = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if version.is_some_and(|version| !is_version(version)) {
        return Err(invalid("a version is 32 hexadecimal digits"));
    }
    let version = version.map(|version| format!("/{version}")).unwrap_or_default();
    let request = Request {
        method: "GET",
        url: format!("{}/secrets/{name}{version}?api-version={}", settings.url, settings.api_version),
        headers: vec![("accept", "application/json".to_owned())],
        body: Vec::new(),
    };
    let answer = vault.send(request)?;
    let now_ms = vault.now_ms();
    match answer.status {
        200 => of_body(settings, &answer.body, name, now_ms),
        // Never there, or deleted: a deleted secret is under another path.
        404 => Err(ResolveError::NotFound),
        401 | 403 => Err(ResolveError::Denied(said(&answer))),
        400 => Err(of_bad_request(said(&answer))),
        status => Err(match trouble(status, answer.retry_after.as_deref(), now_ms, &said(&answer)) {
            ResolveError::Retry(None) => ResolveError::Retry(Some(THROTTLED_MS)),
            error => error,
        }),
    }
}

/// Names and versions have been looked at, so that it may be the version of the API that is wrong: the operator's to mend.
fn of_bad_request(said: String) -> ResolveError {
    if said.contains("is not recognized") {
        ResolveError::Unavailable(format!("set api_version to one that this vault takes: {said}"))
    } else {
        ResolveError::InvalidReference(said)
    }
}

fn of_body(settings: &Settings, body: &[u8], name: &str, now_ms: u64) -> Result<Found, ResolveError> {
    let wrong = |what: &str| ResolveError::Unavailable(format!("not an answer of Key Vault: {what}"));
    // The parser's own message says where, and repeats nothing.
    let answer = parse(body).map_err(|what| wrong(&what))?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str);
    let (value, id) =
        (text("value").ok_or_else(|| wrong("it has no `value`"))?, text("id").ok_or_else(|| wrong("it has no `id`"))?);
    let mut parts = id.rsplit('/');
    let (version, of) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if !of.eq_ignore_ascii_case(name) {
        return Err(wrong("it is of another secret"));
    }
    let attribute = |key: &str| answer.get("attributes").and_then(|attributes| attributes.get(key));
    if attribute("enabled") == Some(&Value::Bool(false)) {
        return Err(ResolveError::Denied("the secret is disabled".to_owned()));
    }
    // Seconds since 1970. Nobody should hold it for longer.
    let left_ms = attribute("exp").and_then(Value::as_u64).map(|at| at.saturating_mul(1_000).saturating_sub(now_ms));
    let keep_ms = left_ms.map_or(settings.keep.ms, |left| left.min(settings.keep.ms));
    Ok(Found { text: value.to_owned(), version: version.to_owned(), keep_ms: Some(keep_ms).filter(|ms| *ms > 0) })
}

/// What Key Vault says is wrong; nothing else of its answer. The inner code is the more exact one: `SecretDisabled`, `ForbiddenByRbac`.
fn said(answer: &Answer) -> String {
    let error = parse(&answer.body).ok().and_then(|answer| answer.get("error").cloned());
    let Some(error) = error else { return format!("HTTP {}", answer.status) };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let inner = error.get("innererror").map(|inner| format!(" ({})", text(inner, "code"))).unwrap_or_default();
    told(&format!("{}{inner}: {}", text(&error, "code"), text(&error, "message")))
}
