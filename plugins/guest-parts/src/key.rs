//! What key providers have in common: the context that is bound to a wrapped DEK, what a backend's answer means where there is none, and
//! texts that never repeat the DEK.
//!
//! Nothing here has a `Debug` that would show a DEK.

use crate::backend::NoAnswer;
use crate::base64;
use crate::http::wait_ms;
use crate::secret::told;

pub use crate::backend::{Answer, Backend, Request};

/// A DEK under a key that lives elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// As the backend gave it.
    pub ciphertext: Vec<u8>,
    /// Which version of the outside key wrapped it: 1 to 256 printable characters of ASCII.
    pub key_version: String,
}

/// Why there is no answer, as the interface `key-provider` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// The backend refuses.
    Denied(String),
    /// There is no such key, or no such version of it.
    UnknownKey(String),
    /// It does not open.
    Corrupt,
    /// Again after so many milliseconds.
    Retry(Option<u32>),
    /// The backend does not answer as it should.
    Unavailable(String),
}

/// What is bound to a wrapped DEK: names and values, each name once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Sorted by name.
    attributes: Vec<(String, String)>,
}

/// Names the format of [`Context::canonical`].
const LABEL: &[u8] = b"codec-context/v1";
/// The longest version of a key that the host takes.
const KEY_VERSION_LEN_MAX: usize = 256;
/// So many characters of an encoded DEK in a row are no accident. Of 32 bytes in base64, 12 characters are 9 bytes.
const REPEATED_CHARS: usize = 12;

impl Context {
    /// Of the host's attributes. A name that is there twice would be lost where a backend takes a map, and nobody would see it.
    pub fn new(mut attributes: Vec<(String, String)>) -> Result<Self, KeyError> {
        attributes.sort();
        let is_twice = attributes.windows(2).any(|pair| matches!(pair, [(first, _), (second, _)] if first == second));
        if is_twice {
            return Err(KeyError::Denied("the context has a name twice".to_owned()));
        }
        Ok(Self { attributes })
    }

    /// `label ‖ (u32 len ‖ name ‖ u32 len ‖ value)…`, big-endian, by name: two contexts that differ are never the same bytes.
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = LABEL.to_vec();
        for text in self.attributes.iter().flat_map(|(name, value)| [name, value]) {
            // 32 bits of address: no text of a guest is longer.
            bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend(text.bytes());
        }
        bytes
    }

    /// Names and values, by name.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl From<NoAnswer> for KeyError {
    /// Whatever it is: what is asked, and where, is the operator's.
    fn from(no_answer: NoAnswer) -> Self {
        Self::Unavailable(no_answer.why())
    }
}

impl KeyError {
    /// The same without a part of `dek`: texts are logged, and nothing promises that no server or proxy repeats what it was sent.
    pub fn hushed(self, dek: &[u8]) -> Self {
        let hushed = |text: String| {
            if repeats(&text, dek) { "the answer repeats what it was asked".to_owned() } else { text }
        };
        match self {
            Self::Denied(text) => Self::Denied(hushed(text)),
            Self::UnknownKey(text) => Self::UnknownKey(hushed(text)),
            Self::Unavailable(text) => Self::Unavailable(hushed(text)),
            Self::Corrupt | Self::Retry(_) => self,
        }
    }
}

/// Whether the host takes `text` for a version of a key.
pub fn is_key_version(text: &str) -> bool {
    (1..=KEY_VERSION_LEN_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// What passes by itself, or only the operator can repair: every status that says nothing of the key.
pub fn trouble(status: u16, retry_after: Option<&str>, now_ms: u64, said: &str) -> KeyError {
    match status {
        429 | 503 => KeyError::Retry(wait_ms(retry_after, now_ms)),
        300..=399 => KeyError::Unavailable(format!(
            "HTTP {status}: redirects are not followed: set the address to the final one"
        )),
        _ => KeyError::Unavailable(format!("HTTP {status}: {}", told(said))),
    }
}

/// Whether `text` has a part of `dek`, in one of the ways in which bytes are written.
fn repeats(text: &str, dek: &[u8]) -> bool {
    let hex: String = dek.iter().map(|byte| format!("{byte:02x}")).collect();
    let plain = String::from_utf8_lossy(dek).into_owned();
    let written = [base64::encode(dek), base64::encode_url(dek), hex.to_uppercase(), hex, plain];
    written.iter().any(|written| {
        let characters: Vec<char> = written.chars().collect();
        let is_short = (1..REPEATED_CHARS).contains(&characters.len());
        let parts = characters.windows(REPEATED_CHARS).map(|part| part.iter().collect::<String>());
        (is_short && text.contains(written.as_str())) || parts.into_iter().any(|part| text.contains(&part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(pairs: &[(&str, &str)]) -> Context {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Context::new(pairs.collect()).expect("each name once")
    }

    #[test]
    fn a_context_is_the_same_bytes_in_any_order_and_no_other() {
        let bytes = context(&[("b", "2"), ("a", "")]).canonical();
        assert_eq!(bytes, b"codec-context/v1\0\0\0\x01a\0\0\0\0\0\0\0\x01b\0\0\0\x012");
        assert_eq!(context(&[("a", ""), ("b", "2")]).canonical(), bytes);
        for other in [&[("a", "b"), ("", "2")][..], &[("ab", ""), ("", "2")], &[("a", ""), ("b", "3")], &[("a", "")]] {
            assert_ne!(context(other).canonical(), bytes, "{other:?}");
        }
        let twice = vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
        assert!(matches!(Context::new(twice), Err(KeyError::Denied(_))));
    }

    #[test]
    fn no_text_has_a_part_of_the_dek() {
        let dek: Vec<u8> = (100..132).collect();
        let (base64, hex) = (base64::encode(&dek), dek.iter().map(|b| format!("{b:02X}")).collect::<String>());
        for text in [
            format!("Value '{base64}' at 'plaintext'"),
            format!("…{}", &base64[20..33]),
            hex,
            String::from_utf8_lossy(&dek).into_owned(),
        ] {
            for error in
                [KeyError::Denied(text.clone()), KeyError::UnknownKey(text.clone()), KeyError::Unavailable(text)]
            {
                assert!(format!("{:?}", error.hushed(&dek)).contains("repeats"));
            }
        }
        let harmless = KeyError::Denied("1 error occurred: permission denied".to_owned());
        assert_eq!(harmless.clone().hushed(&dek), harmless);
        assert_eq!(harmless.clone().hushed(b""), harmless);
    }

    #[test]
    fn versions_are_printable_and_not_too_long() {
        for (text, is_one) in [
            ("3", true),
            (&*"a".repeat(256), true),
            ("", false),
            (&*"a".repeat(257), false),
            ("a b", false),
            ("é", false),
        ] {
            assert_eq!(is_key_version(text), is_one, "{text}");
        }
    }

    #[test]
    fn who_asks_for_a_wait_gets_it() {
        assert_eq!(trouble(429, Some("7"), 0, ""), KeyError::Retry(Some(7_000)));
        assert_eq!(trouble(503, None, 0, ""), KeyError::Retry(None));
        for status in [301, 418, 500, 502] {
            assert!(matches!(trouble(status, Some("7"), 0, "x\n"), KeyError::Unavailable(_)), "{status}");
        }
    }
}
