//! Where a project's component is, and whether it is as new as what it is made from.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::bail;

use super::guest::{Guest, Language};
use super::inputs::is_no_source;
use super::project::{self, Project};
use super::toolchain::Toolchain;

/// A project's component, built or not.
pub(crate) struct Located {
    /// The project's name.
    pub(crate) name: String,
    /// Where it is, or will be.
    pub(crate) component: PathBuf,
    /// Whether it is there, and nothing in its workspace is newer. What lies outside the workspace only cargo knows.
    pub(crate) is_fresh: bool,
    /// Where its cases are, if it has any.
    pub(crate) cases: PathBuf,
}

/// Looks for the component of the one project in `folder`; builds and installs nothing.
pub(crate) fn locate(folder: &Path) -> anyhow::Result<Located> {
    if let Some(language) = Language::of(folder) {
        let guest = Guest::read(folder, language)?;
        let is_fresh = guest.is_fresh()?;
        return Ok(Located { component: guest.component(), name: guest.name, is_fresh, cases: guest.cases });
    }
    // Whichever compiler will build it: any cargo can tell where.
    let mut projects = project::find(&Toolchain::Installed, &[folder.to_owned()])?;
    let (Some(project), true) = (projects.pop(), projects.is_empty()) else {
        bail!("{} holds several plugins: name the folder of one of them", folder.display());
    };
    let component = project.component(None);
    let built = modified(&component);
    let is_fresh = built.is_some_and(|built| newest_source(&project) <= Some(built));
    Ok(Located { name: project.name, component, is_fresh, cases: folder.join("cases.toml") })
}

fn newest_source(project: &Project) -> Option<SystemTime> {
    let mut newest = None;
    let mut folders = vec![project.workspace.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            // Neither what was built nor what is not compiled.
            if path == project.target_dir || is_no_source(&name.to_string_lossy()) {
                continue;
            }
            match entry.file_type() {
                // A project in another language is none of this one's.
                Ok(kind) if kind.is_dir() && Language::of(&path).is_some() => {}
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(_) => newest = newest.max(modified(&path)),
                Err(_) => {}
            }
        }
    }
    newest
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|found| found.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_component_is_fresh_until_a_source_is_newer() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let write = |name: &str, seconds: u64| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            fs::write(&path, "").expect("written");
            fs::File::options().write(true).open(&path).expect("there").set_modified(at(seconds)).expect("set");
        };
        let project = Project {
            name: "p".into(),
            id: "p".into(),
            lib: "p".into(),
            workspace: folder.path().into(),
            target_dir: folder.path().join("target"),
            stack_bytes: 32_768,
        };
        write("src/lib.rs", 100);
        for not_compiled in ["target/p.wasm", "cases.toml", "README.md", ".git/HEAD"] {
            write(not_compiled, 900);
        }
        assert_eq!(newest_source(&project), Some(at(100)));
        write("wit/worlds.wit", 200);
        assert_eq!(newest_source(&project), Some(at(200)));
    }
}
