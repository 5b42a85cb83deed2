//! A bare axum echo: what HTTP alone costs, with bodies of the same size. A baseline of `bench/compare`.
//!
//! With a file named too, each answer waits for one `fdatasync` of a record's bytes, which those that wait at the same time share: what HTTP
//! and the disk cost together, whoever writes.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a baseline, not a service")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, channel};

use axum::Router;
use axum::routing::post;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::sync::oneshot;

/// As a record of `/decrypt-value` has.
const RECORD_BYTES: usize = 460;
/// Overwritten from the front when it is full, so that the file never grows.
const FILE_BYTES: usize = 64 << 20;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().expect("usage: echo ADDRESS:PORT [FILE]");
    let disk = arguments.next().map(|path| disk(&path));
    let listener = tokio::net::TcpListener::bind(&address).await.expect("the port is free");
    println!("echo on {address}");
    let calls = ["/encrypt", "/decrypt-dek", "/decrypt-value", "/decrypt-all"];
    let echo = || {
        let disk = disk.clone();
        post(|body: bytes::Bytes| async move {
            if let Some(disk) = disk {
                let (tell, told) = oneshot::channel();
                disk.send(tell).expect("the disk's thread runs");
                told.await.expect("written");
            }
            body
        })
    };
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

/// Who waits for the disk.
fn disk(path: &str) -> Sender<oneshot::Sender<()>> {
    let file = File::create(path).expect("a file");
    file.write_all_at(&vec![0; FILE_BYTES], 0).expect("room for it");
    file.sync_all().expect("a disk");
    let (sender, waiting) = channel();
    std::thread::spawn(move || write(&file, &waiting));
    sender
}

fn write(file: &File, waiting: &Receiver<oneshot::Sender<()>>) {
    let mut at = 0;
    while let Ok(first) = waiting.recv() {
        let all: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let bytes = vec![b'x'; all.len() * RECORD_BYTES];
        if at + bytes.len() > FILE_BYTES {
            at = 0;
        }
        file.write_all_at(&bytes, at as u64).expect("written");
        file.sync_data().expect("synced");
        at += bytes.len();
        for tell in all {
            let _ = tell.send(());
        }
    }
}
