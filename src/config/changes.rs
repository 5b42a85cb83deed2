//! What of a configuration can change while the process runs, and what only a restart changes.

use super::{Config, ConfigError, KeyProviderConfig, KeysConfig};

impl Config {
    /// This one, with the plugins of `other`, if they go together.
    pub fn with_plugins_of(&self, other: &Self) -> Result<Self, ConfigError> {
        let next = Self {
            keys: self.keys.with_provider_of(&other.keys),
            plugins: other.plugins.clone(),
            policies: other.policies.clone(),
            sinks: other.sinks.clone(),
            providers: other.providers.clone(),
            outputs: other.outputs.clone(),
            credentials: other.credentials.clone(),
            ..self.clone()
        };
        next.refuse_plugins()?;
        Ok(next)
    }

    /// The part that only a restart changes.
    pub fn without_plugins(&self) -> Self {
        let none = Self::default();
        Self {
            keys: self.keys.without_plugin(),
            plugins: none.plugins,
            policies: none.policies,
            sinks: none.sinks,
            providers: none.providers,
            outputs: none.outputs,
            credentials: none.credentials,
            ..self.clone()
        }
    }
}

impl KeysConfig {
    /// This, with what of `next`'s key provider may change while the process runs: all but which KEK it is.
    fn with_provider_of(&self, next: &Self) -> Self {
        let mut keys = self.clone();
        if let (Some(ours), Some(theirs)) = (&mut keys.provider, &next.provider)
            && ours.identity() == theirs.identity()
        {
            ours.clone_from(theirs);
        }
        keys
    }

    fn without_plugin(&self) -> Self {
        Self { provider: self.provider.as_ref().map(KeyProviderConfig::identity), ..self.clone() }
    }
}
