//! Values under a DEK: `encrypted = base64(seal(DEK, aad = "", utf8(value)))` in v1, which anybody who has the DEK reads, and the same
//! bound to project, variable and key version in v2.

use super::aead::{AeadKey, CannotOpen, RandomnessUnavailable};
use super::binding::ValueBinding;
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
    /// It is of v2, and what it may be bound to is not known.
    #[error("a v2 value opens only with its project and its variable's name")]
    BindingUnknown,
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

    /// The same in v2: it opens only as this variable of this project, under the DEK of this version.
    pub fn seal_bound_value(
        &self,
        plaintext: &Plaintext,
        binding: ValueBinding<'_>,
        key_version: u32,
    ) -> Result<EncryptedValue, RandomnessUnavailable> {
        let sealed = self.0.seal(&binding.aad(key_version), plaintext.expose_secret().as_bytes())?;
        Ok(EncryptedValue::from_bound(key_version, sealed))
    }

    /// Opens `value`. Of v1, nothing is looked at in `binding`.
    pub fn open_value(
        &self,
        value: EncryptedValue,
        binding: Option<ValueBinding<'_>>,
    ) -> Result<Plaintext, OpenValueError> {
        let aad = match value.key_version() {
            None => Vec::new(),
            Some(key_version) => binding.ok_or(OpenValueError::BindingUnknown)?.aad(key_version),
        };
        let bytes = self.0.open(&aad, value.into_sealed())?;
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
            assert_eq!(cipher.open_value(value, None).expect("opens").expose_secret(), text);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_open_to_their_own_error() {
        let dek = Dek::generate().expect("random");
        let sealed = AeadKey::new(dek.expose_secret()).seal(b"", b"\xff\xfe").expect("random");
        let outcome = DekCipher::new(&dek).open_value(EncryptedValue::from_sealed(sealed), None);
        assert_eq!(outcome.err(), Some(OpenValueError::NotUtf8));
    }

    #[test]
    fn a_bound_value_opens_as_what_it_was_sealed_as_and_as_nothing_else() {
        let cipher = DekCipher::new(&Dek::generate().expect("random"));
        let bound = |project_id, variable| ValueBinding { project_id, variable };
        let value = cipher.seal_bound_value(&Plaintext::new("v".into()), bound("shop", "KEY"), 2).expect("random");
        let open = |text: &str, binding| cipher.open_value(EncryptedValue::parse(text).expect("one"), binding);
        let text = value.encode();
        assert_eq!(open(&text, Some(bound("shop", "KEY"))).expect("opens").expose_secret(), "v");
        for (case, binding, error) in [
            ("another project", Some(bound("blog", "KEY")), OpenValueError::CannotOpen(CannotOpen)),
            ("another variable", Some(bound("shop", "KEX")), OpenValueError::CannotOpen(CannotOpen)),
            ("a letter moved", Some(bound("shopK", "EY")), OpenValueError::CannotOpen(CannotOpen)),
            ("no name", None, OpenValueError::BindingUnknown),
        ] {
            assert_eq!(open(&text, binding).err(), Some(error), "{case}");
        }
        // Another version in front; the same bytes as v1.
        let mut renumbered = value.clone();
        renumbered.set_key_version(Some(3));
        let as_v1 = EncryptedValue::from_sealed(value.into_sealed());
        for altered in [renumbered, as_v1] {
            let opened = cipher.open_value(altered, Some(bound("shop", "KEY")));
            assert_eq!(opened.err(), Some(OpenValueError::CannotOpen(CannotOpen)));
        }
        // What v1 sealed is no v2 value.
        let mut v1 = cipher.seal_value(&Plaintext::new("v".into())).expect("random");
        v1.set_key_version(Some(2));
        let opened = cipher.open_value(v1, Some(bound("shop", "KEY")));
        assert_eq!(opened.err(), Some(OpenValueError::CannotOpen(CannotOpen)));
    }
}
