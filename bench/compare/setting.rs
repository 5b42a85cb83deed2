//! What is measured, how long, and the secrets of one run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use origan_codec_host::crypto::{Dek, DekCipher, Kek, KeyRing, Plaintext, WrapContext};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cases;

/// Bytes of every value that is encrypted.
pub(crate) const VALUE_BYTES: usize = 64;
/// The project that most calls are about.
pub(crate) const PROJECT: &str = "bench";

/// Compares codec with what people would use instead.
#[derive(clap::Parser)]
pub(crate) struct Args {
    /// How often the servers take turns.
    #[arg(long, env = "PAIRS", default_value_t = 5)]
    pub(crate) pairs: usize,
    /// How long each load lasts, in seconds.
    #[arg(long, env = "SECONDS_EACH", default_value_t = 1)]
    seconds: u64,
    /// A moment of each case, with small sizes, to see that it runs: no figure of it means anything.
    #[arg(long)]
    quick: bool,
    /// Only this case; may be given several times.
    #[arg(long, value_name = "CASE", value_parser = cases::ALL.map(|(name, _)| name))]
    pub(crate) only: Vec<String>,
    /// The folder of `codec`, `codec-plugin` and `examples/echo`.
    #[arg(long, default_value = "target/dist", value_name = "DIR")]
    bin: PathBuf,
    /// The folder of the plugins that ship.
    #[arg(long, default_value = "target/plugins", value_name = "DIR")]
    plugins: PathBuf,
    /// Where RESULTS.md and the plots are written.
    #[arg(long, default_value = "bench", value_name = "DIR")]
    out: PathBuf,
}

/// What all cases share.
pub(crate) struct Setting {
    pub(crate) pairs: usize,
    pub(crate) each: Duration,
    pub(crate) quick: bool,
    pub(crate) bin: PathBuf,
    pub(crate) plugins: PathBuf,
    pub(crate) out: PathBuf,
    /// The repository.
    pub(crate) root: PathBuf,
    pub(crate) kek: String,
    pub(crate) token: String,
    pub(crate) ring: Arc<KeyRing>,
    /// The one project's DEK.
    pub(crate) owned: OwnedDek,
    /// Gone with the run.
    pub(crate) scratch: TempDir,
}

/// A project's DEK, as its owner knows it.
pub(crate) struct OwnedDek {
    pub(crate) dek: Dek,
    pub(crate) cipher: DekCipher,
    pub(crate) encrypted_dek: String,
}

impl Setting {
    pub(crate) fn new(args: &Args) -> anyhow::Result<Self> {
        ensure!(args.pairs > 0 && args.seconds > 0, "at least one pair, of at least one second");
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        // Where cargo built it, the folders mean those of the repository.
        let within = |path: &Path| if path.is_absolute() { path.to_owned() } else { root.join(path) };
        let kek = Kek::generate()?;
        let ring = Arc::new(KeyRing::new(&kek, &[])?);
        let owned = OwnedDek::generate(&ring)?;
        let mut token = [0; 16];
        getrandom::fill(&mut token)?;
        Ok(Self {
            pairs: if args.quick { 1 } else { args.pairs },
            each: if args.quick { Duration::from_millis(100) } else { Duration::from_secs(args.seconds) },
            quick: args.quick,
            bin: within(&args.bin),
            plugins: within(&args.plugins),
            out: within(&args.out),
            root: root.clone(),
            kek: kek.encode_base64().to_string(),
            token: format!("token-{:032x}", u128::from_le_bytes(token)),
            ring,
            owned,
            // On the disk whose syncs are measured: /tmp may be memory.
            scratch: tempfile::Builder::new().prefix("codec-bench-").tempdir_in(scratch_folder(&within(&args.bin)))?,
        })
    }

    /// Of a case in which servers take `times` as many turns as elsewhere, to tell more.
    pub(crate) fn turns(&self, times: usize) -> usize {
        if self.quick { self.pairs } else { times * self.pairs }
    }

    /// Connections at once, of the rows that compare servers.
    pub(crate) fn connections(&self) -> [usize; 4] {
        [1, 8, 32, 256]
    }

    /// Variables in one `/decrypt-all`.
    pub(crate) fn variables(&self) -> [usize; 4] {
        [1, 20, 200, 1_000]
    }

    /// Projects in the store.
    pub(crate) fn projects(&self) -> [usize; 3] {
        if self.quick { [10, 100, 1_000] } else { [10, 10_000, 1_000_000] }
    }

    /// Requests before memory is read.
    pub(crate) fn requests(&self) -> u64 {
        if self.quick { 1_000 } else { 1_000_000 }
    }

    /// The body of `/decrypt-value`, of one value under the raw DEK.
    pub(crate) fn decrypt_value(&self) -> anyhow::Result<(Value, String)> {
        let (text, sealed) = self.owned.sealed()?;
        Ok((json!({"encrypted": sealed, "dek": self.owned.raw()}), text))
    }

    /// The body of `/decrypt-all` with so many secrets, and one of its values.
    pub(crate) fn decrypt_all(&self, count: usize) -> anyhow::Result<(Value, String)> {
        let mut variables = serde_json::Map::new();
        let mut last = String::new();
        for index in 0..count {
            let (text, sealed) = self.owned.sealed()?;
            let variable = json!({"type": "secret", "encrypted": true, "value": sealed, "keyVersion": 1});
            variables.insert(format!("VARIABLE_{index}"), variable);
            last = text;
        }
        let body = json!({"projectId": PROJECT, "deploymentId": "d-1",
            "encryptedDEK": self.owned.encrypted_dek, "variables": variables});
        Ok((body, last))
    }

    /// Node, as `tests/setup.sh` found or installed it.
    pub(crate) fn node(&self) -> PathBuf {
        let installed = self.root.join("target/tools/node/bin/node");
        if installed.exists() { installed } else { "node".into() }
    }
}

impl OwnedDek {
    pub(crate) fn generate(ring: &KeyRing) -> anyhow::Result<Self> {
        let dek = Dek::generate()?;
        let wrapped =
            ring.wrap_dek(&dek, WrapContext::Unrecorded).now_or_never().context("a KEK in memory does not wait")??;
        let encrypted_dek = wrapped.encrypted_dek.encode();
        Ok(Self { cipher: DekCipher::new(&dek), dek, encrypted_dek })
    }

    /// Base64 of it.
    pub(crate) fn raw(&self) -> String {
        STANDARD.encode(self.dek.expose_secret())
    }

    /// A new value, and what it is sealed to.
    pub(crate) fn sealed(&self) -> anyhow::Result<(String, String)> {
        let text = random_text()?;
        let sealed = self.cipher.seal_value(&Plaintext::new(text.clone()))?.encode();
        Ok((text, sealed))
    }
}

/// As a password generator would make it.
pub(crate) fn random_text() -> anyhow::Result<String> {
    let mut bytes = [0; VALUE_BYTES / 4 * 3];
    getrandom::fill(&mut bytes).context("randomness")?;
    Ok(STANDARD.encode(bytes))
}

/// `target/`, or wherever the servers were built.
fn scratch_folder(bin: &Path) -> PathBuf {
    bin.parent().filter(|parent| parent.is_dir()).map_or_else(std::env::temp_dir, Path::to_owned)
}
