//! What runs, for `/status` and `/metrics`.

use std::sync::Arc;
use std::time::SystemTime;

use origan_codec_host::plugin::outside::Credential;

use super::key_provider::KeyWrapping;
use crate::audit::delivery::Progress;
use crate::config::Mode;
use crate::policy::chain::PolicyFigures;
use crate::providers::Provider;

/// All plugins, as of the last change. The figures in it move on.
#[derive(Default)]
pub struct Status {
    /// Policies, in their order.
    pub policies: Vec<PluginStatus>,
    /// Sinks.
    pub sinks: Vec<PluginStatus>,
    /// Credentials, by their names.
    pub credentials: Vec<Arc<Credential>>,
    /// Secret providers.
    pub providers: Vec<PluginStatus>,
    /// The key provider, if the KEK is behind one.
    pub key_provider: Option<PluginStatus>,
    /// What is wrong with the configuration's file, while it is.
    pub config_error: Option<String>,
    /// Whether the file has changed where only a restart makes it count.
    pub restart_needed: bool,
    /// Times that the plugins followed the configuration.
    pub changes: u64,
    /// When they did last.
    pub changed: Option<SystemTime>,
}

impl Status {
    /// Whether a plugin is kept back by what may pass by itself.
    pub(super) fn may_pass(&self) -> bool {
        let plugins = self.policies.iter().chain(&self.sinks).chain(&self.providers).chain(&self.key_provider);
        let codes = plugins.filter_map(|plugin| plugin.error.as_ref());
        codes
            .map(|(code, _)| *code)
            .any(|code| matches!(code, "unreadable" | "grant" | "thread" | "compiler" | "unproven"))
    }
}

/// One plugin.
pub struct PluginStatus {
    /// As the operator calls it.
    pub name: String,
    /// What runs; none: nothing does.
    pub sha256: Option<String>,
    /// Why what the configuration names does not run: a stable code, and a text.
    pub error: Option<(&'static str, String)>,
    /// Of a policy: whether it counts, and what it has decided.
    pub policy: Option<(Mode, Arc<PolicyFigures>)>,
    /// Of a policy: whether its decisions begin from a snapshot.
    pub is_snapshotted: Option<bool>,
    /// Of a policy: whether it has missed its deadline lately, and decides one at a time.
    pub is_slow: bool,
    /// Lines of its log that were too many.
    pub log_dropped: u64,
    /// Of a sink: whether it is required, and how far it is.
    pub sink: Option<(bool, Arc<Progress>)>,
    /// Of a provider: what is asked.
    pub provider: Option<Arc<Provider>>,
    /// Of the key provider: its place.
    pub key_provider: Option<Arc<KeyWrapping>>,
}

impl PluginStatus {
    /// Whether it runs.
    pub fn is_live(&self) -> bool {
        self.sha256.is_some()
    }
}
