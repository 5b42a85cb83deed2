//! Commands that a build runs: free of what an outer cargo would tell them, bounded in time where they reach for the network.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a bounded command is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A command in `folder`, free of what an outer `cargo run`, or a shell set up for other targets, would tell it.
pub(super) fn command(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    for name in FOREIGN_VARIABLES {
        command.env_remove(name);
    }
    if std::env::var_os("CARGO").is_some() {
        // Inside cargo these are cargo's and rustup's choice, not the author's.
        command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH");
    }
    command
}

/// Where the path has `program`.
pub(super) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The first line that a command prints; none if it fails.
pub(super) fn line_of(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_string)
}

/// The command with its standard output among what is said of progress: that of `codec-plugin` is for what was built.
pub(super) fn told(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::from(std::io::stderr()))
}

/// Whether a command ends well within the deadline; afterwards it is stopped.
pub(super) fn finishes(command: &mut Command, deadline: Duration) -> bool {
    let Ok(mut child) = command.spawn() else { return false };
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if start.elapsed() < deadline => std::thread::sleep(LOOK_AGAIN),
            _ => {
                // It has ended meanwhile, or ends now.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// Whose value was meant for another compiler or another target.
const FOREIGN_VARIABLES: [&str; 10] = [
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUST_RECURSION_COUNT",
    "RUSTUP_TOOLCHAIN_SOURCE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_does_not_end_is_stopped() {
        let start = Instant::now();
        assert!(!finishes(Command::new("sleep").arg("30"), Duration::from_millis(200)));
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(finishes(&mut Command::new("true"), Duration::from_secs(10)));
        assert!(!finishes(&mut Command::new("false"), Duration::from_secs(10)));
        assert!(!finishes(&mut Command::new("/no/such/program"), Duration::from_secs(10)));
    }
}
