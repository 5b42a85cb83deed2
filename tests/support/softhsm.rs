//! SoftHSM: tokens in a folder of their own, and what OpenSC's tools do with them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use tempfile::TempDir;

use super::{Launch, root, secret};

/// The module, where Debian puts it.
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// OpenSC's module that writes down every call and passes it on.
const SPY: &str = "pkcs11-spy.so";

/// A token `codec`, and no key in it yet.
#[derive(Clone)]
pub struct Token {
    dir: Arc<TempDir>,
    pub pin: String,
}

impl Token {
    /// Its PIN is one of the secrets that every process's traces are searched for.
    pub fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        std::fs::create_dir(dir.path().join("tokens")).expect("a folder");
        let conf = format!("directories.tokendir = {}\nlog.level = ERROR\n", dir.path().join("tokens").display());
        std::fs::write(dir.path().join("softhsm2.conf"), conf).expect("softhsm2.conf");
        let token = Self { dir: Arc::new(dir), pin: secret("pin") };
        let made = token
            .command("softhsm2-util")
            .args(["--init-token", "--free", "--label", "codec", "--so-pin", "87654321", "--pin", &token.pin])
            .output();
        assert!(made.expect("softhsm2-util: run the tests with `make test`").status.success());
        token
    }

    /// With a key `kek` that `codec keys generate --pkcs11` made.
    pub fn with_a_key() -> Self {
        let token = Self::new();
        let made = token.launch().run(&["keys", "generate", "--pkcs11"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        token
    }

    /// A `codec` whose KEK is this token's key `kek`.
    pub fn launch(&self) -> Launch {
        self.on(Launch::new())
    }

    /// The same with the secrets and the data of `launch`.
    pub fn on(&self, launch: Launch) -> Launch {
        let launch = launch.variable("KEK_SECRET", "").variable("CODEC_PKCS11_PIN", &self.pin);
        launch.variable("SOFTHSM2_CONF", &self.conf().display().to_string()).toml(&self.toml(MODULE, "kek"))
    }

    pub fn toml(&self, module: &str, key: &str) -> String {
        format!("[keys.pkcs11]\nmodule = \"{module}\"\ntoken = \"codec\"\nkey_label = \"{key}\"\n")
    }

    /// The module that writes down every call, and where it writes them.
    pub fn spied_on(&self, launch: Launch) -> (Launch, PathBuf) {
        let calls = self.dir.path().join("calls");
        let launch = self.on(launch).variable("PKCS11SPY", MODULE);
        let launch = launch.variable("PKCS11SPY_OUTPUT", &calls.display().to_string());
        (Launch { toml: self.toml(&spy(), "kek"), ..launch }, calls)
    }

    /// The module that fails as it is told to ([`Token::fail`]).
    pub fn faulty(&self, launch: Launch) -> Launch {
        let module = self.dir.path().join("faulty_token.so");
        let source = root().join("tests/support/faulty_token.c");
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]).arg(&module).arg(source).status();
        assert!(built.expect("cc").success());
        let launch = self.on(launch).variable("FAULTY_MODULE", MODULE);
        let launch = launch.variable("FAULTY_FILE", &self.dir.path().join("fault").display().to_string());
        Launch { toml: self.toml(&module.display().to_string(), "kek"), ..launch }
    }

    /// What the faulty module does wrong from now on; nothing, if `fault` is empty.
    pub fn fail(&self, fault: &str) {
        let next = self.dir.path().join("fault.next");
        std::fs::write(&next, fault).expect("a file");
        std::fs::rename(next, self.dir.path().join("fault")).expect("renamed");
    }

    /// OpenSC's `pkcs11-tool`, logged in.
    pub fn tool(&self, arguments: &[&str]) -> Output {
        let mut command = self.command("pkcs11-tool");
        command.args(["--module", MODULE, "--token-label", "codec", "--login", "--pin", &self.pin]).args(arguments);
        let output = command.output().expect("pkcs11-tool: run the tests with `make test`");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Makes a key that a KEK may or may not be.
    pub fn keygen(&self, label: &str, length: &str, more: &[&str]) {
        self.tool(&[&["--keygen", "--key-type", length, "--label", label], more].concat());
    }

    /// Puts a key in that was made elsewhere.
    pub fn import(&self, label: &str, key: &[u8]) {
        let file = self.dir.path().join("key");
        std::fs::write(&file, key).expect("a file");
        let file = file.display().to_string();
        self.tool(&[
            "--write-object",
            &file,
            "--type",
            "secrkey",
            "--key-type",
            "AES:32",
            "--label",
            label,
            "--sensitive",
        ]);
        std::fs::remove_file(self.dir.path().join("key")).expect("removed");
    }

    /// Takes the token away, and gives it back.
    pub fn take_away(&self) {
        std::fs::rename(self.tokens(), self.dir.path().join("away")).expect("renamed");
    }

    pub fn give_back(&self) {
        std::fs::rename(self.dir.path().join("away"), self.tokens()).expect("renamed");
    }

    /// Every call of the module waits for as long as what is answered here is held: SoftHSM locks its files for each look at them.
    pub fn hang(&self) -> Vec<File> {
        let mut held = Vec::new();
        for folder in std::fs::read_dir(self.tokens()).expect("readable").flatten() {
            for file in std::fs::read_dir(folder.path()).expect("readable").flatten() {
                if file.path().extension().is_some_and(|extension| extension == "lock") {
                    continue;
                }
                let file = File::options().read(true).write(true).open(file.path()).expect("opens");
                rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::LockExclusive).expect("locked");
                held.push(file);
            }
        }
        assert!(held.len() >= 3, "only {} files", held.len());
        held
    }

    fn conf(&self) -> PathBuf {
        self.dir.path().join("softhsm2.conf")
    }

    fn tokens(&self) -> PathBuf {
        self.dir.path().join("tokens")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SOFTHSM2_CONF", self.conf());
        command
    }
}

/// All bytes that a spied-on module was given or gave, as far as calls carry any, one after the other.
pub fn bytes_that_crossed(calls: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(calls).expect("calls");
    // `    00000010  30 3F D6 0D D5 7E 87 86 BE 6D FC CB 02 7F AA 1E  0?...~...m.....`
    let lines = text.lines().filter_map(|line| line.strip_prefix("    000")?.split_once("  "));
    let bytes = lines.flat_map(|(_, rest)| {
        let hex = rest.get(..47).unwrap_or(rest);
        hex.split(' ').map_while(|pair| u8::from_str_radix(pair, 16).ok()).collect::<Vec<_>>()
    });
    bytes.collect()
}

/// Where Debian puts it, for whatever processor.
fn spy() -> String {
    let folders = std::fs::read_dir("/usr/lib").expect("readable").flatten().map(|folder| folder.path().join(SPY));
    let found = folders.into_iter().find(|path| Path::new(path).exists());
    found.expect("pkcs11-spy.so: run the tests with `make test`").display().to_string()
}
