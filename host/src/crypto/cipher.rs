//! Values under a DEK: `encrypted = base64(seal(DEK, aad = "", utf8(value)))`. v1.

use super::aead::{AeadKey, CannotOpen, RandomnessUnavailable};
use super::envelope::EncryptedValue;
use super::secret::{Dek, Plaintext, PlaintextNotUtf8};

/// A DEK, expanded once for as many values as come.
pub struct DekCipher(AeadKey);

/// Why an encrypted value yields no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenValueError {
    /// Does not open.
    #[error(transparent)]
    CannotOpen(#[from] CannotOpen),
    /// Opens, to bytes that are not UTF-8. Node would have put U+FFFD in their place.
    #[error("the plaintext is not UTF-8")]
    NotUtf8,
}

impl DekCipher {
    /// Expands `dek`.
    pub fn new(dek: &Dek) -> Self {
        Self(AeadKey::new(dek.expose_secret()))
    }

    /// Seals `plaintext` under a fresh random IV.
    pub fn seal_value(&self, plaintext: &Plaintext) -> Result<EncryptedValue, RandomnessUnavailable> {
        self.0.seal(b"", plaintext.expose_secret().as_bytes()).map(EncryptedValue::from_sealed)
    }

    /// Opens `value`.
    pub fn open_value(&self, value: EncryptedValue) -> Result<Plaintext, OpenValueError> {
        let bytes = self.0.open(b"", value.into_sealed())?;
        Plaintext::from_utf8(bytes).map_err(|PlaintextNotUtf8| OpenValueError::NotUtf8)
    }
}

impl std::fmt::Debug for DekCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DekCipher(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_unicode_comes_back_byte_for_byte() {
        let cipher = DekCipher::new(&Dek::generate().expect("random"));
        for text in ["", "\0", "\u{feff}bom", "a\u{2028}b", "é", "€", "🦀", "\r\n", "\u{10ffff}"] {
            let value = cipher.seal_value(&Plaintext::new(text.into())).expect("random");
            let value = EncryptedValue::parse(&value.encode()).expect("its own spelling");
            assert_eq!(cipher.open_value(value).expect("opens").expose_secret(), text);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_open_to_their_own_error() {
        let dek = Dek::generate().expect("random");
        let sealed = AeadKey::new(dek.expose_secret()).seal(b"", b"\xff\xfe").expect("random");
        let outcome = DekCipher::new(&dek).open_value(EncryptedValue::from_sealed(sealed));
        assert_eq!(outcome.err(), Some(OpenValueError::NotUtf8));
    }
}
