//! A component taken apart: what it exports and imports, and how much of each thing is in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wasmparser::{CustomSectionReader, KnownCustom, MemoryType, Parser, Payload, Validator};

use crate::kind::{Kind, PACKAGE, PACKAGE_VERSION};

/// What a component is.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Anatomy {
    /// Of the file.
    pub(crate) sha256: String,
    /// Of the file.
    pub(crate) size_bytes: usize,
    /// What it can be loaded as, by its exports: one, or it is none of ours.
    pub(crate) kinds: Vec<Kind>,
    /// What it wants from its host.
    pub(crate) imports: Vec<Import>,
    /// The names of what it offers.
    pub(crate) exports: Vec<String>,
    /// Core modules in it, the adapters of its toolchain included.
    pub(crate) core_modules: usize,
    /// The memories of those.
    pub(crate) memories: Vec<Memory>,
    /// Functions with a body.
    pub(crate) functions: usize,
    /// The longest of those bodies: what one function costs to compile grows with it.
    pub(crate) largest_function_bytes: u64,
    /// Of all tables together, as they begin.
    pub(crate) table_elements: u64,
    /// What made it: `language`, `processed-by`, `sdk`, as the toolchain has noted.
    pub(crate) producers: BTreeMap<String, Vec<String>>,
    /// Custom sections, by name: their bytes. `name` holds the functions' names, which a trap then tells.
    pub(crate) custom_sections_bytes: BTreeMap<String, usize>,
}

/// Something that a component wants from its host.
#[derive(Debug, Serialize)]
pub(crate) struct Import {
    /// As in the component: `origan:codec/http@0.1.0`.
    pub(crate) name: String,
    /// What it takes for the host to give it.
    pub(crate) grant: Grant,
}

/// What an import needs in `codec.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Grant {
    /// Types only: nothing to give.
    Types,
    /// Every plugin of this kind has it.
    Always,
    /// `http`: the origins that it may reach.
    Http,
    /// `lines`: the outputs that it may write to.
    Lines,
    /// `wasi = true`: an empty system.
    Wasi,
    /// No host of this version gives it to this kind.
    Refused,
}

/// A linear memory, in pages of 64 KiB.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    /// As it begins.
    pub(crate) initial_pages: u64,
    /// As far as it may grow; none: as far as the host lets it.
    pub(crate) maximum_pages: Option<u64>,
}

impl Anatomy {
    /// Takes a component apart. Errs on what is none, or not a valid one.
    pub(crate) fn of(bytes: &[u8]) -> anyhow::Result<Self> {
        if !Parser::is_component(bytes) {
            bail!(not_a_component(bytes));
        }
        Validator::new()
            .validate_all(bytes)
            .context("this is no valid component: it is cut short, or its toolchain wrote it wrong")?;
        let mut anatomy = Self { sha256: sha256(bytes), size_bytes: bytes.len(), ..Self::default() };
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            match &payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                _ => {}
            }
            anatomy.add(&payload, depth == 0)?;
        }
        anatomy.kinds = Kind::ALL
            .into_iter()
            .filter(|kind| anatomy.exports.iter().any(|name| is_ours(name, kind.name())))
            .collect();
        for import in &mut anatomy.imports {
            import.grant = grant(&import.name, &anatomy.kinds);
        }
        Ok(anatomy)
    }

    /// The kinds in words.
    pub(crate) fn kinds_text(&self) -> String {
        let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        if names.is_empty() { "none of codec's kinds".into() } else { names.join(" and ") }
    }

    fn add(&mut self, payload: &Payload<'_>, outermost: bool) -> anyhow::Result<()> {
        match payload {
            Payload::ComponentImportSection(section) if outermost => {
                for import in section.clone() {
                    self.imports.push(Import { name: import?.name.name.to_string(), grant: Grant::Refused });
                }
            }
            Payload::ComponentExportSection(section) if outermost => {
                for export in section.clone() {
                    self.exports.push(export?.name.name.to_string());
                }
            }
            Payload::ModuleSection { .. } => self.core_modules += 1,
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    self.memories.push(Memory::of(&memory?));
                }
            }
            Payload::TableSection(section) => {
                for table in section.clone() {
                    self.table_elements = self.table_elements.saturating_add(table?.ty.initial);
                }
            }
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                self.functions += 1;
                self.largest_function_bytes = self.largest_function_bytes.max(range.end - range.start);
            }
            Payload::CustomSection(section) => self.add_custom(section)?,
            _ => {}
        }
        Ok(())
    }

    fn add_custom(&mut self, section: &CustomSectionReader<'_>) -> anyhow::Result<()> {
        *self.custom_sections_bytes.entry(section.name().to_string()).or_default() += section.data().len();
        let KnownCustom::Producers(fields) = section.as_known() else { return Ok(()) };
        for field in fields {
            let field = field?;
            let known = self.producers.entry(field.name.to_string()).or_default();
            for value in field.values {
                let value = value?;
                let text = format!("{} {}", value.name, value.version).trim_end().to_string();
                if !known.contains(&text) {
                    known.push(text);
                }
            }
        }
        Ok(())
    }
}

