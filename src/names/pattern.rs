//! Patterns of names: text in which `*` stands for anything, also for nothing.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::NameError;

/// Longest pattern, in bytes.
const PATTERN_LEN_MAX: usize = 256;

/// A pattern of project ids such as `prod-*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectPattern(Box<str>);

impl ProjectPattern {
    /// Whether `name` fits, all of it.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The leftmost place leaves the most for what follows.
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

impl FromStr for ProjectPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits =
            (1..=PATTERN_LEN_MAX).contains(&text.len()) && text.bytes().all(|b| super::is_id_byte(b) || b == b'*');
        if fits { Ok(Self(text.into())) } else { Err(NameError("1 to 256 of A-Z a-z 0-9 . _ - and *")) }
    }
}

impl Serialize for ProjectPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ProjectPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_stands_for_anything_and_for_nothing() {
        for (pattern, fits, fits_not) in [
            ("shop", &["shop"][..], &["shop2", "ashop", ""][..]),
            ("*", &["", "a", "shop"], &[]),
            ("prod-*", &["prod-", "prod-a"], &["prod", "xprod-a"]),
            ("*-prod", &["-prod", "a-prod"], &["a-prod-b"]),
            ("a*b*c", &["abc", "axbxc", "abbc", "abcbc"], &["ab", "acb", "abcd"]),
            ("aa*aa", &["aaaa", "aabaa"], &["aaa", "aa"]),
        ] {
            let parsed: ProjectPattern = pattern.parse().expect("a pattern");
            assert!(fits.iter().all(|name| parsed.matches(name)), "{pattern}");
            assert!(!fits_not.iter().any(|name| parsed.matches(name)), "{pattern}");
        }
        for text in ["", "a b", "a/b", "é", "a?", "[a]"] {
            assert!(text.parse::<ProjectPattern>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_plainest_definition(pattern in "[ab*]{1,8}", name in "[ab]{0,8}") {
            fn plain(pattern: &[u8], name: &[u8]) -> bool {
                match pattern.split_first() {
                    None => name.is_empty(),
                    Some((b'*', rest)) => (0..=name.len()).any(|skip| plain(rest, &name[skip..])),
                    Some((byte, rest)) => name.first() == Some(byte) && plain(rest, &name[1..]),
                }
            }
            let parsed: ProjectPattern = pattern.parse().expect("a pattern");
            prop_assert_eq!(parsed.matches(&name), plain(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
