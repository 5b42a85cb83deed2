//! The projects to start from: for each language and kind, the files.

use clap::ValueEnum;

use crate::kind::Kind;

/// What a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// A crate: the smallest and quickest.
    Rust,
    /// A module for StarlingMonkey: 12 MB, which compile for seconds.
    #[value(name = "js", alias = "javascript")]
    JavaScript,
    /// A module for CPython: 18 MB, which compile for seconds.
    #[value(name = "python", alias = "py")]
    Python,
    /// Sources for clang: as quick as Rust.
    C,
}

/// A file of a project: its path, and its text with `{{…}}` where the project's own words go.
pub(super) type File = (&'static str, &'static str);

impl Language {
    /// The files of a project; none where this language has none of that kind.
    pub(super) fn files(self, kind: Kind) -> Option<&'static [File]> {
        match (self, kind) {
            (Self::Rust, Kind::Policy) => Some(RUST_POLICY),
            (Self::Rust, Kind::AuditSink) => Some(RUST_SINK),
            (Self::Rust, Kind::SecretProvider) => Some(RUST_SECRET_PROVIDER),
            (Self::Rust, Kind::KeyProvider) => Some(RUST_KEY_PROVIDER),
            (Self::JavaScript, Kind::Policy) => Some(JAVASCRIPT_POLICY),
            (Self::JavaScript, Kind::AuditSink) => Some(JAVASCRIPT_SINK),
            (Self::Python, Kind::Policy) => Some(PYTHON_POLICY),
            (Self::Python, Kind::AuditSink) => Some(PYTHON_SINK),
            (Self::C, Kind::Policy) => Some(C_POLICY),
            (Self::C, Kind::AuditSink) => Some(C_SINK),
            (Self::JavaScript | Self::Python | Self::C, Kind::SecretProvider | Kind::KeyProvider) => None,
        }
    }

    /// The rows of its README that tell of the sources.
    pub(super) fn sources(self, kind: Kind) -> String {
        let (stem, what) = stem_of(kind);
        match self {
            Self::Rust => format!(
                "| `src/{stem}.rs` | {what}, and the settings: plain functions, tested natively |\n| `src/lib.rs` | the glue to the host |\n"
            ),
            Self::JavaScript => format!("| `{stem}.js` | {what}, and the settings |\n"),
            Self::Python => format!("| `{stem}.py` | {what}, and the settings |\n"),
            Self::C => format!(
                "| `{stem}.c` | {what}, and the settings |\n| `json.c` | reads the settings' JSON |\n| `plugin.toml` | what is compiled, and how |\n"
            ),
        }
    }

    /// The line of its README that tells of tests without the sandbox, if there are any.
    pub(super) fn native_tests(self) -> &'static str {
        match self {
            Self::Rust => "    cargo test                            # the logic, natively\n",
            Self::JavaScript | Self::Python | Self::C => "",
        }
    }
}

/// What the file of the logic is called, and what is in it.
pub(super) fn stem_of(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::AuditSink => ("sink", "what is written where"),
        Kind::SecretProvider => ("provider", "what is asked for a reference"),
        Kind::KeyProvider => ("provider", "what is asked for a key"),
        Kind::Policy => ("policy", "what is decided"),
    }
}

const GITIGNORE: File = (".gitignore", include_str!("../../templates/gitignore"));
const POLICY_README: File = ("README.md", include_str!("../../templates/policy/README.md.in"));
const POLICY_CASES: File = ("cases.toml", include_str!("../../templates/policy/cases.toml"));
const SINK_README: File = ("README.md", include_str!("../../templates/audit-sink/README.md.in"));
const SINK_CASES: File = ("cases.toml", include_str!("../../templates/audit-sink/cases.toml"));

const RUST_POLICY: &[File] = &[
    ("Cargo.toml", include_str!("../../templates/policy/Cargo.toml.in")),
    POLICY_README,
    POLICY_CASES,
    ("src/lib.rs", include_str!("../../templates/policy/src/lib.rs")),
    ("src/policy.rs", include_str!("../../templates/policy/src/policy.rs")),
    GITIGNORE,
];

const RUST_SINK: &[File] = &[
    ("Cargo.toml", include_str!("../../templates/audit-sink/Cargo.toml.in")),
    SINK_README,
    SINK_CASES,
    ("src/lib.rs", include_str!("../../templates/audit-sink/src/lib.rs")),
    ("src/sink.rs", include_str!("../../templates/audit-sink/src/sink.rs")),
    GITIGNORE,
];

const RUST_SECRET_PROVIDER: &[File] = &[
    ("Cargo.toml", include_str!("../../templates/secret-provider/Cargo.toml.in")),
    ("README.md", include_str!("../../templates/secret-provider/README.md.in")),
    ("cases.toml", include_str!("../../templates/secret-provider/cases.toml")),
    ("src/lib.rs", include_str!("../../templates/secret-provider/src/lib.rs")),
    ("src/provider.rs", include_str!("../../templates/secret-provider/src/provider.rs")),
    GITIGNORE,
];

const RUST_KEY_PROVIDER: &[File] = &[
    ("Cargo.toml", include_str!("../../templates/key-provider/Cargo.toml.in")),
    ("README.md", include_str!("../../templates/key-provider/README.md.in")),
    ("cases.toml", include_str!("../../templates/key-provider/cases.toml")),
    ("src/lib.rs", include_str!("../../templates/key-provider/src/lib.rs")),
    ("src/provider.rs", include_str!("../../templates/key-provider/src/provider.rs")),
    GITIGNORE,
];

const PACKAGE_JSON: File = ("package.json", include_str!("../../templates/javascript/package.json.in"));

const JAVASCRIPT_POLICY: &[File] = &[
    PACKAGE_JSON,
    POLICY_README,
    POLICY_CASES,
    ("policy.js", include_str!("../../templates/javascript/policy.js")),
    GITIGNORE,
];

const JAVASCRIPT_SINK: &[File] = &[
    PACKAGE_JSON,
    SINK_README,
    SINK_CASES,
    ("sink.js", include_str!("../../templates/javascript/sink.js")),
    GITIGNORE,
];

const PYPROJECT: File = ("pyproject.toml", include_str!("../../templates/python/pyproject.toml.in"));

const PYTHON_POLICY: &[File] = &[
    PYPROJECT,
    POLICY_README,
    POLICY_CASES,
    ("policy.py", include_str!("../../templates/python/policy.py")),
    GITIGNORE,
];

const PYTHON_SINK: &[File] =
    &[PYPROJECT, SINK_README, SINK_CASES, ("sink.py", include_str!("../../templates/python/sink.py")), GITIGNORE];

const PLUGIN_TOML: File = ("plugin.toml", include_str!("../../templates/c/plugin.toml.in"));
const JSON_C: File = ("json.c", include_str!("../../../plugins/examples/parts/json.c"));
const JSON_H: File = ("json.h", include_str!("../../../plugins/examples/parts/json.h"));

const C_POLICY: &[File] = &[
    PLUGIN_TOML,
    POLICY_README,
    POLICY_CASES,
    ("policy.c", include_str!("../../templates/c/policy.c")),
    JSON_C,
    JSON_H,
    GITIGNORE,
];

const C_SINK: &[File] = &[
    PLUGIN_TOML,
    SINK_README,
    SINK_CASES,
    ("sink.c", include_str!("../../templates/c/sink.c")),
    JSON_C,
    JSON_H,
    GITIGNORE,
];
