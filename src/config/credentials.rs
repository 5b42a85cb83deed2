//! Credentials that the host adds to plugins' requests: one table, and the keys that go with its `kind`.

use std::path::{Path, PathBuf};

use http::HeaderName;
use origan_codec_host::plugin::outside::credential::parse_login_url;
use origan_codec_host::plugin::outside::{
    AwsKeys, AwsSettings, ClientProof, CredentialSettings, HeaderSettings, LoginSettings, OAuth2Settings, VaultMethod,
    VaultSettings,
};
use serde::{Deserialize, Serialize};

/// What the host adds to requests, and no plugin sees.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CredentialConfig {
    /// As plugins and grants name it.
    pub name: String,
    /// What it is. Default `header`.
    pub kind: CredentialKind,
    /// `header`: the header. Default `Authorization`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// `header`: what stands before the value: `Bearer `. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// `header`: the file that holds the value. Read again each time it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Where the host logs in: Vault, STS, the token endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_url: Option<String>,
    /// Networks (CIDR) beyond the public ones in which that may lie. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Certificates (PEM) that its server's may be issued under, beside the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How the host logs in, or where keys come from: `vault`: `approle` or `kubernetes`; `aws-sigv4`: `files`, `environment` or
    /// `web-identity`; `oauth2`: `secret-post`, `secret-basic` or `assertion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `vault`: where the method is mounted. Default: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// `vault`: the namespace. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `vault`, `approle`: the role id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_id: Option<String>,
    /// `vault`, `kubernetes`: the role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// `vault`, `approle`: the file of the secret id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_id_file: Option<PathBuf>,
    /// `kubernetes`, `web-identity`, `assertion`: the file of the token that somebody else has issued. Read at each login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// `aws-sigv4`: the region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `aws-sigv4`: the service, as AWS calls it in signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `aws-sigv4`, `files`: the file of the access key's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id_file: Option<PathBuf>,
    /// `aws-sigv4`, `files`: the file of the secret access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key_file: Option<PathBuf>,
    /// `aws-sigv4`, `files`: the file of the session token. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token_file: Option<PathBuf>,
    /// `aws-sigv4`, `web-identity`: the role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// `aws-sigv4`, `web-identity`: what the session is called in AWS's trail. Default `codec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
    /// `oauth2`: who logs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// `oauth2`, `secret-…`: the file of the client's secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// `oauth2`: what the token is to be good for. Default: what the server thinks fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// `oauth2`: for whom the token is to be. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// What a credential is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialKind {
    /// A header whose value a file holds.
    #[default]
    Header,
    /// `X-Vault-Token`, by a login to Vault that is renewed.
    Vault,
    /// A signature by AWS's version 4.
    AwsSigv4,
    /// A bearer token by OAuth 2.0's client credentials.
    Oauth2,
}

