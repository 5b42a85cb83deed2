//! A Rust compiler for [`TARGET`], found by looking and not by asking:
//!
//! 1. the target's standard library is installed: plain cargo;
//! 2. rustup fetches it, within a minute;
//! 3. Debian's compiler builds it from its source along with the plugin ([`super::debian`]).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::command::{command, finishes, line_of, on_path};
use super::debian::{self, Debian};
use super::project::Project;
use super::remap;

/// What guests are compiled for: nothing ambient, so nothing to take away.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

/// How long rustup may try. Where the network swallows packets it would try for longer.
const RUSTUP_DEADLINE: Duration = Duration::from_secs(60);

/// How long where Debian's Rust stands ready, lest every build on such a network begin with a minute of nothing.
const RUSTUP_DEADLINE_BEFORE_DEBIAN: Duration = Duration::from_secs(15);

/// A compiler for guests.
#[derive(Debug)]
pub(super) enum Toolchain {
    /// The compiler on the path has the target's standard library.
    Installed,
    /// The standard library is built along.
    FromSource(Debian),
}

impl Toolchain {
    /// Looks, as from `folder`, and installs what is missing if it may.
    pub(super) fn find(folder: &Path, may_install: bool) -> anyhow::Result<Self> {
        if has_library(folder) {
            return Ok(Self::Installed);
        }
        if may_install && rustup_adds_library(folder) && has_library(folder) {
            return Ok(Self::Installed);
        }
        if let Some(debian) = debian::find(may_install)? {
            eprintln!(
                "codec-plugin: Debian's rustc builds the standard library for {TARGET} along (a minute, the first time)"
            );
            return Ok(Self::FromSource(debian));
        }
        bail!(
            "no Rust compiler here builds for {TARGET}. Where rustup reaches its server: rustup target add {TARGET}. On Debian: apt-get \
             install --no-install-recommends {}",
            debian::PACKAGES.join(" ")
        )
    }

    /// What `cargo metadata` says of the project or workspace of `manifest`, as JSON.
    pub(super) fn metadata(&self, manifest: &Path) -> anyhow::Result<Vec<u8>> {
        let output = command(self.cargo(), manifest.parent().unwrap_or(Path::new(".")))
            .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
            .arg(manifest)
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        ensure!(output.status.success(), "cargo cannot read {}: what it says is above", manifest.display());
        Ok(output.stdout)
    }

    /// Compiles the projects of one workspace, with one stack size, in one run of cargo.
    pub(super) fn compile(&self, projects: &[&Project]) -> anyhow::Result<()> {
        let Some(first) = projects.first() else { return Ok(()) };
        let mut cargo = command(self.cargo(), &first.workspace);
        cargo.args(["build", "--release", "--lib", "--target", TARGET, "--target-dir"]).arg(first.build_dir());
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.flags(first).join("\u{1f}"));
        if let Self::FromSource(debian) = self {
            debian.build_library_along(&mut cargo);
        }
        for project in projects {
            cargo.args(["-p", &project.id]);
        }
        let names: Vec<&str> = projects.iter().map(|project| project.name.as_str()).collect();
        eprintln!("codec-plugin: building {} with a stack of {} bytes", names.join(", "), first.stack_bytes);
        // What cargo says is progress, and standard output is for what was built.
        let status = cargo.stdout(Stdio::null()).status().context("cannot run cargo")?;
        ensure!(status.success(), "cargo could not build {}: what it says is above", names.join(", "));
        Ok(())
    }

    /// The size of the stack, and names in place of this machine's folders: the same sources make the same component anywhere, and it
    /// tells nobody where.
    fn flags(&self, project: &Project) -> Vec<String> {
        let rustc = match self {
            Self::Installed => Path::new("rustc"),
            Self::FromSource(_) => Path::new(debian::RUSTC),
        };
        let mut flags = vec![format!("-Clink-arg=-zstack-size={}", project.stack_bytes)];
        for (folder, name) in remap::folders(rustc, project) {
            flags.push(format!("--remap-path-prefix={}={name}", folder.display()));
        }
        flags
    }

    fn cargo(&self) -> &Path {
        match self {
            Self::Installed => Path::new("cargo"),
            Self::FromSource(_) => Path::new(debian::CARGO),
        }
    }
}

/// The folder alone proves nothing: rustup leaves it behind, empty.
fn has_library(folder: &Path) -> bool {
    let Some(library) = line_of(command("rustc", folder).args(["--print", "target-libdir", "--target", TARGET])) else {
        return false;
    };
    let Ok(files) = std::fs::read_dir(library) else { return false };
    on_path("cargo").is_some() && files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

fn rustup_adds_library(folder: &Path) -> bool {
    if on_path("rustup").is_none() {
        return false;
    }
    let deadline = if debian::is_complete() { RUSTUP_DEADLINE_BEFORE_DEBIAN } else { RUSTUP_DEADLINE };
    eprintln!("codec-plugin: rustup target add {TARGET} (at most {} s)", deadline.as_secs());
    let mut rustup = command("rustup", folder);
    // Its error says what it says; where in rustup it arose helps nobody here.
    rustup.env_remove("RUST_BACKTRACE").args(["target", "add", TARGET]).stdout(Stdio::null());
    let added = finishes(&mut rustup, deadline);
    if !added {
        eprintln!("codec-plugin: rustup could not, or not in time");
    }
    added
}
