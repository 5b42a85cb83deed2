//! The accept loop: connections capped, headers and answers under a clock, a graceful end.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, info, warn};

use crate::config::ServerConfig;
use crate::http::Remote;

/// Largest request line with headers; more is 431.
const HEADERS_BYTES_MAX: usize = 16 << 10;
/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` resolves, then drains. `draining` is set as soon as it does.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: &ServerConfig,
    draining: &AtomicBool,
    stop: impl Future<Output = ()>,
) {
    let connections = Connections {
        router,
        graceful: GracefulShutdown::new(),
        slots: Arc::new(Semaphore::new(settings.connections_max.min(Semaphore::MAX_PERMITS))),
        header_timeout: Duration::from_millis(settings.header_timeout_ms),
        write_timeout: Duration::from_millis(settings.write_timeout_ms),
    };
    {
        let mut accepting = pin!(connections.accept(&listener));
        tokio::select! {
            () = &mut accepting => {}
            () = stop => {}
        }
        draining.store(true, Ordering::Relaxed);
        info!("stopping: not ready, still accepting for a moment");
        // Balancers notice that it is not ready; until they do, nobody is turned away.
        let _ = tokio::time::timeout(Duration::from_millis(settings.drain_delay_ms), &mut accepting).await;
    }
    // What the kernel has accepted already is served too.
    connections.accept_backlog(&listener).await;
    drop(listener);
    let drained = connections.graceful.shutdown();
    if tokio::time::timeout(Duration::from_millis(settings.drain_timeout_ms), drained).await.is_err() {
        warn!("calls were still in flight at the end of server.drain_timeout_ms");
    }
}

struct Connections {
    router: Router,
    graceful: GracefulShutdown,
    slots: Arc<Semaphore>,
    header_timeout: Duration,
    write_timeout: Duration,
}

impl Connections {
    async fn accept(&self, listener: &TcpListener) {
        loop {
            // At the cap the kernel's queue holds who comes.
            let Ok(slot) = self.slots.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => self.spawn(stream, peer.ip(), slot),
                Err(error) => pause_after(&error).await,
            }
        }
    }

    async fn accept_backlog(&self, listener: &TcpListener) {
        while let Ok(slot) = self.slots.clone().try_acquire_owned() {
            match tokio::time::timeout(Duration::from_millis(1), listener.accept()).await {
                Ok(Ok((stream, peer))) => self.spawn(stream, peer.ip(), slot),
                _ => return,
            }
        }
    }

    fn spawn(&self, stream: TcpStream, peer: std::net::IpAddr, slot: tokio::sync::OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "TCP_NODELAY");
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        let router = self.router.clone();
        let service = tower::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(Remote(peer));
            tower::Service::call(&mut router.clone(), request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(HEADERS_BYTES_MAX)
            .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service));
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            // A peer that goes away, is too slow or does not speak HTTP is no event.
            if let Err(error) = connection.await {
                debug!(%error, "connection ended");
            }
            drop(slot);
        });
    }
}

async fn pause_after(error: &io::Error) {
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused => {}
        _ => {
            warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}
