//! A KEK as operators write it, and its public name.
//!
//! `kek_id = first 8 bytes of HMAC(KEK, "origan-codec/v1/kek-id")`, as 16 hexadecimal digits: it names a KEK in rows, logs and
//! `/status` without telling anything about it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::mac::derive_subkey;
use super::secret::{KEY_LEN, Kek};

/// Fewer distinct bytes than this among 32 do not happen by chance (below 10⁻⁹ for random keys).
const DISTINCT_BYTES_MIN: usize = 16;

/// The public name of a KEK.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KekId([u8; 8]);

/// What is wrong with a KEK as it was given. Says which, never what the key was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KekError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Space, tab or newline inside or in front.
    #[error("contains white space")]
    WhiteSpace,
    /// 64 hexadecimal digits where base64 is meant.
    #[error("looks like hexadecimal; base64 of 32 bytes is meant")]
    Hexadecimal,
    /// `-` or `_`: another alphabet.
    #[error("uses the url-safe base64 alphabet; the standard one is meant")]
    UrlSafe,
    /// Any other spelling.
    #[error("is not padded standard base64")]
    NotBase64,
    /// Not 32 bytes.
    #[error("decodes to {0} bytes; 32 are needed")]
    Length(usize),
    /// 32 zero bytes.
    #[error("is all zero")]
    AllZero,
    /// A repeated byte or pattern, or too few different bytes.
    #[error("repeats itself; it is not random")]
    Repeated,
    /// Text or hexadecimal that was encoded once more.
    #[error("decodes to printable text; 32 random bytes are meant")]
    Text,
}

impl Kek {
    /// Padded standard base64 of 32 random bytes; one trailing newline is taken off. Refuses what cannot be random.
    pub fn parse_base64(text: &str) -> Result<Self, KekError> {
        let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
        if text.is_empty() {
            return Err(KekError::Empty);
        }
        if text.contains(char::is_whitespace) {
            return Err(KekError::WhiteSpace);
        }
        if text.len() == 2 * KEY_LEN && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(KekError::Hexadecimal);
        }
        if text.contains(['-', '_']) {
            return Err(KekError::UrlSafe);
        }
        let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| KekError::NotBase64)?);
        let exact: &[u8; KEY_LEN] = bytes.as_slice().try_into().map_err(|_| KekError::Length(bytes.len()))?;
        refuse_if_not_random(exact)?;
        Ok(Self::from_bytes(exact))
    }

    /// The spelling that [`Kek::parse_base64`] reads.
    pub fn encode_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.expose_secret()))
    }

    /// Its public name.
    pub fn id(&self) -> KekId {
        KekId::of_subkey(&derive_subkey(self.expose_secret(), "kek-id"))
    }
}

impl KekId {
    /// The first 8 bytes of the subkey `kek-id`.
    pub(super) fn of_subkey(subkey: &[u8; KEY_LEN]) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&subkey[..8]);
        Self(id)
    }
}

/// Only ever on an operator's key at start: what it leaks by its time is that the start was refused.
fn refuse_if_not_random(bytes: &[u8; KEY_LEN]) -> Result<(), KekError> {
    if bytes.iter().all(|&b| b == 0) {
        return Err(KekError::AllZero);
    }
    let mut seen = [false; 256];
    for &byte in bytes {
        seen[usize::from(byte)] = true;
    }
    let distinct = seen.iter().filter(|&&s| s).count();
    if bytes.iter().all(|b| b.is_ascii_graphic() || *b == b' ') {
        return Err(KekError::Text);
    }
    if distinct < DISTINCT_BYTES_MIN || bytes[..KEY_LEN / 2] == bytes[KEY_LEN / 2..] {
        return Err(KekError::Repeated);
    }
    Ok(())
}

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KekId({self})")
    }
}

/// Not 16 lower-case hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("a KEK id is 16 lower-case hexadecimal digits")]
pub struct ParseKekIdError;

impl FromStr for KekId {
    type Err = ParseKekIdError;

    fn from_str(text: &str) -> Result<Self, ParseKekIdError> {
        let number = u64::from_str_radix(text, 16).map_err(|_| ParseKekIdError)?;
        let id = Self(number.to_be_bytes());
        if id.to_string() == text { Ok(id) } else { Err(ParseKekIdError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(bytes: &[u8]) -> String {
        STANDARD.encode(bytes)
    }

    #[test]
    fn doubtful_keys_are_refused_by_name() {
        let random: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(37) ^ 0xa5).collect();
        let good = encoded(&random);
        let cases = [
            ("nothing", String::new(), KekError::Empty),
            ("a newline alone", "\n".into(), KekError::Empty),
            ("changeme", "changeme".into(), KekError::Length(6)),
            ("31 bytes", encoded(&random[..31]), KekError::Length(31)),
            ("33 bytes", encoded(&[&random[..], &[1]].concat()), KekError::Length(33)),
            ("all zero", encoded(&[0; 32]), KekError::AllZero),
            ("one byte repeated", encoded(&[0xee; 32]), KekError::Repeated),
            ("two halves alike", encoded(&[&random[..16], &random[..16]].concat()), KekError::Repeated),
            ("hexadecimal", "0123456789abcdef".repeat(4), KekError::Hexadecimal),
            ("hexadecimal, encoded", encoded(b"0123456789abcdef0123456789abcdef"), KekError::Text),
            ("a pass phrase", encoded(b"correct horse battery staple 123"), KekError::Text),
            ("inner space", format!("{} {}", &good[..10], &good[10..]), KekError::WhiteSpace),
            ("two newlines", format!("{good}\n\n"), KekError::WhiteSpace),
            ("padding missing", good.trim_end_matches('=').into(), KekError::NotBase64),
            ("url-safe", format!("-{}", &good[1..]), KekError::UrlSafe),
        ];
        for (case, text, error) in cases {
            assert_eq!(Kek::parse_base64(&text).err(), Some(error), "{case}");
        }
        assert!(Kek::parse_base64(&format!("{good}\n")).is_ok());
        assert!(Kek::parse_base64(&good).is_ok());
    }

    #[test]
    fn generated_keys_are_never_doubted() {
        for _ in 0..2_000 {
            let kek = Kek::generate().expect("randomness");
            let again = Kek::parse_base64(&kek.encode_base64()).expect("random keys parse");
            assert_eq!(again.id(), kek.id());
        }
    }

    #[test]
    fn the_id_of_a_key_is_frozen() {
        let bytes: Vec<u8> = (0..32).collect();
        let kek = Kek::parse_base64(&encoded(&bytes)).expect("32 different bytes");
        assert_eq!(kek.id().to_string().parse::<KekId>().expect("its own spelling"), kek.id());
        assert_eq!(kek.id().to_string(), "986191b26a4050b7");
    }
}
