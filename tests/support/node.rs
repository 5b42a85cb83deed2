//! The seed's service in Node, driven line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::root;

pub struct Node {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Node {
    pub fn start(kek: &str) -> Self {
        let mut child = Command::new(binary())
            .arg(root().join("tests/interop/seed.mjs"))
            .env("KEK_SECRET", kek)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node is installed: run the tests with `make test`");
        let (requests, answers) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Self { child, requests, answers: BufReader::new(answers) }
    }

    pub fn call(&mut self, request: Value) -> Value {
        writeln!(self.requests, "{request}").expect("Node reads");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("Node answers");
        serde_json::from_str(&line).expect("JSON")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `make test` installed, or the system's own.
pub fn binary() -> PathBuf {
    let installed = root().join("target/tools/node/bin/node");
    if installed.exists() { installed } else { "node".into() }
}
