//! AWS's signature, version 4: keys from files, from the environment, or had for a token of a web identity.
//!
//! The time that a signature states is the host's, moved by what a server said of it when it refused one for its time.

mod sign;
mod sts;

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use http::HeaderName;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::super::HttpResponse;
use super::super::egress::Outgoing;
use super::failure::CredentialError;
use super::health::Health;
use super::login::LoginSettings;
use super::session::Session;
use super::{Added, CredentialState, Secrets, header_of, reserve, secrets, set};
use sign::{Keys, Scope};
use sts::WebIdentity;

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const PAYLOAD: HeaderName = HeaderName::from_static("x-amz-content-sha256");
/// What a signature in a URL consists of: beside one in a header it is a contradiction.
const RESERVED_QUERY: &str = "x-amz-";
/// Clocks that differ by less are not why a signature is refused: AWS allows five minutes, some of its services less.
const SKEW_MIN_S: i64 = 30;
/// A server that wants signatures of another day is not believed.
const SKEW_MAX_S: i64 = 24 * 3_600;
/// Codes of a refusal for the time that the signature states. The last two have other reasons as well: there the clocks must differ too.
const CODES_OF_TIME: [&str; 5] = [
    "RequestTimeTooSkewed",
    "RequestExpired",
    "RequestInTheFuture",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
];
/// Codes of a refusal of keys that have ended, or are not known any more.
const CODES_OF_KEYS: [&str; 6] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "UnrecognizedClientException",
];
/// How much of an answer is searched for its code.
const CODE_WITHIN_BYTES: usize = 4_096;

/// A signature for one service in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsSettings {
    /// `eu-central-1`
    pub region: String,
    /// As AWS calls it in signatures: `secretsmanager`, `s3`, `kms`.
    pub service: String,
    /// Where the keys come from.
    pub keys: AwsKeys,
}

/// Where AWS keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AwsKeys {
    /// Files, read each time.
    Files {
        /// The file of the access key's id.
        access_key_id: PathBuf,
        /// The file of the secret access key.
        secret_access_key: PathBuf,
        /// The file of the session token, where there is one.
        session_token: Option<PathBuf>,
    },
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    Environment,
    /// `AssumeRoleWithWebIdentity`: for a role, and the token in a file.
    WebIdentity {
        /// STS.
        login: LoginSettings,
        /// The role.
        role_arn: String,
        /// The file of the token.
        token_file: PathBuf,
        /// What the session is called in AWS's own trail.
        session_name: String,
    },
}

pub(super) struct Aws {
    name: String,
    region: String,
    service: String,
    source: Source,
    health: Health,
    /// What is added to our time.
    offset_s: AtomicI64,
}

enum Source {
    Fixed(AwsKeys),
    WebIdentity(Session<WebIdentity>),
}

impl AwsKeys {
    pub(super) fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Files { access_key_id, secret_access_key, session_token } => {
                let files = [access_key_id, secret_access_key].into_iter().chain(session_token);
                files.cloned().collect()
            }
            Self::Environment => Vec::new(),
            Self::WebIdentity { token_file, .. } => vec![token_file.clone()],
        }
    }
}

impl Aws {
    pub(super) fn new(name: &str, settings: AwsSettings) -> Result<Self, CredentialError> {
        let source = match settings.keys {
            AwsKeys::WebIdentity { login, role_arn, token_file, session_name } => {
                let identity = WebIdentity::new(name, &login, role_arn, token_file, session_name)?;
                Source::WebIdentity(Session::new(name, identity))
            }
            fixed => Source::Fixed(fixed),
        };
        let (region, service) = (settings.region, settings.service);
        let (health, offset_s) = (Health::default(), AtomicI64::new(0));
        Ok(Self { name: name.to_owned(), region, service, source, health, offset_s })
    }

    pub(super) fn check(&self) -> Result<(), CredentialError> {
        match &self.source {
            Source::Fixed(keys) => self.read(keys).map(|_| ()),
            Source::WebIdentity(session) => session.grantor().check(),
        }
    }

    pub(super) fn state(&self) -> CredentialState {
        match &self.source {
            Source::Fixed(_) => self.health.state(None),
            Source::WebIdentity(session) => session.state(),
        }
    }

    pub(super) async fn authorise(&self, outgoing: &mut Outgoing) -> Result<Added, CredentialError> {
        match &self.source {
            Source::Fixed(keys) => {
                let keys = self.health.had(self.read(keys))?;
                self.sign(outgoing, &keys, 0)
            }
            Source::WebIdentity(session) => {
                let held = session.current().await?;
                self.sign(outgoing, &held.token, held.generation)
            }
        }
    }

    fn sign(&self, outgoing: &mut Outgoing, keys: &Keys, generation: u64) -> Result<Added, CredentialError> {
        let offset_s = self.offset_s.load(Ordering::Relaxed);
        let now = DateTime::<Utc>::from(SystemTime::now()) + chrono::Duration::seconds(offset_s);
        let scope = Scope { region: &self.region, service: &self.service, time: now };
        let payload = sign::payload_hash(&outgoing.body);
        set(&mut outgoing.headers, DATE, &scope.stamp(), &self.name)?;
        set(&mut outgoing.headers, PAYLOAD, &payload, &self.name)?;
        if let Some(token) = &keys.session_token {
            set(&mut outgoing.headers, TOKEN, token, &self.name)?;
        }
        let signed = sign::sign(outgoing, keys, &scope, &payload);
        set(&mut outgoing.headers, AUTHORIZATION, &signed.authorization, &self.name)?;
        let mut secrets = Secrets::of(&[&signed.authorization, &signed.signature]);
        for secret in [&keys.access_key_id, &keys.secret_access_key].into_iter().chain(&keys.session_token) {
            secrets.push(secret);
        }
        Ok(Added { secrets, generation, signed_at: Some(now.into()) })
    }

