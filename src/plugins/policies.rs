//! The policies that run.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use origan_codec_host::plugin::{
    Decision, Engines, Fault, Limits, Lookups, PolicyPlugin, Query, let_requests_go_first,
};
use tokio::sync::Semaphore;
use tracing::{error, info};

use super::Checked;
use super::component::{Found, Key, LoadError};
use super::status::PluginStatus;
use crate::config::{Config, PolicyConfig};
use crate::policy::chain::{Chain, Evaluate, Policy, PolicyFigures};

/// Good decisions after a missed deadline before a policy is trusted to be quick again.
const PENALTY: u32 = 100;
/// Of the thread of a slow policy: a tenth of what a thread that serves gets, where both want the same processor.
const NICENESS: i32 = 10;
/// How long a decision waits for its turn where policies are slow.
const TURN_DEADLINE: Duration = Duration::from_millis(250);

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
        let loading = config.policies.iter().map(|policy| {
            let before = before.remove(&policy.name);
            let dir = &dir;
            async move {
                let (live, figures) = before.map_or_else(Default::default, |before| (before.live, before.figures));
                let found = Found::read(dir, &policy.component(), &Limits::policy());
                match admit(engines, found, live.as_ref()).await {
                    Ok(admitted) => Loaded { config: policy.clone(), live: Some(admitted), figures, error: None },
                    Err(why) => {
                        let (code, text) = (why.code(), why.to_string());
                        let stays = if live.is_some() { "the last good one stays" } else { "it denies" };
                        error!(policy = policy.name, code, cause = text, stays, "a policy was not admitted");
                        Loaded { config: policy.clone(), live, figures, error: Some((code, text)) }
                    }
                }
            }
        });
        self.loaded = join_all(loading).await;
        Chain::new(self.loaded.iter().map(Loaded::in_chain).collect(), config.plugins.default)
    }

    pub(super) fn status(&self) -> Vec<PluginStatus> {
        let status = self.loaded.iter().map(|loaded| PluginStatus {
            name: loaded.config.name.clone(),
            sha256: loaded.live.as_ref().map(|(key, _)| key.digest.to_string()),
            error: loaded.error.clone(),
            policy: Some((loaded.config.mode, loaded.figures.clone())),
            is_snapshotted: loaded.live.as_ref().map(|(_, live)| live.plugin.is_snapshotted()),
            is_slow: loaded.live.as_ref().is_some_and(|(_, live)| live.is_slow()),
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
    Ok((key, Arc::new(LivePolicy { plugin, penalty: AtomicU32::new(0), slow_turn: Semaphore::new(1) })))
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

/// A policy that runs. Decisions are made where the request is served, for they take microseconds; those of a policy that has missed
/// its deadline are made one at a time, beside the threads that serve, until it has been quick for a while.
struct LivePolicy {
    plugin: PolicyPlugin,
    penalty: AtomicU32,
    slow_turn: Semaphore,
}

impl LivePolicy {
    fn is_slow(&self) -> bool {
        self.penalty.load(Ordering::Relaxed) > 0
    }

    async fn evaluate_in_turn(&self, query: &Query<'_>) -> Result<Decision, Fault> {
        let turn = tokio::time::timeout(TURN_DEADLINE, self.slow_turn.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Fault::Busy) };
        let handle = tokio::runtime::Handle::current();
        // A thread for one decision: priority that was given away does not come back.
        let decide = || {
            let_requests_go_first(NICENESS);
            handle.block_on(self.plugin.evaluate(query))
        };
        let decided = tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                let thread = std::thread::Builder::new().name("slow-policy".into());
                thread.spawn_scoped(scope, decide).map(ScopedJoinHandle::join)
            })
        });
        match decided {
            Ok(Ok(decided)) => decided,
            Ok(Err(_)) => Err(Fault::Trap("the thread that decides panicked".into())),
            Err(_) => Err(Fault::Busy),
        }
    }
}

#[async_trait]
impl Evaluate for LivePolicy {
    fn needs(&self) -> Lookups {
        self.plugin.needs()
    }

    async fn evaluate(&self, query: &Query<'_>) -> Result<Decision, Fault> {
        let outcome = match self.is_slow() {
            false => self.plugin.evaluate(query).await,
            true => self.evaluate_in_turn(query).await,
        };
        match &outcome {
            Err(Fault::Timeout(_)) => self.penalty.store(PENALTY, Ordering::Relaxed),
            Ok(_) if self.is_slow() => {
                let _ = self.penalty.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            }
            _ => {}
        }
        outcome
    }
}
