//! AES-256-GCM with 16-byte IVs: `sealed = iv(16) ‖ ciphertext ‖ tag(16)`.
//!
//! NIST SP 800-38D. An IV that is not 96 bits long goes through GHASH to become the counter's start (section 7.1), which is
//! what Node's `createCipheriv('aes-256-gcm', key, randomBytes(16))` does; ring and aws-lc-rs cannot.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit, consts::U16};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce, Tag};
use zeroize::Zeroizing;

use super::secret::KEY_LEN;

/// Bytes of the IV in front of the ciphertext.
pub(crate) const IV_LEN: usize = 16;
/// Bytes of the tag behind it.
pub(crate) const TAG_LEN: usize = 16;

/// What was sealed does not open: another key, another AAD, or changed bytes. Which of these is not told, to anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot open")]
pub struct CannotOpen;

/// The operating system gave no random bytes. Nothing is sealed without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system's randomness is unavailable")]
pub struct RandomnessUnavailable;

/// An expanded key: the AES round keys and the GHASH key, wiped on drop.
pub(crate) struct AeadKey(AesGcm<Aes256, U16>);

impl AeadKey {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(AesGcm::new(key.into()))
    }

    /// `iv ‖ ciphertext ‖ tag` of `plaintext`, under a fresh random IV.
    pub(crate) fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, RandomnessUnavailable> {
        let mut iv = [0; IV_LEN];
        fill_random(&mut iv)?;
        let mut sealed = vec![0; IV_LEN + plaintext.len() + TAG_LEN];
        let (head, rest) = sealed.split_at_mut(IV_LEN);
        let (body, tail) = rest.split_at_mut(plaintext.len());
        head.copy_from_slice(&iv);
        // Encrypting from one buffer into another leaves no plaintext in `sealed`, not even for a moment.
        let between = InOutBuf::new(plaintext, body).map_err(|_| RandomnessUnavailable)?;
        let tag = self.0.encrypt_inout_detached(&Nonce::from(iv), aad, between).map_err(|_| RandomnessUnavailable)?;
        tail.copy_from_slice(&tag);
        Ok(sealed)
    }

    /// Checks the tag, then decrypts in place. Fewer than 32 bytes cannot open.
    pub(crate) fn open(&self, aad: &[u8], sealed: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        let mut buffer = Zeroizing::new(sealed);
        let body_len = buffer.len().checked_sub(IV_LEN + TAG_LEN).ok_or(CannotOpen)?;
        let (head, rest) = buffer.split_at_mut(IV_LEN);
        let (body, tail) = rest.split_at_mut(body_len);
        let iv: [u8; IV_LEN] = (&*head).try_into().map_err(|_| CannotOpen)?;
        let tag: [u8; TAG_LEN] = (&*tail).try_into().map_err(|_| CannotOpen)?;
        self.0.decrypt_inout_detached(&Nonce::from(iv), aad, body.into(), &Tag::from(tag)).map_err(|_| CannotOpen)?;
        buffer.copy_within(IV_LEN..IV_LEN + body_len, 0);
        // `Zeroizing` wipes the whole capacity, so what `truncate` leaves behind does not outlive the buffer.
        buffer.truncate(body_len);
        Ok(buffer)
    }
}

/// Fills `bytes` from the operating system.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), RandomnessUnavailable> {
    getrandom::fill(bytes).map_err(|_| RandomnessUnavailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_to_the_same_bytes_at_every_length() {
        let key = AeadKey::new(&[9; 32]);
        for length in [0, 1, 15, 16, 17, 31, 32, 33, 65_536] {
            let plaintext = vec![0x5a; length];
            let sealed = key.seal(b"", &plaintext).expect("randomness");
            assert_eq!(sealed.len(), IV_LEN + length + TAG_LEN);
            assert_eq!(*key.open(b"", sealed).expect("opens"), plaintext);
        }
    }

    #[test]
    fn another_aad_does_not_open() {
        let key = AeadKey::new(&[9; 32]);
        let sealed = key.seal(b"one", b"value").expect("randomness");
        assert_eq!(key.open(b"two", sealed).err(), Some(CannotOpen));
    }

    #[test]
    fn fewer_than_32_bytes_do_not_open() {
        let key = AeadKey::new(&[9; 32]);
        for length in 0..32 {
            assert_eq!(key.open(b"", vec![0; length]).err(), Some(CannotOpen));
        }
    }

    #[test]
    fn two_seals_of_one_value_differ() {
        let key = AeadKey::new(&[9; 32]);
        assert_ne!(key.seal(b"", b"value").expect("randomness"), key.seal(b"", b"value").expect("randomness"));
    }
}
