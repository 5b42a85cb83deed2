//! Secrets, made by what they lack: no `Clone`, no `PartialEq`, no `Serialize`; `Debug` prints the name alone; wiped on drop.
//!
//! The only way to the bytes is `expose_secret()`, so that `rg expose_secret` shows every place that reads one.

use std::fmt;
use std::ops::{Deref, DerefMut};

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

/// Bytes that are wiped on drop, all that were ever reserved: bodies and answers, where no type says which part is the secret.
///
/// As `Zeroizing<Vec<u8>>`, which goes byte by byte: of a call with 1,000 values that took 8 % of the time.
#[derive(Default)]
pub struct WipedBytes(Vec<u8>);

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
                wipe(&mut refused.into_bytes());
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

impl WipedBytes {
    /// None, with room for `capacity`: up to that they grow without leaving a copy behind.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }
}

impl Deref for WipedBytes {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for WipedBytes {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for WipedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn wipe_key(key: &mut [u8; KEY_LEN]) {
    key.zeroize();
}

/// Wipes all that `bytes` has reserved.
fn wipe(bytes: &mut Vec<u8>) {
    bytes.as_mut_slice().zeroize();
    bytes.spare_capacity_mut().zeroize();
}

fn wipe_text(text: &mut String) {
    wipe(&mut std::mem::take(text).into_bytes());
}

/// Fills the box in place, so that no copy of the key stays behind on the stack.
fn boxed(bytes: &[u8; KEY_LEN]) -> Box<[u8; KEY_LEN]> {
    let mut key = Box::new([0; KEY_LEN]);
    key.copy_from_slice(bytes);
    key
}

macro_rules! wiped_and_unprintable {
    ($($secret:ident by $wipe:expr),*) => {$(
        impl Drop for $secret {
            fn drop(&mut self) {
                $wipe(&mut self.0);
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

wiped_and_unprintable!(
    Kek by wipe_key,
    Dek by wipe_key,
    Plaintext by wipe_text,
    ServiceToken by wipe_text,
    WipedBytes by wipe
);

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
    fn what_is_wiped_is_all_that_was_reserved() {
        for (length, capacity) in [(0, 0), (0, 5), (3, 3), (64, 100), (1_000, 1_023), (4_096, 8_192)] {
            let mut bytes = Vec::with_capacity(capacity);
            bytes.resize(capacity, 0x5a);
            bytes.truncate(length);
            wipe(&mut bytes);
            assert_eq!(bytes, vec![0; length]);
            assert!(bytes.spare_capacity_mut().iter().all(|byte| *written(byte) == 0), "{length} of {capacity}");
        }
    }

    #[expect(unsafe_code, reason = "to look at what lies behind the end of a vector")]
    fn written(byte: &std::mem::MaybeUninit<u8>) -> &u8 {
        // SAFETY: `wipe` has just written every byte of the spare capacity, and the test had before.
        unsafe { byte.assume_init_ref() }
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
