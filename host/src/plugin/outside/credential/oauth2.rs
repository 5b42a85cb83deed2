//! A bearer token by OAuth 2.0's client credentials (RFC 6749, 4.4): proved by a secret, or by a token that somebody else has issued
//! (RFC 7521 and 7523, `client_assertion`), as Azure's workload identity does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::super::HttpResponse;
use super::super::egress::Outgoing;
use super::failure::CredentialError;
use super::login::{LoginError, LoginPlace, LoginRequest, LoginSettings};
use super::session::{Grantor, Lease, Life, Session};
use super::{Added, CredentialState, Secrets, secrets, set};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Of a token whose server says nothing of its life.
const LASTS_AT_LEAST: Duration = Duration::from_secs(300);

/// A login by OAuth 2.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2Settings {
    /// The token endpoint.
    pub login: LoginSettings,
    /// Who logs in.
    pub client_id: String,
    /// How it proves that it is.
    pub proof: ClientProof,
    /// What it wants to do; none: what the server thinks fit.
    pub scope: Option<String>,
    /// For whom the token is to be, where the server asks for it.
    pub audience: Option<String>,
}

/// How a client proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientProof {
    /// By a secret, in the body of the request.
    SecretInBody(PathBuf),
    /// By a secret, in an `Authorization: Basic` header.
    SecretInHeader(PathBuf),
    /// By a token that it was issued by somebody else.
    Assertion(PathBuf),
}

pub(super) struct OAuth2 {
    name: String,
    session: Session<Login>,
}

struct Login {
    name: String,
    place: LoginPlace,
    settings: OAuth2Settings,
}

impl ClientProof {
    /// The file that holds it.
    pub fn file(&self) -> &Path {
        match self {
            Self::SecretInBody(file) | Self::SecretInHeader(file) | Self::Assertion(file) => file,
        }
    }
}

impl OAuth2 {
    pub(super) fn new(name: &str, settings: OAuth2Settings) -> Result<Self, CredentialError> {
        let place = LoginPlace::new(name, &settings.login)?;
        let login = Login { name: name.to_owned(), place, settings };
        Ok(Self { name: name.to_owned(), session: Session::new(name, login) })
    }

    pub(super) fn check(&self) -> Result<(), CredentialError> {
        secrets::read(&self.name, self.session.grantor().settings.proof.file()).map(|_| ())
    }

    pub(super) fn state(&self) -> CredentialState {
        self.session.state()
    }

    pub(super) async fn authorise(&self, outgoing: &mut Outgoing) -> Result<Added, CredentialError> {
        let held = self.session.current().await?;
        // `Authorization` is never a guest's to set.
        let bearer = Zeroizing::new(format!("Bearer {}", **held.token));
        set(&mut outgoing.headers, AUTHORIZATION, &bearer, &self.name)?;
        Ok(Added { secrets: Secrets::of(&[&held.token]), generation: held.generation, signed_at: None })
    }

    pub(super) async fn has_another(&self, added: &Added, answer: &HttpResponse) -> bool {
        answer.status == 401 && self.session.has_another_than(added.generation).await
    }

    pub(super) fn repeated(&self, answer: &HttpResponse) {
        self.session.repeated(answer.status == 401);
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(deserialize_with = "secrets::deserialize")]
    access_token: Zeroizing<String>,
    token_type: String,
    /// A number; some servers write it as text.
    expires_in: Option<serde_json::Value>,
}

impl Grantor for Login {
    type Token = Zeroizing<String>;

    async fn log_in(&self) -> Result<Lease<Self::Token>, LoginError> {
        let settings = &self.settings;
        let proof = secrets::read(&self.name, settings.proof.file()).map_err(LoginError::ours)?;
        let mut secrets = Secrets::of(&[&proof]);
        let mut pairs = vec![("grant_type", "client_credentials")];
        let mut headers: Vec<(HeaderName, Zeroizing<String>)> = Vec::new();
        match &settings.proof {
            ClientProof::SecretInBody(_) => {
                pairs.extend([("client_id", &*settings.client_id), ("client_secret", &**proof)]);
            }
            ClientProof::SecretInHeader(_) => {
                let basic = basic(&settings.client_id, &proof);
                secrets.push(&basic);
                headers.push((AUTHORIZATION, Zeroizing::new(format!("Basic {}", *basic))));
            }
            ClientProof::Assertion(_) => {
                pairs.push(("client_id", &settings.client_id));
                pairs.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &**proof)]);
            }
        }
        pairs.extend(settings.scope.as_deref().map(|scope| ("scope", scope)));
        pairs.extend(settings.audience.as_deref().map(|audience| ("audience", audience)));
        let body = secrets::form(&pairs);
        let content_type = "application/x-www-form-urlencoded";
        let request = LoginRequest { path: "", content_type, headers, body, secrets };
        let answer = self.place.post(request, why).await?;
        let parsed = answer.text().and_then(|text| serde_json::from_str::<TokenAnswer>(text).ok());
        let token = parsed
            .filter(|parsed| secrets::is_value(&parsed.access_token))
            .ok_or_else(|| self.place.bad_answer("HTTP 200 without a token"))?;
        if !token.token_type.eq_ignore_ascii_case("bearer") {
            return Err(self.place.bad_answer("HTTP 200 with a token that is not a bearer token"));
        }
        let lasts = token.expires_in.as_ref().and_then(seconds).unwrap_or(LASTS_AT_LEAST);
        Ok(Lease { token: token.access_token, life: Life { lasts: Some(lasts), is_renewable: false } })
    }

    async fn renew(&self, _token: &Self::Token) -> Result<Option<Life>, LoginError> {
        Ok(None)
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.settings.proof.file().to_owned()]
    }
}

/// RFC 6749, 2.3.1: both are escaped as in a form before they are joined.
fn basic(client_id: &str, secret: &str) -> Zeroizing<String> {
    let escape = |text: &str| Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>());
    let pair = Zeroizing::new(format!("{}:{}", *escape(client_id), *escape(secret)));
    Zeroizing::new(STANDARD.encode(pair.as_bytes()))
}

fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let seconds = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    Some(Duration::from_secs(seconds.max(1)))
}

/// `{"error": "invalid_client", "error_description": "…"}`
fn why(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        #[serde(default)]
        error_description: String,
    }
    let parsed: Refusal = serde_json::from_str(text).ok()?;
    Some(format!("{} {}", parsed.error, parsed.error_description.lines().next().unwrap_or("")).trim().to_owned())
}
