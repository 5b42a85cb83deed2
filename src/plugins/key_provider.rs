//! The key provider that `[keys.provider]` names: admitted as every plugin, and live only once it opens what the one before opened.

mod wrapping;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use origan_codec_host::plugin::outside::{Egress, Granted};
use origan_codec_host::plugin::{Engines, Fault, KeyContext, KeyProvider, Limits, Wrapped};
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use super::component::{Found, Key, LoadError};
use super::credentials::Credentials;
use super::outside::{granted_to_key_provider, http_reach};
use super::status::PluginStatus;
use super::threads::Threads;
use crate::config::{Config, KeyProviderConfig};
use wrapping::Bounds;
pub use wrapping::{KeyCallError, KeyFigures, KeyWrapping, WrapBytes};

/// The one that runs, and its place.
pub(super) struct LoadedKeyProvider {
    place: Arc<KeyWrapping>,
    live: Option<Live>,
    /// There once one was named.
    threads: Option<Arc<Threads>>,
    /// Why the version that the configuration names is not the one that runs.
    error: Option<(&'static str, String)>,
}

struct Live {
    key: Key,
    reach: String,
    bounds: Bounds,
    running: Arc<Running>,
}

/// A version that was admitted.
struct Running {
    plugin: Arc<KeyProvider>,
    outside: Arc<Granted>,
    threads: Arc<Threads>,
    /// Their clock ends what computes for too long.
    _engines: Arc<Engines>,
}

impl LoadedKeyProvider {
    pub(super) fn at(place: Arc<KeyWrapping>) -> Self {
        Self { place, live: None, threads: None, error: None }
    }

    /// Loads what `config` names if it is not what is loaded.
    pub(super) async fn follow(&mut self, engines: &Arc<Engines>, config: &Config, credentials: &Credentials) {
        let Some(named) = &config.keys.provider else { return };
        self.error = match self.load(engines, config, credentials, named).await {
            Ok(()) => None,
            Err(why) => {
                let (code, text) = (why.code(), why.to_string());
                let stays = if self.live.is_some() { "the last good one stays" } else { "there is no KEK" };
                error!(key_provider = named.name, code, cause = text, stays, "the key provider was not admitted");
                self.place.is_missing(format!("its plugin was not admitted ({code}): {text}"));
                Some((code, text))
            }
        };
    }

    /// As [`LoadedKeyProvider::follow`], for whoever ends without one. Its SHA-256.
    pub(super) async fn load_or_refuse(
        &mut self,
        engines: &Arc<Engines>,
        config: &Config,
        credentials: &Credentials,
    ) -> Result<String, String> {
        let named = config.keys.provider.as_ref().ok_or("none is named")?;
        let loaded = self.load(engines, config, credentials, named).await;
        loaded.map_err(|error| error.to_string())?;
        Ok(self.live.as_ref().map(|live| live.key.digest.to_string()).unwrap_or_default())
    }

    pub(super) fn status(&self) -> PluginStatus {
        PluginStatus {
            name: self.place.name().to_owned(),
            sha256: self.live.as_ref().map(|live| live.key.digest.to_string()),
            error: self.error.clone(),
            policy: None,
            is_snapshotted: None,
            is_slow: false,
            log_dropped: self.live.as_ref().map_or(0, |live| live.running.plugin.log().dropped()),
            sink: None,
            provider: None,
            key_provider: Some(self.place.clone()),
        }
    }

    async fn load(
        &mut self,
        engines: &Arc<Engines>,
        config: &Config,
        credentials: &Credentials,
        named: &KeyProviderConfig,
    ) -> Result<(), LoadError> {
        let found = Found::read(&config.plugins_dir(), &named.component(), &Limits::key_provider())?;
        let (key, reach, bounds) = (found.key.clone(), http_reach(config, &named.http), Bounds::of(named));
        if self.live.as_ref().is_some_and(|live| live.key == key && live.reach == reach && live.bounds == bounds) {
            return Ok(());
        }
        let threads = self.threads()?;
        let outside = Arc::new(granted_to_key_provider(named, credentials)?);
        let plugin = engines.admit_key_provider(found.candidate, outside.clone(), outside.has_http()).await?;
        let running = Running { plugin: Arc::new(plugin), outside, threads, _engines: engines.clone() };
        let running = Arc::new(running);
        self.place.replace(running.clone(), bounds.clone()).await.map_err(LoadError::Unproven)?;
        info!(key_provider = named.name, sha256 = %key.digest, "the key provider goes live");
        self.live = Some(Live { key, reach, bounds, running });
        Ok(())
    }

    /// Not started before somebody needs it. One is enough: it waits for a network, and computes microseconds.
    fn threads(&mut self) -> Result<Arc<Threads>, LoadError> {
        if let Some(threads) = &self.threads {
            return Ok(threads.clone());
        }
        let threads = Threads::start("keys", 1, 0).map_err(|error| LoadError::Grant(format!("{error:#}")))?;
        Ok(self.threads.insert(Arc::new(threads)).clone())
    }
}

/// The files of the component that `config` names.
pub(super) fn component_files(config: &Config) -> Option<(&PathBuf, &Option<PathBuf>)> {
    config.keys.provider.as_ref().map(|provider| (&provider.path, &provider.cases))
}

impl Running {
    async fn call<T: Send + 'static>(
        &self,
        calling: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, KeyCallError> {
        let ended = || KeyCallError::Unavailable {
            why: "the call ended with the process, or by a panic of the host".into(),
            pause: None,
        };
        let outcome = self.threads.spawn(calling).ok_or_else(ended)?.await.map_err(|_| ended())?;
        outcome.map_err(|fault| {
            warn!(%fault, "the key provider gave no answer");
            KeyCallError::Fault(fault)
        })
    }
}

#[async_trait]
impl WrapBytes for Running {
    async fn wrap(&self, plaintext: Zeroizing<Vec<u8>>, context: KeyContext) -> Result<Wrapped, KeyCallError> {
        let plugin = self.plugin.clone();
        Ok(self.call(async move { plugin.wrap(&plaintext, &context).await }).await??)
    }

    async fn unwrap(&self, wrapped: Wrapped, context: KeyContext) -> Result<Zeroizing<Vec<u8>>, KeyCallError> {
        let plugin = self.plugin.clone();
        Ok(self.call(async move { plugin.unwrap(&wrapped, &context).await }).await??)
    }

    fn requests_refused(&self) -> u64 {
        self.outside.http.as_ref().map_or(0, Egress::refused)
    }
}