/// A key, and what is wrong with it.
pub(super) type Wrong = (&'static str, String);

impl CredentialConfig {
    /// What it says, with what its `ca_file` holds.
    pub fn settings(&self, ca_pem: Option<Vec<u8>>) -> Result<CredentialSettings, String> {
        self.parsed(ca_pem).map_err(|(key, why)| format!("{key} {why}"))
    }

    pub(super) fn parsed(&self, ca_pem: Option<Vec<u8>>) -> Result<CredentialSettings, Wrong> {
        match self.kind {
            CredentialKind::Header => self.header(),
            CredentialKind::Vault => self.vault(ca_pem),
            CredentialKind::AwsSigv4 => self.aws(ca_pem),
            CredentialKind::Oauth2 => self.oauth2(ca_pem),
        }
    }

    fn header(&self) -> Result<CredentialSettings, Wrong> {
        self.takes(&["header", "prefix", "file"])?;
        let header = self.header.as_deref().unwrap_or("Authorization");
        let header = HeaderName::try_from(header).map_err(|_| ("header", "is not the name of a header".to_owned()))?;
        let prefix = self.prefix.clone().unwrap_or_default();
        if !is_printable(&prefix) {
            return Err(("prefix", "must be printable ASCII".into()));
        }
        let file = needed("file", self.file.as_ref())?;
        Ok(CredentialSettings::Header(HeaderSettings { header, prefix, file }))
    }

    fn vault(&self, ca_pem: Option<Vec<u8>>) -> Result<CredentialSettings, Wrong> {
        let common = ["login_url", "addresses", "ca_file", "method", "mount", "namespace"];
        let method = needed("method", self.method.as_ref())?;
        let login = match &*method {
            "approle" => {
                self.takes(&[&common[..], &["role_id", "secret_id_file"]].concat())?;
                let secret_id_file = needed("secret_id_file", self.secret_id_file.as_ref())?;
                VaultMethod::AppRole { role_id: text("role_id", self.role_id.as_ref())?, secret_id_file }
            }
            "kubernetes" => {
                self.takes(&[&common[..], &["role", "token_file"]].concat())?;
                let token_file = needed("token_file", self.token_file.as_ref())?;
                VaultMethod::Kubernetes { role: text("role", self.role.as_ref())?, token_file }
            }
            _ => return Err(("method", "must be approle or kubernetes".into())),
        };
        let mount = self.mount.clone().unwrap_or(method);
        let is_path = |text: &str| {
            let is_part = |part: &str| {
                !part.is_empty()
                    && !part.starts_with('.')
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            };
            text.split('/').all(is_part)
        };
        if !is_path(&mount) {
            return Err(("mount", "must be a path below auth/, without slashes around it".into()));
        }
        if self.namespace.as_deref().is_some_and(|namespace| !is_path(namespace.trim_end_matches('/'))) {
            return Err(("namespace", "must be a path".into()));
        }
        let login_at = self.login(None, ca_pem)?;
        let namespace = self.namespace.clone();
        Ok(CredentialSettings::Vault(VaultSettings { login: login_at, method: login, mount, namespace }))
    }

    fn aws(&self, ca_pem: Option<Vec<u8>>) -> Result<CredentialSettings, Wrong> {
        let region = word("region", self.region.as_ref())?;
        let service = word("service", self.service.as_ref())?;
        let common = ["region", "service", "method"];
        let keys = match &*needed("method", self.method.as_ref())? {
            "files" => {
                let files = ["access_key_id_file", "secret_access_key_file", "session_token_file"];
                self.takes(&[&common[..], &files].concat())?;
                AwsKeys::Files {
                    access_key_id: needed("access_key_id_file", self.access_key_id_file.as_ref())?,
                    secret_access_key: needed("secret_access_key_file", self.secret_access_key_file.as_ref())?,
                    session_token: self.session_token_file.clone(),
                }
            }
            "environment" => {
                self.takes(&common)?;
                AwsKeys::Environment
            }
            "web-identity" => {
                let more = ["login_url", "addresses", "ca_file", "role_arn", "token_file", "session_name"];
                self.takes(&[&common[..], &more].concat())?;
                AwsKeys::WebIdentity {
                    login: self.login(Some(format!("https://sts.{region}.amazonaws.com")), ca_pem)?,
                    role_arn: text("role_arn", self.role_arn.as_ref())?,
                    token_file: needed("token_file", self.token_file.as_ref())?,
                    session_name: self.session_name.clone().unwrap_or_else(|| "codec".into()),
                }
            }
            _ => return Err(("method", "must be files, environment or web-identity".into())),
        };
        Ok(CredentialSettings::Aws(AwsSettings { region, service, keys }))
    }

    fn oauth2(&self, ca_pem: Option<Vec<u8>>) -> Result<CredentialSettings, Wrong> {
        let common = ["login_url", "addresses", "ca_file", "method", "client_id", "scope", "audience"];
        let secret = || -> Result<PathBuf, Wrong> {
            self.takes(&[&common[..], &["client_secret_file"]].concat())?;
            needed("client_secret_file", self.client_secret_file.as_ref())
        };
        let proof = match &*needed("method", self.method.as_ref())? {
            "secret-post" => ClientProof::SecretInBody(secret()?),
            "secret-basic" => ClientProof::SecretInHeader(secret()?),
            "assertion" => {
                self.takes(&[&common[..], &["token_file"]].concat())?;
                ClientProof::Assertion(needed("token_file", self.token_file.as_ref())?)
            }
            _ => return Err(("method", "must be secret-post, secret-basic or assertion".into())),
        };
        Ok(CredentialSettings::OAuth2(OAuth2Settings {
            login: self.login(None, ca_pem)?,
            client_id: text("client_id", self.client_id.as_ref())?,
            proof,
            scope: self.scope.clone(),
            audience: self.audience.clone(),
        }))
    }

    fn login(&self, default: Option<String>, ca_pem: Option<Vec<u8>>) -> Result<LoginSettings, Wrong> {
        let url = needed("login_url", self.login_url.clone().or(default).as_ref())?;
        parse_login_url(&url).map_err(|why| ("login_url", why))?;
        let addresses = self.addresses.iter().map(|text| {
            let wrong = |_| ("addresses", format!("`{}` is not a network such as 10.1.0.0/16", text.escape_debug()));
            text.parse().map_err(wrong)
        });
        Ok(LoginSettings { url, addresses: addresses.collect::<Result<_, _>>()?, ca_pem })
    }

    /// Refuses keys that do not go with what it is: whoever wrote one believes that it counts.
    fn takes(&self, keys: &[&str]) -> Result<(), Wrong> {
        let path = |path: &Option<PathBuf>| path.is_some();
        let given: [(&'static str, bool); 25] = [
            ("header", self.header.is_some()),
            ("prefix", self.prefix.is_some()),
            ("file", path(&self.file)),
            ("login_url", self.login_url.is_some()),
            ("addresses", !self.addresses.is_empty()),
            ("ca_file", path(&self.ca_file)),
            ("method", self.method.is_some()),
            ("mount", self.mount.is_some()),
            ("namespace", self.namespace.is_some()),
            ("role_id", self.role_id.is_some()),
            ("role", self.role.is_some()),
            ("secret_id_file", path(&self.secret_id_file)),
            ("token_file", path(&self.token_file)),
            ("region", self.region.is_some()),
            ("service", self.service.is_some()),
            ("access_key_id_file", path(&self.access_key_id_file)),
            ("secret_access_key_file", path(&self.secret_access_key_file)),
            ("session_token_file", path(&self.session_token_file)),
            ("role_arn", self.role_arn.is_some()),
            ("session_name", self.session_name.is_some()),
            ("client_id", self.client_id.is_some()),
            ("client_secret_file", path(&self.client_secret_file)),
            ("scope", self.scope.is_some()),
            ("audience", self.audience.is_some()),
            ("name", false),
        ];
        match given.iter().find(|(key, is_given)| *is_given && !keys.contains(key)) {
            Some((key, _)) => Err((key, "does not go with this kind and method".into())),
            None => Ok(()),
        }
    }

    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = [
            &self.file,
            &self.ca_file,
            &self.secret_id_file,
            &self.token_file,
            &self.access_key_id_file,
            &self.secret_access_key_file,
            &self.session_token_file,
            &self.client_secret_file,
        ];
        files.into_iter().filter_map(Option::as_deref)
    }
}

fn needed<T: Clone>(key: &'static str, value: Option<&T>) -> Result<T, Wrong> {
    value.cloned().ok_or_else(|| (key, "is missing".to_owned()))
}

fn text(key: &'static str, value: Option<&String>) -> Result<String, Wrong> {
    let value = needed(key, value)?;
    if value.is_empty() || !is_printable(&value) { Err((key, "must be printable ASCII".into())) } else { Ok(value) }
}

/// What stands in the scope of a signature, between slashes.
fn word(key: &'static str, value: Option<&String>) -> Result<String, Wrong> {
    let value = needed(key, value)?;
    let fits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits { Ok(value) } else { Err((key, "must be of a-z 0-9 and -".into())) }
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|b| (0x20..0x7f).contains(&b))
}
