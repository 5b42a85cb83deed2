//! The actions that a policy's settings may name.

use serde_json::Value;

use crate::pattern::Pattern;
use crate::settings::{Problem, Setting};

/// The actions of this version of the interface.
pub const ACTIONS: [&str; 13] = [
    "encrypt",
    "encrypt-all",
    "decrypt-value",
    "decrypt-all",
    "decrypt-dek",
    "generate-dek",
    "re-encrypt",
    "rotate-dek",
    "rewrap-dek",
    "rewrap-all",
    "disable-dek",
    "enable-dek",
    "destroy-dek",
];

/// A pattern that stands for one of [`ACTIONS`] at least: a misspelt action would be a rule that never applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionPattern(Pattern);

impl ActionPattern {
    /// `text`, or why it is no action.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pattern = Pattern::new(text);
        if ACTIONS.iter().any(|action| pattern.matches(action)) {
            return Ok(Self(pattern));
        }
        Err(format!("{text:?} matches none of the actions {}", ACTIONS.join(", ")))
    }

    /// Whether it stands for `action`.
    pub fn matches(&self, action: &str) -> bool {
        self.0.matches(action)
    }
}

impl Setting for ActionPattern {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        Self::parse(&String::read(value, path)?).map_err(|message| Problem::new(path, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_must_stand_for_an_action() {
        for text in ["decrypt-all", "decrypt-*", "*", "*-all"] {
            assert!(ActionPattern::parse(text).is_ok(), "{text}");
        }
        for text in ["", "decrypt_all", "Decrypt-all", "decript-*", "decrypt"] {
            assert!(ActionPattern::parse(text).is_err(), "{text}");
        }
    }
}
