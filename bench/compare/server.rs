//! Running servers, each a process of its own on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::client::Client;
use crate::launches::{Kind, Launch};
use crate::ports::free_port;
use crate::setting::{PROJECT, Setting};

/// For a debug build on a machine that does other work too.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// For sinks to carry what a load has left.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// One that runs. It is killed when this is dropped, and its data is gone.
pub(crate) struct Server {
    pub(crate) launch: Launch,
    pub(crate) client: Client,
    child: Child,
    dir: PathBuf,
    started: Instant,
}

impl Server {
    /// Starts it; it may not be ready yet.
    pub(crate) fn spawn(setting: &Setting, launch: Launch) -> anyhow::Result<Self> {
        let dir = setting.scratch.path().join(format!("server-{:08x}", getrandom::u32()?));
        fs::create_dir_all(&dir)?;
        if let Kind::Codec(toml) = &launch.kind {
            install(&setting.plugins, &dir.join("data/plugins"))?;
            for (name, component) in &launch.plugins {
                fs::write(dir.join("data/plugins").join(name), component)?;
            }
            fs::write(dir.join("codec.toml"), if setting.quick { patient(toml) } else { toml.clone() })?;
        }
        let address = format!("127.0.0.1:{}", free_port());
        let (child, started) = start(setting, &launch, &dir, &address)?;
        let client = Client { address, token: setting.token.clone() };
        Ok(Self { launch, client, child, dir, started })
    }

    /// Ends it as an operator would, and starts it again on the same data; it may not be ready yet.
    pub(crate) fn restart(&mut self, setting: &Setting) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.child.wait()?;
        (self.child, self.started) = start(setting, &self.launch, &self.dir, &self.client.address)?;
        Ok(())
    }

    /// Starts all of them at once, and waits for all.
    pub(crate) fn start_all(setting: &Setting, launches: Vec<Launch>) -> anyhow::Result<Vec<Self>> {
        let mut servers =
            launches.into_iter().map(|launch| Self::spawn(setting, launch)).collect::<Result<Vec<_>, _>>()?;
        for server in &mut servers {
            server.until_ready()?;
            if matches!(server.launch.kind, Kind::Codec(_)) {
                server.until_live()?;
            }
            server.learn(setting)?;
        }
        Ok(servers)
    }

    /// Waits until it answers calls, and says how long that took since its start.
    pub(crate) fn until_ready(&mut self) -> anyhow::Result<Duration> {
        let is_codec = matches!(self.launch.kind, Kind::Codec(_));
        loop {
            let status = self.client.status("/readyz");
            if if is_codec { status == Some(200) } else { status.is_some() } {
                return Ok(self.started.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.launch.name, self.log());
            }
            ensure!(self.started.elapsed() < READY_WITHIN, "{} is not ready:\n{}", self.launch.name, self.log());
            sleep(Duration::from_millis(1));
        }
    }

    /// Waits until every plugin of a codec that is ready is live, and says how long that took since its start: sinks that no answer waits for
    /// come later.
    pub(crate) fn until_live(&self) -> anyhow::Result<Duration> {
        loop {
            let plugins = self.plugins()?;
            let Some(missing) = plugins.iter().find(|plugin| plugin["live"] != true) else {
                return Ok(self.started.elapsed());
            };
            ensure!(self.started.elapsed() < READY_WITHIN, "{}: not live: {missing:#}", self.launch.name);
            sleep(Duration::from_millis(1));
        }
    }

    /// Makes the run's DEK known to it, as its project's.
    pub(crate) fn learn(&self, setting: &Setting) -> anyhow::Result<()> {
        if !matches!(self.launch.kind, Kind::Echo { .. }) {
            let body = json!({"projectId": PROJECT, "encryptedDEK": setting.owned.encrypted_dek});
            let answer = self.client.post("/decrypt-dek", &body)?;
            ensure!(answer["dek"] == setting.owned.raw(), "{}: another DEK", self.launch.name);
        }
        Ok(())
    }

    /// Makes sure that it answers a call as it should; an echo is asked nothing.
    pub(crate) fn check(&self, call: &str, body: &Value, is_right: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        if matches!(self.launch.kind, Kind::Echo { .. }) {
            return Ok(());
        }
        let answer = self.client.post(call, body).with_context(|| self.launch.name)?;
        ensure!(is_right(&answer), "{}: {call} answers something else", self.launch.name);
        Ok(())
    }

    /// Waits until its sinks have carried everything, so that the next server has the machine for itself.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while matches!(&self.launch.kind, Kind::Codec(toml) if toml.contains("[[sinks]]")) {
            let lags = |plugin: &Value| plugin["lagRecords"].as_u64().is_some_and(|lag| lag > 0);
            if !self.plugins()?.iter().any(lags) {
                break;
            }
            ensure!(begun.elapsed() < SETTLED_WITHIN, "{}: its sinks do not catch up", self.launch.name);
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// A line of `/proc/<pid>/status`, in MB (10^6 bytes).
    pub(crate) fn memory_mb(&self, line: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let found = status.lines().find_map(|each| each.strip_prefix(line)?.strip_prefix(':'));
        let kib: f64 = found.with_context(|| format!("no {line}"))?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// A file in its plugins' folder, replaced all at once.
    pub(crate) fn put_plugin(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let path = self.dir.join("data/plugins").join(name);
        let next = path.with_extension("next");
        fs::write(&next, content)?;
        Ok(fs::rename(&next, &path)?)
    }

    /// A file of its plugins' folder.
    pub(crate) fn plugin(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        Ok(fs::read(self.dir.join("data/plugins").join(name))?)
    }

    /// Tells it to look at its files now.
    pub(crate) fn hang_up(&self) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::HUP)?)
    }

    /// What `/status` says of its plugins, whichever kind.
    pub(crate) fn plugins(&self) -> anyhow::Result<Vec<Value>> {
        let status = self.client.get("/status")?;
        let of = |kind: &str| status["plugins"][kind].as_array().cloned().unwrap_or_default();
        Ok([of("policies"), of("sinks")].concat())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn start(setting: &Setting, launch: &Launch, dir: &Path, address: &str) -> anyhow::Result<(Child, Instant)> {
    let mut command = match &launch.kind {
        Kind::Codec(_) => {
            let mut command = Command::new(setting.bin.join("codec"));
            command.arg("serve").env("CODEC_LISTEN", address).env_remove("DATABASE_URL").env_remove("CODEC_CONFIG");
            command.env_remove("CODEC_DATA_DIR");
            command
        }
        Kind::Node(workers) => {
            let port = address.rsplit(':').next().unwrap_or_default();
            let mut command = Command::new(setting.node());
            command.arg(setting.root.join("bench/baseline/codec-service.mjs"));
            command.env("PORT", port).env("WORKERS", workers.to_string());
            command
        }
        Kind::Echo { fsync } => {
            let mut command = Command::new(setting.bin.join("examples/echo"));
            command.arg(address).args(fsync.then_some("records"));
            command
        }
    };
    command.env("KEK_SECRET", &setting.kek).env("INTERNAL_SERVICE_TOKEN", &setting.token).current_dir(dir);
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log"))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    Ok((child, started))
}

fn install(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("{}: `make plugins` builds them", from.display()))? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|extension| extension == "wasm")) {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

/// The same with a journal that may take long: a quick run is a test, on a machine that does other work too.
fn patient(toml: &str) -> String {
    let audit = "[audit]\ndeadline_ms = 60000\n";
    if toml.contains("[audit]\n") { toml.replace("[audit]\n", audit) } else { format!("{toml}\n{audit}") }
}
