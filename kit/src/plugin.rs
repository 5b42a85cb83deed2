//! The plugin that a command is about: a component and its cases, or the project that makes both.

pub(crate) mod settings;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use origan_codec_host::plugin::cases::Cases;
use origan_codec_host::plugin::{Candidate, Kind, Limits, PluginLog, Scan};

use crate::{build, inspect};

/// Which plugin.
#[derive(clap::Args)]
pub(crate) struct PluginArgs {
    /// A project's folder, whose component is built if it is missing or older than its sources; or a component.
    #[arg(default_value = ".", value_name = "PATH")]
    path: PathBuf,
    /// Build nothing: stop if the component is missing or older than its sources.
    #[arg(long)]
    no_build: bool,
    /// Build if need be, but install nothing for it.
    #[arg(long)]
    no_install: bool,
    /// The file of cases; without it the one that the project names, `cases.toml` in its folder, or beside the component.
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// Let it import WASI, and find nothing there.
    #[arg(long)]
    wasi: bool,
}

/// A component and what is known of it.
pub(crate) struct Plugin {
    /// The project's name, or the file's.
    pub(crate) name: String,
    /// Where the component is.
    pub(crate) path: PathBuf,
    /// The component.
    pub(crate) bytes: Arc<[u8]>,
    /// Its cases, and their file.
    pub(crate) cases: Option<(PathBuf, Cases)>,
    wasi: bool,
}

impl PluginArgs {
    /// Finds the plugin, and builds it if it must.
    pub(crate) fn open(&self) -> anyhow::Result<Plugin> {
        let (name, path, beside) = if self.path.is_dir() {
            self.of_project()?
        } else {
            (stem(&self.path), self.path.clone(), beside(&self.path).join("cases.toml"))
        };
        let cases = match &self.cases {
            Some(file) => Some(read_cases(file)?),
            None => Some(beside).filter(|file| file.is_file()).as_deref().map(read_cases).transpose()?,
        };
        let bytes = inspect::read(&path)?.into();
        Ok(Plugin { name, path, bytes, cases, wasi: self.wasi })
    }

    fn of_project(&self) -> anyhow::Result<(String, PathBuf, PathBuf)> {
        let found = build::locate(&self.path)?;
        if !found.is_fresh {
            ensure!(
                !self.no_build,
                "{} is missing or older than its sources, and --no-build forbids to build it: codec-plugin build {}",
                found.component.display(),
                self.path.display()
            );
            build::build(std::slice::from_ref(&self.path), None, !self.no_install)?;
        }
        Ok((found.name, found.component, found.cases))
    }
}

impl Plugin {
    /// A component, and nothing beside it.
    pub(crate) fn of_file(path: &Path, wasi: bool) -> anyhow::Result<Self> {
        ensure!(!path.is_dir(), "{} is a folder: name the component in it, a .wasm file", path.display());
        let bytes = inspect::read(path)?.into();
        Ok(Self { name: stem(path), path: path.to_owned(), bytes, cases: None, wasi })
    }

    /// What it is for.
    pub(crate) fn kind(&self) -> anyhow::Result<Kind> {
        let scan = Scan::of(&self.bytes, Limits::policy().function_bytes);
        Ok(scan.with_context(|| self.path.display().to_string())?.kind)
    }

    /// As it asks the host to let it live: unpinned, its lines kept.
    pub(crate) fn candidate(&self, limits: Limits, settings: String) -> Candidate {
        Candidate {
            name: self.name.clone(),
            bytes: self.bytes.clone(),
            pinned: None,
            settings,
            limits,
            wasi: self.wasi,
            log: PluginLog::kept(&self.name),
            cases: None,
        }
    }

    /// Its cases, which a command cannot do without.
    pub(crate) fn cases(&mut self) -> anyhow::Result<(PathBuf, Cases)> {
        match self.cases.take() {
            Some(cases) => Ok(cases),
            None => {
                bail!("{} has no cases: write cases.toml beside it, or name a file by --cases", self.path.display())
            }
        }
    }
}

/// What a plugin of this kind may use unless the operator says otherwise; but no service waits for the compiler here.
pub(crate) fn limits_of(kind: Kind) -> Limits {
    let limits = match kind {
        Kind::Policy => Limits::policy(),
        Kind::AuditSink => Limits::sink(),
        Kind::SecretProvider => Limits::secret_provider(),
        Kind::KeyProvider => Limits::key_provider(),
    };
    Limits { compile_deadline: COMPILE_DEADLINE, ..limits }
}

/// As long as an operator can grant: the engines of JavaScript and of Python take a slow machine minutes.
const COMPILE_DEADLINE: Duration = Duration::from_secs(600);

/// The text for a terminal: what would move its cursor is escaped.
pub(crate) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn read_cases(file: &Path) -> anyhow::Result<(PathBuf, Cases)> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok((file.to_owned(), Cases::parse(&text).with_context(|| file.display().to_string())?))
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "plugin".into(), |stem| stem.to_string_lossy().into_owned())
}

fn beside(path: &Path) -> PathBuf {
    path.parent().map_or_else(|| ".".into(), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_wrote_moves_no_cursor() {
        assert_eq!(printable("ü\u{1b}[2J\n"), "ü\\u{1b}[2J\\n");
    }

    #[test]
    fn a_component_is_called_as_its_file_and_has_its_cases_beside_it() {
        assert_eq!(stem(Path::new("a/deny-frozen.wasm")), "deny-frozen");
        assert_eq!(beside(Path::new("a/deny-frozen.wasm")), Path::new("a"));
        assert_eq!(beside(Path::new("deny-frozen.wasm")), Path::new(""));
    }
}
