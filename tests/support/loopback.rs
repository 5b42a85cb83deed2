//! A server that a test plays: on a port of its own, on a thread of its own, so that it answers whatever the test's own thread waits for.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// It ends when this is dropped.
pub struct Ends(#[expect(dead_code, reason = "dropped, and nothing else")] oneshot::Sender<()>);

/// Runs `serve` on a listener, whose address comes back.
pub async fn serve<F: Future<Output = ()>>(
    serve: impl FnOnce(TcpListener) -> F + Send + 'static,
) -> (SocketAddr, Ends) {
    let (ends, ended) = oneshot::channel::<()>();
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("an address")).expect("waited for");
            tokio::select! {
                () = serve(listener) => {}
                _ = ended => {}
            }
        });
    });
    (told.await.expect("it listens"), Ends(ends))
}
