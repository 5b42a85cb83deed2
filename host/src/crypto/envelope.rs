//! The two strings that travel: `base64(iv(16) ‖ ciphertext ‖ tag(16))`, standard alphabet, padded (RFC 4648 section 4). v1. A value may
//! also be `"v2." ‖ base64url(key version u32 ‖ iv(16) ‖ ciphertext ‖ tag(16))`, unpadded (section 5).
//!
//! One value has one spelling: inner white space, the url-safe alphabet, missing padding and non-zero trailing bits are refused,
//! because two spellings of one encrypted DEK would be two cache keys and two rows.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::Simd;
use base64::engine::general_purpose::{NO_PAD, PAD};
use sha2::{Digest, Sha256};

use super::aead::{IV_LEN, RandomnessUnavailable, TAG_LEN};

/// As strict as the engines of the same names that need no set-up; half the time for a value of 64 bytes, and no table whose cache lines tell
/// what was looked up.
static STANDARD: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD));
static URL_SAFE_NO_PAD: LazyLock<Simd> = LazyLock::new(|| Simd::url_safe(NO_PAD));

/// What a v2 value begins with.
const V2: &str = "v2.";
/// Bytes of the key version in front of what was sealed in v2.
const KEY_VERSION_LEN: usize = 4;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueFormat {
    /// The contract's: whoever has the DEK reads it.
    V1,
    /// Bound to project, variable and key version.
    V2,
}

/// A sealed value, as callers store it.
#[derive(Debug, Clone)]
pub struct EncryptedValue {
    sealed: Vec<u8>,
    /// Of v2.
    key_version: Option<u32>,
}

/// A wrapped DEK, as callers store it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedDek(Vec<u8>);

/// Why a string is neither an encrypted value nor an encrypted DEK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseEnvelopeError {
    /// Not the one canonical spelling.
    #[error("not canonical, padded, standard base64")]
    InvalidBase64,
    /// Fewer than the 32 bytes of an IV and a tag.
    #[error("shorter than an IV and a tag")]
    TooShort,
    /// Begins with a version that this build does not read.
    #[error("a format this service does not read")]
    UnsupportedFormat,
}

impl EncryptedValue {
    /// Parses either spelling.
    pub fn parse(text: &str) -> Result<Self, ParseEnvelopeError> {
        match text.strip_prefix(V2) {
            None => Ok(Self { sealed: parse_v1(text)?, key_version: None }),
            Some(rest) => Self::parse_bound(rest),
        }
    }

    fn parse_bound(text: &str) -> Result<Self, ParseEnvelopeError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ParseEnvelopeError::InvalidBase64)?;
        let (key_version, sealed) = bytes.split_first_chunk::<KEY_VERSION_LEN>().ok_or(ParseEnvelopeError::TooShort)?;
        if sealed.len() < IV_LEN + TAG_LEN {
            return Err(ParseEnvelopeError::TooShort);
        }
        match u32::from_be_bytes(*key_version) {
            // There is no such version of any DEK, so nothing was ever written so.
            0 => Err(ParseEnvelopeError::UnsupportedFormat),
            key_version => Ok(Self { sealed: sealed.to_vec(), key_version: Some(key_version) }),
        }
    }

    pub(crate) fn from_sealed(sealed: Vec<u8>) -> Self {
        Self { sealed, key_version: None }
    }

    pub(crate) fn from_bound(key_version: u32, sealed: Vec<u8>) -> Self {
        Self { sealed, key_version: Some(key_version) }
    }

    pub(crate) fn into_sealed(self) -> Vec<u8> {
        self.sealed
    }

    /// Of v2: the version of the DEK that it is under, as it says itself.
    pub fn key_version(&self) -> Option<u32> {
        self.key_version
    }

    /// How it is written.
    pub fn format(&self) -> ValueFormat {
        if self.key_version.is_some() { ValueFormat::V2 } else { ValueFormat::V1 }
    }

    #[cfg(test)]
    pub(crate) fn set_key_version(&mut self, key_version: Option<u32>) {
        self.key_version = key_version;
    }

    /// Its one spelling.
    pub fn encode(&self) -> String {
        match self.key_version {
            None => STANDARD.encode(&self.sealed),
            Some(key_version) => {
                let bytes = [&key_version.to_be_bytes(), self.sealed.as_slice()].concat();
                V2.to_owned() + &URL_SAFE_NO_PAD.encode(bytes)
            }
        }
    }

    /// Bytes of that spelling.
    pub fn encoded_len(&self) -> usize {
        match self.key_version {
            None => self.sealed.len().div_ceil(3) * 4,
            Some(_) => V2.len() + ((KEY_VERSION_LEN + self.sealed.len()) * 4).div_ceil(3),
        }
    }
}

