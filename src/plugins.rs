//! The plugins that run, as the configuration names them: loaded through the host's one admission path, replaced while the service
//! answers, and never replaced by what is worse.
//!
//! A version that is not admitted leaves the last good one where it was; a policy that never was good denies, a required sink that
//! never was good refuses every answer; without a key provider, where one holds the KEK, the service is not ready. Nothing here ends
//! the process.

mod component;
mod credentials;
mod habits;
mod key_provider;
mod long_lane;
mod outside;
mod policies;
mod providers;
mod sinks;
mod slow_lane;
mod status;
mod threads;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use futures_util::future::join;
use origan_codec_host::plugin::{CodeCache, Compiler, Engines, NoCache};
use tokio::sync::{Mutex, Notify};
use tracing::{info, warn};

use crate::audit::Journal;
use crate::config::{Config, ConfigError};
use crate::policy::Policies;
use crate::providers::Providers;
pub(crate) use component::open_no_link;
use credentials::Credentials;
use key_provider::LoadedKeyProvider;
pub use key_provider::{KeyCallError, KeyFigures, KeyWrapping, WrapBytes};
use outside::Outputs;
use policies::LoadedPolicies;
use providers::LoadedProviders;
use sinks::{Meant, Reached, RunningSinks};
pub use status::{PluginStatus, Status};
use threads::Threads;
pub use watch::ConfigFile;

/// Requests go first.
const SINKS_NICENESS: i32 = 5;

/// Every plugin that runs, and what replaces them.
pub struct Plugins {
    engines: Arc<Engines>,
    policies: Arc<Policies>,
    providers: Arc<Providers>,
    runtime: Threads,
    /// One change at a time.
    state: Mutex<State>,
    /// A sink that nobody waited for is admitted.
    admitted: Arc<Notify>,
    status: ArcSwap<Status>,
    changes: AtomicU64,
}

/// A plugin that the configuration names, and why it would not go live, if it would not.
pub struct Checked {
    /// `policy`, `sink`, `provider` or `key provider`, and its name.
    pub what: String,
    /// Its SHA-256.
    pub outcome: Result<String, String>,
}

#[derive(Default)]
struct State {
    policies: LoadedPolicies,
    sinks: RunningSinks,
    providers: LoadedProviders,
    /// Where the KEK is behind one.
    key_provider: Option<LoadedKeyProvider>,
    outputs: Outputs,
    credentials: Credentials,
    /// There once records can be carried away.
    journal: Option<Arc<Journal>>,
    /// What was followed last.
    config: Option<Config>,
}

impl Plugins {
    /// None yet. What they are compiled to is looked for in `code`, made by `compiler`, and kept. `keys` is the place of the key provider,
    /// if the KEK is behind one.
    pub fn new(
        code: Arc<dyn CodeCache>,
        compiler: Arc<dyn Compiler>,
        keys: Option<Arc<KeyWrapping>>,
    ) -> anyhow::Result<Arc<Self>> {
        let state = State { key_provider: keys.map(LoadedKeyProvider::at), ..State::default() };
        Ok(Arc::new(Self {
            engines: Arc::new(Engines::with(code, compiler)?),
            policies: Arc::default(),
            providers: Arc::default(),
            runtime: Threads::start("sinks", 1, SINKS_NICENESS)?,
            state: Mutex::new(state),
            admitted: Arc::default(),
            status: ArcSwap::default(),
            changes: AtomicU64::new(0),
        }))
    }

    /// Takes every plugin that `config` names through the admission, runs none of them, and says how each fared.
    ///
    /// The key provider alone goes live, in `keys`: whoever checks may ask it.
    pub async fn check(
        config: &Config,
        compiler: Arc<dyn Compiler>,
        keys: Option<Arc<KeyWrapping>>,
    ) -> anyhow::Result<Vec<Checked>> {
        let engines = Arc::new(Engines::with(Arc::new(NoCache), compiler)?);
        let mut checked = policies::check(&engines, config).await;
        let mut outputs = Outputs::default();
        outputs.follow(config);
        let mut credentials = Credentials::default();
        credentials.follow(config);
        if let (Some(place), Some(named)) = (keys, &config.keys.provider) {
            let outcome = LoadedKeyProvider::at(place).load_or_refuse(&engines, config, &credentials).await;
            checked.push(Checked { what: format!("key provider {}", named.name), outcome });
        }
        let reached = Reached { outputs: &outputs, credentials: &credentials };
        checked.extend(sinks::check(&engines, config, reached).await);
        checked.extend(providers::check(&engines, config, &credentials).await);
        Ok(checked)
    }

    /// Makes the key provider that `config` names live in `keys`, for a command that needs the KEK and no other plugin.
    pub async fn open_key_provider(
        config: &Config,
        compiler: Arc<dyn Compiler>,
        keys: Arc<KeyWrapping>,
    ) -> anyhow::Result<()> {
        let engines = Arc::new(Engines::with(Arc::new(NoCache), compiler)?);
        let mut credentials = Credentials::default();
        credentials.follow(config);
        let loaded = LoadedKeyProvider::at(keys).load_or_refuse(&engines, config, &credentials).await;
        loaded.map(drop).map_err(|why| ConfigError::value("keys.provider", why).into())
    }

    /// The chain of policies, which follows the configuration.
    pub fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    /// The secret providers, which follow the configuration.
    pub fn providers(&self) -> &Arc<Providers> {
        &self.providers
    }

    /// What runs, and what does not and why.
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// Loads the key provider that `config` names, without which there is no ring: before everything else.
    pub async fn load_key_provider(&self, config: &Config) {
        let mut state = self.state.lock().await;
        self.follow_key_provider(&mut state, config).await;
        self.publish_again(&state);
    }

