//! A plugin in a language other than Rust: its manifest, and where its component is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Built, c, component, inputs, javascript, python};
use crate::inspect::Anatomy;
use crate::kind::Kind;

/// What a plugin is written in, told by the manifest in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// `package.json`, as npm has it.
    JavaScript,
    /// `pyproject.toml`, as pip has it.
    Python,
    /// `plugin.toml`: C has no manifest of its own.
    C,
}

/// A plugin's project.
pub(super) struct Guest {
    /// The component's name.
    pub(super) name: String,
    /// Which world it implements.
    pub(super) kind: Kind,
    /// Its folder, by its whole path.
    pub(super) folder: PathBuf,
    /// The interfaces.
    pub(super) wit: PathBuf,
    /// Its cases, wherever they are.
    pub(super) cases: PathBuf,
    /// What it is made from.
    pub(super) source: Source,
}

/// What a component is made from.
pub(super) enum Source {
    /// The module that exports the interfaces.
    JavaScript(PathBuf),
    /// The name of the module that holds the classes.
    Python(String),
    /// Files to compile, and how.
    C(c::Sources),
}

impl Language {
    const ALL: [Self; 3] = [Self::JavaScript, Self::Python, Self::C];

    /// Of the project in `folder`; none if it is Rust, or no project.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        if folder.join("Cargo.toml").is_file() {
            return None;
        }
        Self::ALL.into_iter().find(|language| folder.join(language.manifest()).is_file())
    }

    /// The file by which it is known.
    pub(super) const fn manifest(self) -> &'static str {
        match self {
            Self::JavaScript => "package.json",
            Self::Python => "pyproject.toml",
            Self::C => "plugin.toml",
        }
    }

    /// Changes when components are made in another way.
    const fn recipe(self) -> &'static str {
        match self {
            Self::JavaScript => javascript::RECIPE,
            Self::Python => python::RECIPE,
            Self::C => c::RECIPE,
        }
    }
}

/// The projects that lie in `folder`, if it is none itself; else, or where there are none, the folder.
pub(super) fn projects_in(folder: &Path) -> Vec<PathBuf> {
    let is_project = Language::of(folder).is_some() || folder.join("Cargo.toml").is_file();
    let inside = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let mut found: Vec<PathBuf> = inside.filter(|path| !is_project && Language::of(path).is_some()).collect();
    found.sort();
    if found.is_empty() { vec![folder.to_owned()] } else { found }
}

impl Guest {
    /// Reads the manifest in `folder`.
    pub(super) fn read(folder: &Path, language: Language) -> anyhow::Result<Self> {
        // Links stay as they are: tools lie above the path that the author knows.
        let folder = std::path::absolute(folder).with_context(|| folder.display().to_string())?;
        let manifest = folder.join(language.manifest());
        let text = fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
        let read = match language {
            Language::JavaScript => of_package_json(&text, &folder),
            Language::Python => of_pyproject(&text, &folder),
            Language::C => of_plugin_toml(&text, &folder),
        };
        let guest = read.with_context(|| manifest.display().to_string())?;
        ensure!(
            is_name(&guest.name),
            "{}: {:?} is no name for a component: it takes a-z, 0-9, -, _ and .",
            manifest.display(),
            guest.name
        );
        ensure!(guest.wit.exists(), "{}: there are no interfaces at {}", manifest.display(), guest.wit.display());
        Ok(guest)
    }

    /// Where its component is.
    pub(super) fn component(&self) -> PathBuf {
        self.folder.join("target").join(format!("{}.wasm", self.name))
    }

    /// For what is made on the way.
    pub(super) fn build_dir(&self) -> PathBuf {
        self.folder.join("target/codec-plugin")
    }

    /// Whether the component is there, and was made from the sources as they are.
    pub(super) fn is_fresh(&self) -> anyhow::Result<bool> {
        Ok(inputs::were_these(self, &inputs::digest(self, self.language().recipe())?))
    }

