//! rsyslogd, over TCP or TLS, which writes what it received line by line.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::certificates::Certificates;
use super::plugins::lines;
use super::{free_port, root};

pub struct Syslog {
    child: Child,
    dir: TempDir,
    pub address: String,
}

/// A message, as rsyslogd has understood it.
#[derive(Debug)]
pub struct Message {
    pub severity: String,
    pub app: String,
    pub id: String,
    pub data: String,
    pub text: String,
}

impl Syslog {
    /// Without TLS, or under the server's certificate.
    pub async fn start(certificates: Option<&Certificates>) -> Self {
        let dir = TempDir::new().expect("a folder");
        let port = free_port();
        let at = dir.path().display();
        let (global, input) = match certificates {
            None => (String::new(), ""),
            Some(made) => (
                format!(
                    "global(defaultNetstreamDriver=\"ossl\" defaultNetstreamDriverCAFile=\"{}\" \
                     defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\")",
                    made.ca().display(),
                    made.certificate().display(),
                    made.key().display()
                ),
                "streamDriver.name=\"ossl\" streamDriver.mode=\"1\" streamDriver.authMode=\"anon\"",
            ),
        };
        // The default of 8 KB would cut a record in two.
        let config = format!(
            "{global}\nglobal(maxMessageSize=\"64k\" workDirectory=\"{at}\")\n\
             module(load=\"imtcp\" {input})\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             template(name=\"out\" type=\"string\" \
             string=\"%syslogseverity-text%\\t%app-name%\\t%msgid%\\t%structured-data%\\t%msg%\\n\")\n\
             action(type=\"omfile\" file=\"{at}/received\" template=\"out\")\n"
        );
        std::fs::write(dir.path().join("rsyslog.conf"), config).expect("written");
        let child = Command::new(root().join("tests/support/tether.sh"))
            .args(["/usr/sbin/rsyslogd", "-n", "-f"])
            .arg(dir.path().join("rsyslog.conf"))
            .arg("-i")
            .arg(dir.path().join("pid"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("errors")).expect("a file"))
            .spawn()
            .expect("tether.sh");
        let server = Self { child, dir, address: format!("127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(&server.address).await.is_err() {
            assert!(Instant::now() < deadline, "rsyslogd does not start: run the tests with `make test`");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    /// What it has received.
    pub fn received(&self) -> Vec<Message> {
        lines(&self.dir.path().join("received")).iter().map(|line| message(line)).collect()
    }

    /// Until it has so many: it acknowledges nothing.
    pub async fn until_received(&self, count: usize) -> Vec<Message> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            assert!(Instant::now() < deadline, "{} of {count} messages", received.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn message(line: &str) -> Message {
    let mut parts = line.splitn(5, '\t').map(String::from);
    let mut next = || parts.next().unwrap_or_else(|| panic!("five parts: {line}"));
    Message { severity: next(), app: next(), id: next(), data: next(), text: next() }
}