    /// Loads the policies and providers that `config` names, or the configuration that was followed meanwhile. Sinks follow with
    /// [`Plugins::carry`].
    pub async fn load(&self, config: &Config) {
        let mut state = self.state.lock().await;
        // Where the KEK is outside the start may have waited long, and whoever edited the file meanwhile meant it.
        let config = state.config.clone().unwrap_or_else(|| config.clone());
        self.follow_policies_and_providers(&mut state, &config).await;
        self.publish_again(&state);
    }

    /// From now on there are requests to be answered, which go before whatever is admitted.
    pub fn give_way(&self) {
        self.engines.give_way();
    }

    /// From now on records of `journal` are carried away by the sinks that were named last. Those that are required stand then; the others are
    /// admitted beside what comes next, and miss no record.
    pub async fn carry(&self, journal: Arc<Journal>) {
        let mut state = self.state.lock().await;
        let config = state.config.clone().unwrap_or_default();
        state.sinks.begin(&self.runtime, &config, &journal);
        state.journal = Some(journal);
        self.follow_sinks(Meant::Required, &mut state, &config).await;
        let State { sinks, outputs, credentials, .. } = &mut *state;
        sinks.prepare(false, &self.engines, &config, Reached { outputs, credentials }, &self.admitted);
        self.publish_again(&state);
    }

    /// Those that were admitted go live.
    async fn follow_admitted(&self) {
        let mut state = self.state.lock().await;
        let config = state.config.clone().unwrap_or_default();
        self.follow_sinks(Meant::Admitted, &mut state, &config).await;
        self.publish_again(&state);
    }

    /// Follows the configuration's file and the components' until the process ends; at once when `hurry` is told.
    pub async fn follow(&self, mut file: ConfigFile, hurry: &Notify) {
        let mut tried = Instant::now();
        loop {
            let is_told = tokio::select! {
                () = tokio::time::sleep(watch::LOOK_EVERY) => false,
                () = hurry.notified() => true,
                () = self.admitted.notified() => {
                    self.follow_admitted().await;
                    continue;
                }
            };
            // A file that came late, a thread that could not be had: what may pass is tried again by itself.
            let is_due = tried.elapsed() >= watch::TRY_AGAIN_EVERY && self.status().may_pass();
            if !file.has_changed() && !is_told && !is_due {
                continue;
            }
            for _ in 0..watch::SETTLES_MAX {
                tokio::time::sleep(watch::SETTLES_IN).await;
                if !file.has_changed() {
                    break;
                }
            }
            tried = Instant::now();
            let read = file.read_again();
            let mut state = self.state.lock().await;
            let error = match read {
                Ok(config) => {
                    self.follow_key_provider(&mut state, &config).await;
                    self.follow_policies_and_providers(&mut state, &config).await;
                    self.follow_sinks(Meant::All, &mut state, &config).await;
                    self.changes.fetch_add(1, Ordering::Relaxed);
                    info!(changes = self.changes.load(Ordering::Relaxed), "plugins follow the configuration");
                    None
                }
                Err(error) => {
                    warn!(%error, "the configuration is bad: everything stays as it was");
                    Some(error)
                }
            };
            self.publish(&state, error.map(|error| error.to_string()), file.restart_needed());
        }
    }

    /// Waits, for a while, until the sinks have what the closed journal holds.
    pub async fn finish(&self, deadline: Duration) {
        let mut state = self.state.lock().await;
        state.sinks.finish(deadline).await;
    }

    async fn follow_key_provider(&self, state: &mut State, config: &Config) {
        let State { key_provider: Some(key_provider), credentials, .. } = state else { return };
        credentials.follow(config);
        key_provider.follow(&self.engines, config, credentials).await;
    }

    /// First of all: sinks are lent the credentials that are set up here.
    async fn follow_policies_and_providers(&self, state: &mut State, config: &Config) {
        let is_first = state.config.replace(config.clone()).is_none();
        let State { policies, providers, credentials, outputs, sinks, .. } = state;
        credentials.follow(config);
        let preparing = async {
            // Once: what is tried again until there is a journal would be compiled again each time.
            if is_first {
                outputs.follow(config);
                sinks.prepare(true, &self.engines, config, Reached { outputs, credentials }, &self.admitted);
            }
        };
        // In this order: nobody is answered before the policies stand, so they are the first to be compiled.
        let (chain, ()) = join(policies.follow(&self.engines, config), preparing).await;
        self.policies.publish(chain);
        self.providers.publish(providers.follow(&self.engines, config, credentials).await);
    }

    async fn follow_sinks(&self, meant: Meant, state: &mut State, config: &Config) {
        let State { sinks, outputs, credentials, journal, .. } = state;
        if let Some(journal) = journal {
            outputs.follow(config);
            let reached = Reached { outputs, credentials };
            sinks.follow(meant, &self.engines, &self.runtime, config, reached, journal).await;
        }
    }

    /// Of the file, what was said last.
    fn publish_again(&self, state: &State) {
        let last = self.status();
        self.publish(state, last.config_error.clone(), last.restart_needed);
    }

    fn publish(&self, state: &State, config_error: Option<String>, restart_needed: bool) {
        self.status.store(Arc::new(Status {
            policies: state.policies.status(),
            sinks: state.sinks.status(),
            credentials: state.credentials.all(),
            providers: state.providers.status(),
            key_provider: state.key_provider.as_ref().map(LoadedKeyProvider::status),
            config_error,
            restart_needed,
            changes: self.changes.load(Ordering::Relaxed),
            changed: Some(SystemTime::now()),
        }));
    }
}
