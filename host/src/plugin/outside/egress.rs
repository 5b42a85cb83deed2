//! HTTP for plugins: only to granted origins, only to addresses that were checked, no redirects, everything capped.
//!
//! An origin is scheme, host and port, exactly. Its name is resolved for each connection, the addresses are checked, and those same
//! addresses are connected to: a name that answers differently the second time gains nothing.

mod origin;
mod request;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use url::Url;

use super::credential::Credential;
use super::{HttpRequest, HttpResponse, SendError};
use crate::plugin::fault::printable;
pub(super) use origin::{Origin, Outgoing};
use request::{METHODS, RESERVED_WITH_CREDENTIAL, headers, parse_url};

/// An origin that a plugin may send requests to.
#[derive(Clone)]
pub struct OriginGrant {
    /// `https://collector.example:8088`: nothing but scheme, host and port.
    pub origin: String,
    /// Networks beyond the public ones in which its addresses may lie.
    pub addresses: Vec<IpNet>,
    /// Credentials that may be sent there.
    pub credentials: Vec<Arc<Credential>>,
    /// Certificates (PEM) that its server's may be issued under, beside the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// How much one exchange may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressLimits {
    /// From the call to the last byte of the answer.
    pub deadline: Duration,
    /// Of the request's body, in bytes.
    pub request_bytes: usize,
    /// Of the answer's body, in bytes.
    pub response_bytes: usize,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(5), request_bytes: 16 << 20, response_bytes: 1 << 20 }
    }
}

/// A grant that cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// Not an origin.
    #[error("`{0}` is not an origin such as https://collector.example:8088")]
    Origin(String),
    /// Not certificates.
    #[error("the certificates for {0} are not PEM")]
    Certificates(String),
    /// The client.
    #[error("no HTTP client for {0}: {1}")]
    Client(String, String),
}

/// The way out of one plugin.
pub struct Egress {
    origins: HashMap<String, Granted>,
    limits: EgressLimits,
    refused: AtomicU64,
}

struct Granted {
    origin: Origin,
    credentials: Vec<Arc<Credential>>,
}

impl Egress {
    /// With `grants`, and nothing else.
    pub fn new(grants: &[OriginGrant], limits: EgressLimits) -> Result<Self, EgressError> {
        let mut origins = HashMap::new();
        for grant in grants {
            let origin = parse_origin(&grant.origin)?;
            let ca_pem = grant.ca_pem.as_deref();
            let reached = Origin::new(&origin, &grant.addresses, ca_pem, limits.deadline)?;
            origins.insert(origin, Granted { origin: reached, credentials: grant.credentials.clone() });
        }
        Ok(Self { origins, limits, refused: AtomicU64::new(0) })
    }

    /// Requests that no grant covered.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, SendError> {
        let outcome = self.try_send(request).await;
        if let Err(SendError::NotGranted(why)) = &outcome {
            self.refused.fetch_add(1, Ordering::Relaxed);
            // Counted, and the guest is told; a line for each would let it flood the log.
            tracing::debug!(%why, "a plugin asked for a request that is not granted");
        }
        outcome
    }

    async fn try_send(&self, request: HttpRequest) -> Result<HttpResponse, SendError> {
        let url = parse_url(&request.url)?;
        let origin = url.origin().ascii_serialization();
        let granted = self.origins.get(&origin).ok_or_else(|| {
            SendError::NotGranted(format!("this plugin's `http` does not list the origin `{}`", printable(&origin)))
        })?;
        granted.origin.check_literal(&url)?;
        let method = METHODS.into_iter().find(|method| method.as_str() == request.method);
        let method =
            method.ok_or_else(|| SendError::InvalidRequest("the method is not one of those allowed".into()))?;
        if request.body.len() > self.limits.request_bytes {
            return Err(SendError::TooLarge(self.limits.request_bytes as u64));
        }
        let headers = headers(&request.headers)?;
        let outgoing = Outgoing { method, url, headers, body: request.body.into() };
        let deadline = Instant::now() + self.limits.deadline;
        match &request.credential {
            None => granted.exchange(outgoing, &self.limits, deadline).await,
            Some(name) => {
                let credential = granted.credentials.iter().find(|known| known.name() == name).ok_or_else(|| {
                    let name = printable(name);
                    SendError::NotGranted(format!("no credential `{name}` is bound to this plugin and to {origin}"))
                })?;
                granted.exchange_with(credential, &outgoing, &self.limits, deadline).await
            }
        }
    }
}

impl Granted {
    async fn exchange(
        &self,
        outgoing: Outgoing,
        limits: &EgressLimits,
        deadline: Instant,
    ) -> Result<HttpResponse, SendError> {
        let exchange = self.origin.exchange(outgoing, limits.response_bytes);
        tokio::time::timeout_at(deadline, exchange).await.unwrap_or(Err(SendError::Timeout))
    }

    /// With a credential; once more, if the answer refuses what was added and there is something else to add.
    async fn exchange_with(
        &self,
        credential: &Credential,
        outgoing: &Outgoing,
        limits: &EgressLimits,
        deadline: Instant,
    ) -> Result<HttpResponse, SendError> {
        let reserved = RESERVED_WITH_CREDENTIAL.iter().find(|name| outgoing.headers.contains_key(*name));
        if let Some(name) = reserved {
            return Err(SendError::InvalidRequest(format!(
                "beside a credential, the header `{name}` is the host's to set"
            )));
        }
        credential.permits(outgoing).map_err(SendError::InvalidRequest)?;
        let authorise = async || {
            let mut attempt = outgoing.clone();
            let authorising = tokio::time::timeout_at(deadline, credential.authorise(&mut attempt));
            let added = authorising.await.unwrap_or_else(|_| Err(credential.is_late()));
            added.map(|added| (attempt, added)).map_err(|error| SendError::Connect(printable(&error.to_string())))
        };
        let (attempt, added) = authorise().await?;
        let mut response = self.exchange(attempt, limits, deadline).await?;
        // A server may repeat what came now, and what came before.
        let mut all_added = vec![added];
        if let Ok(true) = tokio::time::timeout_at(deadline, credential.has_another(&all_added[0], &response)).await {
            let (attempt, added) = authorise().await?;
            all_added.push(added);
            response = self.exchange(attempt, limits, deadline).await?;
            credential.repeated(&response);
        }
        if response.headers.iter().any(|(name, coding)| name == "content-encoding" && coding != "identity") {
            let origin = self.origin.spelling();
            return Err(SendError::Protocol(format!("{origin}: an answer in a coding that was not asked for")));
        }
        for added in &all_added {
            added.redact(&mut response);
        }
        Ok(response)
    }
}

/// Checks an origin as an operator writes it, and gives it its one spelling.
pub fn parse_origin(text: &str) -> Result<String, EgressError> {
    let wrong = || EgressError::Origin(printable(text));
    let url = Url::parse(text).map_err(|_| wrong())?;
    let is_bare = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && !text.ends_with('/');
    if is_bare { Ok(url.origin().ascii_serialization()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port_and_nothing_else() {
        for (text, origin) in [
            ("https://Collector.example", "https://collector.example"),
            ("https://collector.example:443", "https://collector.example"),
            ("http://127.0.0.1:8088", "http://127.0.0.1:8088"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(parse_origin(text).as_deref(), Ok(origin));
        }
        for text in [
            "",
            "collector.example",
            "ftp://a",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://u@a",
            "https://u:p@a",
            "file:///etc/passwd",
            "https://*.example/",
        ] {
            assert!(parse_origin(text).is_err(), "{text}");
        }
    }
}
