//! Codes of denials, which callers see.

use serde_json::Value;

use crate::settings::{Problem, Setting};

/// 1 to 64 of a-z, 0-9 and -, as the interface wants it: any other would be a bad answer at the first denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code(String);

impl Code {
    /// `text`, if it is a code.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        fits.then(|| Self(text.to_owned()))
    }

    /// As it is told.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Code {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        let text = String::read(value, path)?;
        Self::parse(&text)
            .ok_or_else(|| Problem::new(path, format!("{text:?} is not a code: 1 to 64 of a-z, 0-9 and -")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_short_and_plain() {
        let longest = "a".repeat(64);
        for text in ["a", "change-freeze", "2026", longest.as_str()] {
            assert!(Code::parse(text).is_some(), "{text}");
        }
        let too_long = "a".repeat(65);
        for text in ["", "A", "a_b", "a b", "ä", too_long.as_str()] {
            assert!(Code::parse(text).is_none(), "{text}");
        }
    }
}
