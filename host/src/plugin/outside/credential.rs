//! Credentials that the host adds to a request, and that no guest ever holds.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

/// A credential this short could not be told from chance where a server repeats it.
const VALUE_LEN_MIN: usize = 8;
const VALUE_LEN_MAX: usize = 8 << 10;

/// A credential: a header whose value is read from a file each time it is sent, so that a new one counts at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// As guests ask for it.
    pub name: String,
    /// The header.
    pub header: HeaderName,
    /// What stands before the value: `Bearer `, `Splunk `.
    pub prefix: String,
    /// The file that holds the value; a trailing newline is taken off.
    pub file: PathBuf,
}

/// Why a credential cannot be sent. Says nothing of its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("credential `{name}`: {file} cannot be read: {why}", file = file.display())]
    Read {
        /// Which credential.
        name: String,
        /// The file.
        file: PathBuf,
        /// What the system says.
        why: String,
    },
    /// Too short, too long, or nothing that a header can hold.
    #[error("credential `{0}`: the file must hold {VALUE_LEN_MIN} to {VALUE_LEN_MAX} bytes of printable ASCII")]
    Value(String),
}

/// The value of a credential. Has no `Debug`, no `Clone`; wiped when dropped.
pub(super) struct CredentialValue(Zeroizing<String>);

impl Credential {
    /// Reads the value as it is now.
    pub(super) fn read(&self) -> Result<CredentialValue, CredentialError> {
        let read = std::fs::read_to_string(&self.file).map(Zeroizing::new);
        let text = read.map_err(|error| CredentialError::Read {
            name: self.name.clone(),
            file: self.file.clone(),
            why: error.to_string(),
        })?;
        let value = text.trim_end_matches(['\n', '\r']);
        let fits = (VALUE_LEN_MIN..=VALUE_LEN_MAX).contains(&value.len());
        if !fits || !value.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(CredentialError::Value(self.name.clone()));
        }
        Ok(CredentialValue(Zeroizing::new(value.to_owned())))
    }

    /// Whether it can be read now: asked before a plugin that may use it goes live.
    pub fn check(&self) -> Result<(), CredentialError> {
        self.read().map(|_| ())
    }

    /// The header's value, marked so that no library shows it.
    pub(super) fn header_value(&self, value: &CredentialValue) -> Result<HeaderValue, CredentialError> {
        let text = Zeroizing::new(format!("{}{}", self.prefix, *value.0));
        let mut header = HeaderValue::from_str(&text).map_err(|_| CredentialError::Value(self.name.clone()))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

impl CredentialValue {
    /// The same, in a header's name or value.
    pub(super) fn redact_text(&self, text: &mut String) {
        let mut bytes = std::mem::take(text).into_bytes();
        self.redact(&mut bytes);
        *text = String::from_utf8_lossy(&bytes).into_owned();
    }

    /// Overwrites every place in `bytes` where a server has repeated it.
    pub(super) fn redact(&self, bytes: &mut [u8]) {
        let value = self.0.as_bytes();
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(value.len()).position(|window| window == value) {
            bytes[at + found..at + found + value.len()].fill(b'*');
            at += found + value.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_is_overwritten_wherever_it_stands() {
        let value = CredentialValue(Zeroizing::new("s3cr3t-value".into()));
        let mut body = b"a s3cr3t-value s3cr3t-values3cr3t-value s3cr3t-valu".to_vec();
        value.redact(&mut body);
        assert_eq!(body, b"a ************ ************************ s3cr3t-valu");
    }

    #[test]
    fn a_value_that_no_header_can_hold_is_refused_without_being_told() {
        let dir = std::env::temp_dir().join(format!("codec-credential-{}", std::process::id()));
        let credential = |content: &str| {
            std::fs::write(&dir, content).expect("a file");
            let header = HeaderName::from_static("authorization");
            Credential { name: "c".into(), header, prefix: "Bearer ".into(), file: dir.clone() }
        };
        assert!(credential("long-enough\n").check().is_ok());
        for bad in ["", "short", "canary-7c1f5e\nX: y", "canary-7c1f5e-\u{e9}"] {
            let error = credential(bad).check().expect_err("refused").to_string();
            assert!(!error.contains("canary"), "{error}");
        }
        let _ = std::fs::remove_file(&dir);
    }
}
