//! Where a secret lives that lives elsewhere.

use std::sync::Arc;

/// Longest name of a provider, reference and version, in bytes.
const PROVIDER_LEN_MAX: usize = 64;
const REFERENCE_LEN_MAX: usize = 1_024;
const VERSION_LEN_MAX: usize = 128;

/// A secret of a provider: `vault`, `secret/data/app#password`, `3`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExternalReference {
    provider: Arc<str>,
    reference: Arc<str>,
    version: Option<Arc<str>>,
}

/// Not a reference to a secret that lives elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseReferenceError(pub &'static str);

impl ExternalReference {
    /// Of the fields of a variable. What a reference means is the provider's to say; here it is a text that can be told and recorded.
    pub fn parse(provider: &str, reference: &str, version: Option<&str>) -> Result<Self, ParseReferenceError> {
        let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=PROVIDER_LEN_MAX).contains(&provider.len()) || !provider.bytes().all(is_name) {
            return Err(ParseReferenceError("`provider` must be 1 to 64 of a-z 0-9 and -"));
        }
        if !(1..=REFERENCE_LEN_MAX).contains(&reference.len()) || reference.chars().any(char::is_control) {
            return Err(ParseReferenceError("`ref` must be 1 to 1024 bytes without control characters"));
        }
        let fits = |text: &str| {
            (1..=VERSION_LEN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if version.is_some_and(|version| !fits(version)) {
            return Err(ParseReferenceError("`version` must be 1 to 128 printable characters of ASCII"));
        }
        let version = version.map(Arc::from);
        Ok(Self { provider: provider.into(), reference: reference.into(), version })
    }

    /// The provider's name.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// What it is asked for, as the caller wrote it.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The version that is asked for; none: the latest.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// What is before the field: secrets of one path and version are fetched together.
    pub fn path(&self) -> &str {
        self.reference.split_once('#').map_or(&*self.reference, |(path, _)| path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_can_be_told_and_recorded() {
        let long = "a".repeat(1_025);
        for (provider, reference, version) in [
            ("", "a", None),
            ("Vault", "a", None),
            ("a_b", "a", None),
            (&long[..65], "a", None),
            ("vault", "", None),
            ("vault", "a\nb", None),
            ("vault", "a\u{85}b", None),
            ("vault", &*long, None),
            ("vault", "a", Some("")),
            ("vault", "a", Some("1 2")),
            ("vault", "a", Some("é")),
            ("vault", "a", Some(&long[..129])),
        ] {
            assert!(
                ExternalReference::parse(provider, reference, version).is_err(),
                "{provider} {reference} {version:?}"
            );
        }
        let found = ExternalReference::parse("vault", "secret/data/é app#a#b", Some("3")).expect("a reference");
        assert_eq!((found.provider(), found.path(), found.version()), ("vault", "secret/data/é app", Some("3")));
        assert_eq!(found.reference(), "secret/data/é app#a#b");
    }
}
