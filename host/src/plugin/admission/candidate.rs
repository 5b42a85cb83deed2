//! A component that asks to go live, and everything that can be told of it without compiling.

use std::sync::Arc;

use super::digest::Sha256Digest;
use super::error::{AdmissionError, Problem};
use crate::plugin::cases::Cases;
use crate::plugin::engine::{POOLED_MEMORY_BYTES_MAX, POOLED_TABLE_ELEMENTS_MAX};
use crate::plugin::fault::printable;
use crate::plugin::imports::PluginLog;
use crate::plugin::limits::Limits;
use crate::plugin::scan::{Kind, Scan};

/// A component that asks to go live.
#[derive(Clone)]
pub struct Candidate {
    /// As the operator calls it.
    pub name: String,
    /// The component: these bytes are hashed, checked and compiled, and no file is looked at again.
    pub bytes: Arc<[u8]>,
    /// What the operator pinned it to.
    pub pinned: Option<Sha256Digest>,
    /// A JSON object.
    pub settings: String,
    /// What it may use.
    pub limits: Limits,
    /// Whether it may import WASI, and find nothing there.
    pub wasi: bool,
    /// Where its lines go.
    pub log: Arc<PluginLog>,
    /// What it must decide or send, before anything relies on it.
    pub cases: Option<Arc<Cases>>,
}

impl Candidate {
    /// Everything that can be told without compiling.
    pub fn check(&self, wanted: Kind, http: bool, lines: bool) -> Result<Scan, AdmissionError> {
        let (bytes, limit) = (self.bytes.len(), self.limits.component_bytes);
        if bytes > limit {
            return Err(AdmissionError::TooLarge { bytes, limit });
        }
        let found = Sha256Digest::of(&self.bytes);
        if let Some(pinned) = self.pinned.filter(|pinned| *pinned != found) {
            return Err(AdmissionError::DigestMismatch { found, pinned });
        }
        let scan = Scan::of(&self.bytes, self.limits.function_bytes)?;
        if scan.kind != wanted {
            return Err(AdmissionError::WrongKind { found: scan.kind, wanted });
        }
        for import in &scan.imports {
            if let Some(grant) = missing_grant(import, scan.kind, http, lines, self.wasi) {
                return Err(AdmissionError::ImportNotGranted { import: printable(import), grant });
            }
        }
        Ok(scan)
    }

    /// The pool's places are of one size.
    pub(super) fn refuse_limits_beyond_the_pool(&self) -> Result<(), AdmissionError> {
        let limits = &self.limits;
        if limits.memory_bytes > POOLED_MEMORY_BYTES_MAX || limits.table_elements > POOLED_TABLE_ELEMENTS_MAX {
            let message = format!("limits: at most {POOLED_MEMORY_BYTES_MAX} bytes of memory for a policy");
            return Err(AdmissionError::Settings(vec![Problem { path: String::new(), message }]));
        }
        Ok(())
    }
}

/// What would grant `import`; none if it is granted.
fn missing_grant(import: &str, kind: Kind, http: bool, lines: bool, wasi: bool) -> Option<&'static str> {
    if import.starts_with("wasi:") {
        return (!wasi).then_some("`wasi = true` would let it be there, with nothing in it");
    }
    match Scan::own_import(import).filter(|name| kind.imports().contains(name)) {
        None => Some("its world has no such import, so no grant can give it"),
        Some("http") if !http => Some("`http` must list the origins that it may reach"),
        Some("lines") if !lines => Some("`lines` must list the outputs that it may write to"),
        Some(_) => None,
    }
}
