//! What a component was made from, so that it is made again when that changes and not before: JavaScript's and Python's take half a
//! minute. By their bytes: a checkout sets the times of files as it likes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest, Sha256};

use super::component::write_whole;
use super::guest::{Guest, Source};

/// Of the sources, the interfaces and the way in which the component is made.
pub(super) fn digest(guest: &Guest, recipe: &str) -> anyhow::Result<String> {
    let mut roots = vec![guest.folder.clone(), guest.wit.clone()];
    if let Source::C(sources) = &guest.source {
        roots.extend(sources.files().cloned());
    }
    let mut files = Vec::new();
    for root in roots {
        add_files(&root, &mut files)?;
    }
    let mut hash = Sha256::new();
    hash.update(recipe);
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        // Not where the project lies, which is no matter.
        let name = file.strip_prefix(&guest.folder).unwrap_or(&file);
        hash.update(format!("\0{}\0{}\0", name.display(), bytes.len()));
        hash.update(bytes);
    }
    Ok(hex(hash))
}

/// Whether the component that is there was made from these inputs, and is as it was made.
pub(super) fn were_these(guest: &Guest, inputs: &str) -> bool {
    let made = fs::read(guest.component()).map(|component| hex(Sha256::new_with_prefix(component)));
    made.is_ok_and(|made| fs::read_to_string(note_of(guest)).is_ok_and(|noted| noted == format!("{inputs} {made}\n")))
}

/// Remembers what the component that is there was made from.
pub(super) fn note(guest: &Guest, inputs: &str) -> anyhow::Result<()> {
    let component = guest.component();
    let bytes = fs::read(&component).with_context(|| format!("cannot read {}", component.display()))?;
    write_whole(&note_of(guest), format!("{inputs} {}\n", hex(Sha256::new_with_prefix(bytes))).as_bytes())
}

/// Whether `name` is a folder of what was built or fetched, or a file that no component is made from.
pub(super) fn is_no_source(name: &str) -> bool {
    let made = ["target", "node_modules", "__pycache__", "venv", "cases.toml"];
    name.starts_with('.') || made.contains(&name) || name.ends_with(".md")
}

fn note_of(guest: &Guest) -> PathBuf {
    guest.build_dir().join(format!("{}.inputs", guest.name))
}

/// In an order that is the same each time.
fn add_files(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| !is_no_source(&name.to_string_lossy())));
    paths.sort();
    paths.iter().try_for_each(|path| add_files(path, files))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::guest::Language;

    #[test]
    fn a_component_is_fresh_until_a_source_changes_or_it_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            fs::write(path, text).expect("written");
        };
        write("wit/p.wit", "one");
        write("plugin.toml", "name = \"p\"\nkind = \"policy\"\nsources = [\"p.c\"]");
        write("p.c", "one");
        let guest = Guest::read(folder.path(), Language::C).expect("a project");
        let now = || digest(&guest, "recipe").expect("digested");
        let first = now();
        assert!(!were_these(&guest, &first), "there is none yet");
        write("target/p.wasm", "made");
        note(&guest, &first).expect("noted");
        for no_source in ["cases.toml", "README.md", ".git/HEAD", "node_modules/x/y.js", "target/other"] {
            write(no_source, "changed");
        }
        assert!(were_these(&guest, &now()));
        assert!(!were_these(&guest, &digest(&guest, "another").expect("digested")));
        for source in ["p.c", "wit/p.wit", "new.h"] {
            write(source, "two");
            assert!(!were_these(&guest, &now()), "{source}");
            note(&guest, &now()).expect("noted");
        }
        write("target/p.wasm", "other");
        assert!(!were_these(&guest, &now()), "somebody else wrote the component");
    }
}
