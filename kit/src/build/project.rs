//! What there is to build, as `cargo metadata` tells it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::toolchain::Toolchain;

/// Stack of a guest, unless its project says otherwise. Small, because a fresh instance pays for what it touches.
pub(super) const DEFAULT_STACK_BYTES: u32 = 32_768;

/// A plugin's project.
pub(super) struct Project {
    /// The package's name, which is the component's too.
    pub(super) name: String,
    /// As cargo's `-p` takes it, whatever else is called the same.
    pub(super) id: String,
    /// The library target: its file's name.
    pub(super) lib: String,
    /// The folder of the workspace, or of the project where it stands alone.
    pub(super) workspace: PathBuf,
    /// Cargo's target folder for that workspace.
    pub(super) target_dir: PathBuf,
    /// `[package.metadata.codec] stack_bytes`.
    pub(super) stack_bytes: u32,
}

impl Project {
    /// Where cargo builds guests: apart from native code, or two compilers would rebuild each other's work.
    pub(super) fn build_dir(&self) -> PathBuf {
        self.target_dir.join("codec-plugin")
    }

    /// Where its component goes.
    pub(super) fn component(&self, out: Option<&Path>) -> PathBuf {
        out.unwrap_or(&self.target_dir).join(format!("{}.wasm", self.name))
    }
}

/// The projects of these folders, each once.
pub(super) fn find(toolchain: &Toolchain, folders: &[PathBuf]) -> anyhow::Result<Vec<Project>> {
    let mut projects: Vec<Project> = Vec::new();
    for folder in folders {
        for project in projects_of(toolchain, folder)? {
            if let Some(other) = projects.iter().find(|other| other.name == project.name) {
                ensure!(other.id == project.id, "two projects are called {}: build them one by one", project.name);
                continue;
            }
            projects.push(project);
        }
    }
    Ok(projects)
}

fn projects_of(toolchain: &Toolchain, folder: &Path) -> anyhow::Result<Vec<Project>> {
    let manifest = folder.join("Cargo.toml");
    let Ok(manifest) = manifest.canonicalize() else {
        bail!(
            "{} is no project: it has no Cargo.toml, package.json, pyproject.toml or plugin.toml. `codec-plugin new policy NAME` starts one",
            folder.display()
        );
    };
    let metadata: Metadata = serde_json::from_slice(&toolchain.metadata(&manifest)?)
        .context("cargo metadata answered what this codec-plugin cannot read")?;
    let is_here = |package: &&Package| package.manifest_path.canonicalize().is_ok_and(|path| path == manifest);
    if let Some(package) = metadata.packages.iter().find(is_here) {
        let Some(lib) = package.cdylib() else {
            bail!("{} builds no component: its [lib] needs crate-type = [\"cdylib\"]", manifest.display());
        };
        return Ok(vec![metadata.project(package, lib)?]);
    }
    let members = metadata.packages.iter().filter_map(|package| package.cdylib().map(|lib| (package, lib)));
    let projects = members.map(|(package, lib)| metadata.project(package, lib)).collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!projects.is_empty(), "no member of the workspace {} has crate-type = [\"cdylib\", …]", manifest.display());
    Ok(projects)
}

/// What is read of `cargo metadata --format-version 1`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    metadata: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

impl Metadata {
    fn project(&self, package: &Package, lib: &Target) -> anyhow::Result<Project> {
        Ok(Project {
            name: package.name.clone(),
            id: package.id.clone(),
            lib: lib.name.replace('-', "_"),
            workspace: self.workspace_root.clone(),
            target_dir: self.target_directory.clone(),
            stack_bytes: package
                .stack_bytes()
                .with_context(|| format!("[package.metadata.codec] in {}", package.manifest_path.display()))?,
        })
    }
}

impl Package {
    fn cdylib(&self) -> Option<&Target> {
        self.targets.iter().find(|target| target.crate_types.iter().any(|kind| kind == "cdylib"))
    }

    fn stack_bytes(&self) -> anyhow::Result<u32> {
        let Some(codec) = self.metadata.as_ref().and_then(|metadata| metadata.get("codec")) else {
            return Ok(DEFAULT_STACK_BYTES);
        };
        let settings = Settings::deserialize(codec)?;
        let stack_bytes = settings.stack_bytes.unwrap_or(DEFAULT_STACK_BYTES);
        check_stack(stack_bytes)?;
        Ok(stack_bytes)
    }
}

/// Refuses a stack that linkers or guests cannot do with.
pub(super) fn check_stack(stack_bytes: u32) -> anyhow::Result<()> {
    ensure!(
        (4_096..=8 << 20).contains(&stack_bytes) && stack_bytes.is_multiple_of(16),
        "stack_bytes = {stack_bytes} is not a multiple of 16 from 4096 to 8388608"
    );
    Ok(())
}

/// `[package.metadata.codec]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    stack_bytes: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(metadata: serde_json::Value) -> Package {
        serde_json::from_value(json!({
            "id": "path+file:///p#0.1.0", "name": "p", "manifest_path": "/p/Cargo.toml", "metadata": metadata,
            "targets": [{ "name": "p", "crate_types": ["cdylib", "rlib"] }],
        }))
        .expect("a package")
    }

    #[test]
    fn the_stack_is_small_unless_the_project_says_otherwise() {
        assert_eq!(package(json!(null)).stack_bytes().expect("default"), 32_768);
        assert_eq!(package(json!({ "other": 1 })).stack_bytes().expect("default"), 32_768);
        assert_eq!(package(json!({ "codec": {} })).stack_bytes().expect("default"), 32_768);
        assert_eq!(package(json!({ "codec": { "stack_bytes": 65_536 } })).stack_bytes().expect("set"), 65_536);
    }

    #[test]
    fn a_stack_that_cannot_be_is_refused_and_a_misspelt_key_named() {
        for wrong in [json!({ "stack_bytes": 0 }), json!({ "stack_bytes": 40_001 }), json!({ "stack_bytes": 1 << 30 })]
        {
            assert!(package(json!({ "codec": wrong })).stack_bytes().is_err(), "{wrong}");
        }
        let error = package(json!({ "codec": { "stack": 1 } })).stack_bytes().expect_err("misspelt");
        assert!(error.to_string().contains("`stack`"), "{error}");
    }
}
