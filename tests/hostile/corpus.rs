//! The hostile corpus: reads the guests of this folder, puts each into its skeleton and assembles it. No WebAssembly toolchain is
//! needed. `host/tests/hostile.rs` runs them against the host's library; `cargo run -p origan-codec-host --example hostile -- OUTDIR`
//! writes them as `.wasm`, for any other host.

#![expect(clippy::expect_used, clippy::panic, reason = "tests")]

mod bombs;

use std::path::{Path, PathBuf};

/// What a guest claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum World {
    /// `policy-plugin`.
    Policy,
    /// `audit-sink-plugin`.
    Sink,
    /// `secret-provider-plugin`.
    Provider,
    /// `key-provider-plugin`.
    Key,
}

/// A hostile guest.
pub(crate) struct Guest {
    /// Folder and name.
    pub(crate) name: String,
    /// As what it asks to go live.
    pub(crate) world: World,
    /// What it does.
    pub(crate) attack: String,
    /// Which row of the table of faults it belongs to.
    pub(crate) row: String,
    /// What must come of it; any of these.
    pub(crate) must: Vec<Must>,
    /// What the refusal must name.
    pub(crate) says: Option<String>,
    /// Whether the host's memory must stay flat however often it runs.
    pub(crate) flat: bool,
    /// Whether it is admitted with `wasi = true`.
    pub(crate) wasi: bool,
    /// Takes seconds to compile: tested when asked for.
    pub(crate) slow: bool,
    /// The component, or what pretends to be one.
    pub(crate) bytes: Vec<u8>,
}

/// What must come of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Must {
    /// Not admitted, with this code; any code if it is none.
    Refused(Option<String>),
    /// Not admitted, because `configure`, or what comes before or right after it, ends with this fault.
    ConfigureFault(String),
    /// Each call ends with this fault, or with this answer.
    Answer(String),
}

impl std::fmt::Display for Must {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(None) => f.write_str("not admitted"),
            Self::Refused(Some(code)) => write!(f, "not admitted: {code}"),
            Self::ConfigureFault(fault) => write!(f, "not admitted: configure, {fault}"),
            Self::Answer(answer) => f.write_str(answer),
        }
    }
}

/// All of them, by name.
pub(crate) fn all() -> Vec<Guest> {
    let mut guests = Vec::new();
    let folders = [
        ("policy", World::Policy),
        ("sink", World::Sink),
        ("provider", World::Provider),
        ("key", World::Key),
        ("whole", World::Policy),
    ];
    for (folder, world) in folders {
        for path in files(&folder_of_corpus().join(folder)) {
            guests.push(read(folder, world, &path));
        }
    }
    guests.extend(bombs::all());
    guests.sort_by(|a, b| a.name.cmp(&b.name));
    guests
}

/// An honest policy: abstains.
pub(crate) fn honest_policy() -> Vec<u8> {
    assemble("honest", &skeleton(World::Policy, &[]))
}

/// An honest sink: takes every batch.
pub(crate) fn honest_sink() -> Vec<u8> {
    assemble("honest", &skeleton(World::Sink, &[]))
}

/// A guest with these places filled.
pub(crate) fn made(world: World, places: &[(&str, &str)]) -> Vec<u8> {
    let places: Vec<_> = places.iter().map(|(place, body)| ((*place).to_owned(), (*body).to_owned())).collect();
    assemble("made", &skeleton(world, &places))
}

/// An honest secret provider: finds `honest` for every reference.
pub(crate) fn honest_provider() -> Vec<u8> {
    assemble("honest", &skeleton(World::Provider, &[]))
}

/// An honest key provider: what it wraps, it unwraps.
pub(crate) fn honest_key_provider() -> Vec<u8> {
    assemble("honest", &skeleton(World::Key, &[]))
}

/// A guest of `policy/`, `sink/`, `provider/` or `key/`, as text: the skeleton with `places` filled.
fn skeleton(world: World, places: &[(String, String)]) -> String {
    let file = match world {
        World::Policy => "policy.skeleton.wat",
        World::Sink => "sink.skeleton.wat",
        World::Provider => "provider.skeleton.wat",
        World::Key => "key.skeleton.wat",
    };
    let mut text = text_of(&folder_of_corpus().join(file));
    for (place, body) in places {
        let (begin, end) = (format!(";;[{place}\n"), ";;]\n");
        let at = text.find(&begin).unwrap_or_else(|| panic!("{file} has no place `{place}`")) + begin.len();
        let len = text[at..].find(end).unwrap_or_else(|| panic!("{file}: `{place}` has no end"));
        text.replace_range(at..at + len, body);
    }
    text
}

fn read(folder: &str, world: World, path: &Path) -> Guest {
    let text = text_of(path);
    let stem = path.file_stem().expect("a name").to_string_lossy();
    let name = format!("{folder}/{stem}");
    let header = |key: &str| {
        let begin = format!(";; {key}: ");
        text.lines().find_map(|line| line.strip_prefix(&begin)).map(str::to_owned)
    };
    let wat = if folder == "whole" { text.clone() } else { skeleton(world, &places(&text)) };
    Guest {
        world,
        attack: header("attack").unwrap_or_else(|| panic!("{name}: no `attack`")),
        row: header("row").unwrap_or_else(|| panic!("{name}: no `row`")),
        must: parse_must(&header("must").unwrap_or_else(|| panic!("{name}: no `must`"))),
        says: header("says"),
        flat: header("flat").is_some(),
        wasi: header("wasi").is_some(),
        slow: false,
        bytes: assemble(&name, &wat),
        name,
    }
}

/// `admission`, `admission CODE`, `admission configure FAULT`, `evaluate ANSWER`, `write ANSWER`, `resolve ANSWER`, `wrap ANSWER` or
/// `unwrap ANSWER`, with alternatives after `|`.
fn parse_must(text: &str) -> Vec<Must> {
    let (step, outcomes) = text.split_once(' ').unwrap_or((text, ""));
    if matches!(step, "wrap" | "unwrap") {
        // Which of its two calls it was belongs to a key provider's answer.
        return text.split('|').map(|answer| Must::Answer(answer.to_owned())).collect();
    }
    let of = |outcome: &str| match (step, outcome.strip_prefix("configure ")) {
        ("admission", Some(fault)) => Must::ConfigureFault(fault.to_owned()),
        ("admission", None) => Must::Refused((!outcome.is_empty()).then(|| outcome.to_owned())),
        ("evaluate" | "write" | "resolve", _) => Must::Answer(outcome.to_owned()),
        _ => panic!("`must: {text}` is not understood"),
    };
    outcomes.split('|').map(of).collect()
}

/// What stands below each `;;@ place`.
fn places(text: &str) -> Vec<(String, String)> {
    let sections = text.split("\n;;@ ").skip(1);
    let sections = sections.filter_map(|section| section.split_once('\n'));
    sections.map(|(place, body)| (place.trim().to_owned(), format!("{body}\n"))).collect()
}

fn assemble(name: &str, wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap_or_else(|error| panic!("{name}: {:.2000}", error.to_string()))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("readable").path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|kind| kind == "wat")).collect();
    paths.sort();
    paths
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// This folder, seen from the root package or from `host/`.
fn folder_of_corpus() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["tests/hostile", "../tests/hostile"].map(|place| package.join(place));
    places
        .into_iter()
        .find(|place| place.join("policy.skeleton.wat").is_file())
        .expect("tests/hostile is in the repository")
}
