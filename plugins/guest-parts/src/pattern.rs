//! Patterns for names: `*` stands for any run of characters, the empty one included; every other character for itself, case and all.

use serde_json::Value;

use crate::settings::{Problem, Setting};

/// One pattern, taken apart at its stars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    first: String,
    /// What stands between stars, and after the last one; empty where there is no star.
    rest: Vec<String>,
}

impl Pattern {
    /// Every text is a pattern.
    pub fn new(text: &str) -> Self {
        let mut pieces = text.split('*').map(str::to_owned);
        Self { first: pieces.next().unwrap_or_default(), rest: pieces.collect() }
    }

    /// `*`, which matches every name.
    pub fn any() -> Self {
        Self::new("*")
    }

    /// Whether it is nothing but stars.
    pub fn is_any(&self) -> bool {
        self.first.is_empty() && !self.rest.is_empty() && self.rest.iter().all(String::is_empty)
    }

    /// Whether it stands for all of `name`. Takes a time of the order of both lengths multiplied, at worst: no backtracking, for the
    /// leftmost place of a piece leaves the most to those that follow.
    pub fn matches(&self, name: &str) -> bool {
        let Some((last, middle)) = self.rest.split_last() else { return name == self.first };
        let Some(mut rest) = name.strip_prefix(self.first.as_str()) else { return false };
        for piece in middle {
            let Some((_, after)) = rest.split_once(piece.as_str()) else { return false };
            rest = after;
        }
        rest.ends_with(last.as_str())
    }
}

impl Setting for Pattern {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        let text = String::read(value, path)?;
        if text.is_empty() {
            return Err(Problem::new(path, "is empty and would match no name".to_owned()));
        }
        Ok(Self::new(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let table: [(&str, &[&str], &[&str]); 8] = [
            ("shop", &["shop"], &["", "sho", "shop2", "Shop", "a-shop"]),
            ("*", &["", "x", "a*b"], &[]),
            ("shop-*", &["shop-", "shop-a-b"], &["shop", "xshop-a"]),
            ("*_URL", &["_URL", "DB_URL", "_URL_URL"], &["DB_URLS", "URL"]),
            ("DB_*_URL", &["DB__URL", "DB_A_URL", "DB_A_B_URL"], &["DB_URL", "DB_A"]),
            ("a*b*c", &["abc", "aXbYc", "abbcc", "abcbc"], &["acb", "ab", "ac", "bc"]),
            ("aa*aa", &["aaaa", "aaXaa"], &["aaa", "aa"]),
            ("**", &["", "x"], &[]),
        ];
        for (pattern, matching, other) in table {
            let compiled = Pattern::new(pattern);
            for name in matching {
                assert!(compiled.matches(name), "{pattern} {name:?}");
            }
            for name in other {
                assert!(!compiled.matches(name), "{pattern} {name:?}");
            }
        }
    }

    #[test]
    fn only_stars_are_any() {
        assert!(Pattern::any().is_any() && Pattern::new("**").is_any());
        assert!(!Pattern::new("").is_any() && !Pattern::new("a*").is_any() && !Pattern::new("*a*").is_any());
    }
}
