//! Whether the files have changed that plugins are made of.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::key_provider;
use crate::config::{Config, ConfigError, CredentialConfig, Mode, SinkConfig};

/// How often the files are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long they must have stayed as they are: what is written in place is read when it is whole.
pub(super) const SETTLES_IN: Duration = Duration::from_millis(50);
/// Who writes on and on is not waited for.
pub(super) const SETTLES_MAX: u32 = 20;
/// How often what may pass is tried again.
pub(super) const TRY_AGAIN_EVERY: Duration = Duration::from_secs(10);

/// `codec.toml`, and the files that it names for plugins.
pub struct ConfigFile {
    path: PathBuf,
    /// As the process runs, with the environment applied.
    running: Config,
    /// As the file was at the start, without.
    at_start: Config,
    /// The last that was good.
    current: Config,
    /// Whether there has been a file.
    was_there: bool,
    seen: Vec<(PathBuf, Option<Stamp>)>,
    restart_needed: bool,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl ConfigFile {
    /// The file at `path`, from which `running` was made. It need not be there.
    pub fn new(path: PathBuf, running: &Config) -> Self {
        let at_start = Config::read_or_default(&path).unwrap_or_else(|_| running.clone());
        let (was_there, current, running) = (path.exists(), running.clone(), running.clone());
        let mut file = Self { path, running, at_start, current, was_there, seen: Vec::new(), restart_needed: false };
        file.seen = file.stamps();
        // What has changed since `running` was made of it is found by the first look.
        if let Some(config) = file.seen.first_mut() {
            config.1 = None;
        }
        file
    }

    /// Whether any of the files is another than when this was asked last.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = self.stamps();
        let changed = now != self.seen;
        self.seen = now;
        changed
    }

    /// Reads it again: what of it can change now, in place of what ran so far.
    pub(super) fn read_again(&mut self) -> Result<Config, ConfigError> {
        // Before it is read: what is written meanwhile is another change.
        let read_as = stamp(&self.path);
        let read = Config::read_or_default(&self.path)?;
        let next = self.running.with_plugins_of(&read)?;
        self.refuse_if_gone(&next)?;
        self.restart_needed = read.without_plugins() != self.at_start.without_plugins();
        self.current = next.clone();
        self.was_there |= self.path.exists();
        // The files that it names now.
        self.seen = self.stamps();
        if let Some(config) = self.seen.first_mut() {
            config.1 = read_as;
        }
        Ok(next)
    }

    /// A file that is gone, or that breaks off before the policies or the required sinks begin, takes none of them away. Who wants none
    /// says so: `[plugins]` with a `default`, and `required = false` where a sink was required.
    fn refuse_if_gone(&self, next: &Config) -> Result<(), ConfigError> {
        let enforced = |config: &Config| config.policies.iter().any(|policy| policy.mode == Mode::Enforce);
        let message = if self.was_there && !self.path.exists() {
            "is gone".to_owned()
        } else if enforced(&self.current) && !enforced(next) && next.plugins.default.is_none() {
            "enforces no policy any more: if that is meant, set plugins.default".to_owned()
        } else if let Some(sink) = self.silently_let_go(next) {
            format!("requires no sink any more: if that is meant, set `required = false` for `{}` first", sink.name)
        } else {
            return Ok(());
        };
        Err(ConfigError::value(self.path.display().to_string(), message))
    }

    /// A sink that is required so far, where `next` requires none and does not say of this one that it is not.
    fn silently_let_go(&self, next: &Config) -> Option<&SinkConfig> {
        if next.sinks.iter().any(SinkConfig::is_required) {
            return None;
        }
        let is_said =
            |sink: &SinkConfig| next.sinks.iter().any(|now| now.name == sink.name && now.required == Some(false));
        self.current.sinks.iter().find(|sink| sink.is_required() && !is_said(sink))
    }

    pub(super) fn restart_needed(&self) -> bool {
        self.restart_needed
    }

    fn stamps(&self) -> Vec<(PathBuf, Option<Stamp>)> {
        let config = &self.current;
        let dir = config.plugins_dir();
        let mut paths = vec![self.path.clone()];
        let components = config.policies.iter().map(|policy| (&policy.path, &policy.cases));
        let components = components.chain(config.sinks.iter().map(|sink| (&sink.path, &sink.cases)));
        let components = components.chain(config.providers.iter().map(|provider| (&provider.path, &provider.cases)));
        let components = components.chain(key_provider::component_files(config));
        for (path, cases) in components {
            paths.push(dir.join(path));
            paths.extend(cases.iter().map(|cases| dir.join(cases)));
        }
        paths.extend(config.outputs.iter().filter_map(|output| output.ca_file.clone()));
        paths.extend(config.credentials.iter().flat_map(CredentialConfig::files).map(Path::to_owned));
        let grants = config.sinks.iter().flat_map(|sink| &sink.http);
        let grants = grants.chain(config.providers.iter().flat_map(|provider| &provider.http));
        let grants = grants.chain(config.keys.provider.iter().flat_map(|provider| &provider.http));
        paths.extend(grants.filter_map(|grant| grant.ca_file.clone()));
        paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect()
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some(Stamp {
        inode: (found.dev(), found.ino()),
        len: found.len(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}
