//! The secret providers that run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use origan_codec_host::plugin::outside::{Egress, Granted};
use origan_codec_host::plugin::{Engines, Fault, Limits, SecretProvider, SecretReference};
use tracing::{error, info};

use super::Checked;
use super::component::{Found, Key, LoadError};
use super::credentials::Credentials;
use super::outside::{granted_to_provider, http_reach};
use super::status::PluginStatus;
use super::threads::Threads;
use crate::config::{Config, ProviderConfig};
use crate::providers::{Answers, Bounds, Provider, ProviderFigures, Resolve};

/// Threads on which all providers compute: what one does there holds up no request that needs none.
const THREADS: usize = 2;

/// The secret providers that run.
#[derive(Default)]
pub(super) struct LoadedProviders {
    loaded: Vec<Loaded>,
    /// There once a provider was named.
    threads: Option<Arc<Threads>>,
}

struct Loaded {
    config: ProviderConfig,
    live: Option<Live>,
    /// What is asked: with its cache, for as long as it is the same.
    provider: Arc<Provider>,
    bounds: Bounds,
    figures: Arc<ProviderFigures>,
    /// Why the version that the configuration names is not the one that runs.
    error: Option<(&'static str, String)>,
}

#[derive(Clone)]
struct Live {
    key: Key,
    reach: String,
    running: Arc<LiveProvider>,
}

impl LoadedProviders {
    /// Loads what `config` names and is not loaded yet, and lets go of what it no longer names, with all that was kept of it.
    pub(super) async fn follow(
        &mut self,
        engines: &Arc<Engines>,
        config: &Config,
        credentials: &Credentials,
    ) -> HashMap<String, Arc<Provider>> {
        let mut before: HashMap<String, Loaded> =
            self.loaded.drain(..).map(|loaded| (loaded.config.name.clone(), loaded)).collect();
        let threads = self.threads(config);
        let loading = config.providers.iter().map(|provider| {
            let before = before.remove(&provider.name);
            let threads = &threads;
            async move { Loaded::follow(before, (engines, threads), (config, credentials), provider).await }
        });
        self.loaded = join_all(loading).await;
        self.loaded.iter().map(|loaded| (loaded.config.name.clone(), loaded.provider.clone())).collect()
    }

    pub(super) fn status(&self) -> Vec<PluginStatus> {
        let status = self.loaded.iter().map(|loaded| PluginStatus {
            name: loaded.config.name.clone(),
            sha256: loaded.live.as_ref().map(|live| live.key.digest.to_string()),
            error: loaded.error.clone(),
            policy: None,
            is_snapshotted: None,
            is_slow: false,
            log_dropped: loaded.live.as_ref().map_or(0, |live| live.running.plugin.log().dropped()),
            sink: None,
            provider: Some(loaded.provider.clone()),
            key_provider: None,
        });
        status.collect()
    }

