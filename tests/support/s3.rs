//! An S3 server on loopback. It asks for a signature on reads, and does not check whose.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Client, free_port, root, tool};

pub struct S3 {
    child: Child,
    pub url: String,
}

impl S3 {
    pub async fn start() -> Self {
        let port = free_port();
        let child = Command::new(root().join("tests/support/tether.sh"))
            .arg(tool("moto/bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server");
        let server = Self { child, url: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(30);
        let client = server.client();
        while client.send(client.bare(reqwest::Method::GET, "/moto-api/")).await.is_err() {
            assert!(Instant::now() < deadline, "moto_server does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server
    }

    /// Puts an object, or makes a bucket when `content` is none.
    pub async fn put(&self, path: &str, content: Option<&str>) {
        let client = self.client();
        // Unsigned, as the server allows for the platform's side of the test.
        let request = client.bare(reqwest::Method::PUT, path);
        let request = content.into_iter().fold(request, |request, content| request.body(content.to_owned()));
        let answer = client.send(request).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    fn client(&self) -> Client {
        Client::new(&self.url, "")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
