//! A header whose value is read from a file each time it is sent, so that a new one counts at once.

use std::path::PathBuf;

use http::HeaderName;
use zeroize::Zeroizing;

use super::super::egress::Outgoing;
use super::failure::CredentialError;
use super::health::Health;
use super::{Added, CredentialState, Secrets, reserve, secrets, set};

/// A header from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderSettings {
    /// The header.
    pub header: HeaderName,
    /// What stands before the value: `Bearer `, `Splunk `.
    pub prefix: String,
    /// The file that holds the value; a trailing newline is taken off.
    pub file: PathBuf,
}

pub(super) struct Header {
    name: String,
    settings: HeaderSettings,
    health: Health,
}

impl Header {
    pub(super) fn new(name: &str, settings: HeaderSettings) -> Self {
        Self { name: name.to_owned(), settings, health: Health::default() }
    }

    pub(super) fn check(&self) -> Result<(), CredentialError> {
        secrets::read(&self.name, &self.settings.file).map(|_| ())
    }

    pub(super) fn state(&self) -> CredentialState {
        self.health.state(None)
    }

    pub(super) fn permits(&self, outgoing: &Outgoing) -> Result<(), String> {
        reserve(outgoing, std::slice::from_ref(&self.settings.header))
    }

    pub(super) fn authorise(&self, outgoing: &mut Outgoing) -> Result<Added, CredentialError> {
        let read = self.health.had(secrets::read(&self.name, &self.settings.file));
        let value = read?;
        let text = Zeroizing::new(format!("{}{}", self.settings.prefix, *value));
        set(&mut outgoing.headers, self.settings.header.clone(), &text, &self.name)?;
        Ok(Added { secrets: Secrets::of(&[&value]), generation: 0, signed_at: None })
    }
}
