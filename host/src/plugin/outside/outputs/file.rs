//! Lines appended to a file, each batch synced before it counts.
//!
//! The folder holds outputs and nothing else, so that no line can land in a plugin, a journal or a database. A link is not followed, a
//! second name for another file not accepted. A file that was moved away (as logrotate does) is made anew.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;

use super::OutputError;

const NAME_LEN_MAX: usize = 64;

pub(super) struct Lines {
    path: PathBuf,
    /// The longest line with its end, where a line feed ends each: what stands behind the last one is the half of a line that a crash
    /// left. None where lines are told apart otherwise.
    line_bytes: Option<usize>,
    file: Option<File>,
    /// An append that nobody waits for any more. It must end before the next one begins.
    running: Option<JoinHandle<io::Result<File>>>,
}

/// Whether `name` can be the name of an output's file.
pub fn check_file_name(name: &str) -> Result<(), OutputError> {
    let fits = (1..=NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && name.as_bytes()[0].is_ascii_alphanumeric();
    if fits { Ok(()) } else { Err(OutputError::FileName(crate::plugin::fault::printable(name))) }
}

impl Lines {
    pub(super) fn new(path: PathBuf, line_bytes: Option<usize>) -> Self {
        Self { path, line_bytes, file: None, running: None }
    }

    pub(super) async fn append(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        // However it went: whoever waited for it has been told that it was too late.
        let _ = self.finish_running().await;
        let (path, line_bytes, file) = (self.path.clone(), self.line_bytes, self.file.take());
        self.running = Some(tokio::task::spawn_blocking(move || {
            let mut file = match file {
                Some(file) if is_still_there(&file, &path) => file,
                _ => open(&path, line_bytes)?,
            };
            append(&mut file, &bytes).map(|()| file)
        }));
        self.finish_running().await
    }

    /// Waits for the append that runs. Dropped meanwhile, it is waited for the next time.
    async fn finish_running(&mut self) -> io::Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let outcome = running.await;
        self.running = None;
        self.file = Some(outcome.map_err(io::Error::other)??);
        Ok(())
    }
}

fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    // An output that was replaced may still be at work on its last batch.
    file.lock()?;
    let appended = append_locked(file, bytes);
    file.unlock()?;
    appended
}

fn append_locked(file: &mut File, bytes: &[u8]) -> io::Result<()> {
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

fn open(path: &Path, line_bytes: Option<usize>) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    // O_NOFOLLOW, O_NONBLOCK: neither a link nor a pipe that nobody reads.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(io::Error::other("not a file of its own: it has another name, or is no file"));
    }
    if let Some(line_bytes) = line_bytes {
        file.lock()?;
        let cut = cut_half_a_line(&file, found.len(), line_bytes as u64);
        file.unlock()?;
        cut?;
    }
    Ok(file)
}

/// A line that was not written to its end was not acknowledged either: it comes again, and must not be glued to this half of it. No more
/// than a line is ever taken off: a file without an end of a line there is not one of ours.
fn cut_half_a_line(file: &File, len: u64, line_bytes: u64) -> io::Result<()> {
    let start = len.saturating_sub(line_bytes + 1);
    let mut end = vec![0; (len - start) as usize];
    file.read_exact_at(&mut end, start)?;
    match end.iter().rposition(|&b| b == b'\n') {
        Some(at) if at + 1 == end.len() => Ok(()),
        Some(at) => file.set_len(start + at as u64 + 1),
        None if len <= line_bytes => file.set_len(0),
        None => Err(io::Error::other("it does not hold lines: move it away, or give the output another name")),
    }
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
            assert!(Lines::new(dir.join(name), Some(100)).append(b"y\n".to_vec()).await.is_err(), "{name}");
        }
        assert_eq!(std::fs::read(dir.join("secret")).expect("readable"), b"x");
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_made_anew() {
        let dir = folder("moved");
        let mut lines = Lines::new(dir.join("a.log"), Some(100));
        lines.append(b"1\n".to_vec()).await.expect("written");
        std::fs::rename(dir.join("a.log"), dir.join("a.log.1")).expect("moved");
        lines.append(b"2\n".to_vec()).await.expect("written");
        assert_eq!(std::fs::read(dir.join("a.log")).expect("readable"), b"2\n");
        assert_eq!(std::fs::read(dir.join("a.log.1")).expect("readable"), b"1\n");
    }

    #[tokio::test]
    async fn half_a_line_that_a_crash_left_is_taken_off() {
        let dir = folder("half");
        for (before, after) in [("a\nha", "a\nb\n"), ("half", "b\n"), ("a\n", "a\nb\n"), ("", "b\n")] {
            std::fs::write(dir.join("a.log"), before).expect("written");
            Lines::new(dir.join("a.log"), Some(100)).append(b"b\n".to_vec()).await.expect("written");
            assert_eq!(std::fs::read_to_string(dir.join("a.log")).expect("readable"), after, "{before:?}");
        }
        let long = "x".repeat(102);
        std::fs::write(dir.join("a.log"), &long).expect("written");
        assert!(Lines::new(dir.join("a.log"), Some(100)).append(b"b\n".to_vec()).await.is_err());
        assert_eq!(std::fs::read_to_string(dir.join("a.log")).expect("readable"), long);
        std::fs::write(dir.join("a.log"), "3 abc").expect("written");
        Lines::new(dir.join("a.log"), None).append(b"1 d".to_vec()).await.expect("written");
        assert_eq!(std::fs::read_to_string(dir.join("a.log")).expect("readable"), "3 abc1 d");
    }

    #[test]
    fn names_stay_in_their_folder() {
        for name in ["", ".", "..", ".hidden", "a/b", "../x", "a\0", "-a", &"a".repeat(65)] {
            assert!(check_file_name(name).is_err(), "{name:?}");
        }
        assert!(check_file_name("audit-1.jsonl").is_ok());
    }
}
