//! A certificate authority of our own, and a server's certificate for loopback under it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    pub fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        let ca = [
            "-subj",
            "/CN=codec tests",
            "-addext",
            "keyUsage=critical,keyCertSign",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ];
        make(dir.path(), &ca);
        let server = [
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-subj",
            "/CN=localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout",
            "server.key",
            "-out",
            "server.pem",
        ];
        make(dir.path(), &server);
        // HAProxy wants both in one file.
        let both =
            ["server.pem", "server.key"].map(|name| std::fs::read(dir.path().join(name)).expect("made")).concat();
        std::fs::write(dir.path().join("both.pem"), both).expect("written");
        Self { dir }
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("server.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.dir.path().join("server.key")
    }

    pub fn both(&self) -> PathBuf {
        self.dir.path().join("both.pem")
    }
}

fn make(dir: &Path, arguments: &[&str]) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    let made = openssl.args(arguments).current_dir(dir).stderr(Stdio::null()).status();
    assert!(made.expect("openssl is installed: run the tests with `make test`").success(), "{arguments:?}");
}
