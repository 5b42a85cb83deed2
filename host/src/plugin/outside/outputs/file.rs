//! Lines appended to a file, each batch synced before it counts.
//!
//! The folder holds outputs and nothing else, so that no line can land in a plugin, a journal or a database. A link is not followed, a
//! second name for another file not accepted. A file that was moved away (as logrotate does) is made anew.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::OutputError;

const NAME_LEN_MAX: usize = 64;

pub(super) struct Lines {
    path: PathBuf,
    file: Option<File>,
}

/// Whether `name` can be the name of an output's file.
pub fn check_file_name(name: &str) -> Result<(), OutputError> {
    let fits = (1..=NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && name.as_bytes()[0].is_ascii_alphanumeric();
    if fits { Ok(()) } else { Err(OutputError::FileName(crate::plugin::fault::printable(name))) }
}

impl Lines {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    pub(super) async fn append(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let (path, file) = (self.path.clone(), self.file.take());
        let appending = tokio::task::spawn_blocking(move || {
            let mut file = match file {
                Some(file) if is_still_there(&file, &path) => file,
                _ => open(&path)?,
            };
            append(&mut file, &bytes).map(|()| file)
        });
        self.file = Some(appending.await.map_err(io::Error::other)??);
        Ok(())
    }
}

fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(bytes).and_then(|()| file.sync_data()).inspect_err(|_| {
        // Half a line would spoil the next one. If it cannot be taken off, the next reader sees it.
        let _ = file.set_len(before);
    })
}

fn is_still_there(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (file.metadata(), std::fs::symlink_metadata(path)) else { return false };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    // O_NOFOLLOW, O_NONBLOCK: neither a link nor a pipe that nobody reads.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(io::Error::other("not a file of its own: it has another name, or is no file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("codec-lines-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a folder");
        dir
    }

    #[tokio::test]
    async fn links_of_either_kind_and_folders_are_refused() {
        let dir = folder("links");
        std::fs::write(dir.join("secret"), "x").expect("a file");
        std::os::unix::fs::symlink(dir.join("secret"), dir.join("soft")).expect("a link");
        std::fs::hard_link(dir.join("secret"), dir.join("hard")).expect("a link");
        std::fs::create_dir(dir.join("folder")).expect("a folder");
        for name in ["soft", "hard", "folder"] {
            assert!(Lines::new(dir.join(name)).append(b"y\n".to_vec()).await.is_err(), "{name}");
        }
        assert_eq!(std::fs::read(dir.join("secret")).expect("readable"), b"x");
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_made_anew() {
        let dir = folder("moved");
        let mut lines = Lines::new(dir.join("a.log"));
        lines.append(b"1\n".to_vec()).await.expect("written");
        std::fs::rename(dir.join("a.log"), dir.join("a.log.1")).expect("moved");
        lines.append(b"2\n".to_vec()).await.expect("written");
        assert_eq!(std::fs::read(dir.join("a.log")).expect("readable"), b"2\n");
        assert_eq!(std::fs::read(dir.join("a.log.1")).expect("readable"), b"1\n");
    }

    #[test]
    fn names_stay_in_their_folder() {
        for name in ["", ".", "..", ".hidden", "a/b", "../x", "a\0", "-a", &"a".repeat(65)] {
            assert!(check_file_name(name).is_err(), "{name:?}");
        }
        assert!(check_file_name("audit-1.jsonl").is_ok());
    }
}
