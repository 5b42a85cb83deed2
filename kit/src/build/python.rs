//! From Python to a component: componentize-py puts the module and the standard library into an interpreter (CPython) that has imported
//! them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::command::{command, finishes, told};
use super::guest::Guest;
use super::tools;

/// Changes when components are made in another way.
pub(super) const RECIPE: &str = "python 1: componentize-py 0.25.0";

/// What is installed, and where it is kept.
const PACKAGE: &str = "componentize-py==0.25.0";
const FOLDER: &str = "componentize-py-0.25.0";
/// Of an environment of the project's own.
const OWN: &str = ".venv/bin/componentize-py";
/// A build takes some seconds.
const DEADLINE: Duration = Duration::from_secs(300);

/// Makes the component of the classes in `module`.
pub(super) fn build(guest: &Guest, module: &str, may_install: bool) -> anyhow::Result<Vec<u8>> {
    let file = guest.folder.join(format!("{}.py", module.replace('.', "/")));
    let package = guest.folder.join(module.replace('.', "/")).join("__init__.py");
    ensure!(file.is_file() || package.is_file(), "there is no {}, which pyproject.toml calls `module`", file.display());
    let program = componentize(guest, may_install)?;
    let out = guest.build_dir().join("component.wasm");
    fs::create_dir_all(guest.build_dir()).context("cannot make the folder of what is built")?;
    let mut running = command(&program, &guest.folder);
    running.arg("--quiet").arg("--wit-path").arg(&guest.wit).args(["--world", guest.kind.world()]);
    // Without a single import of WASI: what a plugin reaches is in its world.
    running.args(["componentize", module, "--stub-wasi", "--python-path", "."]).arg("--output").arg(&out);
    ensure!(
        finishes(told(&mut running), DEADLINE),
        "componentize-py could not make a component of {}: what it says is above",
        guest.name
    );
    fs::read(&out).with_context(|| format!("componentize-py made no {}", out.display()))
}

/// The project's own componentize-py, or the one that is pinned here.
fn componentize(guest: &Guest, may_install: bool) -> anyhow::Result<PathBuf> {
    if let Some(own) = tools::above(&guest.folder, OWN) {
        return Ok(own);
    }
    let folder = tools::folder(&guest.folder).join(FOLDER);
    tools::python_environment(&folder, "componentize-py", PACKAGE, may_install)
}
