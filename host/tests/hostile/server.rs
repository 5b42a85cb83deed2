//! Servers for hostile guests to ask, hostile themselves.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::egress::DEADLINE;

/// A peer that takes connections, never reads, never writes.
pub(crate) async fn silent_peer() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    address
}

/// A server that answers by path, mostly badly, and remembers what it was asked.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let remembered = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, remembered.clone()));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Requests since the last time.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().expect("whole"))
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<String>>>) {
    loop {
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut piece = [0; 4_096];
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(read) => request.extend_from_slice(&piece[..read]),
            }
            if request.first() == Some(&0x16) {
                // A TLS handshake: this server does not speak it.
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                return;
            }
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        seen.lock().expect("whole").push(request.clone());
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        if answer(&mut stream, &path, &request).await.is_none() {
            return;
        }
    }
}

/// None where the connection ends.
async fn answer(stream: &mut TcpStream, path: &str, request: &str) -> Option<()> {
    let whole =
        |headers: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
    let authorization = request.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or("none");
    let secret = authorization.trim_start_matches("Bearer ");
    let pause = || tokio::time::sleep(Duration::from_millis(20));
    let mut parts = path.trim_start_matches('/').split('/');
    let text = match parts.next().unwrap_or_default() {
        "redirect" => {
            let (status, port) = (parts.next().unwrap_or("302"), parts.next().unwrap_or("80"));
            format!("HTTP/1.1 {status} Elsewhere\r\nlocation: http://127.0.0.1:{port}/\r\ncontent-length: 0\r\n\r\n")
        }
        "echo" => whole("", request),
        "echo-twice" => whole("", &format!("{request}{secret}{secret}")),
        "echo-in-header" => whole(&format!("x-echo: {authorization}\r\n"), ""),
        "echo-in-header-name" => whole(&format!("{secret}: x\r\n"), ""),
        "echo-as-gzip" => whole("content-encoding: gzip\r\n", "not really"),
        "echo-in-pieces" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.ok()?;
            for byte in secret.chars() {
                stream.write_all(format!("1\r\n{byte}\r\n").as_bytes()).await.ok()?;
                stream.flush().await.ok()?;
            }
            "0\r\n\r\n".to_owned()
        }
        "10-mb" => whole("", &"x".repeat(10_000_000)),
        "10-mb-until-close" => {
            let body = "x".repeat(10_000_000);
            stream.write_all(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}").as_bytes()).await.ok()?;
            return None;
        }
        "10-mb-chunked" => {
            let chunk = format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000));
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(100))
        }
        "announces-an-exabyte" => "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000000000\r\n\r\nx".to_owned(),
        "endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.ok()?;
            loop {
                stream.write_all(b"1\r\nx\r\n").await.ok()?;
            }
        }
        "drip" | "drip-headers" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await.ok()?;
            let piece = if path == "/drip" { "x" } else { "x: y\r\n" };
            if path == "/drip" {
                stream.write_all(b"content-length: 100000\r\n\r\n").await.ok()?;
            }
            loop {
                stream.write_all(piece.as_bytes()).await.ok()?;
                pause().await;
            }
        }
        "endless-headers" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await.ok()?;
            loop {
                stream.write_all(format!("x: {}\r\n", "y".repeat(1_000)).as_bytes()).await.ok()?;
            }
        }
        "continues-for-ever" => loop {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
            pause().await;
        },
        "never" => {
            tokio::time::sleep(DEADLINE * 100).await;
            return None;
        }
        "hangs-up" => return None,
        "cut" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf").await.ok()?;
            return None;
        }
        "cut-chunked" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\nhalf").await.ok()?;
            return None;
        }
        "cut-headers" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await.ok()?;
            return None;
        }
        "garbage" => {
            stream.write_all(b"\x16\x03\x01 SSH-2.0-OpenSSH\r\n\r\n\0\0\0").await.ok()?;
            return None;
        }
        "two-lengths" => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nfine!".to_owned(),
        "length-and-chunked" => {
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()
        }
        "bad-chunk" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nx".to_owned(),
        "switching" => "HTTP/1.1 101 Switching Protocols\r\nupgrade: raw\r\nconnection: upgrade\r\n\r\nraw".to_owned(),
        "and-one-more" => whole("", "first") + &whole("", "poison"),
        _ => whole("", "fine"),
    };
    stream.write_all(text.as_bytes()).await.ok()
}
