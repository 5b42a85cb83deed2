//! From C to a component: clang and a C library for WebAssembly compile it with the bindings that wit-bindgen makes of its world.
//!
//! `plugin.toml` names the sources. What of the C library wants a system (`printf`, `fopen`, `time`) has none here, and makes no component.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

use super::command::{command, finishes, line_of, on_path, told};
use super::guest::Guest;
use super::project::{DEFAULT_STACK_BYTES, check_stack};
use super::{component, debian};

/// Changes when components are made in another way.
pub(super) const RECIPE: &str = "c 1: wit-bindgen-c 0.61.1";

/// What clang calls WebAssembly with a C library.
const TARGET: &str = "--target=wasm32-wasi";
/// Where Debian has that library.
const DEBIAN_LIBRARY: &str = "/usr/lib/wasm32-wasi/libc.a";
/// Debian's compiler, linker, C library, and what the compiler calls for 128-bit arithmetic.
const PACKAGES: [&str; 4] = ["clang", "lld", "wasi-libc", "libclang-rt-dev-wasm32"];
/// A few files in C take a second.
const DEADLINE: Duration = Duration::from_secs(300);

/// Files to compile, and how.
pub(super) struct Sources {
    files: Vec<PathBuf>,
    include: Vec<PathBuf>,
    cflags: Vec<String>,
    stack_bytes: u32,
}

impl Sources {
    pub(super) fn new(
        files: Vec<PathBuf>,
        include: Vec<PathBuf>,
        cflags: Vec<String>,
        stack_bytes: Option<u32>,
    ) -> anyhow::Result<Self> {
        let stack_bytes = stack_bytes.unwrap_or(DEFAULT_STACK_BYTES);
        check_stack(stack_bytes)?;
        Ok(Self { files, include, cflags, stack_bytes })
    }

    /// Sources and folders of headers, wherever they are.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().chain(&self.include)
    }
}

/// Compiles, links, and makes the component.
pub(super) fn build(guest: &Guest, sources: &Sources, may_install: bool) -> anyhow::Result<Vec<u8>> {
    let clang = find(may_install)?;
    let bindings = guest.build_dir().join("bindings");
    let names = write_bindings(guest, &bindings)?;
    let module = guest.build_dir().join("module.wasm");
    let glue = bindings.join("bindings.o");
    let mut compiling = clang_in(guest, &clang);
    // Generated code is not the author's to tidy.
    compiling.args(["-w", "-c"]).arg(bindings.join(format!("{names}.c"))).arg("-o").arg(&glue);
    run(&mut compiling, "the bindings")?;
    let mut linking = clang_in(guest, &clang);
    linking.args(["-Wall", "-Wextra", "-mexec-model=reactor"]).arg("-isystem").arg(&bindings);
    for folder in &sources.include {
        linking.arg("-I").arg(folder);
    }
    linking.args(&sources.cflags).args(&sources.files).arg(&glue);
    linking.arg(bindings.join(format!("{names}_component_type.o")));
    // The plain library's `snprintf` can tell of numbers that it does not write, on a stream that is not there.
    linking.arg("-lc-printscan-long-double");
    // The stack lies first, so that what overflows it traps, where it would else write over data.
    linking.arg(format!("-Wl,-z,stack-size={},--stack-first,--strip-debug", sources.stack_bytes));
    linking.arg("-o").arg(&module);
    run(&mut linking, "it")?;
    let bytes = fs::read(&module).with_context(|| format!("clang made no {}", module.display()))?;
    component::encode(&bytes).context(
        "what of the C library wants a system (printf, fopen, time, exit, assert) has none here: use snprintf, and the interface `log`",
    )
}

fn clang_in(guest: &Guest, clang: &Path) -> Command {
    let mut command = command(clang, &guest.folder);
    command.args([TARGET, "-O2"]).arg(format!("-ffile-prefix-map={}=.", guest.folder.display()));
    told(&mut command);
    command
}

fn run(clang: &mut Command, what: &str) -> anyhow::Result<()> {
    ensure!(finishes(clang, DEADLINE), "clang could not compile {what}: what it says is above");
    Ok(())
}

/// Writes the bindings of the plugin's world; answers what their files are called.
fn write_bindings(guest: &Guest, folder: &Path) -> anyhow::Result<String> {
    let mut resolve = Resolve::default();
    let at = || format!("the interfaces in {}", guest.wit.display());
    let (package, _) = resolve.push_path(&guest.wit).with_context(at)?;
    let world = resolve.select_world(&[package], Some(guest.kind.world())).with_context(at)?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files).with_context(at)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for (name, bytes) in files.iter() {
        let file = folder.join(name);
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(guest.kind.world().replace('-', "_"))
}

/// A clang that compiles for WebAssembly, with a C library; installed now if it may be.
fn find(may_install: bool) -> anyhow::Result<PathBuf> {
    if let Some(clang) = installed() {
        return Ok(clang);
    }
    if may_install && debian::is_here() {
        debian::install(&PACKAGES)?;
        if let Some(clang) = installed() {
            return Ok(clang);
        }
    }
    bail!(
        "there is no C compiler for WebAssembly with a C library here. On Debian: apt-get install --no-install-recommends {}",
        PACKAGES.join(" ")
    )
}

/// Any version of clang that finds what it calls for arithmetic.
fn installed() -> Option<PathBuf> {
    if !Path::new(DEBIAN_LIBRARY).is_file() {
        return None;
    }
    let has_builtins = |clang: &PathBuf| {
        let asked =
            line_of(command(clang, Path::new("/")).args([TARGET, "-rtlib=compiler-rt", "-print-libgcc-file-name"]));
        asked.is_some_and(|file| Path::new(&file).is_file())
    };
    let versioned = debian::llvm_folders().into_iter().map(|folder| folder.join("bin/clang"));
    let linked = |clang: &PathBuf| {
        on_path("wasm-ld").is_some()
            || clang.canonicalize().is_ok_and(|clang| clang.with_file_name("wasm-ld").is_file())
    };
    on_path("clang").into_iter().chain(versioned).filter(has_builtins).find(linked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::guest::Language;

    #[test]
    fn bindings_are_made_of_the_interfaces_that_this_repository_has() {
        let folder = tempfile::tempdir().expect("a folder");
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        for (kind, names) in [("policy", "policy_plugin"), ("audit-sink", "audit_sink_plugin")] {
            let manifest =
                format!("name = \"p\"\nkind = \"{kind}\"\nsources = [\"p.c\"]\nwit = {:?}", wit.display().to_string());
            fs::write(folder.path().join("plugin.toml"), manifest).expect("written");
            let guest = Guest::read(folder.path(), Language::C).expect("a project");
            let bindings = folder.path().join("bindings");
            assert_eq!(write_bindings(&guest, &bindings).expect("written"), names);
            for file in [".c", ".h", "_component_type.o"] {
                assert!(bindings.join(format!("{names}{file}")).is_file(), "{file}");
            }
        }
    }
}