    pub(super) async fn has_another(&self, added: &Added, answer: &HttpResponse) -> bool {
        if self.is_set_right(added, answer) {
            return true;
        }
        match &self.source {
            Source::WebIdentity(session) if has_code(answer, &CODES_OF_KEYS) => {
                session.has_another_than(added.generation).await
            }
            _ => false,
        }
    }

    pub(super) fn repeated(&self, answer: &HttpResponse) {
        if let Source::WebIdentity(session) = &self.source {
            session.repeated(has_code(answer, &CODES_OF_KEYS));
        }
    }

    /// Whether the answer refuses the time of the signature, and tells another one that can be believed.
    fn is_set_right(&self, added: &Added, answer: &HttpResponse) -> bool {
        if !has_code(answer, &CODES_OF_TIME) {
            return false;
        }
        let theirs = header_of(answer, "date").and_then(|text| DateTime::parse_from_rfc2822(text).ok());
        let (Some(theirs), Some(signed_at)) = (theirs, added.signed_at) else { return false };
        let theirs = theirs.to_utc();
        let apart_s = (theirs - DateTime::<Utc>::from(signed_at)).num_seconds();
        let offset_s = (theirs - DateTime::<Utc>::from(SystemTime::now())).num_seconds();
        if apart_s.abs() < SKEW_MIN_S || offset_s.abs() > SKEW_MAX_S {
            return false;
        }
        self.offset_s.store(offset_s, Ordering::Relaxed);
        tracing::warn!(
            credential = self.name,
            offset_s,
            "signed at another time than the server's: the next ones are set right"
        );
        true
    }

    fn read(&self, keys: &AwsKeys) -> Result<Keys, CredentialError> {
        let variable = |variable: &str| {
            let value = std::env::var(variable).ok().filter(|value| !value.is_empty()).map(Zeroizing::new);
            match value {
                Some(value) if !secrets::is_value(&value) => {
                    Err(CredentialError::new(&self.name, format!("{variable} is no key")))
                }
                value => Ok(value),
            }
        };
        let missing =
            |variable: &str| CredentialError::new(&self.name, format!("{variable} is not in the environment"));
        match keys {
            AwsKeys::Files { access_key_id, secret_access_key, session_token } => Ok(Keys {
                access_key_id: secrets::read(&self.name, access_key_id)?,
                secret_access_key: secrets::read(&self.name, secret_access_key)?,
                session_token: session_token.as_ref().map(|file| secrets::read(&self.name, file)).transpose()?,
            }),
            _ => Ok(Keys {
                access_key_id: variable("AWS_ACCESS_KEY_ID")?.ok_or_else(|| missing("AWS_ACCESS_KEY_ID"))?,
                secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?
                    .ok_or_else(|| missing("AWS_SECRET_ACCESS_KEY"))?,
                session_token: variable("AWS_SESSION_TOKEN")?,
            }),
        }
    }
}

/// A guest sets nothing that a signature consists of.
pub(super) fn permits(outgoing: &Outgoing) -> Result<(), String> {
    reserve(outgoing, &[DATE, TOKEN, PAYLOAD])?;
    let mut names = outgoing.url.query_pairs().map(|(name, _)| name.to_ascii_lowercase());
    match names.find(|name| name.starts_with(RESERVED_QUERY)) {
        Some(_) => Err("beside a credential, what a signature consists of is the host's to set".to_owned()),
        None => Ok(()),
    }
}

/// Whether an answer refuses, and its code is one of these: in a header, in JSON (`__type`, `Code`) or in XML (`<Code>`).
fn has_code(answer: &HttpResponse, codes: &[&str]) -> bool {
    if !(400..500).contains(&answer.status) {
        return false;
    }
    if let Some(named) = header_of(answer, "x-amzn-errortype") {
        let named = named.split(':').next().unwrap_or("");
        return codes.contains(&named);
    }
    let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(CODE_WITHIN_BYTES)]);
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| codes.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> HttpResponse {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HttpResponse { status, headers, body: body.into() }
    }

    #[test]
    fn a_refusal_is_told_by_its_code_wherever_the_service_writes_it() {
        for (refusal, expected) in [
            (answer(403, &[], "<Error><Code>RequestTimeTooSkewed</Code></Error>"), true),
            (answer(400, &[], r#"{"__type":"com.amazon.coral.service#InvalidSignatureException"}"#), true),
            (answer(403, &[("x-amzn-errortype", "RequestExpired:http://x/")], "{}"), true),
            (answer(403, &[("x-amzn-errortype", "AccessDeniedException")], "RequestExpired"), false),
            (answer(403, &[], "<Error><Code>AccessDenied</Code></Error>"), false),
            (answer(200, &[], "RequestTimeTooSkewed"), false),
            (answer(503, &[], "RequestTimeTooSkewed"), false),
        ] {
            assert_eq!(has_code(&refusal, &CODES_OF_TIME), expected, "{refusal:?}");
        }
    }
}