impl ValueFormat {
    /// Its name: `v1`, `v2`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::V1, Self::V2].into_iter().find(|format| format.name() == name)
    }
}

impl EncryptedDek {
    /// Parses the v1 spelling. How long the DEK inside is shows only when it is unwrapped.
    pub fn parse(text: &str) -> Result<Self, ParseEnvelopeError> {
        parse_v1(text).map(Self)
    }

    pub(crate) fn from_sealed(sealed: Vec<u8>) -> Self {
        Self(sealed)
    }

    /// Nothing, in the form of one: random bytes, which stand where a DEK was destroyed.
    pub fn of_nothing() -> Result<Self, RandomnessUnavailable> {
        let mut bytes = vec![0; IV_LEN + TAG_LEN];
        getrandom::fill(&mut bytes).map_err(|_| RandomnessUnavailable)?;
        Ok(Self(bytes))
    }

    pub(crate) fn sealed(&self) -> &[u8] {
        &self.0
    }

    /// The v1 spelling.
    pub fn encode(&self) -> String {
        STANDARD.encode(&self.0)
    }

    /// SHA-256 of the sealed bytes: by what the store and the cache find it.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }
}

fn parse_v1(text: &str) -> Result<Vec<u8>, ParseEnvelopeError> {
    if names_a_version(text) {
        return Err(ParseEnvelopeError::UnsupportedFormat);
    }
    let sealed = STANDARD.decode(text).map_err(|_| ParseEnvelopeError::InvalidBase64)?;
    match sealed.len() {
        // The empty string is no value at all, not one whose bytes are missing.
        0 => Err(ParseEnvelopeError::InvalidBase64),
        length if length < IV_LEN + TAG_LEN => Err(ParseEnvelopeError::TooShort),
        _ => Ok(sealed),
    }
}

