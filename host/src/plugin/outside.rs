//! What a plugin reaches beyond its own memory: requests over HTTP, lines to outputs, the time. Each is granted by name or not at all.

pub mod address;
pub mod credential;
pub mod egress;
pub mod outputs;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use credential::{
    AwsKeys, AwsSettings, ClientProof, Credential, CredentialError, CredentialSettings, CredentialState,
    HeaderSettings, LoginSettings, OAuth2Settings, VaultMethod, VaultSettings,
};
pub use egress::{Egress, EgressError, EgressLimits, OriginGrant};
pub use outputs::{Output, OutputError, OutputTarget};

/// A future that is told of by a trait object.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a plugin reaches. Its real implementation is [`Granted`]; whoever tests a plugin scripts another.
pub trait Outside: Send + Sync {
    /// One exchange over HTTP.
    fn send(&self, request: HttpRequest) -> Answering<'_, Result<HttpResponse, SendError>>;

    /// Lines to a named output, all or an error.
    fn write_lines(&self, output: String, lines: Vec<String>) -> Answering<'_, Result<(), WriteLinesError>>;

    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> u64;
}

/// A request as a guest makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Upper case.
    pub method: String,
    /// Absolute.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Bytes.
    pub body: Vec<u8>,
    /// The name of a credential that is to be added.
    pub credential: Option<String>,
}

/// An answer as a guest gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Any.
    pub status: u16,
    /// Lower-case names, and values.
    pub headers: Vec<(String, String)>,
    /// Bytes.
    pub body: Vec<u8>,
}

/// Why there is no answer. The texts are the guest's to read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the WIT's own words")]
pub enum SendError {
    NotGranted(String),
    InvalidRequest(String),
    Connect(String),
    Tls(String),
    Timeout,
    TooLarge(u64),
    Protocol(String),
}

impl SendError {
    /// Whether it lies with the server or on the way there. What was never sent, or has come and is too large, lies in what was asked for.
    pub(super) fn is_outside(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Tls(_) | Self::Timeout | Self::Protocol(_) => true,
            Self::NotGranted(_) | Self::InvalidRequest(_) | Self::TooLarge(_) => false,
        }
    }
}

/// Why lines were not written. The texts are the guest's to read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the WIT's own words")]
pub enum WriteLinesError {
    NotGranted(String),
    Unavailable(String),
    TooLong(u64),
    Malformed(u64),
}

/// What an operator has granted to one plugin.
#[derive(Default)]
pub struct Granted {
    /// Origins.
    pub http: Option<Egress>,
    /// Outputs, by the names that the operator gave them.
    pub lines: HashMap<String, Arc<Output>>,
}

impl Granted {
    /// Whether any request can be granted.
    pub fn has_http(&self) -> bool {
        self.http.is_some()
    }

    /// Whether any output is granted.
    pub fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }
}

impl Outside for Granted {
    fn send(&self, request: HttpRequest) -> Answering<'_, Result<HttpResponse, SendError>> {
        Box::pin(async move {
            match &self.http {
                Some(egress) => egress.send(request).await,
                None => Err(SendError::NotGranted("no `http` is granted to this plugin".into())),
            }
        })
    }

    fn write_lines(&self, output: String, lines: Vec<String>) -> Answering<'_, Result<(), WriteLinesError>> {
        Box::pin(async move {
            match self.lines.get(&output) {
                Some(found) => found.write(lines).await,
                None => {
                    let name = super::fault::printable(&output);
                    Err(WriteLinesError::NotGranted(format!("this plugin's `lines` do not list the output `{name}`")))
                }
            }
        })
    }

    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
