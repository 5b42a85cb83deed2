//! What a component says of itself, read without running or compiling any of it.

use wasmparser::{Encoding, Parser, Payload};

use super::weight::{TooHeavy, WeighError, Weight};

/// The package and the line of versions that this host speaks; `docs/PLUGINS.md` has the rules of its evolution.
const PACKAGE: &str = "origan:codec/";
const VERSIONS: &str = "@0.1.";

/// What a plugin is for: which interface it exports beside `settings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Decides.
    Policy,
    /// Carries records away.
    AuditSink,
    /// Resolves secrets that live elsewhere.
    SecretProvider,
    /// Wraps DEKs under a key that lives elsewhere.
    KeyProvider,
}

/// What a component says of itself.
#[derive(Debug, Clone)]
pub struct Scan {
    /// What it is for.
    pub kind: Kind,
    /// Everything it imports, as it names it.
    pub imports: Vec<String>,
    /// Everything it exports, as it names it.
    pub exports: Vec<String>,
    /// Functions in all its core modules.
    pub functions: usize,
    /// The largest of them, in bytes.
    pub largest_function_bytes: usize,
    /// Core modules.
    pub core_modules: usize,
}

/// Not a component that this host could run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// No bytes at all.
    #[error("the file is empty")]
    Empty,
    /// Not WebAssembly, or cut off.
    #[error("not a WebAssembly component: {0}")]
    Malformed(String),
    /// A core module that was not made a component.
    #[error("a core module, not a component: build it with `codec-plugin build`, or with wit-component")]
    CoreModule,
    /// It does not export what any kind of plugin exports.
    #[error("wrong world: it exports {found}, and no plugin does without `{missing}`")]
    WrongWorld {
        /// What is missing.
        missing: String,
        /// What is there.
        found: String,
    },
    /// One function is larger than is compiled.
    #[error("a function of {bytes} bytes; {limit} are compiled at the most")]
    FunctionTooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// Compiling it could take for ever.
    #[error(transparent)]
    TooHeavy(#[from] TooHeavy),
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Policy, Self::AuditSink, Self::SecretProvider, Self::KeyProvider];

    /// Its name, as `codec-plugin new` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::AuditSink => "audit-sink",
            Self::SecretProvider => "secret-provider",
            Self::KeyProvider => "key-provider",
        }
    }

    /// What its world imports, of this package.
    pub fn imports(self) -> &'static [&'static str] {
        match self {
            Self::Policy => &["facts", "log"],
            Self::AuditSink => &["facts", "log", "clock", "lines", "http"],
            Self::SecretProvider | Self::KeyProvider => &["facts", "log", "clock", "http"],
        }
    }
}

impl Scan {
    /// Reads `bytes`, for some 100 ms if they are many. A function that is larger than `function_bytes`, or anything else that would
    /// take a compiler for ever, ends it.
    pub fn of(bytes: &[u8], function_bytes: usize) -> Result<Self, ScanError> {
        if bytes.is_empty() {
            return Err(ScanError::Empty);
        }
        let mut found = Found::default();
        for payload in Parser::new(0).parse_all(bytes) {
            found.take(bytes, payload.map_err(malformed)?, function_bytes)?;
        }
        let Some(kind) = Kind::ALL.into_iter().find(|kind| exported(&found.exports, kind.name()).is_some()) else {
            return Err(wrong_world("policy, audit-sink, secret-provider or key-provider", &found.exports));
        };
        let settings = exported(&found.exports, "settings");
        settings.ok_or_else(|| wrong_world("settings", &found.exports))?;
        Ok(Self {
            kind,
            imports: found.imports,
            exports: found.exports,
            functions: found.functions,
            largest_function_bytes: found.largest,
            core_modules: found.modules,
        })
    }

    /// The name of an import within this package and version line: `http` of `origan:codec/http@0.1.0`.
    pub fn own_import(import: &str) -> Option<&str> {
        import.strip_prefix(PACKAGE)?.split_once(VERSIONS).map(|(name, _)| name)
    }
}

#[derive(Default)]
struct Found {
    depth: usize,
    imports: Vec<String>,
    exports: Vec<String>,
    functions: usize,
    largest: usize,
    modules: usize,
    weight: Weight,
}

impl Found {
    fn take(&mut self, bytes: &[u8], payload: Payload<'_>, function_bytes: usize) -> Result<(), ScanError> {
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if self.depth == 0 => Err(ScanError::CoreModule),
            Payload::ModuleSection { .. } => {
                self.depth += 1;
                self.modules += 1;
                Ok(())
            }
            Payload::ComponentSection { .. } => {
                self.depth += 1;
                Ok(Weight::add_nested_component(self.depth)?)
            }
            Payload::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                Ok(())
            }
            Payload::ComponentImportSection(imports) if self.depth == 0 => {
                for import in imports {
                    self.imports.push(import.map_err(malformed)?.name.name.to_owned());
                }
                Ok(())
            }
            Payload::ComponentExportSection(exports) if self.depth == 0 => {
                for export in exports {
                    self.exports.push(export.map_err(malformed)?.name.name.to_owned());
                }
                Ok(())
            }
            Payload::CodeSectionEntry(body) => {
                let size = body.range().len();
                self.functions += 1;
                self.largest = self.largest.max(size);
                if size > function_bytes {
                    return Err(ScanError::FunctionTooLarge { bytes: size, limit: function_bytes });
                }
                self.weight.add_function(&body).map_err(|error| match error {
                    WeighError::TooHeavy(error) => error.into(),
                    WeighError::Malformed(error) => malformed(error),
                })
            }
            Payload::ComponentTypeSection(types) => {
                Ok(Weight::add_component_types(bytes.get(types.range()).unwrap_or_default())?)
            }
            Payload::ComponentCanonicalSection(functions) => Ok(self.weight.add_adapters(functions.count())?),
            Payload::TypeSection(types) => Ok(self.weight.add_types(types.count())?),
            Payload::GlobalSection(globals) => Ok(self.weight.add_globals(globals.count())?),
            _ => Ok(()),
        }
    }
}

/// The version under which `interface` is exported, if it is.
fn exported<'a>(exports: &'a [String], interface: &str) -> Option<&'a str> {
    exports.iter().find_map(|export| {
        let (name, version) = export.strip_prefix(PACKAGE)?.split_once('@')?;
        (name == interface && version.starts_with(&VERSIONS[1..])).then_some(version)
    })
}

fn wrong_world(missing: &str, exports: &[String]) -> ScanError {
    let found = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
    ScanError::WrongWorld { missing: format!("{PACKAGE}{missing}{VERSIONS}x"), found: super::fault::printable(&found) }
}

fn malformed(error: wasmparser::BinaryReaderError) -> ScanError {
    ScanError::Malformed(super::fault::printable(&error.to_string()))
}
