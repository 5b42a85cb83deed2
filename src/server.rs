//! The accept loop: connections capped, headers and answers under a clock, a graceful end.

mod paced;
mod threads;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, info, warn};

use crate::config::ServerConfig;
use crate::http::{Contract, network_of};
use paced::Paced;
pub use threads::ServingThreads;

/// Largest request line with headers; more is 431.
const HEADERS_BYTES_MAX: usize = 16 << 10;
/// For those whom the kernel has accepted when the listener closes.
const BACKLOG_DEADLINE: Duration = Duration::from_millis(100);
/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` resolves, then drains. `draining` is set as soon as it does.
pub async fn serve(
    listener: TcpListener,
    threads: &ServingThreads,
    contract: Contract,
    settings: &ServerConfig,
    draining: &AtomicBool,
    stop: impl Future<Output = ()>,
) {
    let connections = Connections {
        threads,
        contract,
        graceful: GracefulShutdown::new(),
        slots: Arc::new(Semaphore::new(settings.connections_max.min(Semaphore::MAX_PERMITS))),
        by_address: Arc::default(),
        per_address_max: settings.connections_per_address_max,
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

struct Connections<'t> {
    threads: &'t ServingThreads,
    contract: Contract,
    graceful: GracefulShutdown,
    slots: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    per_address_max: usize,
    header_timeout: Duration,
    write_timeout: Duration,
}

impl Connections<'_> {
    async fn accept(&self, listener: &TcpListener) {
        loop {
            // At the cap the kernel's queue holds who comes.
            let Ok(slot) = self.slots.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => self.serve(stream, peer.ip().to_canonical(), slot),
                Err(error) => pause_after(&error).await,
            }
        }
    }

    async fn accept_backlog(&self, listener: &TcpListener) {
        let end = tokio::time::Instant::now() + BACKLOG_DEADLINE;
        while let Ok(slot) = self.slots.clone().try_acquire_owned()
            && tokio::time::Instant::now() < end
        {
            match tokio::time::timeout(Duration::from_millis(1), listener.accept()).await {
                Ok(Ok((stream, peer))) => self.serve(stream, peer.ip().to_canonical(), slot),
                _ => return,
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: IpAddr, slot: OwnedSemaphorePermit) {
        let Some(place) = Place::take(&self.by_address, network_of(peer), self.per_address_max, slot) else {
            // Dropped, and so closed: one address does not take everybody's connections.
            debug!(%peer, "more connections from one address than it may have");
            return;
        };
        let Some((runtime, on_thread)) = self.threads.place() else { return };
        // Whose thread watches the socket is whose thread serves it.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return debug!(%error, "a connection that cannot be handed over"),
        };
        let (contract, watcher) = (self.contract.clone(), self.graceful.watcher());
        let (header_timeout, write_timeout) = (self.header_timeout, self.write_timeout);
        runtime.spawn(async move {
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => return debug!(%error, "a connection that cannot be handed over"),
            };
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "TCP_NODELAY");
            }
            // A count of its own: that of all connections would go from processor to processor with every request.
            let contract = Arc::new(contract);
            let service = service_fn(move |request: http::Request<Incoming>| {
                let contract = contract.clone();
                async move { Ok::<_, Infallible>(contract.answer(peer, request.map(Body::new)).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(header_timeout)
                .max_buf_size(HEADERS_BYTES_MAX)
                .serve_connection(TokioIo::new(Paced::new(stream, write_timeout)), service);
            // A peer that goes away, is too slow or does not speak HTTP is no event.
            if let Err(error) = watcher.watch(connection).await {
                debug!(%error, "connection ended");
            }
            drop((place, on_thread));
        });
    }
}

/// A connection's share of what there is.
struct Place {
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    peer: IpAddr,
    _slot: OwnedSemaphorePermit,
}

impl Place {
    fn take(
        by_address: &Arc<Mutex<HashMap<IpAddr, usize>>>,
        peer: IpAddr,
        max: usize,
        slot: OwnedSemaphorePermit,
    ) -> Option<Self> {
        let mut counts = by_address.lock().ok()?;
        let count = counts.entry(peer).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Self { by_address: by_address.clone(), peer, _slot: slot })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Ok(mut counts) = self.by_address.lock() else { return };
        if let Entry::Occupied(mut count) = counts.entry(self.peer) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
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
