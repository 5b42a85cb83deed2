//! Whether the files have changed that plugins are made of.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Config, ConfigError};

/// How often the files are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long they must have stayed as they are: what is written in place is read when it is whole.
pub(super) const SETTLES_IN: Duration = Duration::from_millis(50);

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
        let read = Config::read_or_default(&self.path)?;
        self.refuse_if_gone(&read)?;
        self.restart_needed = read.without_plugins() != self.at_start.without_plugins();
        let next = self.running.with_plugins_of(&read)?;
        self.current = next.clone();
        self.was_there |= self.path.exists();
        // The files that it names now.
        self.seen = self.stamps();
        Ok(next)
    }

    /// A file that is gone, or that somebody is about to write anew, takes no policy away. To have none, say so: `[plugins]` alone.
    fn refuse_if_gone(&self, read: &Config) -> Result<(), ConfigError> {
        let is_bare =
            *read == Config::default() && std::fs::read_to_string(&self.path).is_ok_and(|text| text.trim().is_empty());
        let is_gone = self.was_there && !self.path.exists();
        if is_gone || is_bare && self.was_there {
            let message = if is_gone { "is gone" } else { "is empty" };
            return Err(ConfigError::value(self.path.display().to_string(), message));
        }
        Ok(())
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
        for (path, cases) in components {
            paths.push(dir.join(path));
            paths.extend(cases.iter().map(|cases| dir.join(cases)));
        }
        paths.extend(config.outputs.iter().filter_map(|output| output.ca_file.clone()));
        paths.extend(config.sinks.iter().flat_map(|sink| &sink.http).filter_map(|grant| grant.ca_file.clone()));
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
