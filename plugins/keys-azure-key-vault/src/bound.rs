//! `wrapkey` has no associated data, so what is wrapped names its context itself:
//!
//! `RSA-OAEP-256: 01 ‖ SHA-256(context) ‖ DEK`
//! `A256KW:       02 ‖ SHA-256(context) ‖ DEK ‖ padding`, for RFC 3394 takes whole blocks of 8 bytes; the padding is 1 to 8 bytes, each of
//! which says how many they are.
//!
//! Neither wrap can be altered unnoticed, so nobody can exchange the digest under the same DEK.

use guest_parts::key::{Context, KeyError};
use sha2::{Digest, Sha256};

use crate::settings::Algorithm;

/// Blocks of RFC 3394.
const BLOCK_LEN: usize = 8;
/// What RSA with 2048 bits and OAEP with SHA-256 takes: 256 - 2 · 32 - 2.
const OAEP_LEN_MAX: usize = 190;
/// The format and the digest.
const BEFORE_DEK_LEN: usize = 33;

/// `dek` as it is wrapped.
pub fn bind(algorithm: Algorithm, dek: &[u8], context: &Context) -> Result<Vec<u8>, KeyError> {
    if dek.is_empty() {
        return Err(KeyError::Denied("there is nothing to wrap".to_owned()));
    }
    let mut bytes = Vec::with_capacity(BEFORE_DEK_LEN.saturating_add(dek.len()).saturating_add(BLOCK_LEN));
    bytes.push(format_of(algorithm));
    bytes.extend(digest(context));
    bytes.extend(dek);
    match algorithm {
        Algorithm::RsaOaep256 if bytes.len() > OAEP_LEN_MAX => Err(KeyError::Denied(format!(
            "{} bytes are more than RSA-OAEP-256 takes beside {BEFORE_DEK_LEN} of its context: {OAEP_LEN_MAX} in all",
            dek.len()
        ))),
        Algorithm::RsaOaep256 => Ok(bytes),
        Algorithm::Aes256Kw => {
            let whole = bytes.len().saturating_add(1).next_multiple_of(BLOCK_LEN);
            let padding = whole.saturating_sub(bytes.len());
            bytes.resize(whole, u8::try_from(padding).unwrap_or_default());
            Ok(bytes)
        }
    }
}

/// The DEK in what was unwrapped, if it is of this context.
pub fn open(algorithm: Algorithm, bytes: &[u8], context: &Context) -> Result<Vec<u8>, KeyError> {
    let dek = bytes
        .strip_prefix(&[format_of(algorithm)])
        .and_then(|rest| rest.strip_prefix(&digest(context)))
        .and_then(|rest| if algorithm == Algorithm::Aes256Kw { without_padding(rest) } else { Some(rest) });
    dek.filter(|dek| !dek.is_empty()).map(<[u8]>::to_vec).ok_or(KeyError::Corrupt)
}

fn format_of(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::RsaOaep256 => 1,
        Algorithm::Aes256Kw => 2,
    }
}

fn digest(context: &Context) -> [u8; 32] {
    Sha256::digest(context.canonical()).into()
}

fn without_padding(bytes: &[u8]) -> Option<&[u8]> {
    let count = bytes.last()?;
    let (dek, padding) = bytes.split_at_checked(bytes.len().checked_sub(usize::from(*count))?)?;
    let is_padding = (1..=BLOCK_LEN).contains(&padding.len()) && padding.iter().all(|byte| byte == count);
    is_padding.then_some(dek)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(project: &str) -> Context {
        Context::new(vec![("project".to_owned(), project.to_owned())]).expect("one name")
    }

    #[test]
    fn what_is_bound_opens_with_the_same_context_and_algorithm_alone() {
        for algorithm in [Algorithm::RsaOaep256, Algorithm::Aes256Kw] {
            for len in [1, 6, 7, 8, 32, 100] {
                let dek: Vec<u8> = (0..len).map(|at| at | 8).collect();
                let bytes = bind(algorithm, &dek, &context("shop")).expect("short enough");
                assert_eq!(open(algorithm, &bytes, &context("shop")), Ok(dek), "{algorithm:?} {len}");
                assert_eq!(open(algorithm, &bytes, &context("other")), Err(KeyError::Corrupt));
                let is_whole = bytes.len().is_multiple_of(BLOCK_LEN);
                assert!(algorithm == Algorithm::RsaOaep256 || is_whole, "{len}");
            }
        }
        let bytes = bind(Algorithm::RsaOaep256, &[7; 32], &context("shop")).expect("short enough");
        assert_eq!(bytes.len(), 65);
        assert_eq!(open(Algorithm::Aes256Kw, &bytes, &context("shop")), Err(KeyError::Corrupt));
    }

    #[test]
    fn what_was_not_bound_does_not_open() {
        let bytes = bind(Algorithm::Aes256Kw, &[9; 32], &context("shop")).expect("short enough");
        let altered = |place: usize| {
            let mut bytes = bytes.clone();
            bytes[place] ^= 0x80;
            bytes
        };
        for bytes in [Vec::new(), vec![2], bytes[..40].to_vec(), altered(0), altered(1), altered(bytes.len() - 1)] {
            assert_eq!(open(Algorithm::Aes256Kw, &bytes, &context("shop")), Err(KeyError::Corrupt));
        }
        let nothing = [&[1][..], &digest(&context("shop"))].concat();
        assert_eq!(open(Algorithm::RsaOaep256, &nothing, &context("shop")), Err(KeyError::Corrupt));
    }

    #[test]
    fn what_is_too_long_is_told_without_it() {
        assert!(bind(Algorithm::RsaOaep256, &[0x61; 157], &context("shop")).is_ok());
        let Err(KeyError::Denied(why)) = bind(Algorithm::RsaOaep256, &[0x61; 158], &context("shop")) else {
            panic!("too long");
        };
        assert!(why.contains("158 bytes") && !why.contains("aaa"), "{why}");
        assert!(matches!(bind(Algorithm::RsaOaep256, b"", &context("shop")), Err(KeyError::Denied(_))));
    }
}
