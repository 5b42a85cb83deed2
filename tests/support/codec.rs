//! `codec`, as a process of its own.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use super::{CANARY, Client};

/// How one is to be started.
#[derive(Clone)]
pub struct Launch {
    pub dir: Arc<TempDir>,
    pub kek: String,
    pub token: String,
    pub toml: String,
    pub variables: Vec<(String, String)>,
    pub arguments: Vec<String>,
    /// A command in front, such as strace.
    pub wrapper: Vec<String>,
}

/// A running one. When it is dropped, it is killed, and everything it left is searched for secrets.
pub struct Codec {
    child: Child,
    pub launch: Launch,
    pub client: Client,
    log: PathBuf,
}

impl Launch {
    /// On a folder of its own, with secrets of its own and the defaults.
    pub fn new() -> Self {
        let mut kek = [0; 32];
        getrandom::fill(&mut kek).expect("random");
        let token =
            format!("token-{:032x}", u128::from_le_bytes(kek[..16].try_into().expect("16 bytes")).rotate_left(9));
        Self {
            dir: Arc::new(TempDir::new().expect("a folder")),
            kek: STANDARD.encode(kek),
            token,
            toml: String::new(),
            variables: Vec::new(),
            arguments: vec!["serve".into()],
            wrapper: Vec::new(),
        }
    }

    pub fn toml(mut self, toml: &str) -> Self {
        self.toml.push_str(toml);
        self.toml.push('\n');
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.into(), value.into()));
        self
    }

    pub fn wrapped_in(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// With a system call that fails or hangs, as strace's `inject` says.
    pub fn with_fault(self, call: &str, fault: &str) -> Self {
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{fault}"));
        self.wrapped_in(&["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject])
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn journal_dir(&self) -> PathBuf {
        self.data_dir().join("audit")
    }

    /// The command, with `arguments` in place of `serve`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_codec");
        let mut command = match self.wrapper.split_first() {
            None => Command::new(binary),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(binary);
                command
            }
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).current_dir(self.dir.path()).args(arguments);
        command.env("CODEC_LISTEN", "127.0.0.1:0").env("KEK_SECRET", &self.kek);
        command.env("INTERNAL_SERVICE_TOKEN", &self.token);
        if !self.toml.is_empty() {
            std::fs::write(self.dir.path().join("codec.toml"), &self.toml).expect("codec.toml");
        }
        for (name, value) in &self.variables {
            match value.as_str() {
                "" => command.env_remove(name),
                value => command.env(name, value),
            };
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("codec runs")
    }

    /// Starts one that must become ready.
    pub async fn start(self) -> Codec {
        let codec = self.start_unready().await;
        codec.until_ready().await;
        codec
    }

    /// Starts one that listens, ready or not.
    pub async fn start_unready(self) -> Codec {
        let log = self.dir.path().join(format!("log-{:08x}", getrandom::u32().expect("random")));
        let file = std::fs::File::create(&log).expect("a log");
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut command = self.command(&arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().expect("codec starts");
        let mut codec = Codec { child, client: Client::new("", &self.token), launch: self, log };
        let address = codec.address().await;
        codec.client = Client::new(&format!("http://{address}"), &codec.launch.token);
        codec
    }
}

impl Codec {
    /// Starts one with the defaults.
    pub async fn start() -> Self {
        Launch::new().start().await
    }

    pub fn log(&self) -> String {
        let mut text = String::new();
        let read = std::fs::File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        read.expect("the log");
        text
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    /// SIGKILL, and gone. What a wrapper has started would live on without it.
    pub fn kill(&mut self) {
        if !self.launch.wrapper.is_empty() {
            let wrapped = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children", pid = self.pid()));
            for pid in wrapped.unwrap_or_default().split_whitespace() {
                let _ = Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status();
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and its exit code.
    pub async fn terminate(&mut self) -> i32 {
        self.signal("-TERM");
        self.exit_code().await
    }

    pub async fn exit_code(&mut self) -> i32 {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.client.get("/readyz").await.status != 200 {
            assert!(Instant::now() < deadline, "it does not become ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The journal's records, each checked to be one JSON object.
    pub fn records(&self) -> Vec<Value> {
        records(&self.launch.journal_dir())
    }

    /// The last record of an operation.
    pub fn last_record(&self) -> Value {
        self.records().pop().expect("a record")
    }

    /// `codec audit verify`, which must be content.
    #[track_caller]
    pub fn verify(&self, receipts: &[&str]) {
        let mut arguments = vec!["audit", "verify"];
        for receipt in receipts {
            arguments.extend(["--receipt", receipt]);
        }
        let output = self.launch.run(&arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }

    /// From the line that says so, in either format of the log.
    async fn address(&mut self) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let log = self.log();
            let told = log.split_once("listen=").or_else(|| log.split_once("\"listen\":\"")).map(|(_, rest)| rest);
            if let Some(rest) = told.filter(|rest| rest.contains('\n')) {
                return rest.split(|c: char| c.is_whitespace() || c == '"').next().expect("an address").to_owned();
            }
            if let Some(status) = self.child.try_wait().expect("wait") {
                panic!("codec ended with {status}:\n{log}");
            }
            assert!(Instant::now() < deadline, "it does not listen:\n{log}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Codec {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of codec\n{}---", self.log());
            return;
        }
        let secrets = [CANARY, &self.launch.kek, &self.launch.token];
        search(&self.log, &secrets);
        for name in std::fs::read_dir(self.launch.journal_dir()).into_iter().flatten().flatten() {
            search(&name.path(), &secrets);
        }
    }
}

/// No file of a process holds a secret.
fn search(path: &Path, secrets: &[&str]) {
    let content = std::fs::read(path).expect("readable");
    for secret in secrets {
        let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "a secret is in {}", path.display());
    }
}

/// All records in a journal's folder.
pub fn records(dir: &Path) -> Vec<Value> {
    let mut segments: Vec<PathBuf> =
        std::fs::read_dir(dir).expect("a journal").map(|e| e.expect("entry").path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    segments.sort();
    let mut records = Vec::new();
    for segment in segments {
        let content = std::fs::read(&segment).expect("a segment");
        for line in content.split(|&b| b == b'\n').filter(|line| line.iter().any(|&b| b != 0)) {
            if let Ok(record) = serde_json::from_slice(line) {
                records.push(record);
            }
        }
    }
    records
}
