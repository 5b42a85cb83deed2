//! The policies that run.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures_util::future::join_all;
use origan_codec_host::plugin::{Decision, Engines, Fault, Limits, Lookups, PolicyPlugin, Query};
use tracing::{error, info};

use super::Checked;
use super::component::{Found, Key, LoadError};
use super::habits::Habits;
use super::long_lane::LongLane;
use super::slow_lane::SlowLane;
use super::status::PluginStatus;
use crate::config::{Config, Mode, PolicyConfig};
use crate::policy::chain::{Chain, Evaluate, Policy, PolicyFigures};

/// The policies that run, in their order.
#[derive(Default)]
pub(super) struct LoadedPolicies {
    loaded: Vec<Loaded>,
}

struct Loaded {
    config: PolicyConfig,
    live: Option<(Key, Arc<LivePolicy>)>,
    figures: Arc<PolicyFigures>,
    /// Why the version that the configuration names is not the one that runs.
    error: Option<(&'static str, String)>,
}

impl LoadedPolicies {
    /// Loads what `config` names and is not loaded yet, lets go of what it no longer names, and links the chain.
    pub(super) async fn follow(&mut self, engines: &Arc<Engines>, config: &Config) -> Chain {
        let mut before: HashMap<String, Loaded> =
            self.loaded.drain(..).map(|loaded| (loaded.config.name.clone(), loaded)).collect();
        let dir = config.plugins_dir();
        let found = config.policies.iter().map(|policy| {
            let found = Found::read(&dir, &policy.component(), &Limits::policy());
            (policy, before.remove(&policy.name), found)
        });
        let mut found: Vec<_> = found.enumerate().collect();
        // The largest are the first to be compiled: they take longest.
        found.sort_by_key(|(_, (_, _, found))| Reverse(found.as_ref().map_or(0, Found::size_bytes)));
        let loading = found.into_iter().map(async |(place, (policy, before, found))| {
            let (live, figures) = before.map_or_else(Default::default, |before| (before.live, before.figures));
            let config = policy.clone();
            let loaded = match admit(engines, found, live.as_ref()).await {
                Ok(admitted) => Loaded { config, live: Some(admitted), figures, error: None },
                Err(why) => {
                    let (code, text) = (why.code(), why.to_string());
                    let stays = if live.is_some() { "the last good one stays" } else { "it denies" };
                    error!(policy = policy.name, code, cause = text, stays, "a policy was not admitted");
                    Loaded { config, live, figures, error: Some((code, text)) }
                }
            };
            (place, loaded)
        });
        let mut loaded = join_all(loading).await;
        loaded.sort_unstable_by_key(|(place, _)| *place);
        self.loaded = loaded.into_iter().map(|(_, loaded)| loaded).collect();
        Chain::new(self.loaded.iter().map(Loaded::in_chain).collect(), config.plugins.default)
    }

    pub(super) fn status(&self) -> Vec<PluginStatus> {
        let status = self.loaded.iter().map(|loaded| PluginStatus {
            name: loaded.config.name.clone(),
            sha256: loaded.live.as_ref().map(|(key, _)| key.digest.to_string()),
            error: loaded.error.clone(),
            policy: Some((loaded.config.mode, loaded.figures.clone())),
            is_snapshotted: loaded.live.as_ref().map(|(_, live)| live.plugin.is_snapshotted()),
            is_slow: loaded.live.as_ref().is_some_and(|(_, live)| live.habits.slowness.is_slow()),
            log_dropped: loaded.live.as_ref().map_or(0, |(_, live)| live.plugin.log().dropped()),
            sink: None,
            provider: None,
            key_provider: None,
        });
        status.collect()
    }
}

/// Whether each policy that `config` names would go live.
pub(super) async fn check(engines: &Arc<Engines>, config: &Config) -> Vec<Checked> {
    let dir = config.plugins_dir();
    let checking = config.policies.iter().map(async |policy| {
        let outcome = async {
            let Found { candidate, key } = Found::read(&dir, &policy.component(), &Limits::policy())?;
            engines.admit_policy(candidate).await?;
            Ok::<_, LoadError>(key.digest.to_string())
        };
        let outcome = outcome.await.map_err(|error| error.to_string());
        Checked { what: format!("policy {}", policy.name), outcome }
    });
    join_all(checking).await
}

async fn admit(
    engines: &Arc<Engines>,
    found: Result<Found, LoadError>,
    live: Option<&(Key, Arc<LivePolicy>)>,
) -> Result<(Key, Arc<LivePolicy>), LoadError> {
    let Found { candidate, key } = found?;
    if let Some((_, same)) = live.filter(|(before, _)| *before == key) {
        return Ok((key, same.clone()));
    }
    let name = candidate.name.clone();
    let plugin = engines.admit_policy(candidate).await?;
    info!(policy = name, sha256 = %key.digest, snapshot = plugin.is_snapshotted(), "a policy goes live");
    Ok((key, Arc::new(LivePolicy::new(plugin))))
}

impl Loaded {
    fn in_chain(&self) -> Policy {
        Policy {
            name: self.config.name.as_str().into(),
            mode: self.config.mode,
            actions: self.config.actions.clone(),
            projects: self.config.projects.clone(),
            evaluator: self.live.as_ref().map(|(_, live)| live.clone() as Arc<dyn Evaluate>),
            figures: self.figures.clone(),
        }
    }
}

/// A policy that runs. Decisions are made where the request is served, for they take microseconds; those of a policy that takes long
/// are made beside, and those of one that has missed its deadline in its slow lane, until it has been quick for a while.
struct LivePolicy {
    plugin: Arc<PolicyPlugin>,
    habits: Arc<Habits>,
    long_lane: LongLane,
    slow_lane: SlowLane,
}

impl LivePolicy {
    fn new(plugin: PolicyPlugin) -> Self {
        let (plugin, habits) = (Arc::new(plugin), Arc::<Habits>::default());
        Self {
            long_lane: LongLane::of(plugin.clone(), habits.clone()),
            slow_lane: SlowLane::of(plugin.clone(), habits.clone()),
            plugin,
            habits,
        }
    }
}

#[async_trait]
impl Evaluate for LivePolicy {
    fn needs(&self) -> Lookups {
        self.plugin.needs()
    }

    async fn evaluate(&self, query: &Query<'_>, mode: Mode) -> Result<Decision, Fault> {
        if self.habits.slowness.is_slow() {
            return self.slow_lane.evaluate(query, mode).await;
        }
        if self.habits.pace.is_long() {
            return self.long_lane.evaluate(query).await;
        }
        let begun = Instant::now();
        let outcome = self.plugin.evaluate(query).await;
        self.habits.learn(&outcome, begun.elapsed());
        outcome
    }
}
