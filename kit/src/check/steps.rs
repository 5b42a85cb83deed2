//! The steps of an admission, in lines.

use origan_codec_host::plugin::{AdmissionError, Candidate, Scan, ScanError, Sha256Digest};

use crate::plugin::printable;

/// A step, in the host's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Step {
    Size,
    Digest,
    Parse,
    World,
    Imports,
    Compile,
    Configure,
    Needs,
    Cases,
}

/// A step that was passed, on standard output.
pub(super) fn tell(step: Step, what: &str) {
    let line = format!("  ok  {:<10} {what}", step.name());
    println!("{}", line.trim_end());
}

/// The steps of the scan, all passed.
pub(super) fn tell_scan(candidate: &Candidate, scan: &Scan) {
    let (bytes, limit) = (candidate.bytes.len(), candidate.limits.component_bytes);
    tell(Step::Size, &format!("{bytes} bytes; at most {limit} are loaded"));
    let pinned = if candidate.pinned.is_some() { ", as pinned" } else { "" };
    tell(Step::Digest, &format!("{}{pinned}", Sha256Digest::of(&candidate.bytes)));
    let Scan { core_modules, functions, largest_function_bytes, .. } = scan;
    let largest = format!("the largest of {largest_function_bytes} bytes");
    tell(Step::Parse, &format!("{core_modules} core modules, {functions} functions, {largest}"));
    tell(Step::World, scan.kind.name());
    let imports = if scan.imports.is_empty() { "none".into() } else { scan.imports.join(", ") };
    tell(Step::Imports, &printable(&imports));
}

/// The steps before the one that `error` is of; those of the scan may have been told already.
pub(super) fn tell_before(error: &AdmissionError, is_scan_told: bool) {
    let scan = [Step::Size, Step::Digest, Step::Parse, Step::World].into_iter().filter(|_| !is_scan_told);
    for step in scan.chain([Step::Compile, Step::Configure]).filter(|step| *step < Step::of(error)) {
        tell(step, "");
    }
}

impl Step {
    /// The step that an error is of.
    fn of(error: &AdmissionError) -> Self {
        match error {
            AdmissionError::TooLarge { .. } => Self::Size,
            AdmissionError::DigestMismatch { .. } => Self::Digest,
            AdmissionError::Scan(ScanError::WrongWorld { .. }) | AdmissionError::WrongKind { .. } => Self::World,
            AdmissionError::Scan(_) => Self::Parse,
            AdmissionError::ImportNotGranted { .. } => Self::Imports,
            AdmissionError::Compile(_)
            | AdmissionError::Compiler(_)
            | AdmissionError::CompileTimeout(_)
            | AdmissionError::Starved
            | AdmissionError::Thread(_) => Self::Compile,
            AdmissionError::Settings(_) | AdmissionError::Configure(_) => Self::Configure,
            AdmissionError::Cases(_) => Self::Cases,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Digest => "sha-256",
            Self::Parse => "component",
            Self::World => "world",
            Self::Imports => "imports",
            Self::Compile => "compile",
            Self::Configure => "configure",
            Self::Needs => "needs",
            Self::Cases => "cases",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_of_the_step_after_those_that_were_passed() {
        let wrong_world = ScanError::WrongWorld { missing: "m".into(), found: "f".into() };
        for (error, step) in [
            (AdmissionError::TooLarge { bytes: 2, limit: 1 }, Step::Size),
            (AdmissionError::Scan(ScanError::Empty), Step::Parse),
            (AdmissionError::Scan(wrong_world), Step::World),
            (AdmissionError::Compile("c".into()), Step::Compile),
            (AdmissionError::Settings(Vec::new()), Step::Configure),
        ] {
            assert_eq!(Step::of(&error), step, "{error}");
        }
        assert!(Step::Size < Step::Digest && Step::Imports < Step::Compile && Step::Configure < Step::Cases);
    }
}
