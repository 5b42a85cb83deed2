//! Which folders of this machine would stand in a component, in the places of panics, and what stands there instead.

use std::path::{Path, PathBuf};

use super::command::{command, line_of};
use super::project::Project;

/// Folders and their names, the widest first: of several that fit, rustc takes the last.
pub(super) fn folders(rustc: &Path, project: &Project) -> Vec<(PathBuf, &'static str)> {
    let home = variable("HOME");
    let cargo_home = variable("CARGO_HOME").or_else(|| home.as_ref().map(|home| home.join(".cargo")));
    let sysroot = line_of(command(rustc, &project.workspace).args(["--print", "sysroot"])).map(PathBuf::from);
    let library = sysroot.as_ref().map(|sysroot| sysroot.join("lib/rustlib/src/rust"));
    // Debian's is a link to where the package has it.
    let linked_library = library.as_ref().and_then(|library| library.canonicalize().ok());
    let named = [
        (home, "/home"),
        (cargo_home, "/cargo"),
        (sysroot, "/rustc"),
        (library, "/rustc"),
        (linked_library, "/rustc"),
        (Some(project.workspace.clone()), "/workspace"),
        (Some(project.build_dir()), "/target"),
    ];
    let mut folders: Vec<(PathBuf, &str)> = Vec::new();
    for (folder, name) in named {
        // The root itself is in front of everything, and names nothing.
        let folder = folder.filter(|folder| folder.is_absolute() && folder.parent().is_some());
        if let Some(folder) = folder.filter(|folder| !folders.iter().any(|(known, _)| known == folder)) {
            folders.push((folder, name));
        }
    }
    folders
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_has_one_name_and_the_narrowest_comes_last() {
        let project = Project {
            name: "p".into(),
            id: "p".into(),
            lib: "p".into(),
            workspace: "/w/here".into(),
            target_dir: "/w/here/target".into(),
            stack_bytes: 32_768,
        };
        let folders = folders(Path::new("/no/such/rustc"), &project);
        let names: Vec<&str> = folders.iter().map(|(_, name)| *name).collect();
        assert!(names.ends_with(&["/workspace", "/target"]), "{folders:?}");
        assert!(folders.iter().all(|(folder, _)| folder.is_absolute()), "{folders:?}");
        assert_eq!(folders.last().map(|(folder, _)| folder.clone()), Some("/w/here/target/codec-plugin".into()));
    }
}