impl Memory {
    fn of(memory: &MemoryType) -> Self {
        Self { initial_pages: memory.initial, maximum_pages: memory.maximum }
    }
}

/// The sha-256 of a file as `codec.toml` pins it: 64 hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Whether `name` is our interface `interface`, of a version that this kit knows.
fn is_ours(name: &str, interface: &str) -> bool {
    name.strip_prefix(PACKAGE).and_then(|name| name.split_once('@')).is_some_and(|(found, version)| {
        // Versions 0.1.x are compatible with each other.
        found == interface && minor(version) == minor(PACKAGE_VERSION)
    })
}

/// The `0.1` of `0.1.7`.
fn minor(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

fn grant(name: &str, kinds: &[Kind]) -> Grant {
    if is_ours(name, "facts") {
        return Grant::Types;
    }
    if name.starts_with("wasi:") {
        return Grant::Wasi;
    }
    let has =
        |interface: &str| is_ours(name, interface) && kinds.iter().any(|kind| kind.imports().contains(&interface));
    match () {
        () if has("http") => Grant::Http,
        () if has("lines") => Grant::Lines,
        () if has("log") || has("clock") => Grant::Always,
        () => Grant::Refused,
    }
}

fn not_a_component(bytes: &[u8]) -> String {
    if Parser::is_core_wasm(bytes) {
        return "this is a core module, not a component: `codec-plugin build` on its project makes the component, or `wasm-tools component \
                new`"
            .into();
    }
    if bytes.is_empty() {
        return "this file is empty".into();
    }
    if bytes.starts_with(b"(") {
        return "this is WebAssembly as text: `wasm-tools parse` makes a binary of it".into();
    }
    if b"\0asm".starts_with(bytes) || bytes.starts_with(b"\0asm") {
        return "this is WebAssembly cut short, or of a version that nobody knows".into();
    }
    "this is not WebAssembly: it does not begin with \\0asm".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_component_is_told_apart() {
        for (bytes, says) in [
            (&b""[..], "empty"),
            (b"\0as", "cut short"),
            (b"\0asm\x01\0", "cut short"),
            (b"\0asm\x01\0\0\0", "core module"),
            (b"\0asm\x0d\0\x01\0\x0a", "no valid component"),
            (b"(component)", "as text"),
            (b"\x7fELF", "not WebAssembly"),
        ] {
            let error = format!("{:#}", Anatomy::of(bytes).expect_err(says));
            assert!(error.contains(says), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn an_empty_component_is_none_of_ours() {
        let anatomy = Anatomy::of(b"\0asm\x0d\0\x01\0").expect("valid");
        assert_eq!(anatomy.kinds_text(), "none of codec's kinds");
        assert_eq!(anatomy.size_bytes, 8);
        assert_eq!(anatomy.sha256.len(), 64);
    }

    #[test]
    fn each_import_is_granted_by_its_own_key_and_only_to_kinds_that_have_it() {
        let sink = [Kind::AuditSink];
        assert_eq!(grant("origan:codec/http@0.1.0", &sink), Grant::Http);
        assert_eq!(grant("origan:codec/lines@0.1.3", &sink), Grant::Lines);
        assert_eq!(grant("origan:codec/clock@0.1.0", &sink), Grant::Always);
        assert_eq!(grant("origan:codec/facts@0.1.0", &sink), Grant::Types);
        assert_eq!(grant("wasi:cli/environment@0.2.3", &sink), Grant::Wasi);
        assert_eq!(grant("origan:codec/http@0.2.0", &sink), Grant::Refused);
        assert_eq!(grant("origan:codec/http@0.1.0", &[Kind::Policy]), Grant::Refused);
        assert_eq!(grant("origan:codec/clock@0.1.0", &[Kind::Policy]), Grant::Refused);
        assert_eq!(grant("origan:codec/log@0.1.0", &[Kind::Policy]), Grant::Always);
        assert_eq!(grant("somebody:else/thing", &sink), Grant::Refused);
    }
}