    /// Makes the component if need be, and puts it into `out`.
    pub(super) fn make(&self, out: Option<&Path>, may_install: bool) -> anyhow::Result<Built> {
        let inputs = inputs::digest(self, self.language().recipe())?;
        let component = self.component();
        if !inputs::were_these(self, &inputs) {
            eprintln!("codec-plugin: building {}", self.name);
            let making = || match &self.source {
                Source::JavaScript(main) => javascript::build(self, main, may_install),
                Source::Python(module) => python::build(self, module, may_install),
                Source::C(sources) => c::build(self, sources, may_install),
            };
            component::write_whole(&component, &making().with_context(|| self.folder.display().to_string())?)?;
            inputs::note(self, &inputs)?;
        }
        let bytes = fs::read(&component).with_context(|| format!("cannot read {}", component.display()))?;
        let anatomy = Anatomy::of(&bytes).with_context(|| format!("the component of {}", self.name))?;
        let Some(out) = out else { return Ok(Built { path: component, anatomy }) };
        let path = out.join(format!("{}.wasm", self.name));
        if fs::read(&path).ok().is_none_or(|there| there != bytes) {
            component::write_whole(&path, &bytes)?;
        }
        Ok(Built { path, anatomy })
    }

    const fn language(&self) -> Language {
        match self.source {
            Source::JavaScript(_) => Language::JavaScript,
            Source::Python(_) => Language::Python,
            Source::C(_) => Language::C,
        }
    }
}

/// What every manifest says of a plugin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Codec {
    kind: String,
    #[serde(default = "wit")]
    wit: PathBuf,
    #[serde(default = "cases")]
    cases: PathBuf,
    /// Of Python: the module.
    module: Option<String>,
}

#[derive(Deserialize)]
struct PackageJson {
    name: String,
    main: Option<PathBuf>,
    codec: Option<Codec>,
}

#[derive(Deserialize)]
struct PyProject {
    project: PyProjectProject,
    #[serde(default)]
    tool: PyProjectTool,
}

#[derive(Deserialize)]
struct PyProjectProject {
    name: String,
}

#[derive(Deserialize, Default)]
struct PyProjectTool {
    codec: Option<Codec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginToml {
    name: String,
    kind: String,
    #[serde(default = "wit")]
    wit: PathBuf,
    #[serde(default = "cases")]
    cases: PathBuf,
    sources: Vec<PathBuf>,
    #[serde(default)]
    include: Vec<PathBuf>,
    #[serde(default)]
    cflags: Vec<String>,
    stack_bytes: Option<u32>,
}

fn of_package_json(text: &str, folder: &Path) -> anyhow::Result<Guest> {
    let package: PackageJson = serde_json::from_str(text)?;
    let codec = package.codec.context("no plugin: `\"codec\": { \"kind\": \"policy\" }` would make it one")?;
    ensure!(codec.module.is_none(), "`codec.module` is Python's; `main` names the module here");
    let main = folder.join(package.main.unwrap_or_else(|| "index.js".into()));
    codec.guest(package.name, folder, |_| Ok(Source::JavaScript(main)))
}

fn of_pyproject(text: &str, folder: &Path) -> anyhow::Result<Guest> {
    let PyProject { project, tool } = toml::from_str(text)?;
    let codec = tool.codec.context("no plugin: a table `[tool.codec]` with `kind = \"policy\"` would make it one")?;
    codec.guest(project.name, folder, |module| {
        let module = module.context("`module` of `[tool.codec]` is missing: the module that holds the classes")?;
        Ok(Source::Python(module))
    })
}

fn of_plugin_toml(text: &str, folder: &Path) -> anyhow::Result<Guest> {
    let PluginToml { name, kind, wit, cases, sources, include, cflags, stack_bytes } = parse(text)?;
    ensure!(!sources.is_empty(), "`sources` is empty: name the .c files");
    let within = |paths: Vec<PathBuf>| paths.iter().map(|path| folder.join(path)).collect();
    let sources = c::Sources::new(within(sources), within(include), cflags, stack_bytes)?;
    Codec { kind, wit, cases, module: None }.guest(name, folder, |_| Ok(Source::C(sources)))
}

fn parse<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    Ok(toml::from_str(text)?)
}

