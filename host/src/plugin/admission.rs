//! The one way in: size → pinned digest → parse → imports within the grants → compile → `configure` → the plugin's own cases.
//!
//! Nothing of it runs where requests do: each step that may block has a thread of its own, with a deadline. What cannot be ended (a
//! compiler at work in this process) is left behind on that thread, and its plugin refused.

mod candidate;
mod digest;
mod error;
mod thread;

use std::sync::Arc;

use tokio::runtime::Runtime;
use wasmtime::component::Component;

use super::bindings::key_provider::{KeyProviderPlugin, KeyProviderPluginPre};
use super::bindings::policy::PolicyPluginPre;
use super::bindings::secret_provider::{SecretProviderPlugin, SecretProviderPluginPre};
use super::bindings::sink::{AuditSinkPlugin, AuditSinkPluginPre};
use super::cases::Linked;
use super::code::CodeFor;
use super::deadline::WALL_FACTOR;
use super::engine::Engines;
use super::fault::{Fault, printable};
use super::key_provider::KeyProvider;
use super::outside::Outside;
use super::policy::{self, PolicyPlugin};
use super::reach::{self, Reaching, Recipe, World};
use super::scan::Kind;
use super::secret_provider::SecretProvider;
use super::sink::SinkPlugin;
use super::snapshot::{self, Snapshot};
pub use candidate::Candidate;
pub use digest::Sha256Digest;
pub use error::{AdmissionError, Problem};
pub(super) use thread::is_given_up;

/// A policy that is compiled and linked.
pub(super) type PolicyPre = PolicyPluginPre<policy::PolicyState>;
/// A sink that is compiled and linked.
pub(super) type SinkPre = AuditSinkPluginPre<Reaching>;
/// A secret provider that is compiled and linked.
pub(super) type SecretProviderPre = SecretProviderPluginPre<Reaching>;
/// A key provider that is compiled and linked.
pub(super) type KeyProviderPre = KeyProviderPluginPre<Reaching>;

impl Engines {
    /// Admits a policy.
    pub async fn admit_policy(self: &Arc<Self>, candidate: Candidate) -> Result<PolicyPlugin, AdmissionError> {
        candidate.refuse_limits_beyond_the_pool()?;
        let (engines, taken) = (self.clone(), candidate.clone());
        let making = self.on_thread(&candidate.limits, move || {
            taken.check(Kind::Policy, false, false)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let runtime = runtime.map_err(|error| AdmissionError::Thread(error.to_string()))?;
            let plugin = engines.make_policy(&taken, &runtime)?;
            if let Some(cases) = &taken.cases {
                let linked = Linked::Policy(
                    engines.link(&engines.compile(&taken, &taken.bytes, CodeFor::Decisions)?, taken.wasi)?,
                );
                runtime.block_on(cases.must_pass(&engines, &taken, &linked))?;
            }
            Ok(plugin)
        });
        making.await
    }

    /// A policy that is configured for each decision even if it could be snapshotted: for measuring what a snapshot saves, and for
    /// nothing else.
    pub async fn admit_policy_afresh(self: &Arc<Self>, candidate: &Candidate) -> Result<PolicyPlugin, AdmissionError> {
        candidate.refuse_limits_beyond_the_pool()?;
        self.configured_afresh(&self.link_policy(candidate).await?, candidate).await
    }

    /// Admits a sink. `http` and `lines` say whether anything of either is granted.
    pub async fn admit_sink(
        self: &Arc<Self>,
        candidate: Candidate,
        outside: Arc<dyn Outside>,
        http: bool,
        lines: bool,
    ) -> Result<SinkPlugin, AdmissionError> {
        let taken = candidate.clone();
        self.on_thread(&candidate.limits, move || taken.check(Kind::AuditSink, http, lines)).await?;
        let pre = self.link_sink(&candidate).await?;
        let plugin = SinkPlugin::new(self.recipe(&candidate, pre.clone(), outside, &candidate.settings)).await?;
        self.pass_cases(&candidate, Linked::Sink(pre)).await?;
        Ok(plugin)
    }

