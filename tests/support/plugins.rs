//! A `codec` with plugins: the components that ship, a configuration that is edited while it runs, and what `/status` says of sinks.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Codec, Launch, root};

/// Longer than any promise here takes on a machine with two cores that does other work too.
const PATIENCE: Duration = Duration::from_secs(40);

impl Launch {
    /// With the components that ship in the plugins' folder, each a file of its own that a test may replace.
    pub fn with_plugins(self) -> Self {
        let sinks = ["audit-lines", "audit-http", "audit-syslog"];
        let providers = ["provider-vault", "provider-aws-secrets-manager", "provider-azure-key-vault"];
        let keys = ["keys-vault-transit", "keys-aws-kms", "keys-azure-key-vault"];
        for name in sinks.iter().chain(&providers).chain(&keys) {
            self.put_plugin(&format!("{name}.wasm"), &component(name));
        }
        self
    }

    /// A file in the plugins' folder, there all at once.
    pub fn put_plugin(&self, name: &str, content: &[u8]) {
        let dir = self.data_dir().join("plugins");
        std::fs::create_dir_all(&dir).expect("a folder");
        replace(&dir.join(name), content);
    }

    /// A file that an output writes.
    pub fn output(&self, name: &str) -> PathBuf {
        self.data_dir().join("outputs").join(name)
    }

    /// The journal's lines, byte for byte.
    pub fn journal_lines(&self) -> Vec<String> {
        let mut segments: Vec<PathBuf> = std::fs::read_dir(self.journal_dir())
            .expect("a journal")
            .map(|entry| entry.expect("entry").path())
            .collect();
        segments.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        segments.sort();
        segments.iter().flat_map(|segment| lines(segment)).collect()
    }
}

impl Codec {
    /// Edits `codec.toml` and says so; returns what `/status` tells of plugins when the service has followed.
    pub async fn reconfigure(&mut self, toml: &str) -> Value {
        let before = self.plugins().await["changes"].clone();
        // What the process's own commands read must be the same file.
        toml.clone_into(&mut self.launch.toml);
        replace(&self.launch.dir.path().join("codec.toml"), toml.as_bytes());
        self.signal("-HUP");
        let followed = |plugins: &Value| plugins["changes"] != before || plugins["configError"].is_string();
        self.until_plugins("it follows codec.toml", followed).await
    }

    /// `plugins` of `/status`.
    pub async fn plugins(&self) -> Value {
        self.client.get("/status").await.ok()["plugins"].clone()
    }

    pub async fn until_plugins(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let plugins = self.plugins().await;
            if is_so(&plugins) {
                return plugins;
            }
            assert!(Instant::now() < deadline, "not so in time: {what}: {plugins:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What `/status` says of one sink.
    pub async fn sink(&self, name: &str) -> Value {
        sink_of(&self.plugins().await, name)
    }

    /// What `/status` says of one provider.
    pub async fn provider(&self, name: &str) -> Value {
        let plugins = self.plugins().await;
        let providers = plugins["providers"].as_array().cloned().unwrap_or_default();
        providers.into_iter().find(|provider| provider["name"] == name).unwrap_or_default()
    }

    /// Polls until it is so of one sink.
    pub async fn until_sink(&self, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let plugins = self.until_plugins(what, |plugins| is_so(&sink_of(plugins, name))).await;
        sink_of(&plugins, name)
    }

    /// Until one sink has every record that there is.
    pub async fn until_carried(&self, name: &str) {
        self.until_sink(name, "the sink has every record", |sink| sink["live"] == true && sink["lagRecords"] == 0)
            .await;
    }

    pub async fn until_logged(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "never logged: {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// So many calls one after the other, each answered; their receipts.
    pub async fn calls(&self, count: usize) -> Vec<String> {
        let client = self.client.keeping_connections();
        let mut receipts = Vec::with_capacity(count);
        for _ in 0..count {
            let answer = client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await;
            answer.ok();
            receipts.push(answer.receipt().to_owned());
        }
        receipts
    }

    /// Resident memory, in KB.
    pub fn resident_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.split_whitespace().next().and_then(|kb| kb.parse().ok()).expect("a number")
    }
}

/// A component that ships.
pub fn component(name: &str) -> Vec<u8> {
    let path = root().join("target/plugins").join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run the tests with `make test`", path.display()))
}

/// All at once, as every tool should that replaces a file which is read.
pub fn replace(path: &Path, content: &[u8]) {
    let next = path.with_extension("next");
    std::fs::write(&next, content).expect("written");
    std::fs::rename(&next, path).expect("renamed");
}

/// The whole lines of a file; none if it is not there.
pub fn lines(path: &Path) -> Vec<String> {
    let content = std::fs::read(path).unwrap_or_default();
    let whole = content.split_inclusive(|&b| b == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    // The active segment ends in zeros.
    whole.filter(|line| !line.contains(&0)).map(|line| String::from_utf8(line.to_vec()).expect("UTF-8")).collect()
}

/// That `arrived` is `journal`: every record, once, in its order, byte for byte.
#[track_caller]
pub fn assert_same(arrived: &[String], journal: &[String]) {
    for (index, (arrived, journal)) in arrived.iter().zip(journal).enumerate() {
        assert_eq!(arrived, journal, "record {index}");
    }
    assert_eq!(arrived.len(), journal.len(), "records");
}

/// That `arrived` is `journal` where a batch may have come twice: from any record the next is the one after it or an earlier one, and no
/// record is missing. Says how many were there more than once.
#[track_caller]
pub fn assert_at_least_once(arrived: &[String], journal: &[String]) -> usize {
    let places: HashMap<&str, usize> = journal.iter().zip(0..).map(|(line, at)| (&**line, at)).collect();
    let mut next = 0;
    for line in arrived {
        let Some(&at) = places.get(&**line) else { panic!("no record of the journal: {line}") };
        assert!(at <= next, "record {next} is missing: {at} came in its place");
        // Going back is a batch that comes again; from there it goes on one by one, or back again.
        next = at + 1;
    }
    assert_eq!(next, journal.len(), "the last records are missing");
    arrived.len() - journal.len()
}

fn sink_of(plugins: &Value, name: &str) -> Value {
    let sinks = plugins["sinks"].as_array().map(Vec::as_slice).unwrap_or_default();
    sinks.iter().find(|sink| sink["name"] == name).cloned().unwrap_or_default()
}