    /// Not started before somebody needs them.
    fn threads(&mut self, config: &Config) -> Result<Arc<Threads>, String> {
        if let Some(threads) = &self.threads {
            return Ok(threads.clone());
        }
        if config.providers.is_empty() {
            return Err("no provider is named".into());
        }
        let threads = Threads::start("providers", THREADS, 0).map_err(|error| format!("{error:#}"))?;
        Ok(self.threads.insert(Arc::new(threads)).clone())
    }
}

/// Whether each provider that `config` names would go live.
pub(super) async fn check(engines: &Arc<Engines>, config: &Config, credentials: &Credentials) -> Vec<Checked> {
    let checking = config.providers.iter().map(async |provider| {
        let outcome = async {
            let found = Found::read(&config.plugins_dir(), &provider.component(), &Limits::secret_provider())?;
            let digest = found.key.digest;
            admit(engines, credentials, provider, found).await?;
            Ok::<_, LoadError>(digest.to_string())
        };
        let outcome = outcome.await.map_err(|error| error.to_string());
        Checked { what: format!("provider {}", provider.name), outcome }
    });
    join_all(checking).await
}

async fn admit(
    engines: &Arc<Engines>,
    credentials: &Credentials,
    provider: &ProviderConfig,
    found: Found,
) -> Result<(Arc<SecretProvider>, Arc<Granted>), LoadError> {
    let outside = Arc::new(granted_to_provider(provider, credentials)?);
    let plugin = engines.admit_secret_provider(found.candidate, outside.clone(), outside.has_http()).await?;
    Ok((Arc::new(plugin), outside))
}

impl Loaded {
    async fn follow(
        before: Option<Self>,
        with: (&Arc<Engines>, &Result<Arc<Threads>, String>),
        configured: (&Config, &Credentials),
        named: &ProviderConfig,
    ) -> Self {
        let live = before.as_ref().and_then(|before| before.live.clone());
        let outcome = Live::follow(live.as_ref(), with, configured, named).await;
        let (live, error) = match outcome {
            Ok(admitted) => (Some(admitted), None),
            Err(why) => {
                let (code, text) = (why.code(), why.to_string());
                let stays = if live.is_some() { "the last good one stays" } else { "what needs it is refused" };
                error!(provider = named.name, code, cause = text, stays, "a provider was not admitted");
                (live, Some((code, text)))
            }
        };
        let bounds = bounds(named);
        let figures = before.as_ref().map_or_else(Arc::default, |before| before.figures.clone());
        let same = before.filter(|before| before.bounds == bounds && before.runs(live.as_ref()));
        let provider = same.map_or_else(
            || {
                let resolver = live.as_ref().map(|live| live.running.clone() as Arc<dyn Resolve>);
                Arc::new(Provider::new(&named.name, resolver, bounds.clone(), figures.clone()))
            },
            |same| same.provider,
        );
        Self { config: named.clone(), live, provider, bounds, figures, error }
    }

    /// Whether it is this very version.
    fn runs(&self, live: Option<&Live>) -> bool {
        match (&self.live, live) {
            (Some(before), Some(now)) => Arc::ptr_eq(&before.running, &now.running),
            (before, now) => before.is_none() && now.is_none(),
        }
    }
}

impl Live {
    async fn follow(
        live: Option<&Self>,
        (engines, threads): (&Arc<Engines>, &Result<Arc<Threads>, String>),
        (config, credentials): (&Config, &Credentials),
        named: &ProviderConfig,
    ) -> Result<Self, LoadError> {
        let found = Found::read(&config.plugins_dir(), &named.component(), &Limits::secret_provider())?;
        let (key, reach) = (found.key.clone(), http_reach(config, &named.http));
        if let Some(same) = live.filter(|live| live.key == key && live.reach == reach) {
            return Ok(same.clone());
        }
        let threads = threads.clone().map_err(LoadError::Grant)?;
        let (plugin, outside) = admit(engines, credentials, named, found).await?;
        info!(provider = named.name, sha256 = %key.digest, "a provider goes live");
        Ok(Self { key, reach, running: Arc::new(LiveProvider { plugin, outside, threads }) })
    }
}

fn bounds(config: &ProviderConfig) -> Bounds {
    Bounds {
        batch_max: config.batch_max,
        parallel: config.parallel,
        calls_max: config.calls_max,
        deadline: Duration::from_millis(config.deadline_ms),
        cache_max: Duration::from_millis(config.cache_max_ms),
        breaker_failures: config.breaker_failures,
        breaker_open: Duration::from_millis(config.breaker_ms),
    }
}

/// A provider that runs.
struct LiveProvider {
    plugin: Arc<SecretProvider>,
    outside: Arc<Granted>,
    threads: Arc<Threads>,
}

#[async_trait]
impl Resolve for LiveProvider {
    async fn resolve(&self, references: Vec<SecretReference>) -> Result<Answers, Fault> {
        let plugin = self.plugin.clone();
        let calling = self.threads.spawn(async move { plugin.resolve_and_tell(&references).await });
        let ended = || Fault::BadAnswer("the call ended with the process, or by a panic of the host".into());
        let answered = calling.ok_or_else(ended)?.await.unwrap_or_else(|_| Err(ended()));
        answered.map(|(results, failed_outside)| Answers { results, failed_outside })
    }

    fn requests_refused(&self) -> u64 {
        self.outside.http.as_ref().map_or(0, Egress::refused)
    }
}
