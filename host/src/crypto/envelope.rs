//! The two strings that travel: `base64(iv(16) ‖ ciphertext ‖ tag(16))`, standard alphabet, padded (RFC 4648 section 4). v1.
//!
//! One value has one spelling: inner white space, the url-safe alphabet, missing padding and non-zero trailing bits are refused,
//! because two spellings of one encrypted DEK would be two cache keys and two rows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::aead::{IV_LEN, TAG_LEN};

/// A sealed value, as callers store it.
#[derive(Debug, Clone)]
pub struct EncryptedValue(Vec<u8>);

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
    /// Parses the v1 spelling.
    pub fn parse(text: &str) -> Result<Self, ParseEnvelopeError> {
        parse_v1(text).map(Self)
    }

    pub(crate) fn from_sealed(sealed: Vec<u8>) -> Self {
        Self(sealed)
    }

    pub(crate) fn into_sealed(self) -> Vec<u8> {
        self.0
    }

    /// The v1 spelling.
    pub fn encode(&self) -> String {
        STANDARD.encode(&self.0)
    }

    /// Bytes of that spelling.
    pub fn encoded_len(&self) -> usize {
        self.0.len().div_ceil(3) * 4
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
    let Some((version, _)) = text.split_once('.') else { return false };
    version.strip_prefix('v').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
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
        for text in ["v2.AAAA", "v9.", "v10.x"] {
            assert_eq!(EncryptedValue::parse(text).err(), Some(ParseEnvelopeError::UnsupportedFormat), "{text}");
        }
        for text in ["v.AAAA", ".AAAA", "vx.AAAA", "V2.AAAA"] {
            assert_eq!(EncryptedValue::parse(text).err(), Some(ParseEnvelopeError::InvalidBase64), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_string_that_parses_is_its_own_spelling(text in "[A-Za-z0-9+/=_. \\-]{0,80}") {
            if let Ok(value) = EncryptedValue::parse(&text) {
                prop_assert_eq!(value.encode(), text);
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
