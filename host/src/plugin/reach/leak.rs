//! Secrets, known again in what a guest says in the open: versions, words of errors, lines of its log.
//!
//! A guest that means to tell one can, by an encoding that the host does not know. This is for those that do it by mistake, or plainly.

use std::collections::btree_map::Range;
use std::collections::{BTreeMap, HashSet};

use zeroize::Zeroizing;

/// So many bytes of a secret in a row are a leak; of a shorter one, all of it.
pub(in crate::plugin) const LEAK_LEN: usize = 16;
/// A secret that is shorter than this is looked for as it is, and where it stands alone: four digits stand in many a UUID by chance.
const ANYWHERE_LEN_MIN: usize = 8;
/// Pieces that are kept, of all secrets together. Of more, as some hundred KiB have, it is every second, every third, and so on.
const PIECES_MAX: usize = 1 << 18;

/// Pieces of secrets, by their length.
pub(in crate::plugin) struct Pieces<'s>(BTreeMap<usize, HashSet<&'s [u8]>>);

impl<'s> Pieces<'s> {
    /// Of all `secrets` that have so many bytes, and one at the least.
    pub(in crate::plugin) fn of(secrets: impl Iterator<Item = &'s [u8]> + Clone, len_min: usize) -> Self {
        let secrets = secrets.filter(move |secret| secret.len() >= len_min.max(1));
        let total: usize = secrets.clone().map(<[u8]>::len).sum();
        let step = 1 + total / PIECES_MAX;
        let mut pieces: BTreeMap<usize, HashSet<&'s [u8]>> = BTreeMap::new();
        for secret in secrets {
            let len = secret.len().min(LEAK_LEN);
            pieces.entry(len).or_default().extend(secret.windows(len).step_by(step));
        }
        Self(pieces)
    }

    /// Whether one of them stands in `text`: as it is, in base64 of either alphabet at any offset, in hexadecimal of either case.
    pub(in crate::plugin) fn stand_in(&self, text: &[u8]) -> bool {
        let stands_alone = self.0.range(..ANYWHERE_LEN_MIN).any(|(len, pieces)| {
            let mut windows = text.windows(*len).enumerate();
            windows.any(|(at, window)| pieces.contains(window) && is_alone(text, at, *len))
        });
        let long = self.0.range(ANYWHERE_LEN_MIN..);
        stands_alone
            || holds(text, &long)
            || (0..2).any(|from| holds(&read(text, from, (2, 4), hexadecimal), &long))
            || (0..4).any(|from| holds(&read(text, from, (4, 6), base64), &long))
    }
}

fn holds(text: &[u8], pieces: &Range<'_, usize, HashSet<&[u8]>>) -> bool {
    pieces.clone().any(|(len, pieces)| text.windows(*len).any(|window| pieces.contains(window)))
}

/// Whether nothing before or after it is of the same word.
fn is_alone(text: &[u8], at: usize, len: usize) -> bool {
    let is_of_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    !is_of_word(text[..at].last()) && !is_of_word(text.get(at + len))
}

/// `text` from its `from`-th character on, read in groups of `size` characters of so many `bits` each. Where it cannot be read so, a zero
/// stands between what can.
fn read(text: &[u8], from: usize, (size, bits): (usize, usize), value_of: fn(u8) -> Option<u32>) -> Zeroizing<Vec<u8>> {
    // With room for all of it, so that it does not grow and leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::<u8>::with_capacity(text.len() + size));
    for group in text.get(from..).unwrap_or_default().chunks(size) {
        let (mut word, mut count) = (0_u32, 0);
        for value in group.iter().map_while(|character| value_of(*character)) {
            count += 1;
            word |= value << (32 - bits * count);
        }
        bytes.extend(word.to_be_bytes().into_iter().take(bits * count / 8));
        if count < size {
            bytes.push(0);
        }
    }
    bytes
}

fn hexadecimal(character: u8) -> Option<u32> {
    char::from(character).to_digit(16)
}

/// Of either alphabet.
fn base64(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use ::base64::Engine as _;
    use ::base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

    use super::*;

    fn stands(secret: &[u8], text: &[u8]) -> bool {
        Pieces::of(std::iter::once(secret), 4).stand_in(text)
    }

    #[test]
    fn a_secret_is_known_again_however_it_is_written() {
        // Its base64 has characters of both alphabets.
        let secrets: [&[u8]; 3] = [b"correct horse\xff\xfe\xfd battery", b"\xfb\xff\xbfhunter2", b"hunter2!"];
        for secret in secrets {
            for before in [&b""[..], b"x", b"xy", b"xyz", b"wxyz"] {
                let text = [before, secret, b"tail"].concat();
                assert!(stands(secret, &text));
                let lower: String = text.iter().map(|byte| format!("{byte:02x}")).collect();
                let upper = lower.to_uppercase();
                let standard = STANDARD.encode(&text);
                for encoded in [lower, upper, standard, STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                    for frame in ["", "a", "key=", "vault:v1:"] {
                        assert!(stands(secret, format!("{frame}{encoded}").as_bytes()), "{frame}{encoded}");
                    }
                }
            }
            // And at the very end, where a group of characters is not full.
            assert!(stands(secret, STANDARD_NO_PAD.encode(secret).as_bytes()));
        }
    }

    #[test]
    fn sixteen_bytes_of_a_long_one_are_a_leak_and_of_a_shorter_one_all_of_it() {
        let long: Vec<u8> = (100..140).collect();
        for at in 0..=long.len() - LEAK_LEN {
            assert!(stands(&long, &long[at..at + LEAK_LEN]));
            assert!(!stands(&long, &long[at..at + LEAK_LEN - 1]));
        }
        let shorter = &long[..LEAK_LEN - 1];
        assert!(stands(shorter, shorter) && !stands(shorter, &shorter[1..]));
    }

    #[test]
    fn a_short_one_is_known_where_it_stands_alone() {
        for text in ["5432", "port=5432", "db:5432/shop", "\"5432\"", "(5432)", "the port is 5432.", "15432 5432"] {
            assert!(stands(b"5432", text.as_bytes()), "{text}");
        }
        for text in ["", "543", "15432", "54321", "p5432", "11111111-5432-4111-8111-543254325432", "_5432", "NTQzMg"] {
            assert!(!stands(b"5432", text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_shorter_than_asked_for_is_passed_over_and_so_is_nothing() {
        assert!(!stands(b"543", b"543") && !stands(b"", b"") && !stands(b"", b"a"));
        assert!(!Pieces::of(std::iter::once(&b""[..]), 0).stand_in(b"a"));
        assert!(!Pieces::of(std::iter::once(&b"fifteen bytes.."[..]), LEAK_LEN).stand_in(b"fifteen bytes.."));
    }

    /// Of many MiB not every piece is kept, and a line of a log is still long enough to tell one.
    #[test]
    fn a_leak_of_much_is_found_in_a_moment() {
        // Xorshift: no piece of it is like another.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        let secrets: Vec<Vec<u8>> = (0..4).map(|_| (0..1 << 17).flat_map(|_| random()).collect()).collect();
        let pieces = Pieces::of(secrets.iter().map(Vec::as_slice), 4);
        let kept: usize = pieces.0.values().map(HashSet::len).sum();
        assert!(kept <= PIECES_MAX + secrets.len(), "{kept}");
        for secret in &secrets {
            assert!(pieces.stand_in(&secret[..LEAK_LEN]));
            assert!(pieces.stand_in(&secret[77_777..77_777 + 64]));
        }
        assert!(!pieces.stand_in(&[random(), random(), random(), random()].concat()));
    }
}
