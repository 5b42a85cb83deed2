//! What a v2 value is bound to: `aad = "origan-codec/v2/value" ‖ part(project) ‖ part(variable's name) ‖ key version u32`.
//!
//! `part(x) = length(x) as u64 ‖ x`. The KEK is not in it: a DEK may be wrapped anew without touching a value.

/// Before everything else, so that nothing sealed for another purpose opens as a value.
const LABEL: &[u8] = b"origan-codec/v2/value";

/// Whose value it is, and what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueBinding<'a> {
    /// The project.
    pub project_id: &'a str,
    /// The variable's name.
    pub variable: &'a str,
}

impl ValueBinding<'_> {
    pub(super) fn aad(&self, key_version: u32) -> Vec<u8> {
        let length = |part: &str| (part.len() as u64).to_be_bytes();
        let parts = [
            LABEL,
            &length(self.project_id),
            self.project_id.as_bytes(),
            &length(self.variable),
            self.variable.as_bytes(),
            &key_version.to_be_bytes(),
        ];
        parts.concat()
    }
}
