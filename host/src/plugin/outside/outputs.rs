//! Named outputs for lines: standard output, a file, a TCP or TLS peer. One writer each, whoever writes.

mod file;
mod stream;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::WriteLinesError;
use crate::plugin::fault::printable;
pub use file::check_file_name;
use stream::Peer;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputTarget {
    /// Standard output.
    Stdout,
    /// A file of this name in a folder that holds nothing but outputs.
    File {
        /// The folder.
        dir: PathBuf,
        /// The name, as [`check_file_name`] allows it.
        name: String,
    },
    /// A TCP peer.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// A TLS peer.
    Tls {
        /// `host:port`; the certificate must be the host's.
        address: String,
        /// Certificates (PEM) that the peer's may be issued under, in place of the system's.
        ca_pem: Option<Vec<u8>>,
    },
}

/// How lines are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A line feed after each.
    Newline,
    /// The number of bytes, a space, the bytes (RFC 5425, RFC 6587).
    OctetCounted,
}

/// An output.
pub struct Output {
    name: String,
    framing: Framing,
    line_bytes: usize,
    deadline: Duration,
    target: OutputTarget,
    open: Mutex<Open>,
}

/// An output that cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// The name of a file.
    #[error("`{0}` is not the name of a file: 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit")]
    FileName(String),
    /// The peer's certificates.
    #[error("the certificates are not PEM: {0}")]
    Certificates(String),
    /// TLS.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The name of the peer.
    #[error("`{0}` is not host:port")]
    Address(String),
}

enum Open {
    /// With a write that nobody waits for any more: it must end before the next one begins.
    Stdout(Option<JoinHandle<io::Result<()>>>),
    File(file::Lines),
    Peer(Box<Peer>),
}

impl Output {
    /// Sets it up; opens and connects when it is first written to. `line_bytes` is the longest line it takes, `deadline` how long one
    /// write may take.
    pub fn new(
        name: &str,
        target: OutputTarget,
        framing: Framing,
        line_bytes: usize,
        deadline: Duration,
    ) -> Result<Self, OutputError> {
        let open = match &target {
            OutputTarget::Stdout => Open::Stdout(None),
            OutputTarget::File { dir, name } => {
                check_file_name(name)?;
                let ends_lines = framing == Framing::Newline;
                Open::File(file::Lines::new(dir.join(name), ends_lines.then_some(line_bytes + 1)))
            }
            OutputTarget::Tcp { address } => Open::Peer(Box::new(Peer::tcp(address)?)),
            OutputTarget::Tls { address, ca_pem } => Open::Peer(Box::new(Peer::tls(address, ca_pem.as_deref())?)),
        };
        Ok(Self { name: name.to_owned(), framing, line_bytes, deadline, target, open: Mutex::new(open) })
    }

    /// Where it goes.
    pub fn target(&self) -> &OutputTarget {
        &self.target
    }

    pub(super) async fn write(&self, lines: Vec<String>) -> Result<(), WriteLinesError> {
        let framed = self.frame(&lines)?;
        let writing = async { self.open.lock().await.write(framed).await };
        let outcome = tokio::time::timeout(self.deadline, writing).await;
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no end in {} ms", self.deadline.as_millis()));
        outcome.unwrap_or_else(|_| Err(late())).map_err(|error| {
            WriteLinesError::Unavailable(format!("output `{}`: {}", self.name, printable(&error.to_string())))
        })
    }

    fn frame(&self, lines: &[String]) -> Result<Vec<u8>, WriteLinesError> {
        let mut framed = Vec::with_capacity(lines.iter().map(|line| line.len() + 8).sum());
        for (index, line) in lines.iter().enumerate() {
            if line.len() > self.line_bytes {
                return Err(WriteLinesError::TooLong(index as u64));
            }
            // Whatever a line holds, it is one line.
            if line.bytes().any(|b| matches!(b, b'\n' | b'\0')) {
                return Err(WriteLinesError::Malformed(index as u64));
            }
            match self.framing {
                Framing::Newline => {
                    framed.extend_from_slice(line.as_bytes());
                    framed.push(b'\n');
                }
                Framing::OctetCounted => {
                    framed.extend_from_slice(format!("{} ", line.len()).as_bytes());
                    framed.extend_from_slice(line.as_bytes());
                }
            }
        }
        Ok(framed)
    }
}

impl Open {
    async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        match self {
            Self::Stdout(running) => {
                if let Some(before) = running {
                    let _ = before.await;
                }
                let writing = running.insert(tokio::task::spawn_blocking(move || {
                    let mut out = io::stdout().lock();
                    out.write_all(&bytes).and_then(|()| out.flush())
                }));
                let outcome = writing.await;
                *running = None;
                outcome.map_err(io::Error::other)?
            }
            Self::File(lines) => lines.append(bytes).await,
            Self::Peer(peer) => peer.write(&bytes).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_stays_one_line_in_either_framing() {
        let output =
            |framing| Output::new("o", OutputTarget::Stdout, framing, 8, Duration::from_secs(1)).expect("set up");
        let lines = ["a".to_owned(), "é b".to_owned()];
        assert_eq!(output(Framing::Newline).frame(&lines), Ok("a\né b\n".into()));
        assert_eq!(output(Framing::OctetCounted).frame(&lines), Ok("1 a4 é b".into()));
        let one = |line: &str| output(Framing::Newline).frame(&["x".into(), line.into()]);
        assert_eq!(one("a\nb"), Err(WriteLinesError::Malformed(1)));
        assert_eq!(one("a\0"), Err(WriteLinesError::Malformed(1)));
        assert_eq!(one("123456789"), Err(WriteLinesError::TooLong(1)));
    }
}
