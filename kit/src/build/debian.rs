//! Debian's Rust, for machines whose rustup reaches no server: its compiler comes with the source of the standard library, which is then
//! built for the target like any other dependency.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, ensure};

use super::command::{command, finishes, line_of, on_path, told};

/// What is installed if it is not there.
pub(super) const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Debian's cargo, by its whole path: rustup's stands before it on the path.
pub(super) const CARGO: &str = "/usr/bin/cargo";

/// Debian's compiler, likewise.
pub(super) const RUSTC: &str = "/usr/bin/rustc";

/// The first rustc that knows the edition of the projects that `codec-plugin new` makes: 1.85.
const OLDEST_MINOR: u32 = 85;

/// Debian's Rust, and a linker for it.
#[derive(Debug)]
pub(super) struct Debian {
    linker: PathBuf,
}

impl Debian {
    /// Tells cargo to build the standard library too.
    pub(super) fn build_library_along(&self, cargo: &mut Command) {
        cargo.args(["-Z", "build-std=std,panic_abort"]);
        // The flag is unstable, and this is how a stable compiler is told that we know.
        cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", RUSTC);
        cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &self.linker);
    }
}

/// Debian's Rust, installed now if it may be; none where this is not Debian, or it may not.
pub(super) fn find(may_install: bool) -> anyhow::Result<Option<Debian>> {
    let is_debian = is_here();
    if !is_complete() {
        if !is_debian || !may_install {
            return Ok(None);
        }
        install(&PACKAGES)?;
        ensure!(
            is_complete(),
            "{} are installed, and yet {RUSTC} does not find its library's source",
            PACKAGES.join(", ")
        );
    }
    if let Some(linker) = linker() {
        return Ok(Some(Debian { linker }));
    }
    if is_debian && may_install {
        install(&["lld"])?;
    }
    match linker() {
        Some(linker) => Ok(Some(Debian { linker })),
        None => bail!(
            "there is no linker for WebAssembly: install lld (apt-get install lld), or Rust by rustup, which brings rust-lld"
        ),
    }
}

/// Whether the compiler is recent, and the source of its library and its cargo are there.
pub(super) fn is_complete() -> bool {
    let root = Path::new("/");
    let recent =
        line_of(command(RUSTC, root).arg("--version")).and_then(|line| minor(&line)).is_some_and(|m| m >= OLDEST_MINOR);
    let sysroot = line_of(command(RUSTC, root).args(["--print", "sysroot"]));
    let has_source = sysroot
        .is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file());
    recent && has_source && Path::new(CARGO).is_file()
}

/// The 96 of `rustc 1.96.0 (…)`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

/// How long apt may take: it waits for others of its kind.
const APT_DEADLINE: Duration = Duration::from_secs(600);

/// Whether there is an apt to install from.
pub(super) fn is_here() -> bool {
    Path::new("/etc/debian_version").exists() && on_path("apt-get").is_some()
}

/// Installs packages, and removes none for their sake.
pub(super) fn install(packages: &[&str]) -> anyhow::Result<()> {
    let apt = ["apt-get", "install", "-y", "--no-install-recommends", "--no-remove"];
    let is_root = line_of(Command::new("id").arg("-u")).as_deref() == Some("0");
    let line: Vec<&str> =
        if is_root { vec![] } else { vec!["sudo"] }.into_iter().chain(apt).chain(packages.iter().copied()).collect();
    let Some((program, arguments)) = line.split_first() else { return Ok(()) };
    eprintln!("codec-plugin: {} (at most {} s)", line.join(" "), APT_DEADLINE.as_secs());
    let mut installing = Command::new(program);
    // sudo may ask for a password; what apt says is progress.
    told(&mut installing).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    ensure!(
        finishes(&mut installing, APT_DEADLINE),
        "{} could not be installed; what apt says is above. `apt-get update` helps if it knows no such package; if it is held back by \
         Debian's own rustc, which Rust's packages replace, or there is no sudo, install them by hand: apt-get install {}",
        packages.join(", "),
        packages.join(" ")
    );
    Ok(())
}

/// rustup's rust-lld knows most of what a recent compiler writes, so it comes first.
fn linker() -> Option<PathBuf> {
    rustup_linker().or_else(|| LINKERS.iter().find_map(|name| on_path(name))).or_else(llvm_linker)
}

fn rustup_linker() -> Option<PathBuf> {
    let sysroot = line_of(command("rustc", Path::new("/")).args(["--print", "sysroot"]))?;
    let hosts = fs::read_dir(Path::new(&sysroot).join("lib/rustlib")).ok()?;
    hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|file| file.is_file())
}

fn llvm_linker() -> Option<PathBuf> {
    llvm_folders().into_iter().map(|path| path.join("bin/wasm-ld")).find(|file| file.is_file())
}

/// The versions of LLVM that Debian installs side by side, the newest first.
pub(super) fn llvm_folders() -> Vec<PathBuf> {
    let version = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("llvm-")?.parse::<u32>().ok();
    let files = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = files.map(|file| file.path()).filter(|path| version(path).is_some()).collect();
    folders.sort_by_key(|path| std::cmp::Reverse(version(path)));
    folders
}

const LINKERS: [&str; 3] = ["rust-lld", "wasm-ld", "lld"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_says_which_it_is() {
        assert_eq!(minor("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"), Some(96));
        assert_eq!(minor("rustc 1.63.0"), Some(63));
        assert_eq!(minor("rustc 2.0.0"), None);
        assert_eq!(minor("cargo 1.96.0"), None);
    }
}
