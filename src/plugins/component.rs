//! A component on its way from its file to the host's admission.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use origan_codec_host::plugin::cases::{Cases, ParseCasesError};
use origan_codec_host::plugin::{AdmissionError, Candidate, Limits, PluginLog, Sha256Digest};
use rustix::fs::OFlags;

use crate::config::ComponentConfig;

/// Largest file of cases.
const CASES_BYTES_MAX: usize = 4 << 20;

/// A component as it was read, with everything that makes it another one.
pub(super) struct Found {
    pub(super) candidate: Candidate,
    pub(super) key: Key,
}

/// Two components with one key are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) digest: Sha256Digest,
    settings: String,
    limits: Limits,
    wasi: bool,
    pinned: Option<Sha256Digest>,
    cases: Option<Sha256Digest>,
}

/// Why a component does not go live.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The file.
    #[error("{path}: {why}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The file of cases.
    #[error("{path}: {error}", path = path.display())]
    Cases {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        error: ParseCasesError,
    },
    /// The host.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// What it is granted.
    #[error("{0}")]
    Grant(String),
    /// Of a key provider: it does not open what the one before opened, or nothing at all.
    #[error("it is not proven to be the same KEK: {0}")]
    Unproven(String),
}

impl LoadError {
    /// The kind's stable name.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "unreadable",
            Self::Cases { .. } => "cases-unreadable",
            Self::Admission(error) => error.code(),
            Self::Grant(_) => "grant",
            Self::Unproven(_) => "unproven",
        }
    }
}

impl Found {
    /// Bytes of the component.
    pub(super) fn size_bytes(&self) -> usize {
        self.candidate.bytes.len()
    }

    /// Reads the component, once: these bytes are hashed, checked and compiled.
    pub(super) fn read(dir: &Path, config: &ComponentConfig, limits: &Limits) -> Result<Self, LoadError> {
        let limits = Limits {
            call_deadline: Duration::from_millis(config.deadline_ms),
            compute_deadline: Duration::from_millis(config.deadline_ms).min(limits.compute_deadline),
            memory_bytes: config.memory_bytes,
            compile_deadline: Duration::from_millis(config.compile_deadline_ms),
            ..limits.clone()
        };
        // A byte more than is loaded, so that the host can say that it is too many.
        let bytes: Arc<[u8]> = read_inside(dir, &config.path, limits.component_bytes + 1)?.into();
        let cases = config.cases.as_deref().map(|path| read_cases(dir, path)).transpose()?;
        let settings = serde_json::to_string(&config.settings).unwrap_or_else(|_| "{}".to_owned());
        let pinned = config.sha256.as_deref().and_then(Sha256Digest::parse);
        let key = Key {
            digest: Sha256Digest::of(&bytes),
            settings: settings.clone(),
            limits: limits.clone(),
            wasi: config.wasi,
            pinned,
            cases: cases.as_ref().map(|(digest, _)| *digest),
        };
        let candidate = Candidate {
            name: config.name.clone(),
            bytes,
            pinned,
            settings,
            limits,
            wasi: config.wasi,
            log: PluginLog::new(&config.name),
            cases: cases.map(|(_, cases)| Arc::new(cases)),
        };
        Ok(Self { candidate, key })
    }
}

fn read_cases(dir: &Path, path: &Path) -> Result<(Sha256Digest, Cases), LoadError> {
    let bytes = read_inside(dir, path, CASES_BYTES_MAX)?;
    let wrong = |error| LoadError::Cases { path: path.to_owned(), error };
    let text = String::from_utf8_lossy(&bytes);
    Ok((Sha256Digest::of(&bytes), Cases::parse(&text).map_err(wrong)?))
}

/// At most `limit` bytes of a file in `dir`. A link inside is followed (that is how Kubernetes mounts files); one that leads out is not.
fn read_inside(dir: &Path, path: &Path, limit: usize) -> Result<Vec<u8>, LoadError> {
    let wrong = |why: &dyn std::fmt::Display| LoadError::Read { path: path.to_owned(), why: why.to_string() };
    let dir = std::fs::canonicalize(dir).map_err(|error| wrong(&format_args!("plugins.dir: {error}")))?;
    let found = std::fs::canonicalize(dir.join(path)).map_err(|error| wrong(&error))?;
    if !found.starts_with(&dir) {
        return Err(wrong(&"it is a link that leads out of plugins.dir"));
    }
    let file = open_no_link(&found).map_err(|error| wrong(&error))?;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err(wrong(&"not a file"));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
    Ok(bytes)
}

/// Neither a link that was put there meanwhile, nor a pipe that nobody writes.
pub(crate) fn open_no_link(path: &Path) -> std::io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(std::io::Error::other)?;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_inside_is_followed_and_one_that_leads_out_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let inside = dir.path().join("plugins");
        std::fs::create_dir_all(inside.join("..data")).expect("a folder");
        std::fs::write(inside.join("..data/a.wasm"), "a").expect("a file");
        std::fs::write(dir.path().join("out.wasm"), "out").expect("a file");
        symlink("..data/a.wasm", inside.join("a.wasm")).expect("a link");
        symlink("../out.wasm", inside.join("b.wasm")).expect("a link");
        symlink(dir.path(), inside.join("folder")).expect("a link");
        let read = |path: &str| read_inside(&inside, path.as_ref(), 10);
        assert_eq!(read("a.wasm").ok().as_deref(), Some(&b"a"[..]));
        for path in ["b.wasm", "folder/out.wasm", "missing.wasm", "..data"] {
            assert!(matches!(read(path), Err(LoadError::Read { .. })), "{path}");
        }
    }

    #[test]
    fn no_more_is_read_than_can_be_loaded() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = File::create(dir.path().join("huge.wasm")).expect("a file");
        file.set_len(1 << 30).expect("sparse");
        assert_eq!(read_inside(dir.path(), "huge.wasm".as_ref(), 100).expect("read").len(), 100);
    }
}
