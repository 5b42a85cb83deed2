//! The credentials that plugins' requests may go with, kept as long as their configuration stays: who is logged in stays so when a plugin
//! is replaced, and plugins that share one log in once.

use std::collections::BTreeMap;
use std::sync::Arc;

use origan_codec_host::plugin::outside::Credential;

use crate::config::{Config, CredentialConfig};

/// All of them, by their names.
#[derive(Default)]
pub(super) struct Credentials {
    made: BTreeMap<String, (Key, Result<Arc<Credential>, String>)>,
}

/// Two credentials with one key are one: the configuration, and what its file of certificates holds.
type Key = (CredentialConfig, Option<Vec<u8>>);

impl Credentials {
    /// Sets up what is new or another, and lets go of what is gone.
    pub(super) fn follow(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.made);
        for credential in &config.credentials {
            let key = key_of(credential);
            let kept = before.remove(&credential.name).filter(|(known, made)| *known == key && made.is_ok());
            let made = kept.unwrap_or_else(|| {
                let made = make(&key);
                (key, made)
            });
            self.made.insert(credential.name.clone(), made);
        }
    }

    /// The one of this name, if what it is made of is there.
    pub(super) fn granted(&self, name: &str) -> Result<Arc<Credential>, String> {
        match self.made.get(name) {
            Some((_, Ok(credential))) => {
                credential.check().map(|()| credential.clone()).map_err(|error| error.to_string())
            }
            Some((_, Err(why))) => Err(why.clone()),
            None => Err(format!("there is no credential `{name}`")),
        }
    }

    /// All that could be set up.
    pub(super) fn all(&self) -> Vec<Arc<Credential>> {
        self.made.values().filter_map(|(_, made)| made.as_ref().ok().cloned()).collect()
    }
}

/// What a credential is made of, to tell one from another.
pub(super) fn key_of(credential: &CredentialConfig) -> Key {
    (credential.clone(), credential.ca_file.as_deref().and_then(|path| std::fs::read(path).ok()))
}

fn make((config, ca_pem): &Key) -> Result<Arc<Credential>, String> {
    let wrong = |why: String| format!("credential `{}`: {why}", config.name);
    if let (Some(file), None) = (&config.ca_file, ca_pem) {
        return Err(wrong(format!("{} cannot be read", file.display())));
    }
    let settings = config.settings(ca_pem.clone()).map_err(wrong)?;
    Credential::new(&config.name, settings).map(Arc::new).map_err(|error| error.to_string())
}
