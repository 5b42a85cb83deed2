//! HAProxy in front of a server: TLS, and an answer of 503 at will.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{free_port, root};

pub struct HaProxy {
    child: Child,
    dir: TempDir,
    pub address: String,
}

impl HaProxy {
    /// In front of `server` (host:port); with TLS under the certificate and key in `pem`, if there is one.
    pub async fn start(server: &str, pem: Option<&Path>) -> Self {
        let dir = TempDir::new().expect("a folder");
        let address = format!("127.0.0.1:{}", free_port());
        let tls = pem.map_or(String::new(), |pem| format!("ssl crt {}", pem.display()));
        let config = format!(
            "global\n  stats socket {}/admin level admin\n  ssl-default-bind-options ssl-min-ver TLSv1.2\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             frontend in\n  bind {address} {tls}\n  default_backend out\n\
             backend out\n  server one {server}\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("haproxy.cfg"), config).expect("written");
        let child = Command::new(root().join("tests/support/tether.sh"))
            .args(["/usr/sbin/haproxy", "-db", "-q", "-f"])
            .arg(dir.path().join("haproxy.cfg"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tether.sh");
        let proxy = Self { child, dir, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(&proxy.address).await.is_err() {
            assert!(Instant::now() < deadline, "haproxy does not start: run the tests with `make test`");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        proxy
    }

    /// Whether what comes is passed on, or answered 503.
    pub fn passes(&self, does: bool) {
        let state = if does { "ready" } else { "maint" };
        let mut socket = UnixStream::connect(self.dir.path().join("admin")).expect("haproxy's socket");
        writeln!(socket, "set server out/one state {state}").expect("told");
        let mut said = String::new();
        socket.read_to_string(&mut said).expect("answered");
        assert_eq!(said.trim(), "", "haproxy");
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
