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
    /// Whether a line feed ends each line: then what stands behind the last one is the half of a line that a crash left.
    ends_lines: bool,
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
    pub(super) fn new(path: PathBuf, ends_lines: bool) -> Self {
        Self { path, ends_lines, file: None, running: None }
    }

    pub(super) async fn append(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        // However it went: whoever waited for it has been told that it was too late.
        let _ = self.finish_running().await;
        let (path, ends_lines, file) = (self.path.clone(), self.ends_lines, self.file.take());
        self.running = Some(tokio::task::spawn_blocking(move || {
            let mut file = match file {
                Some(file) if is_still_there(&file, &path) => file,
                _ => open(&path, ends_lines)?,
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

fn open(path: &Path, ends_lines: bool) -> io::Result<File> {
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
    if ends_lines {
        cut_half_a_line(&file, found.len())?;
    }
    Ok(file)
}

/// A line that was not written to its end was not acknowledged either: it comes again, and must not be glued to this half of it.
fn cut_half_a_line(file: &File, len: u64) -> io::Result<()> {
    let mut end = len;
    let mut piece = vec![0; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(piece.len() as u64);
        let piece = &mut piece[..(end - start) as usize];
        file.read_exact_at(piece, start)?;
        if let Some(at) = piece.iter().rposition(|&b| b == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end == len { Ok(()) } else { file.set_len(end) }
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
            assert!(Lines::new(dir.join(name), true).append(b"y\n".to_vec()).await.is_err(), "{name}");
        }
        assert_eq!(std::fs::read(dir.join("secret")).expect("readable"), b"x");
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_made_anew() {
        let dir = folder("moved");
        let mut lines = Lines::new(dir.join("a.log"), true);
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
            Lines::new(dir.join("a.log"), true).append(b"b\n".to_vec()).await.expect("written");
            assert_eq!(std::fs::read_to_string(dir.join("a.log")).expect("readable"), after, "{before:?}");
        }
        std::fs::write(dir.join("a.log"), "3 abc").expect("written");
        Lines::new(dir.join("a.log"), false).append(b"1 d".to_vec()).await.expect("written");
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
