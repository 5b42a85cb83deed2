//! From the core module that cargo built to the component that the host takes.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use wit_component::ComponentEncoder;

use super::Built;
use super::project::Project;
use super::toolchain::TARGET;
use crate::inspect::Anatomy;

/// Makes the component `<out>/<name>.wasm`.
pub(super) fn make(project: &Project, out: Option<&Path>) -> anyhow::Result<Built> {
    let module = project.build_dir().join(TARGET).join("release").join(format!("{}.wasm", project.lib));
    let module = fs::read(&module).with_context(|| format!("cargo built no {}", module.display()))?;
    let bytes = encode(&module).with_context(|| format!("{} does not make a component", project.name))?;
    let anatomy = Anatomy::of(&bytes).with_context(|| format!("the component of {}", project.name))?;
    let path = project.component(out);
    write_whole(&path, &bytes)?;
    Ok(Built { path, anatomy })
}

/// Wraps the module by what `wit_bindgen::generate!` wrote into it about its world.
pub(super) fn encode(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .context("its module says nothing that can be read of its world: use wit-bindgen 0.61")?
        .encode()
        .context(
            "its module does not fit the world: every import must come from wit/ (a crate that wants a system, such as one for random \
             numbers or sockets, has none here)",
        )
}

/// Appears at once as a whole, for a running service may watch this very file.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let partial = path.with_extension(format!("wasm.{}.partial", std::process::id()));
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // What is left of it is of no use; that it cannot be removed either is the lesser news.
        let _ = fs::remove_file(&partial);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_makes_no_component() {
        for bytes in [&b""[..], b"\0asm", b"not wasm at all"] {
            assert!(encode(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_component_replaces_its_older_self_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/p.wasm");
        write_whole(&path, b"one").expect("written");
        write_whole(&path, b"two").expect("replaced");
        assert_eq!(fs::read(&path).expect("there"), b"two");
        assert_eq!(fs::read_dir(folder.path().join("new")).expect("there").count(), 1);
    }
}