/// `v<digits>.`: '.' is outside the base64 alphabet, so nothing is guessed.
fn names_a_version(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('v') else { return false };
    let after_digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    after_digits.len() < rest.len() && after_digits.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubtful_spellings_are_refused() {
        let sealed = [0xfb; 33];
        let good = STANDARD.encode(sealed);
        let cases = [
            ("empty", String::new()),
            ("not base64", "*".repeat(44)),
            ("inner space", format!("{} {}", &good[..20], &good[20..])),
            ("inner newline", format!("{}\n{}", &good[..20], &good[20..])),
            ("trailing newline", format!("{good}\n")),
            ("url-safe alphabet", good.replace('+', "-").replace('/', "_")),
            ("one '=' missing", STANDARD.encode([0xfb; 32]).trim_end_matches('=').to_owned()),
            ("bytes after padding", format!("{}AAAA", STANDARD.encode([0xfb; 32]))),
            ("non-zero trailing bits", STANDARD.encode([0; 32]).replace("AAA=", "AAB=")),
            ("hexadecimal, odd length", "abc".repeat(21)),
        ];
        for (case, text) in cases {
            assert_eq!(EncryptedValue::parse(&text).err(), Some(ParseEnvelopeError::InvalidBase64), "{case}");
        }
    }

    #[test]
    fn short_ones_are_refused_as_short() {
        for length in [1, 15, 16, 31] {
            let text = STANDARD.encode(vec![0; length]);
            assert_eq!(EncryptedValue::parse(&text).err(), Some(ParseEnvelopeError::TooShort), "{length} bytes");
        }
        assert!(EncryptedValue::parse(&STANDARD.encode([0; 32])).is_ok());
    }

    #[test]
    fn versions_are_named_as_unsupported() {
        let unversioned = format!("v2.{}", URL_SAFE_NO_PAD.encode([0; 36]));
        for text in ["v3.AAAA", "v9.", "v10.x", "v02.AAAA", &unversioned] {
            assert_eq!(EncryptedValue::parse(text).err(), Some(ParseEnvelopeError::UnsupportedFormat), "{text}");
        }
        // A DEK has one format.
        let dek = format!("v2.{}", URL_SAFE_NO_PAD.encode([1; 36]));
        assert_eq!(EncryptedDek::parse(&dek).err(), Some(ParseEnvelopeError::UnsupportedFormat));
        for text in ["v.AAAA", ".AAAA", "vx.AAAA", "V2.AAAA"] {
            assert_eq!(EncryptedValue::parse(text).err(), Some(ParseEnvelopeError::InvalidBase64), "{text}");
        }
    }

    #[test]
    fn doubtful_spellings_of_v2_are_refused() {
        let good = URL_SAFE_NO_PAD.encode([&[0, 0, 0, 1], [0xfb; 33].as_slice()].concat());
        let value = EncryptedValue::parse(&format!("v2.{good}")).expect("one");
        assert_eq!((value.key_version(), value.format(), value.encoded_len()), (Some(1), ValueFormat::V2, 3 + 50));
        for (case, rest, error) in [
            ("nothing", String::new(), ParseEnvelopeError::TooShort),
            ("a version alone", URL_SAFE_NO_PAD.encode([0, 0, 0, 1]), ParseEnvelopeError::TooShort),
            ("a byte too short", URL_SAFE_NO_PAD.encode([1; 35]), ParseEnvelopeError::TooShort),
            ("padded", format!("{good}=="), ParseEnvelopeError::InvalidBase64),
            ("the standard alphabet", good.replace('-', "+").replace('_', "/"), ParseEnvelopeError::InvalidBase64),
            ("a newline", format!("{good}\n"), ParseEnvelopeError::InvalidBase64),
            ("twice", format!("v2.{good}"), ParseEnvelopeError::InvalidBase64),
            ("trailing bits", format!("{}B", &good[..good.len() - 1]), ParseEnvelopeError::InvalidBase64),
        ] {
            assert_eq!(EncryptedValue::parse(&format!("v2.{rest}")).err(), Some(error), "{case}");
        }
        assert_eq!(EncryptedValue::parse(&format!("V2.{good}")).err(), Some(ParseEnvelopeError::InvalidBase64));
    }

    proptest! {
        #[test]
        fn every_string_that_parses_is_its_own_spelling(text in "(v2\\.)?[A-Za-z0-9+/=_. \\-]{0,80}") {
            if let Ok(value) = EncryptedValue::parse(&text) {
                prop_assert_eq!(value.encode(), text);
            }
        }

        /// Also where characters are looked at many at once.
        #[test]
        fn one_character_changed_is_refused_or_another_value(
            bytes in proptest::collection::vec(any::<u8>(), 32..300), at: prop::sample::Index, character in "[ -~\\n\u{80}-\u{ff}]",
        ) {
            for text in [STANDARD.encode(&bytes), format!("v2.{}", URL_SAFE_NO_PAD.encode(&bytes))] {
                let (mut changed, place) = (text.clone(), at.index(text.len()));
                changed.replace_range(place..=place, &character);
                if let Ok(value) = EncryptedValue::parse(&changed) {
                    prop_assert_eq!(value.encode(), changed);
                }
            }
        }

        #[test]
        fn any_32_bytes_or_more_survive_the_round(bytes in proptest::collection::vec(any::<u8>(), 32..200)) {
            let text = STANDARD.encode(&bytes);
            let dek = EncryptedDek::parse(&text).expect("parses");
            prop_assert_eq!(dek.sealed(), &bytes[..]);
        }
    }
}