impl Codec {
    fn guest(
        self,
        name: String,
        folder: &Path,
        source: impl FnOnce(Option<String>) -> anyhow::Result<Source>,
    ) -> anyhow::Result<Guest> {
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == self.kind) else {
            let kinds = Kind::ALL.map(Kind::name).join(", ");
            bail!("{:?} is no kind of plugin: it is one of {kinds}", self.kind);
        };
        Ok(Guest {
            name,
            kind,
            folder: folder.to_owned(),
            wit: folder.join(self.wit),
            cases: folder.join(self.cases),
            source: source(self.module)?,
        })
    }
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(fits)
}

fn wit() -> PathBuf {
    "wit".into()
}

fn cases() -> PathBuf {
    "cases.toml".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(manifest: &str, text: &str) -> anyhow::Result<Guest> {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("wit")).expect("made");
        fs::write(folder.path().join(manifest), text).expect("written");
        let language = Language::of(folder.path()).expect("a project");
        assert_eq!(language.manifest(), manifest);
        Guest::read(folder.path(), language)
    }

    #[test]
    fn each_language_is_known_by_its_manifest() {
        let js = r#"{"name": "p", "main": "p.js", "codec": {"kind": "audit-sink"}, "scripts": {}}"#;
        let py =
            "[project]\nname = \"p\"\nversion = \"1\"\n[tool.other]\n[tool.codec]\nkind = \"policy\"\nmodule = \"m\"";
        let c = "name = \"p\"\nkind = \"policy\"\nsources = [\"p.c\"]";
        for (manifest, text) in [("package.json", js), ("pyproject.toml", py), ("plugin.toml", c)] {
            let guest = read(manifest, text).expect(manifest);
            assert_eq!(guest.name, "p");
            assert!(guest.component().ends_with("target/p.wasm"));
        }
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("package.json"), js).expect("written");
        fs::write(folder.path().join("Cargo.toml"), "").expect("written");
        assert_eq!(Language::of(folder.path()), None, "Rust, with something of npm's beside it");
    }

    #[test]
    fn a_folder_of_projects_is_all_of_them() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(projects_in(folder.path()), [folder.path()]);
        for (project, manifest) in
            [("b", "package.json"), ("a", "plugin.toml"), ("parts", "json.c"), ("c", "Cargo.toml")]
        {
            fs::create_dir(folder.path().join(project)).expect("made");
            fs::write(folder.path().join(project).join(manifest), "").expect("written");
        }
        assert_eq!(projects_in(folder.path()), [folder.path().join("a"), folder.path().join("b")]);
        fs::write(folder.path().join("package.json"), "").expect("written");
        assert_eq!(projects_in(folder.path()), [folder.path()]);
    }

    #[test]
    fn a_manifest_that_is_none_is_answered_by_what_is_wrong() {
        let long = "name = \"p\"\nkind = \"policy\"\nsources = [\"p.c\"]\nstack_bytes = 100";
        for (manifest, text, says) in [
            ("package.json", r#"{"name": "p"}"#, "codec"),
            ("package.json", r#"{"name": "p", "codec": {"kind": "polcy"}}"#, "polcy"),
            ("package.json", r#"{"name": "p", "codec": {"kind": "policy", "wti": "x"}}"#, "wti"),
            ("package.json", r#"{"name": "@me/p", "codec": {"kind": "policy"}}"#, "@me/p"),
            ("pyproject.toml", "[project]\nname = \"p\"", "[tool.codec]"),
            ("pyproject.toml", "[project]\nname = \"p\"\n[tool.codec]\nkind = \"policy\"", "module"),
            ("plugin.toml", "name = \"p\"\nkind = \"policy\"\nsources = []", "sources"),
            ("plugin.toml", "name = \"p\"\nkind = \"policy\"\nsource = []", "source"),
            ("plugin.toml", long, "stack_bytes"),
        ] {
            let Err(error) = read(manifest, text) else { panic!("{text} is taken") };
            assert!(format!("{error:#}").contains(says), "{text}: {error:#}");
        }
    }
}
