//! `codec-plugin new`: a project that builds and whose tests pass at once.

mod languages;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::kind::Kind;
use languages::{Language, stem_of};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What the plugin is for.
    kind: Kind,
    /// Its name, or the path of a folder that is not there yet; the folder's name is the plugin's.
    path: PathBuf,
    /// What it is to be written in.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
}

/// Writes the project into a folder of its own.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Args { kind, path, lang } = args;
    let Some(files) = lang.files(*kind) else {
        bail!("there is no project to start a {} from in this language: `--lang rust` has one", kind.name())
    };
    let name = plugin_name(path, *lang)?;
    create_folder(path)?;
    for (file, text) in WIT.iter().chain(files) {
        let text =
            text.replace("{{name}}", name).replace("{{kind}}", kind.name()).replace("{{stem}}", stem_of(*kind).0);
        let text = text.replace("{{sources}}", &lang.sources(*kind)).replace("{{native_tests}}", lang.native_tests());
        write(&path.join(file), &text)?;
    }
    println!("{}: a plugin of the kind {}. What next:", path.display(), kind.name());
    println!("  cd {}", path.display());
    if *lang == Language::Rust {
        println!("  cargo test              # the logic, natively");
    }
    println!("  codec-plugin build .    # target/{name}.wasm");
    println!("  codec-plugin test .     # cases.toml against it");
    println!("  README.md               # how the service takes it in");
    Ok(())
}

/// The folder's name, if it is one that a package, a file and a table of `codec.toml` can have too.
fn plugin_name(path: &Path, lang: Language) -> anyhow::Result<&str> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && name.len() <= MAX_NAME_BYTES;
    ensure!(
        is_name,
        "{} does not end in a name for a plugin: a letter a-z first, then a-z, 0-9 and -, at most {MAX_NAME_BYTES} in all, such as \
         deny-frozen",
        path.display()
    );
    ensure!(
        lang != Language::Rust || !TAKEN_NAMES.contains(&name),
        "{name} is a word or a crate of Rust, which no package of yours can be named by: take another name"
    );
    Ok(name)
}

/// Makes the folder. One that is there already, even empty, is somebody's.
fn create_folder(path: &Path) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is there already: take another name, or remove it first", path.display())
        }
        made => made.with_context(|| format!("cannot make the folder {}", path.display())),
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Longer names are unwieldy in logs and tables.
const MAX_NAME_BYTES: usize = 64;

/// Names that cargo refuses, or that stand for something else inside the project.
const TAKEN_NAMES: &[&str] = &[
    "alloc",
    "as",
    "async",
    "await",
    "bitflags",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "match",
    "mod",
    "move",
    "mut",
    "pub",
    "ref",
    "return",
    "self",
    "serde-json",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "type",
    "unsafe",
    "use",
    "where",
    "while",
    "wit-bindgen",
];

/// The interfaces go into every project: it builds for the host that this kit came with, without a look elsewhere.
const WIT: &[(&str, &str)] = &[
    ("wit/audit-sink.wit", include_str!("../../wit/audit-sink.wit")),
    ("wit/facts.wit", include_str!("../../wit/facts.wit")),
    ("wit/policy.wit", include_str!("../../wit/policy.wit")),
    ("wit/providers.wit", include_str!("../../wit/providers.wit")),
    ("wit/worlds.wit", include_str!("../../wit/worlds.wit")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_of_packages_and_files() {
        for good in ["a", "deny-frozen", "/tmp/x/deny-frozen-2", "./p1", "x/"] {
            assert!(plugin_name(Path::new(good), Language::Rust).is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in
            ["", ".", "..", "/", "Deny", "1st", "-a", "a_b", "a b", "ä", "a.wasm", "x/..", "std", "mod", long.as_str()]
        {
            assert!(plugin_name(Path::new(bad), Language::Rust).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_word_of_rust_is_a_name_in_other_languages() {
        assert!(plugin_name(Path::new("trait"), Language::Rust).is_err());
        assert!(plugin_name(Path::new("trait"), Language::C).is_ok());
    }

    #[test]
    fn every_interface_goes_into_the_project() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        let mut files: Vec<String> = fs::read_dir(folder)
            .expect("wit")
            .map(|file| format!("wit/{}", file.expect("file").file_name().to_string_lossy()))
            .collect();
        files.sort();
        assert_eq!(files, WIT.iter().map(|(path, _)| *path).collect::<Vec<_>>());
    }
}
