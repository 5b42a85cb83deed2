//! A TCP proxy that network faults are made with: it forwards, falls silent, cuts, and leads elsewhere.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Ends with the test.
pub struct Proxy {
    pub address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    connections: Arc<Mutex<Vec<Connection>>>,
    accepting: AbortHandle,
}

struct Connection {
    silent: watch::Sender<bool>,
    forwarding: AbortHandle,
}

impl Proxy {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let target = Arc::new(Mutex::new(target));
        let connections = Arc::<Mutex<Vec<Connection>>>::default();
        let accepting = tokio::spawn({
            let (target, connections) = (target.clone(), connections.clone());
            async move {
                while let Ok((from, _)) = listener.accept().await {
                    let to = *target.lock().expect("not poisoned");
                    let (silent, is_silent) = watch::channel(false);
                    let forwarding = tokio::spawn(forward(from, to, is_silent)).abort_handle();
                    connections.lock().expect("not poisoned").push(Connection { silent, forwarding });
                }
            }
        });
        Self { address, target, connections, accepting: accepting.abort_handle() }
    }

    /// Nothing comes through any more on the connections that are there, and nobody is told. New ones are led on.
    pub fn fall_silent(&self) {
        for connection in &*self.connections.lock().expect("not poisoned") {
            connection.silent.send_replace(true);
        }
    }

    /// Whoever connects from now on is led there.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().expect("not poisoned") = target;
    }

    pub fn cut(&self) {
        self.connections.lock().expect("not poisoned").drain(..).for_each(|connection| connection.forwarding.abort());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn forward(from: TcpStream, to: SocketAddr, silent: watch::Receiver<bool>) {
    let Ok(to) = TcpStream::connect(to).await else { return };
    let (from_reads, from_writes) = from.into_split();
    let (to_reads, to_writes) = to.into_split();
    tokio::select! {
        () = pump(from_reads, to_writes, silent.clone()) => {}
        () = pump(to_reads, from_writes, silent) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut silent: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if silent.wait_for(|silent| !silent).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
