//! Secrets read from files, and found again in what a server answers.

use std::path::Path;

use zeroize::Zeroizing;

use super::failure::{CredentialError, VALUE_LEN_MAX, VALUE_LEN_MIN};

/// What must not reach a guest. Has no `Debug`, no `Clone`; wiped when dropped.
#[derive(Default)]
pub(super) struct Secrets(Vec<Zeroizing<Vec<u8>>>);

impl Secrets {
    pub(super) fn of(values: &[&str]) -> Self {
        let mut secrets = Self::default();
        for value in values {
            secrets.push(value);
        }
        secrets
    }

    /// Also as JSON and URLs may spell it.
    pub(super) fn push(&mut self, value: &str) {
        if value.len() < VALUE_LEN_MIN {
            return;
        }
        let spelled = |keep: fn(u8) -> bool, escape: fn(u8, &mut Vec<u8>)| {
            // With room for every byte escaped, so that it does not grow and leave a copy behind.
            let mut text = Zeroizing::new(Vec::with_capacity(value.len() * 3));
            for byte in value.bytes() {
                if keep(byte) { text.push(byte) } else { escape(byte, &mut text) }
            }
            text
        };
        let plain = spelled(|_| true, |_, _| {});
        let json = spelled(|byte| !matches!(byte, b'/' | b'"' | b'\\'), |byte, text| text.extend([b'\\', byte]));
        let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let url = spelled(is_unreserved, |byte, text| {
            let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value & 15)];
            text.extend([b'%', digit(byte >> 4), digit(byte)]);
        });
        for spelling in [json, url] {
            if *spelling != *plain {
                self.0.push(spelling);
            }
        }
        self.0.push(plain);
    }

    /// The same, in a header's name or value.
    pub(super) fn redact_text(&self, text: &mut String) {
        let mut bytes = std::mem::take(text).into_bytes();
        self.redact(&mut bytes);
        *text = String::from_utf8_lossy(&bytes).into_owned();
    }

    /// Overwrites every place in `bytes` where a server has repeated any of them, in upper or lower case: names of headers lose it.
    pub(super) fn redact(&self, bytes: &mut [u8]) {
        for secret in &self.0 {
            let (first, len) = (secret[0].to_ascii_lowercase(), secret.len());
            let mut at = 0;
            while at + len <= bytes.len() {
                if bytes[at].to_ascii_lowercase() == first && bytes[at..at + len].eq_ignore_ascii_case(secret) {
                    bytes[at..at + len].fill(b'*');
                    at += len;
                } else {
                    at += 1;
                }
            }
        }
    }
}

/// What a file holds that is a secret, without the newline at its end.
pub(super) fn read(name: &str, file: &Path) -> Result<Zeroizing<String>, CredentialError> {
    let read = std::fs::read_to_string(file).map(Zeroizing::new);
    let text = read.map_err(|error| CredentialError::read(name, file, &error))?;
    let value = text.trim_end_matches(['\n', '\r']);
    if is_value(value) {
        Ok(Zeroizing::new(value.to_owned()))
    } else {
        Err(CredentialError::new(
            name,
            format!("{} must hold {VALUE_LEN_MIN} to {VALUE_LEN_MAX} bytes of printable ASCII", file.display()),
        ))
    }
}

/// A field of a server's answer.
pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    <String as serde::Deserialize>::deserialize(deserializer).map(Zeroizing::new)
}

/// Names and values as forms have them.
pub(super) fn form(pairs: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    // With room for all of it escaped, so that it does not grow and leave a copy behind.
    let room = pairs.iter().map(|(name, value)| 2 + 3 * (name.len() + value.len())).sum();
    let mut form = url::form_urlencoded::Serializer::new(String::with_capacity(room));
    form.extend_pairs(pairs);
    Zeroizing::new(form.finish().into_bytes())
}

/// Whether a header can hold it, and it can be found again.
pub(super) fn is_value(value: &str) -> bool {
    (VALUE_LEN_MIN..=VALUE_LEN_MAX).contains(&value.len()) && value.bytes().all(|b| (0x20..0x7f).contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_is_overwritten_wherever_it_stands() {
        let secrets = Secrets::of(&["s3cr3t-value"]);
        let mut body = b"a s3cr3t-value s3cr3t-values3cr3t-value s3cr3t-valu".to_vec();
        secrets.redact(&mut body);
        assert_eq!(body, b"a ************ ************************ s3cr3t-valu");
    }

    #[test]
    fn it_is_known_again_in_other_cases_in_json_and_in_a_url() {
        let secrets = Secrets::of(&["Abc/d+e\"f=", "short"]);
        for spelling in ["Abc/d+e\"f=", "ABC/D+E\"F=", r#"Abc\/d+e\"f="#, "Abc%2Fd%2Be%22f%3D", "abc%2fd%2be%22f%3d"] {
            let mut text = format!("<{spelling}> short");
            secrets.redact_text(&mut text);
            assert_eq!(text, format!("<{}> short", "*".repeat(spelling.len())));
        }
    }

    #[test]
    fn a_value_that_no_header_can_hold_is_refused_without_being_told() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let content = |text: &str| {
            std::fs::write(file.path(), text).expect("written");
            read("c", file.path())
        };
        assert_eq!(content("long-enough\n").as_deref().map(String::as_str), Ok("long-enough"));
        for bad in ["", "short", "canary-7c1f5e\nX: y", "canary-7c1f5e-\u{e9}"] {
            let error = content(bad).expect_err("refused").to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
