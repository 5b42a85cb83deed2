//! `codec-plugin build`: from a project's folder to a component in one file. The manifest in it says what it is written in.

mod c;
mod command;
mod component;
mod debian;
mod guest;
mod inputs;
mod javascript;
mod located;
mod project;
mod python;
mod remap;
mod toolchain;
mod tools;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::inspect::Anatomy;
use guest::{Guest, Language};
pub(crate) use located::locate;
use project::Project;
use toolchain::Toolchain;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folders of projects: with a Cargo.toml (of a workspace without a package of its own, all plugins in it), a package.json, a
    /// pyproject.toml, or for C a plugin.toml; or with none, for all projects in other languages than Rust that lie in them.
    #[arg(default_value = ".", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Folder for the components; without it each project's target folder.
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Install nothing: stop if the toolchain is not complete, and say what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Builds, and lists what it built on standard output.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    for built in build(&args.paths, args.out.as_deref(), !args.no_install)? {
        println!("{}", built.path.display());
        println!("  {}, {} bytes", built.anatomy.kinds_text(), built.anatomy.size_bytes);
        println!("  sha-256 {}", built.anatomy.sha256);
        if built.anatomy.kinds.is_empty() {
            eprintln!(
                "codec-plugin: {} exports no interface of codec: is there an `export!(…)` that is compiled for wasm?",
                built.path.display()
            );
        }
    }
    Ok(())
}

/// A component that was built.
pub(crate) struct Built {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) anatomy: Anatomy,
}

/// Builds every plugin of `paths` into `out`, or each into its own target folder: those in Rust, then the others, in the order of `paths`.
pub(crate) fn build(paths: &[PathBuf], out: Option<&Path>, may_install: bool) -> anyhow::Result<Vec<Built>> {
    let paths = &paths.iter().flat_map(|path| guest::projects_in(path)).collect::<Vec<_>>();
    let rust: Vec<PathBuf> = paths.iter().filter(|path| Language::of(path).is_none()).cloned().collect();
    let mut built = if rust.is_empty() { Vec::new() } else { build_rust(&rust, out, may_install)? };
    for path in paths {
        if let Some(language) = Language::of(path) {
            built.push(Guest::read(path, language)?.make(out, may_install)?);
        }
    }
    Ok(built)
}

fn build_rust(paths: &[PathBuf], out: Option<&Path>, may_install: bool) -> anyhow::Result<Vec<Built>> {
    // One toolchain for one run: the first project's folder chooses, which is where rustup looks for overrides.
    let folder = paths.first().map_or(Path::new("."), PathBuf::as_path);
    let folder = folder.canonicalize().with_context(|| format!("there is no folder {}", folder.display()))?;
    let toolchain = Toolchain::find(&folder, may_install)?;
    let projects = project::find(&toolchain, paths)?;
    for batch in batches(&projects) {
        toolchain.compile(&batch)?;
    }
    projects.iter().map(|project| component::make(project, out)).collect()
}

/// What one run of cargo builds, so that the standard library is built once for all: same workspace, same flags.
fn batches(projects: &[Project]) -> Vec<Vec<&Project>> {
    let mut batches: Vec<Vec<&Project>> = Vec::new();
    for project in projects {
        let alike = |batch: &&mut Vec<&Project>| {
            batch
                .first()
                .is_some_and(|first| first.workspace == project.workspace && first.stack_bytes == project.stack_bytes)
        };
        match batches.iter_mut().find(alike) {
            Some(batch) => batch.push(project),
            None => batches.push(vec![project]),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(name: &str, workspace: &str, stack_bytes: u32) -> Project {
        Project {
            name: name.into(),
            id: name.into(),
            lib: name.into(),
            workspace: workspace.into(),
            target_dir: "target".into(),
            stack_bytes,
        }
    }

    #[test]
    fn one_run_of_cargo_for_each_workspace_and_stack_size() {
        let projects = [
            project("a", "w", 32_768),
            project("b", "w", 65_536),
            project("c", "x", 32_768),
            project("d", "w", 32_768),
        ];
        let names: Vec<Vec<&str>> = batches(&projects)
            .iter()
            .map(|batch| batch.iter().map(|project| project.name.as_str()).collect())
            .collect();
        assert_eq!(names, [vec!["a", "d"], vec!["b"], vec!["c"]]);
    }
}
