//! Secrets, made by what they lack: no `Clone`, no `PartialEq`, no `Serialize`; `Debug` prints the name alone; wiped on drop.
//!
//! The only way to the bytes is `expose_secret()`, so that `rg expose_secret` shows every place that reads one.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::aead::{RandomnessUnavailable, fill_random};

/// Bytes in a KEK or a DEK: an AES-256 key.
pub(crate) const KEY_LEN: usize = 32;

/// A key-encryption key: 32 bytes that wrap DEKs and never leave the process.
pub struct Kek(Box<[u8; KEY_LEN]>);

/// A data-encryption key: 32 bytes, one project's, that seal its values.
pub struct Dek(Box<[u8; KEY_LEN]>);

/// A value as its owner wrote it: UTF-8 of any length, the empty one included.
pub struct Plaintext(String);

/// What a caller presents to be known by.
pub struct ServiceToken(String);

/// A DEK is 32 bytes; this was `actual`.
#[derive(Debug, thiserror::Error)]
#[error("a DEK is {KEY_LEN} bytes, this is {actual}")]
pub struct DekLengthError {
    /// How many bytes there were.
    pub actual: usize,
}

/// The bytes are not UTF-8. They are wiped, not carried along.
#[derive(Debug, thiserror::Error)]
#[error("the plaintext is not UTF-8")]
pub struct PlaintextNotUtf8;

impl Kek {
    /// Takes over `bytes` as they are. Keys that people typed go through [`Kek::parse_base64`], which doubts them first.
    pub(crate) fn from_bytes(bytes: &[u8; KEY_LEN]) -> Self {
        Self(boxed(bytes))
    }

    /// A new KEK from the operating system's randomness.
    pub fn generate() -> Result<Self, RandomnessUnavailable> {
        let mut key = Self(Box::new([0; KEY_LEN]));
        fill_random(key.0.as_mut_slice())?;
        Ok(key)
    }

    /// The 32 raw bytes.
    pub fn expose_secret(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl Dek {
    /// A new DEK from the operating system's randomness.
    pub fn generate() -> Result<Self, RandomnessUnavailable> {
        let mut key = Self(Box::new([0; KEY_LEN]));
        fill_random(key.0.as_mut_slice())?;
        Ok(key)
    }

    /// Copies 32 bytes; any other number is an error, never cut or padded. The caller wipes what it passed.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, DekLengthError> {
        let exact = bytes.try_into().map_err(|_| DekLengthError { actual: bytes.len() })?;
        Ok(Self(boxed(exact)))
    }

    /// The 32 raw bytes.
    pub fn expose_secret(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl Plaintext {
    /// Takes over `text`; its buffer is wiped when this is dropped.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Checks UTF-8 without copying. Bytes that fail are wiped.
    pub fn from_utf8(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, PlaintextNotUtf8> {
        match String::from_utf8(std::mem::take(&mut *bytes)) {
            Ok(text) => Ok(Self(text)),
            Err(refused) => {
                refused.into_bytes().zeroize();
                Err(PlaintextNotUtf8)
            }
        }
    }

    /// The text.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl ServiceToken {
    /// Takes over `token`; its buffer is wiped when this is dropped.
    pub fn new(token: String) -> Self {
        Self(token)
    }

    /// The token.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

/// Fills the box in place, so that no copy of the key stays behind on the stack.
fn boxed(bytes: &[u8; KEY_LEN]) -> Box<[u8; KEY_LEN]> {
    let mut key = Box::new([0; KEY_LEN]);
    key.copy_from_slice(bytes);
    key
}

macro_rules! wiped_and_unprintable {
    ($($secret:ident),*) => {$(
        impl Drop for $secret {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }

        impl zeroize::ZeroizeOnDrop for $secret {}

        impl fmt::Debug for $secret {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($secret), "(..)"))
            }
        }
    )*};
}

wiped_and_unprintable!(Kek, Dek, Plaintext, ServiceToken);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_a_secret() {
        let dek = Dek::from_slice(&[0x41; 32]).expect("32 bytes");
        let text = Plaintext::new("hunter2".into());
        let token = ServiceToken::new("hunter2".into());
        let kek = Kek::from_bytes(&[0x41; 32]);
        assert_eq!(format!("{dek:?} {text:?} {token:?} {kek:?}"), "Dek(..) Plaintext(..) ServiceToken(..) Kek(..)");
    }

    #[test]
    fn a_dek_of_another_length_is_refused_and_its_length_told() {
        for length in [0, 1, 16, 31, 33, 64] {
            let refused = Dek::from_slice(&vec![7; length]).expect_err("not 32 bytes");
            assert_eq!(refused.actual, length);
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_refused() {
        for bytes in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"ok\xf4\x90\x80\x80"] {
            assert!(Plaintext::from_utf8(Zeroizing::new(bytes.to_vec())).is_err(), "{bytes:x?}");
        }
    }
}
