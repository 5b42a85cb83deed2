//! Where tools are kept that a build installs: pinned, apart from the system, and once for all projects below one folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::command::{command, finishes, line_of, on_path, told};
use super::debian;

/// How long a download may take.
const DEADLINE: Duration = Duration::from_secs(300);
/// The folder beside which, or in which, tools are looked for.
const TOOLS: &str = "target/tools";
/// The first that componentize-py's bindings are written for.
const PYTHON_MINOR_MIN: u32 = 10;

/// The nearest `target/tools` above the project, where one is there already; its own otherwise.
pub(super) fn folder(project: &Path) -> PathBuf {
    let above = project.ancestors().map(|folder| folder.join(TOOLS));
    above.into_iter().find(|folder| folder.is_dir()).unwrap_or_else(|| project.join(TOOLS))
}

/// The file `path` in the project's folder or the nearest one above it that has it, as Node looks for packages.
pub(super) fn above(project: &Path, path: &str) -> Option<PathBuf> {
    project.ancestors().map(|folder| folder.join(path)).find(|file| file.is_file())
}

/// A Python environment `folder` with these packages and nothing else, made now if `proof` is not in it.
pub(super) fn python_environment(
    folder: &Path,
    proof: &str,
    package: &str,
    may_install: bool,
) -> anyhow::Result<PathBuf> {
    let program = folder.join("bin").join(proof);
    if program.is_file() {
        return Ok(program);
    }
    ensure!(may_install, "{package} is not installed, and --no-install forbids to: pip install {package}");
    let python = python(may_install)?;
    making(folder, package, |partial| {
        let mut venv = command(&python, Path::new("/"));
        venv.args(["-m", "venv"]).arg(partial);
        ensure!(finishes(told(&mut venv), DEADLINE), "python3 could not make an environment: what it says is above");
        let mut pip = command(partial.join("bin/python"), Path::new("/"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]);
        ensure!(finishes(told(&mut pip), DEADLINE), "pip could not install {package}: what it says is above");
        Ok(())
    })?;
    ensure!(program.is_file(), "{package} is installed, and yet there is no {}", program.display());
    Ok(program)
}

/// Makes `folder` by `make`: a folder that is there is whole. Environments know their own path, so nothing is moved: what was left behind
/// half made is made again.
pub(super) fn making(folder: &Path, what: &str, make: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    eprintln!("codec-plugin: installing {what} into {} (at most {} s)", folder.display(), DEADLINE.as_secs());
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
    }
    let made = make(folder);
    if made.is_err() {
        // Half of it would pass for all of it.
        let _ = fs::remove_dir_all(folder);
    }
    made
}

/// Runs one command of an installation.
pub(super) fn run(command: &mut Command, what: &str) -> anyhow::Result<()> {
    ensure!(finishes(told(command), DEADLINE), "{what}: it failed, or took longer than {} s", DEADLINE.as_secs());
    Ok(())
}

/// A Python that can make environments.
fn python(may_install: bool) -> anyhow::Result<PathBuf> {
    let usable = || {
        let python = on_path("python3")?;
        let asked = format!("import sys, venv, ensurepip; print(sys.version_info >= (3, {PYTHON_MINOR_MIN}))");
        (line_of(command(&python, Path::new("/")).args(["-c", &asked])).as_deref() == Some("True")).then_some(python)
    };
    if let Some(python) = usable() {
        return Ok(python);
    }
    if may_install && debian::is_here() {
        debian::install(&["python3", "python3-venv"])?;
        if let Some(python) = usable() {
            return Ok(python);
        }
    }
    bail!("there is no python3 here of version 3.{PYTHON_MINOR_MIN} or newer with the module venv: install it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_shared_by_the_projects_below_the_folder_that_has_them() {
        let root = tempfile::tempdir().expect("a folder");
        let project = root.path().join("plugins/p");
        fs::create_dir_all(&project).expect("made");
        assert_eq!(folder(&project), project.join(TOOLS));
        fs::create_dir_all(root.path().join(TOOLS)).expect("made");
        assert_eq!(folder(&project), root.path().join(TOOLS));
        assert_eq!(above(&project, "there"), None);
        fs::write(root.path().join("plugins/there"), "").expect("written");
        assert_eq!(above(&project, "there"), Some(root.path().join("plugins/there")));
    }

    #[test]
    fn what_could_not_be_made_is_not_left_behind_half() {
        let root = tempfile::tempdir().expect("a folder");
        let tool = root.path().join("tools/t");
        let fails = making(&tool, "t", |folder| {
            fs::create_dir_all(folder)?;
            fs::write(folder.join("half"), "")?;
            bail!("cut off")
        });
        assert!(fails.is_err() && !tool.exists());
        making(&tool, "t", |folder| Ok(fs::create_dir_all(folder)?)).expect("made");
        assert!(tool.exists());
    }

    #[test]
    fn nothing_is_installed_where_that_is_forbidden() {
        let root = tempfile::tempdir().expect("a folder");
        let error =
            python_environment(&root.path().join("t"), "t", "no-such-package==1", false).expect_err("forbidden");
        assert!(error.to_string().contains("--no-install"), "{error}");
        assert_eq!(fs::read_dir(root.path()).expect("there").count(), 0);
    }
}
