//! The names that travel through everything, parsed once at the edge. Nothing downstream checks them again.

mod external;
mod pattern;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

pub use external::{ExternalReference, ParseReferenceError};
pub use pattern::ProjectPattern;

/// Longest project or deployment id, in bytes.
const ID_LEN_MAX: usize = 128;
/// Longest variable name, in bytes.
const VARIABLE_NAME_LEN_MAX: usize = 256;
const HEX: &[u8; 16] = b"0123456789abcdef";
/// Longest request id taken over from a caller, in bytes.
const REQUEST_ID_LEN_MAX: usize = 64;

/// A project: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`. A UUID in the platform's own use.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProjectId(Arc<str>);

/// A deployment: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, so that it is safe as one segment of a path.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DeploymentId(Arc<str>);

/// The name of an environment variable: any text up to 256 bytes, the empty one included.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VariableName(Arc<str>);

/// Which of a project's DEKs: 1 or more. What names none is version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyVersion(NonZeroU32);

/// One request, in the answer's `X-Request-Id`, the log and the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

/// Not a name of the kind asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {0}")]
pub struct NameError(&'static str);

impl ProjectId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        parse_id(text).map(Self)
    }
}

impl DeploymentId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeploymentId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        parse_id(text).map(Self)
    }
}

impl VariableName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VariableName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > VARIABLE_NAME_LEN_MAX {
            return Err(NameError("at most 256 bytes long"));
        }
        Ok(Self(text.into()))
    }
}

impl KeyVersion {
    /// The first version of a project's DEK, and that of values that name none.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// As a number, 1 or more.
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// The version after this one; none after the last.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl TryFrom<u64> for KeyVersion {
    type Error = NameError;

    fn try_from(number: u64) -> Result<Self, NameError> {
        let number = u32::try_from(number).ok().and_then(NonZeroU32::new);
        number.map(Self).ok_or(NameError("a whole number from 1 to 4294967295"))
    }
}

impl RequestId {
    /// A new one: 8 bytes that are random for each process, and a count. Unique, not secret.
    pub fn fresh() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        static PROCESS: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        let process = PROCESS.get_or_init(|| getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id())));
        let number = u128::from(*process) << 64 | u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
        let digits: [u8; 32] = std::array::from_fn(|at| HEX[(number >> (4 * (31 - at)) & 15) as usize]);
        Self(std::str::from_utf8(&digits).unwrap_or_default().into())
    }

    /// The caller's own, if it is `[A-Za-z0-9._-]{1,64}`; anything else is not trusted.
    pub fn from_caller(text: &str) -> Option<Self> {
        let fits = (1..=REQUEST_ID_LEN_MAX).contains(&text.len()) && text.bytes().all(is_id_byte);
        fits.then(|| Self(text.into()))
    }

    /// The id as text, safe in a header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn parse_id(text: &str) -> Result<Arc<str>, NameError> {
    let fits = (1..=ID_LEN_MAX).contains(&text.len())
        && text.bytes().all(is_id_byte)
        && text.as_bytes()[0].is_ascii_alphanumeric();
    if fits { Ok(text.into()) } else { Err(NameError("1 to 128 of A-Z a-z 0-9 . _ -, the first a letter or digit")) }
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

macro_rules! text_name {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    )*};
}

text_name!(ProjectId, DeploymentId, VariableName, RequestId);

impl fmt::Debug for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProjectId({self})")
    }
}

impl fmt::Debug for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeploymentId({self})")
    }
}

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for KeyVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_out_everything_that_could_mean_something_elsewhere() {
        let long = "a".repeat(129);
        for text in [
            "", ".", "..", "../x", "a/b", "a\\b", "%2f", "a%2fb", "a b", "a\n", "a\0", "*", "'", "\"", "-a", "_a", "é",
            &long,
        ] {
            assert!(text.parse::<ProjectId>().is_err(), "{text:?}");
            assert!(text.parse::<DeploymentId>().is_err(), "{text:?}");
        }
        for text in ["a", "3f2c1d9e-7f0e-4b6a-9d58-0c3c1a6f0e11", "shop", "a..b", &long[..128]] {
            assert_eq!(text.parse::<ProjectId>().map(|id| id.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn request_ids_of_callers_are_taken_over_only_when_harmless() {
        for text in ["", "a\nb", "a b", "\u{1b}[31m", &"a".repeat(65)] {
            assert_eq!(RequestId::from_caller(text), None, "{text:?}");
        }
        assert!(RequestId::from_caller("req-1.2_3").is_some());
        assert_ne!(RequestId::fresh(), RequestId::fresh());
    }

    #[test]
    fn key_versions_begin_at_one_and_end_at_u32() {
        assert!(KeyVersion::try_from(0).is_err());
        assert!(KeyVersion::try_from(1 << 32).is_err());
        assert_eq!(KeyVersion::try_from(1), Ok(KeyVersion::FIRST));
        assert_eq!(KeyVersion::try_from(u64::from(u32::MAX)).map(KeyVersion::next), Ok(None));
    }
}
