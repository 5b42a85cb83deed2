//! One origin, and the only way in which anything is sent: by a guest, or by the host to log in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::super::address::may_reach;
use super::super::{HttpResponse, SendError};
use super::EgressError;
use crate::plugin::fault::printable;

/// An origin that can be reached.
pub(in super::super) struct Origin {
    client: reqwest::Client,
    spelling: String,
    addresses: Vec<IpNet>,
}

/// What is sent.
#[derive(Clone)]
pub(in super::super) struct Outgoing {
    pub(in super::super) method: Method,
    pub(in super::super) url: Url,
    pub(in super::super) headers: HeaderMap,
    pub(in super::super) body: Bytes,
}

impl Origin {
    /// `origin` in its one spelling; its addresses public or within `addresses`; its certificate under the system's or `ca_pem`.
    pub(in super::super) fn new(
        origin: &str,
        addresses: &[IpNet],
        ca_pem: Option<&[u8]>,
        connect_deadline: Duration,
    ) -> Result<Self, EgressError> {
        // The client looks for the process's own, and panics where there is none. Whoever came first has installed the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let resolver = CheckedResolver { origin: origin.to_owned(), granted: addresses.to_vec() };
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("codec/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(resolver))
            .connect_timeout(connect_deadline)
            .pool_max_idle_per_host(4)
            .pool_idle_timeout(Duration::from_secs(30));
        if let Some(pem) = ca_pem {
            let certificates = reqwest::Certificate::from_pem_bundle(pem);
            let certificates = certificates.map_err(|_| EgressError::Certificates(origin.to_owned()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| EgressError::Client(origin.to_owned(), error.to_string()))?;
        Ok(Self { client, spelling: origin.to_owned(), addresses: addresses.to_vec() })
    }

    /// Scheme, host and port.
    pub(in super::super) fn spelling(&self) -> &str {
        &self.spelling
    }

    /// A name is checked when it is resolved; an address never is, so it is checked here.
    pub(in super::super) fn check_literal(&self, url: &Url) -> Result<(), SendError> {
        match literal_address(url).filter(|address| !may_reach(*address, &self.addresses)) {
            Some(refused) => Err(SendError::NotGranted(lacks_address(&self.spelling, &refused.to_string()))),
            None => Ok(()),
        }
    }

    /// One exchange, of at most so many bytes of answer. The caller sets its deadline.
    pub(in super::super) async fn exchange(&self, sent: Outgoing, limit: usize) -> Result<HttpResponse, SendError> {
        self.check_literal(&sent.url)?;
        let builder = self.client.request(sent.method, sent.url).headers(sent.headers);
        let response = builder.body(sent.body).send().await.map_err(|error| send_error(&error, &self.spelling))?;
        self.read(response, limit).await
    }

    async fn read(&self, mut response: reqwest::Response, limit: usize) -> Result<HttpResponse, SendError> {
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let headers = headers.collect();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| send_error(&error, &self.spelling))? {
            if body.len() + piece.len() > limit {
                return Err(SendError::TooLarge(limit as u64));
            }
            body.extend_from_slice(&piece);
        }
        Ok(HttpResponse { status, headers, body })
    }
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

fn literal_address(url: &Url) -> Option<std::net::IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
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
