//! HTTP for plugins: only to granted origins, only to addresses that were checked, no redirects, everything capped.
//!
//! An origin is scheme, host and port, exactly. Its name is resolved for each connection, the addresses are checked, and those same
//! addresses are connected to: a name that answers differently the second time gains nothing.

mod request;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use super::address::may_reach;
use super::credential::Credential;
use super::{HttpRequest, HttpResponse, SendError};
use crate::plugin::fault::printable;
use request::{METHODS, RESERVED_WITH_CREDENTIAL, headers, literal_address, parse_url};

/// An origin that a plugin may send requests to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginGrant {
    /// `https://collector.example:8088`: nothing but scheme, host and port.
    pub origin: String,
    /// Networks beyond the public ones in which its addresses may lie.
    pub addresses: Vec<IpNet>,
    /// Credentials that may be sent there.
    pub credentials: Vec<Credential>,
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
    client: reqwest::Client,
    addresses: Vec<IpNet>,
    credentials: Vec<Credential>,
}

impl Egress {
    /// With `grants`, and nothing else.
    pub fn new(grants: &[OriginGrant], limits: EgressLimits) -> Result<Self, EgressError> {
        // ring does TLS here, whoever uses this library; one that is installed already stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut origins = HashMap::new();
        for grant in grants {
            let origin = parse_origin(&grant.origin)?;
            let client = client(grant, &limits)?;
            let (addresses, credentials) = (grant.addresses.clone(), grant.credentials.clone());
            origins.insert(origin, Granted { client, addresses, credentials });
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
        // A name is checked when it is resolved; an address never is.
        if let Some(address) = literal_address(&url).filter(|address| !may_reach(*address, &granted.addresses)) {
            return Err(SendError::NotGranted(lacks_address(&origin, &address.to_string())));
        }
        let method = METHODS.into_iter().find(|method| method.as_str() == request.method);
        let method =
            method.ok_or_else(|| SendError::InvalidRequest("the method is not one of those allowed".into()))?;
        if request.body.len() > self.limits.request_bytes {
            return Err(SendError::TooLarge(self.limits.request_bytes as u64));
        }
        let headers = headers(&request.headers)?;
        let mut secret = None;
        if let Some(name) = &request.credential {
            let credential = granted.credentials.iter().find(|known| known.name == *name).ok_or_else(|| {
                let name = printable(name);
                SendError::NotGranted(format!("no credential `{name}` is bound to this plugin and to {origin}"))
            })?;
            let value = credential.read().map_err(|error| SendError::Connect(error.to_string()))?;
            let header = credential.header_value(&value).map_err(|error| SendError::Connect(error.to_string()))?;
            let reserved = RESERVED_WITH_CREDENTIAL.iter().chain([&credential.header]);
            if let Some(name) = reserved.into_iter().find(|name| headers.contains_key(*name)) {
                return Err(SendError::InvalidRequest(format!(
                    "beside a credential, the header `{name}` is the host's to set"
                )));
            }
            secret = Some((credential.header.clone(), header, value));
        }
        let mut builder = granted.client.request(method, url).headers(headers);
        if let Some((name, header, _)) = &secret {
            builder = builder.header(name, header);
        }
        let exchange = async {
            let response = builder.body(request.body).send().await.map_err(|error| send_error(&error, &origin))?;
            read(response, self.limits.response_bytes, &origin).await
        };
        let outcome = tokio::time::timeout(self.limits.deadline, exchange).await;
        let mut response = outcome.unwrap_or(Err(SendError::Timeout))?;
        if let Some((_, _, secret)) = &secret {
            if response.headers.iter().any(|(name, coding)| name == "content-encoding" && coding != "identity") {
                return Err(SendError::Protocol(format!("{origin}: an answer in a coding that was not asked for")));
            }
            secret.redact(&mut response.body);
            for (name, value) in &mut response.headers {
                secret.redact_text(name);
                secret.redact_text(value);
            }
        }
        Ok(response)
    }
}

async fn read(mut response: reqwest::Response, limit: usize, origin: &str) -> Result<HttpResponse, SendError> {
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let headers = headers.collect();
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| send_error(&error, origin))? {
        if body.len() + piece.len() > limit {
            return Err(SendError::TooLarge(limit as u64));
        }
        body.extend_from_slice(&piece);
    }
    Ok(HttpResponse { status, headers, body })
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

fn client(grant: &OriginGrant, limits: &EgressLimits) -> Result<reqwest::Client, EgressError> {
    // The client looks for the process's own, and panics where there is none. Whoever came first has installed the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let resolver = CheckedResolver { origin: grant.origin.clone(), granted: grant.addresses.clone() };
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("codec/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(resolver))
        .connect_timeout(limits.deadline)
        .pool_max_idle_per_host(4)
        .pool_idle_timeout(Duration::from_secs(30));
    if let Some(pem) = &grant.ca_pem {
        let certificates = reqwest::Certificate::from_pem_bundle(pem);
        let certificates = certificates.map_err(|_| EgressError::Certificates(grant.origin.clone()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| EgressError::Client(grant.origin.clone(), error.to_string()))
}

/// Resolves a name to the addresses that may be reached, and fails if any may not: a name that is half inside is somebody's trick.
struct CheckedResolver {
    origin: String,
    granted: Vec<IpNet>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct AddressRefused(String);

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (origin, granted) = (self.origin.clone(), self.granted.clone());
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if let Some(refused) = found.iter().find(|address| !may_reach(address.ip(), &granted)) {
                return Err(AddressRefused(lacks_address(&origin, &refused.ip().to_string())).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn lacks_address(origin: &str, address: &str) -> String {
    format!("{origin} is at {address}, which is not a public address: its grant's `addresses` would have to list it")
}

/// Told by what lies at the bottom of the error, never by its text: that may repeat the URL.
fn send_error(error: &reqwest::Error, origin: &str) -> SendError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut deepest = String::new();
    while let Some(current) = cause {
        if let Some(AddressRefused(why)) = current.downcast_ref() {
            return SendError::NotGranted(why.clone());
        }
        if let Some(tls) = current.downcast_ref::<rustls::Error>() {
            return SendError::Tls(printable(&tls.to_string()));
        }
        deepest = current.to_string();
        // What an io::Error wraps is not its source, but itself: only that one's source is.
        let wrapped = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = wrapped.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| current.source());
    }
    if error.is_timeout() {
        SendError::Timeout
    } else if error.is_connect() {
        SendError::Connect(format!("{origin}: {}", printable(&deepest)))
    } else {
        SendError::Protocol(format!("{origin}: {}", printable(&deepest)))
    }
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
