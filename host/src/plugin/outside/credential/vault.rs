//! `X-Vault-Token`, by AppRole or Kubernetes login; renewed while it can be (Vault's HTTP API: `auth/approle`, `auth/kubernetes`,
//! `auth/token`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::super::HttpResponse;
use super::super::egress::Outgoing;
use super::failure::CredentialError;
use super::login::{Answer, LoginError, LoginPlace, LoginRequest, LoginSettings};
use super::session::{Grantor, Lease, Life, Session};
use super::{Added, CredentialState, Secrets, reserve, secrets, set};

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// An answer that is wrapped holds another token.
const WRAP: HeaderName = HeaderName::from_static("x-vault-wrap-ttl");

/// A login to Vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultSettings {
    /// Vault's own URL, without `/v1`.
    pub login: LoginSettings,
    /// How it logs in.
    pub method: VaultMethod,
    /// Where that method is mounted, below `auth/`.
    pub mount: String,
    /// `X-Vault-Namespace`, of the login and of every request.
    pub namespace: Option<String>,
}

/// How to log in to Vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultMethod {
    /// A role id, and a secret id from a file.
    AppRole {
        /// The role id.
        role_id: String,
        /// The file of the secret id.
        secret_id_file: PathBuf,
    },
    /// A role, and a service account's token from a file.
    Kubernetes {
        /// The role.
        role: String,
        /// The file of the token.
        token_file: PathBuf,
    },
}

pub(super) struct Vault {
    name: String,
    namespace: Option<String>,
    session: Session<Login>,
}

struct Login {
    name: String,
    place: LoginPlace,
    settings: VaultSettings,
}

impl VaultMethod {
    /// The file that proves who logs in.
    pub fn file(&self) -> &Path {
        match self {
            Self::AppRole { secret_id_file, .. } => secret_id_file,
            Self::Kubernetes { token_file, .. } => token_file,
        }
    }
}

impl Vault {
    pub(super) fn new(name: &str, settings: VaultSettings) -> Result<Self, CredentialError> {
        let place = LoginPlace::new(name, &settings.login)?;
        let namespace = settings.namespace.clone();
        let login = Login { name: name.to_owned(), place, settings };
        Ok(Self { name: name.to_owned(), namespace, session: Session::new(name, login) })
    }

    pub(super) fn check(&self) -> Result<(), CredentialError> {
        secrets::read(&self.name, self.session.grantor().settings.method.file()).map(|_| ())
    }

    pub(super) fn state(&self) -> CredentialState {
        self.session.state()
    }

    pub(super) async fn authorise(&self, outgoing: &mut Outgoing) -> Result<Added, CredentialError> {
        let held = self.session.current().await?;
        set(&mut outgoing.headers, TOKEN, &held.token, &self.name)?;
        if let Some(namespace) = &self.namespace {
            set(&mut outgoing.headers, NAMESPACE, namespace, &self.name)?;
        }
        Ok(Added { secrets: Secrets::of(&[&held.token]), generation: held.generation, signed_at: None })
    }

    /// Vault says 403 of a token that was revoked, and of one that may not.
    pub(super) async fn has_another(&self, added: &Added, answer: &HttpResponse) -> bool {
        answer.status == 403 && self.session.has_another_than(added.generation).await
    }

    pub(super) fn repeated(&self, answer: &HttpResponse) {
        self.session.repeated(answer.status == 403);
    }
}

/// No guest logs in, makes tokens of the one that is lent to it, or has an answer wrapped in one.
pub(super) fn permits(outgoing: &Outgoing) -> Result<(), String> {
    reserve(outgoing, &[TOKEN, NAMESPACE, WRAP])?;
    // As Vault reads it: what is escaped is the same, and a namespace may stand in front.
    let path = percent_encoding::percent_decode_str(outgoing.url.path()).decode_utf8_lossy().to_ascii_lowercase();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let is_auth = parts.get(1) == Some(&"auth") || parts.windows(2).any(|pair| pair == ["auth", "token"]);
    if is_auth { Err("what is below `auth/` is the host's to ask of Vault".to_owned()) } else { Ok(()) }
}

#[derive(Deserialize)]
struct AuthAnswer {
    auth: Option<Auth>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(deserialize_with = "secrets::deserialize")]
    client_token: Zeroizing<String>,
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum LoginBody<'a> {
    AppRole { role_id: &'a str, secret_id: &'a str },
    Kubernetes { role: &'a str, jwt: &'a str },
}

impl Login {
    async fn ask(
        &self,
        path: &str,
        token: Option<&Zeroizing<String>>,
        body: Zeroizing<Vec<u8>>,
        secrets: Secrets,
    ) -> Result<Auth, LoginError> {
        let mut headers: Vec<(HeaderName, Zeroizing<String>)> = Vec::new();
        headers.extend(token.map(|token| (TOKEN, token.clone())));
        headers.extend(self.settings.namespace.iter().map(|name| (NAMESPACE, Zeroizing::new(name.clone()))));
        let request = LoginRequest { path, content_type: "application/json", headers, body, secrets };
        let answer = self.place.post(request, why).await?;
        self.parse(&answer)
    }

    fn parse(&self, answer: &Answer) -> Result<Auth, LoginError> {
        let parsed = answer.text().and_then(|text| serde_json::from_str::<AuthAnswer>(text).ok());
        let auth = parsed.and_then(|parsed| parsed.auth).filter(|auth| secrets::is_value(&auth.client_token));
        auth.ok_or_else(|| self.place.bad_answer("HTTP 200 without a token"))
    }
}

impl Grantor for Login {
    type Token = Zeroizing<String>;

    async fn log_in(&self) -> Result<Lease<Self::Token>, LoginError> {
        let proof = secrets::read(&self.name, self.settings.method.file()).map_err(LoginError::ours)?;
        let body = match &self.settings.method {
            VaultMethod::AppRole { role_id, .. } => LoginBody::AppRole { role_id, secret_id: &proof },
            VaultMethod::Kubernetes { role, .. } => LoginBody::Kubernetes { role, jwt: &proof },
        };
        let body = serde_json::to_vec(&body).map(Zeroizing::new);
        let body = body.map_err(|error| LoginError::ours(CredentialError::new(&self.name, error.to_string())))?;
        let path = format!("/v1/auth/{}/login", self.settings.mount);
        let auth = self.ask(&path, None, body, Secrets::of(&[&proof])).await?;
        let life = auth.life();
        Ok(Lease { token: auth.client_token, life })
    }

    async fn renew(&self, token: &Self::Token) -> Result<Option<Life>, LoginError> {
        let body = Zeroizing::new(b"{}".to_vec());
        let auth = self.ask("/v1/auth/token/renew-self", Some(token), body, Secrets::of(&[token])).await?;
        Ok((*auth.client_token == **token).then(|| auth.life()))
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.settings.method.file().to_owned()]
    }
}

impl Auth {
    fn life(&self) -> Life {
        // 0: a root token's, which has no end.
        let lasts = (self.lease_duration > 0).then(|| Duration::from_secs(self.lease_duration));
        Life { lasts, is_renewable: self.renewable }
    }
}

/// `{"errors": ["…"]}`
fn why(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    let parsed: Errors = serde_json::from_str(text).ok()?;
    parsed.errors.into_iter().next()
}
