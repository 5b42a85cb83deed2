//! Why a component does not go live.

use super::digest::Sha256Digest;
use crate::plugin::cases::CasesFailed;
use crate::plugin::fault::{Fault, printable};
use crate::plugin::reach::ConfigureError;
use crate::plugin::scan::{Kind, ScanError};

/// Problems with settings that are told; one is enough to refuse.
const PROBLEMS_MAX: usize = 20;

/// What is wrong with a plugin's settings, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A JSON pointer into the settings; empty for all of them.
    pub path: String,
    /// What.
    pub message: String,
}

/// Why a component does not go live.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// Too large.
    #[error("{bytes} bytes; at most {limit} are loaded")]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// Not the bytes that the operator pinned.
    #[error("its sha-256 is {found}, and the configuration pins {pinned}")]
    DigestMismatch {
        /// What it is.
        found: Sha256Digest,
        /// What it should be.
        pinned: Sha256Digest,
    },
    /// Not a component of any world.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A component of another world.
    #[error("it is a plugin of kind {found}, and {wanted} is wanted here", found = found.name(), wanted = wanted.name())]
    WrongKind {
        /// What it is.
        found: Kind,
        /// What it should be.
        wanted: Kind,
    },
    /// It imports what its world lacks or the operator did not grant.
    #[error("it imports `{import}`, which is not granted: {grant}")]
    ImportNotGranted {
        /// What.
        import: String,
        /// What would grant it.
        grant: &'static str,
    },
    /// It cannot be compiled or linked.
    #[error("it does not compile: {0}")]
    Compile(String),
    /// The compiler itself failed, or could not be had.
    #[error("the compiler: {0}")]
    Compiler(String),
    /// Its compilation took too long.
    #[error("it was not compiled in {0} ms")]
    CompileTimeout(u128),
    /// There was no time to spare for it, and it was to take no other. An admission goes on from this by itself.
    #[error("there was no time to spare to compile it")]
    Starved,
    /// It refused its settings.
    #[error("it refuses its settings: {}", problems_text(.0))]
    Settings(Vec<Problem>),
    /// `configure`, or what came before, ended badly.
    #[error("`configure` {0}")]
    Configure(Fault),
    /// Its own cases fail.
    #[error(transparent)]
    Cases(#[from] CasesFailed),
    /// A thread could not be had.
    #[error("no thread to compile on: {0}")]
    Thread(String),
}

impl AdmissionError {
    /// The kind's stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::DigestMismatch { .. } => "digest-mismatch",
            Self::Scan(ScanError::Empty) => "empty",
            Self::Scan(ScanError::Malformed(_)) => "malformed",
            Self::Scan(ScanError::CoreModule) => "core-module",
            Self::Scan(ScanError::WrongWorld { .. }) | Self::WrongKind { .. } => "wrong-world",
            Self::Scan(ScanError::FunctionTooLarge { .. }) => "function-too-large",
            Self::Scan(ScanError::TooHeavy(_)) => "too-heavy",
            Self::ImportNotGranted { .. } => "import-not-granted",
            Self::Compile(_) => "compile",
            Self::Compiler(_) => "compiler",
            Self::CompileTimeout(_) | Self::Starved => "compile-timeout",
            Self::Settings(_) => "settings",
            Self::Configure(_) => "configure",
            Self::Cases(_) => "cases",
            Self::Thread(_) => "thread",
        }
    }
}

fn problems_text(problems: &[Problem]) -> String {
    let told = problems.iter().take(PROBLEMS_MAX).map(|problem| {
        let (path, message) = (printable(&problem.path), printable(&problem.message));
        if path.is_empty() { message } else { format!("{path}: {message}") }
    });
    told.collect::<Vec<_>>().join("; ")
}

impl From<ConfigureError> for AdmissionError {
    fn from(error: ConfigureError) -> Self {
        match error {
            ConfigureError::Refused(problems) => Self::Settings(problems),
            ConfigureError::Fault(fault) => Self::Configure(fault),
        }
    }
}
