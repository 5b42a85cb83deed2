//! What a configuration must not say, and how that is told.

use super::{CallerConfig, Config, ConfigError, Environment};
use crate::caller::{OPERATOR, ParseTokenDigestError, SHARED_CALLER, TokenDigest};

/// Records that may wait at once, at the most.
const QUEUE_MAX: usize = 1 << 20;
/// Names that no configured caller may have.
const RESERVED_NAMES: [&str; 2] = [SHARED_CALLER, OPERATOR];

impl Config {
    pub(super) fn refuse_contradictions(&self, environment: &Environment) -> Result<(), ConfigError> {
        if self.keys.kek_file.is_some() && environment.kek_secret.is_some() {
            return Err(ConfigError::value("keys.kek_file", "KEK_SECRET is set too; give the KEK once"));
        }
        if self.keys.kek_dir.is_some() && (self.keys.kek_file.is_some() || environment.kek_secret.is_some()) {
            return Err(ConfigError::value(
                "keys.kek_dir",
                "KEK_SECRET or keys.kek_file is set too; give the KEK once",
            ));
        }
        if environment.kek_secret_retained.is_some() && environment.kek_secret.is_none() {
            let message = "is set, and KEK_SECRET is not: files have keys.kek_dir for several KEKs".into();
            return Err(ConfigError::Variable { name: "KEK_SECRET_RETAINED", message });
        }
        self.keys.refuse_contradictions(environment)?;
        if let Some(pkcs11) = &self.keys.pkcs11 {
            pkcs11.refuse_contradictions(environment)?;
        }
        if let Some(provider) = &self.keys.provider {
            provider.refuse_contradictions()?;
        }
        let positive = [
            ("server.connections_max", self.server.connections_max as u64),
            ("server.connections_per_address_max", self.server.connections_per_address_max as u64),
            ("server.requests_max", self.server.requests_max as u64),
            ("server.header_timeout_ms", self.server.header_timeout_ms),
            ("server.body_timeout_ms", self.server.body_timeout_ms),
            ("server.write_timeout_ms", self.server.write_timeout_ms),
            ("limits.body_bytes", self.limits.body_bytes as u64),
            ("limits.batch_body_bytes", self.limits.batch_body_bytes as u64),
            ("limits.bodies_bytes", self.limits.bodies_bytes as u64),
            ("limits.variables", self.limits.variables as u64),
            ("keys.dek_handle_ttl_s", self.keys.dek_handle_ttl_s),
            ("keys.cache_ttl_s", self.keys.cache_ttl_s),
            ("keys.cache_entries", self.keys.cache_entries),
            ("keys.reminder_every_s", self.keys.reminder_every_s),
            ("store.deadline_ms", self.store.deadline_ms),
            ("store.connections", u64::from(self.store.connections)),
            ("deployments.object_bytes", self.deployments.object_bytes),
            ("deployments.deadline_ms", self.deployments.deadline_ms),
            ("audit.deadline_ms", self.audit.deadline_ms),
            ("audit.segment_bytes", self.audit.segment_bytes),
            ("audit.queue", self.audit.queue as u64),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::value(*key, "must not be 0"));
        }
        if self.audit.queue > QUEUE_MAX {
            return Err(ConfigError::value("audit.queue", format!("at most {QUEUE_MAX}")));
        }
        if self.limits.bodies_bytes < self.limits.body_bytes.max(self.limits.batch_body_bytes) {
            let message =
                "must not be less than limits.body_bytes or limits.batch_body_bytes: no such body would ever fit";
            return Err(ConfigError::value("limits.bodies_bytes", message));
        }
        if self.deployments.cache_s > 30 {
            return Err(ConfigError::value(
                "deployments.cache_s",
                "at most 30: a deployment must not be believed longer",
            ));
        }
        self.store.url.as_deref().map_or(Ok(()), refuse_store_url)?;
        for (index, caller) in self.callers.iter().enumerate() {
            caller.refuse_contradictions(index)?;
            if self.callers[..index].iter().any(|other| other.name == caller.name) {
                return Err(ConfigError::value(format!("callers[{index}].name"), "another caller has this name"));
            }
        }
        self.refuse_plugins()
    }
}

/// Where and what, without the line itself or the value: a password may stand there.
pub(super) fn harmless(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let key = text.lines().nth(line - 1).and_then(|line| line.split_once('=')).map_or("", |(key, _)| key.trim());
    let is_key = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let key = if key.bytes().all(is_key) { key } else { "" };
    let message = match error.message().split_once(", expected ") {
        Some((start, expected)) if start.starts_with("invalid ") || start.starts_with("unknown variant") => {
            format!("wrong type or value, expected {expected}")
        }
        _ => error.message().to_owned(),
    };
    if key.is_empty() { format!("line {line}: {message}") } else { format!("line {line}, `{key}`: {message}") }
}

/// What can be kept in a URL of the store.
fn refuse_store_url(url: &str) -> Result<(), ConfigError> {
    let sqlite = url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
    let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    match sqlite {
        Some("" | ":memory:") => {
            Err(ConfigError::value("store.url (DATABASE_URL)", "sqlite: needs the path of a file"))
        }
        Some(_) => Ok(()),
        None if is_postgres => Ok(()),
        None => Err(ConfigError::value("store.url (DATABASE_URL)", "must begin with postgres:// or sqlite:")),
    }
}

impl CallerConfig {
    fn refuse_contradictions(&self, index: usize) -> Result<(), ConfigError> {
        let key = |field: &str| format!("callers[{index}].{field}");
        if self.name.is_empty() || self.name.len() > 128 || self.name.chars().any(char::is_control) {
            return Err(ConfigError::value(key("name"), "1 to 128 bytes, no control characters"));
        }
        if RESERVED_NAMES.contains(&self.name.as_str()) {
            return Err(ConfigError::value(
                key("name"),
                format!("`{}` is what the service itself calls somebody", self.name),
            ));
        }
        if self.tokens.is_empty() && self.token_file.is_none() {
            return Err(ConfigError::value(
                key("tokens"),
                "give `tokens` or `token_file`, or nobody can be this caller",
            ));
        }
        for token in &self.tokens {
            TokenDigest::parse(token)
                .map_err(|error: ParseTokenDigestError| ConfigError::value(key("tokens"), error.to_string()))?;
        }
        Ok(())
    }
}
