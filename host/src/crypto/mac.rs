//! HMAC-SHA-256 (RFC 2104) under keys derived from the KEK: one key for each purpose, none used for two.
//!
//! `subkey = HMAC(KEK, "origan-codec/v1/" ‖ purpose)`, then `tag = HMAC(subkey, Σ length(part) as u64 big-endian ‖ part)`.
//! The lengths keep `("ab", "c")` and `("a", "bc")` apart.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// 32 bytes of HMAC-SHA-256.
pub type Tag = [u8; 32];

/// A derived MAC key, its inner and outer block already absorbed. Wiped on drop.
pub struct MacKey(Hmac<Sha256>);

impl MacKey {
    pub(crate) fn derive(kek: &[u8; 32], purpose: &str) -> Self {
        Self::new(&derive_subkey(kek, purpose))
    }

    fn new(key: &[u8; 32]) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The tag of `parts`, each with its length.
    pub fn tag(&self, parts: &[&[u8]]) -> Tag {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// The plain HMAC of one message, for formats that say where it ends themselves.
    pub fn tag_message(&self, message: &[u8]) -> Tag {
        let mut mac = self.0.clone();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    /// Whether `tag` is that of `parts`, in constant time.
    pub fn verifies(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.tag(parts).ct_eq(tag).into()
    }
}

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacKey(..)")
    }
}

/// `HMAC(KEK, "origan-codec/v1/" ‖ purpose)`.
pub(crate) fn derive_subkey(kek: &[u8; 32], purpose: &str) -> Zeroizing<[u8; 32]> {
    let root = MacKey::new(kek);
    let mut mac = root.0.clone();
    mac.update(b"origan-codec/v1/");
    mac.update(purpose.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_apart_and_purposes_too() {
        let key = MacKey::derive(&[1; 32], "one");
        let other = MacKey::derive(&[1; 32], "two");
        assert_ne!(key.tag(&[b"ab", b"c"]), key.tag(&[b"a", b"bc"]));
        assert_ne!(key.tag(&[b"ab"]), other.tag(&[b"ab"]));
        assert!(key.verifies(&[b"ab"], &key.tag(&[b"ab"])));
        assert!(!key.verifies(&[b"ab"], &key.tag(&[b"ab"])[..31]));
    }

    #[test]
    fn rfc_4231_case_2() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").expect("any length");
        mac.update(b"what do ya want for nothing?");
        let tag: Tag = mac.finalize().into_bytes().into();
        assert_eq!(tag[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(tag[28..], [0x64, 0xec, 0x38, 0x43]);
    }
}
