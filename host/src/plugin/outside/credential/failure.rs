//! Why a credential cannot be had. The texts are operators' and guests' to read: they hold nothing of its value.

use std::path::Path;

use super::super::SendError;

/// Why a credential cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("credential `{name}`: {why}")]
pub struct CredentialError {
    name: String,
    why: String,
}

/// A credential this short could not be told from chance where a server repeats it.
pub(super) const VALUE_LEN_MIN: usize = 8;
pub(super) const VALUE_LEN_MAX: usize = 8 << 10;

impl CredentialError {
    pub(super) fn new(name: &str, why: impl Into<String>) -> Self {
        Self { name: name.to_owned(), why: why.into() }
    }

    pub(super) fn read(name: &str, file: &Path, why: &std::io::Error) -> Self {
        Self::new(name, format!("{} cannot be read: {why}", file.display()))
    }

    /// Too short, too long, or nothing that a header can hold.
    pub(super) fn value(name: &str) -> Self {
        Self::new(name, format!("its value must be {VALUE_LEN_MIN} to {VALUE_LEN_MAX} bytes of printable ASCII"))
    }

    pub(super) fn late(name: &str) -> Self {
        Self::new(name, "its login has not ended in the time that the request may take")
    }
}

/// What became of a login, in the words of an operator.
pub(super) fn told(error: &SendError) -> String {
    match error {
        SendError::NotGranted(why) => why.replace("its grant's `addresses`", "the credential's `addresses`"),
        SendError::InvalidRequest(why) | SendError::Connect(why) | SendError::Protocol(why) => why.clone(),
        SendError::Tls(why) => format!("TLS: {why}"),
        SendError::Timeout => "no answer in time".to_owned(),
        SendError::TooLarge(bytes) => format!("an answer of more than {bytes} bytes"),
    }
}