    /// Admits a secret provider. `http` says whether anything of it is granted.
    pub async fn admit_secret_provider(
        self: &Arc<Self>,
        candidate: Candidate,
        outside: Arc<dyn Outside>,
        http: bool,
    ) -> Result<SecretProvider, AdmissionError> {
        let taken = candidate.clone();
        self.on_thread(&candidate.limits, move || taken.check(Kind::SecretProvider, http, false)).await?;
        let pre = self.link_secret_provider(&candidate).await?;
        let plugin = SecretProvider::new(self.recipe(&candidate, pre.clone(), outside, &candidate.settings)).await?;
        self.pass_cases(&candidate, Linked::SecretProvider(pre)).await?;
        Ok(plugin)
    }

    /// Admits a key provider. `http` says whether anything of it is granted.
    pub async fn admit_key_provider(
        self: &Arc<Self>,
        candidate: Candidate,
        outside: Arc<dyn Outside>,
        http: bool,
    ) -> Result<KeyProvider, AdmissionError> {
        let taken = candidate.clone();
        self.on_thread(&candidate.limits, move || taken.check(Kind::KeyProvider, http, false)).await?;
        let pre = self.link_key_provider(&candidate).await?;
        let plugin = KeyProvider::new(self.recipe(&candidate, pre.clone(), outside, &candidate.settings)).await?;
        self.pass_cases(&candidate, Linked::KeyProvider(pre)).await?;
        Ok(plugin)
    }

    /// Of what gives way every millisecond: it may run here, for as long as all of its admission may take.
    async fn pass_cases(&self, candidate: &Candidate, linked: Linked) -> Result<(), AdmissionError> {
        let Some(cases) = &candidate.cases else { return Ok(()) };
        let deadline = candidate.limits.compile_deadline + candidate.limits.configure_deadline;
        let passing = tokio::time::timeout(deadline, cases.must_pass(self, candidate, &linked));
        passing.await.unwrap_or(Err(AdmissionError::CompileTimeout(deadline.as_millis())))
    }

    /// What an instance of `candidate` is made of, where it reaches `outside` and is given `settings`.
    pub(super) fn recipe<W: World>(
        &self,
        candidate: &Candidate,
        pre: W::Pre,
        outside: Arc<dyn Outside>,
        settings: &str,
    ) -> Recipe<W> {
        let Candidate { limits, log, .. } = candidate.clone();
        Recipe { pre, clock: self.clock.clone(), limits, log, outside, settings: settings.to_owned() }
    }

    /// Compiles a sink and links it.
    pub(super) async fn link_sink(self: &Arc<Self>, candidate: &Candidate) -> Result<SinkPre, AdmissionError> {
        self.link_reaching::<AuditSinkPlugin>(candidate).await
    }

    /// Compiles a secret provider and links it.
    pub(super) async fn link_secret_provider(
        self: &Arc<Self>,
        candidate: &Candidate,
    ) -> Result<SecretProviderPre, AdmissionError> {
        self.link_reaching::<SecretProviderPlugin>(candidate).await
    }

    /// Compiles a key provider and links it.
    pub(super) async fn link_key_provider(
        self: &Arc<Self>,
        candidate: &Candidate,
    ) -> Result<KeyProviderPre, AdmissionError> {
        self.link_reaching::<KeyProviderPlugin>(candidate).await
    }

    async fn link_reaching<W: World>(self: &Arc<Self>, candidate: &Candidate) -> Result<W::Pre, AdmissionError> {
        let (engines, taken) = (self.clone(), candidate.clone());
        let linking = self.on_thread(&candidate.limits, move || {
            let component = engines.compile(&taken, &taken.bytes, CodeFor::Calls)?;
            reach::linked::<W>(&component, taken.wasi).map_err(|error| compile_error(&error))
        });
        linking.await
    }

