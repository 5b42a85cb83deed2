//! A bare axum echo: what HTTP alone costs, with bodies of the same size. A baseline of `bench/compare`.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a baseline, not a service")]

use axum::Router;
use axum::routing::post;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1).expect("usage: echo ADDRESS:PORT");
    let listener = tokio::net::TcpListener::bind(&address).await.expect("the port is free");
    println!("echo on {address}");
    let calls = ["/encrypt", "/decrypt-dek", "/decrypt-value", "/decrypt-all"];
    let echo = || post(|body: bytes::Bytes| async { body });
    let router = calls.into_iter().fold(Router::new(), |router, call| router.route(call, echo()));
    loop {
        let (stream, _) = listener.accept().await.expect("accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
