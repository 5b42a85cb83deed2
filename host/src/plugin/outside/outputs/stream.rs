//! Lines to a peer over TCP or TLS: one connection that is kept, and made anew when it has ended.
//!
//! Neither protocol tells that a peer has read what it was sent; before each write it is looked whether it has hung up meanwhile. What
//! was on its way when a connection broke may be lost: for a trail without a gap, send to something that acknowledges.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::OutputError;

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

pub(super) struct Peer {
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    connection: Option<Box<dyn Stream>>,
}

impl Peer {
    pub(super) fn tcp(address: &str) -> Result<Self, OutputError> {
        host_of(address)?;
        Ok(Self { address: address.to_owned(), tls: None, connection: None })
    }

    pub(super) fn tls(address: &str, ca_pem: Option<&[u8]>) -> Result<Self, OutputError> {
        let host = host_of(address)?.to_owned();
        let name = ServerName::try_from(host).map_err(|_| OutputError::Address(address.to_owned()))?;
        let connector = TlsConnector::from(Arc::new(client_config(ca_pem)?));
        Ok(Self { address: address.to_owned(), tls: Some((connector, name)), connection: None })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Taken: a write that ends in the middle, by an error or by being dropped, leaves no connection that could go on there.
        let mut kept = self.connection.take();
        if !kept.as_mut().is_some_and(is_open) {
            kept = None;
        }
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.write_all(bytes).await?;
        connection.flush().await?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), stream).await?)),
        }
    }
}

/// Whether the peer has not hung up. What it says is passed over: these protocols have no answers.
fn is_open(connection: &mut Box<dyn Stream>) -> bool {
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut buffer = [0; 1024];
    loop {
        let mut buffer = ReadBuf::new(&mut buffer);
        match Pin::new(&mut *connection).poll_read(&mut context, &mut buffer) {
            Poll::Pending => return true,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
            Poll::Ready(_) => return false,
        }
    }
}

fn client_config(ca_pem: Option<&[u8]>) -> Result<ClientConfig, OutputError> {
    let tls = |error: rustls::Error| OutputError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(tls)?;
    let Some(pem) = ca_pem else {
        let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(tls)?;
        return Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth());
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| OutputError::Certificates(error.to_string()))?;
        roots.add(certificate).map_err(tls)?;
    }
    if roots.is_empty() {
        return Err(OutputError::Certificates("there are none".into()));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn host_of(address: &str) -> Result<&str, OutputError> {
    let wrong = || OutputError::Address(crate::plugin::fault::printable(address));
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    port.parse::<u16>().map_err(|_| wrong())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() { Err(wrong()) } else { Ok(host) }
}