    /// Compiles a policy as it is and links it: each instance is to be configured.
    pub(super) async fn link_policy(self: &Arc<Self>, candidate: &Candidate) -> Result<PolicyPre, AdmissionError> {
        let (engines, taken) = (self.clone(), candidate.clone());
        let linking = self.on_thread(&candidate.limits, move || {
            taken.check(Kind::Policy, false, false)?;
            engines.link(&engines.compile(&taken, &taken.bytes, CodeFor::Decisions)?, taken.wasi)
        });
        linking.await
    }

    /// Blocks: configures, compiles, links, asks what it needs.
    fn make_policy(&self, candidate: &Candidate, runtime: &Runtime) -> Result<PolicyPlugin, AdmissionError> {
        let Candidate { bytes, settings, limits, log, wasi, .. } = candidate;
        let configuring = snapshot::configure_policy(self, bytes, settings, limits, log.clone(), *wasi);
        match runtime.block_on(configuring)? {
            Snapshot::Taken(snapshot) => {
                let pre = self.link(&self.compile(candidate, &snapshot, CodeFor::Decisions)?, *wasi)?;
                let making = PolicyPlugin::new(pre, self.clock.clone(), limits.clone(), log.clone(), None, *wasi);
                runtime.block_on(making).map_err(AdmissionError::Configure)
            }
            Snapshot::Refused(problems) => Err(AdmissionError::Settings(problems)),
            Snapshot::Impossible(why) => {
                let plugin = &candidate.name;
                tracing::info!(plugin, why, "no snapshot of this policy: it is configured for each decision");
                let pre = self.link(&self.compile(candidate, bytes, CodeFor::Decisions)?, *wasi)?;
                runtime.block_on(self.configured_afresh(&pre, candidate))
            }
        }
    }

    fn compile(&self, candidate: &Candidate, bytes: &[u8], code_for: CodeFor) -> Result<Component, AdmissionError> {
        Ok(self.component(bytes, code_for, candidate.limits.compile_deadline)?)
    }

    fn link(&self, component: &Component, wasi: bool) -> Result<PolicyPre, AdmissionError> {
        let linker = policy::linker(&self.policies, wasi).map_err(|error| compile_error(&error))?;
        let pre = linker.instantiate_pre(component).map_err(|error| compile_error(&error))?;
        PolicyPre::new(pre).map_err(|error| compile_error(&error))
    }

    /// A policy that configures each instance, once it has taken its settings the first time.
    pub(super) async fn configured_afresh(
        &self,
        pre: &PolicyPre,
        candidate: &Candidate,
    ) -> Result<PolicyPlugin, AdmissionError> {
        let Candidate { settings, limits, log, wasi, .. } = candidate;
        let mut store = policy::store(pre.engine(), &self.clock, limits, log.clone(), limits.configure_deadline);
        let calling = async {
            let instance = pre.instantiate_async(&mut store).await?;
            let configure = instance.origan_codec_settings().func_configure();
            configure.call_async(&mut store, (&**settings,)).await
        };
        let calling = tokio::time::timeout(limits.configure_deadline * WALL_FACTOR, calling);
        let Ok(called) = calling.await else {
            return Err(AdmissionError::Configure(Fault::Timeout(", waiting in an import".into())));
        };
        match called {
            Ok((Ok(()),)) => {}
            Ok((Err(problems),)) => {
                let problems = problems.into_iter();
                let problems = problems.map(|problem| Problem { path: problem.path, message: problem.message });
                return Err(AdmissionError::Settings(problems.collect()));
            }
            Err(error) => return Err(AdmissionError::Configure(Fault::of(&error, store.data().meter.refused()))),
        }
        let making = PolicyPlugin::new(
            pre.clone(),
            self.clock.clone(),
            limits.clone(),
            log.clone(),
            Some(settings.clone()),
            *wasi,
        );
        making.await.map_err(AdmissionError::Configure)
    }
}

fn compile_error(error: &wasmtime::Error) -> AdmissionError {
    AdmissionError::Compile(printable(&format!("{error:#}")))
}
