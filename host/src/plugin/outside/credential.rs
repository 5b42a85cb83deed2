//! Credentials that the host adds to a request, and that no guest ever holds.
//!
//! One kind, one file. Each says what it adds to a request, what a guest may not set beside it, and whether an answer refuses what was
//! added. Where a kind logs in, [`session`] keeps what it was given; the login itself goes out by the same checked way as any request.

mod aws;
mod failure;
mod header;
mod health;
mod login;
mod oauth2;
mod secrets;
mod session;
mod vault;

use std::path::PathBuf;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use aws::{AwsKeys, AwsSettings};
pub use failure::CredentialError;
pub use header::HeaderSettings;
pub use login::{LoginSettings, is_in_the_clear, parse_login_url};
pub use oauth2::{ClientProof, OAuth2Settings};
pub use vault::{VaultMethod, VaultSettings};

use super::HttpResponse;
use super::egress::Outgoing;
use aws::Aws;
use header::Header;
use oauth2::OAuth2;
use secrets::Secrets;
use vault::Vault;

/// A credential, shared by whoever it is granted to.
pub struct Credential {
    name: String,
    kind: Kind,
}

enum Kind {
    Header(Header),
    Vault(Vault),
    Aws(Aws),
    OAuth2(OAuth2),
}

/// What an operator says of a credential, by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSettings {
    /// A header whose value a file holds.
    Header(HeaderSettings),
    /// `X-Vault-Token`, by a login that is renewed.
    Vault(VaultSettings),
    /// A signature by AWS's version 4.
    Aws(AwsSettings),
    /// A bearer token by OAuth 2.0's client credentials.
    OAuth2(OAuth2Settings),
}

/// How a credential fares. Holds nothing of its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialState {
    /// Whether it has been had since the start.
    pub was_had: bool,
    /// Since when it cannot be had, and why.
    pub failing: Option<(SystemTime, String)>,
    /// When what is held ends.
    pub expires: Option<SystemTime>,
    /// Logins that succeeded, renewals that did, and either that failed.
    pub counts: CredentialCounts,
}

/// How often a credential was had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CredentialCounts {
    /// Logins that succeeded.
    pub logins: u64,
    /// Renewals that succeeded.
    pub renewals: u64,
    /// Logins and renewals that failed.
    pub failures: u64,
}

/// What was added to one request.
pub(super) struct Added {
    secrets: Secrets,
    /// Of what is held: which one it was.
    generation: u64,
    /// Of a signature: the time that it states.
    signed_at: Option<SystemTime>,
}

impl Credential {
    /// As `settings` say. Sends nothing yet.
    pub fn new(name: &str, settings: CredentialSettings) -> Result<Self, CredentialError> {
        let kind = match settings {
            CredentialSettings::Header(settings) => Kind::Header(Header::new(name, settings)),
            CredentialSettings::Vault(settings) => Kind::Vault(Vault::new(name, settings)?),
            CredentialSettings::Aws(settings) => Kind::Aws(Aws::new(name, settings)?),
            CredentialSettings::OAuth2(settings) => Kind::OAuth2(OAuth2::new(name, settings)?),
        };
        Ok(Self { name: name.to_owned(), kind })
    }

    /// As guests ask for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As the configuration calls it.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Header(_) => "header",
            Kind::Vault(_) => "vault",
            Kind::Aws(_) => "aws-sigv4",
            Kind::OAuth2(_) => "oauth2",
        }
    }

    /// Whether what it is made of can be read now: asked before a plugin that may use it goes live. Logs in nowhere.
    pub fn check(&self) -> Result<(), CredentialError> {
        match &self.kind {
            Kind::Header(header) => header.check(),
            Kind::Vault(vault) => vault.check(),
            Kind::Aws(aws) => aws.check(),
            Kind::OAuth2(oauth2) => oauth2.check(),
        }
    }

    /// How it fares.
    pub fn state(&self) -> CredentialState {
        match &self.kind {
            Kind::Header(header) => header.state(),
            Kind::Vault(vault) => vault.state(),
            Kind::Aws(aws) => aws.state(),
            Kind::OAuth2(oauth2) => oauth2.state(),
        }
    }

    /// Whether a guest's request may go with it; if not, why.
    pub(super) fn permits(&self, outgoing: &Outgoing) -> Result<(), String> {
        match &self.kind {
            Kind::Header(header) => header.permits(outgoing),
            Kind::Vault(_) => vault::permits(outgoing),
            Kind::Aws(_) => aws::permits(outgoing),
            Kind::OAuth2(_) => Ok(()),
        }
    }

    /// Adds it to a request.
    pub(super) async fn authorise(&self, outgoing: &mut Outgoing) -> Result<Added, CredentialError> {
        match &self.kind {
            Kind::Header(header) => header.authorise(outgoing),
            Kind::Vault(vault) => vault.authorise(outgoing).await,
            Kind::Aws(aws) => aws.authorise(outgoing).await,
            Kind::OAuth2(oauth2) => oauth2.authorise(outgoing).await,
        }
    }

    /// Whether `answer` refuses what was added and there is now something else to add. Asked once for a request.
    pub(super) async fn has_another(&self, added: &Added, answer: &HttpResponse) -> bool {
        match &self.kind {
            Kind::Header(_) => false,
            Kind::Vault(vault) => vault.has_another(added, answer).await,
            Kind::Aws(aws) => aws.has_another(added, answer).await,
            Kind::OAuth2(oauth2) => oauth2.has_another(added, answer).await,
        }
    }

    /// What became of a request that was repeated: if that is refused too, it is not for the credential.
    pub(super) fn repeated(&self, answer: &HttpResponse) {
        match &self.kind {
            Kind::Header(_) => {}
            Kind::Vault(vault) => vault.repeated(answer),
            Kind::Aws(aws) => aws.repeated(answer),
            Kind::OAuth2(oauth2) => oauth2.repeated(answer),
        }
    }

    /// What a guest is told whose time is over before there is anything to add.
    pub(super) fn is_late(&self) -> CredentialError {
        CredentialError::late(&self.name)
    }
}

impl Added {
    /// Overwrites what a server has repeated of it.
    pub(super) fn redact(&self, answer: &mut HttpResponse) {
        self.secrets.redact(&mut answer.body);
        for (name, value) in &mut answer.headers {
            self.secrets.redact_text(name);
            self.secrets.redact_text(value);
        }
    }
}

impl CredentialSettings {
    /// The files that it is read from.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Header(settings) => vec![settings.file.clone()],
            Self::Vault(settings) => vec![settings.method.file().to_owned()],
            Self::Aws(settings) => settings.keys.files(),
            Self::OAuth2(settings) => vec![settings.proof.file().to_owned()],
        }
    }
}

/// Sets a header that no library shows, in place of any that is there.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str, credential: &str) -> Result<(), CredentialError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| CredentialError::value(credential))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

/// Refuses a guest's header that the host sets.
fn reserve(outgoing: &Outgoing, names: &[HeaderName]) -> Result<(), String> {
    match names.iter().find(|name| outgoing.headers.contains_key(*name)) {
        Some(name) => Err(format!("beside a credential, the header `{name}` is the host's to set")),
        None => Ok(()),
    }
}

fn header_of<'a>(answer: &'a HttpResponse, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
}
