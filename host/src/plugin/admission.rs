//! The one way in: size → pinned digest → parse → imports within the grants → compile → `configure` → the plugin's own cases.
//!
//! Nothing of it runs where requests do: compiling blocks, so each step that may has a thread of its own, with a deadline. What cannot
//! be ended (a compiler at work) is left behind on that thread, and its plugin refused.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::bindings::policy::PolicyPluginPre;
use super::bindings::sink::AuditSinkPluginPre;
use super::cases::{Cases, CasesFailed};
use super::engine::{Engines, POOLED_MEMORY_BYTES_MAX, POOLED_TABLE_ELEMENTS_MAX};
use super::fault::{Fault, printable};
use super::imports::PluginLog;
use super::limits::Limits;
use super::outside::Outside;
use super::policy::{self, PolicyPlugin};
use super::scan::{Kind, Scan, ScanError};
use super::sink::{self, ConfigureError, SinkPlugin};
use super::snapshot::{self, Snapshot};

/// A policy that is compiled and linked.
pub(super) type PolicyPre = PolicyPluginPre<policy::PolicyState>;
/// A sink that is compiled and linked.
pub(super) type SinkPre = AuditSinkPluginPre<sink::SinkState>;

/// The parser and the compiler recurse; what they are given is capped ([`Scan`]), and this is plenty for it.
const THREAD_STACK_BYTES: usize = 16 << 20;
/// Problems with settings that are told; one is enough to refuse.
const PROBLEMS_MAX: usize = 20;

/// SHA-256 of a component.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256Digest(pub [u8; 32]);

/// What is wrong with a plugin's settings, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A JSON pointer into the settings; empty for all of them.
    pub path: String,
    /// What.
    pub message: String,
}

/// A component that asks to go live.
#[derive(Clone)]
pub struct Candidate {
    /// As the operator calls it.
    pub name: String,
    /// The component: these bytes are hashed, checked and compiled, and no file is looked at again.
    pub bytes: Arc<[u8]>,
    /// What the operator pinned it to.
    pub pinned: Option<Sha256Digest>,
    /// A JSON object.
    pub settings: String,
    /// What it may use.
    pub limits: Limits,
    /// Whether it may import WASI, and find nothing there.
    pub wasi: bool,
    /// Where its lines go.
    pub log: Arc<PluginLog>,
    /// What it must decide or send, before anything relies on it.
    pub cases: Option<Arc<Cases>>,
}

/// Why a component does not go live.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// Too large.
    #[error("{bytes} bytes; at most {limit} are loaded")]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// Not the bytes that the operator pinned.
    #[error("its sha-256 is {found}, and the configuration pins {pinned}")]
    DigestMismatch {
        /// What it is.
        found: Sha256Digest,
        /// What it should be.
        pinned: Sha256Digest,
    },
    /// Not a component of any world.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A component of another world.
    #[error("it is a plugin of kind {found}, and {wanted} is wanted here", found = found.name(), wanted = wanted.name())]
    WrongKind {
        /// What it is.
        found: Kind,
        /// What it should be.
        wanted: Kind,
    },
    /// It imports what its world lacks or the operator did not grant.
    #[error("it imports `{import}`, which is not granted: {grant}")]
    ImportNotGranted {
        /// What.
        import: String,
        /// What would grant it.
        grant: &'static str,
    },
    /// It cannot be compiled or linked.
    #[error("it does not compile: {0}")]
    Compile(String),
    /// Its compilation took too long.
    #[error("it was not compiled in {0} ms")]
    CompileTimeout(u128),
    /// It refused its settings.
    #[error("it refuses its settings: {}", problems_text(.0))]
    Settings(Vec<Problem>),
    /// `configure`, or what came before, ended badly.
    #[error("`configure` {0}")]
    Configure(Fault),
    /// Its own cases fail.
    #[error(transparent)]
    Cases(#[from] CasesFailed),
    /// A thread could not be had.
    #[error("no thread to compile on: {0}")]
    Thread(String),
}

impl AdmissionError {
    /// The kind's stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::DigestMismatch { .. } => "digest-mismatch",
            Self::Scan(ScanError::Empty) => "empty",
            Self::Scan(ScanError::Malformed(_)) => "malformed",
            Self::Scan(ScanError::CoreModule) => "core-module",
            Self::Scan(ScanError::WrongWorld { .. }) | Self::WrongKind { .. } => "wrong-world",
            Self::Scan(ScanError::FunctionTooLarge { .. }) => "function-too-large",
            Self::Scan(ScanError::TooHeavy(_)) => "too-heavy",
            Self::ImportNotGranted { .. } => "import-not-granted",
            Self::Compile(_) => "compile",
            Self::CompileTimeout(_) => "compile-timeout",
            Self::Settings(_) => "settings",
            Self::Configure(_) => "configure",
            Self::Cases(_) => "cases",
            Self::Thread(_) => "thread",
        }
    }
}

impl Engines {
    /// Admits a policy.
    pub async fn admit_policy(self: &Arc<Self>, candidate: Candidate) -> Result<PolicyPlugin, AdmissionError> {
        candidate.refuse_limits_beyond_the_pool()?;
        let (engines, taken) = (self.clone(), candidate.clone());
        let making = self.on_thread(&candidate.limits, move || {
            let scan = taken.check(Kind::Policy, false, false)?;
            engines.make_policy(&taken, &scan)
        });
        let plugin = making.await?;
        if let Some(cases) = &candidate.cases {
            cases.must_pass(self, &candidate).await?;
        }
        Ok(plugin)
    }

    /// A policy that is configured for each decision even if it could be snapshotted: for measuring what a snapshot saves, and for
    /// nothing else.
    pub async fn admit_policy_afresh(self: &Arc<Self>, candidate: &Candidate) -> Result<PolicyPlugin, AdmissionError> {
        candidate.refuse_limits_beyond_the_pool()?;
        configured_afresh(&self.link_policy(candidate).await?, candidate).await
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
        let Candidate { limits, log, settings, .. } = candidate.clone();
        let plugin = SinkPlugin::new(pre, limits, log, outside, settings).await?;
        if let Some(cases) = &candidate.cases {
            cases.must_pass(self, &candidate).await?;
        }
        Ok(plugin)
    }

    /// Compiles a sink and links it.
    pub(super) async fn link_sink(self: &Arc<Self>, candidate: &Candidate) -> Result<SinkPre, AdmissionError> {
        let (engines, taken) = (self.clone(), candidate.clone());
        let linking = self.on_thread(&candidate.limits, move || {
            let component = compile(&engines.sinks, &taken.bytes)?;
            let linker = sink::linker(&engines.sinks, taken.wasi).map_err(|error| compile_error(&error))?;
            let pre = linker.instantiate_pre(&component).map_err(|error| compile_error(&error))?;
            SinkPre::new(pre).map_err(|error| compile_error(&error))
        });
        linking.await
    }

    /// Compiles a policy as it is and links it: each instance is to be configured.
    pub(super) async fn link_policy(self: &Arc<Self>, candidate: &Candidate) -> Result<PolicyPre, AdmissionError> {
        let (engines, taken) = (self.clone(), candidate.clone());
        let linking = self.on_thread(&candidate.limits, move || {
            taken.check(Kind::Policy, false, false)?;
            engines.link(&compile(&engines.policies, &taken.bytes)?, taken.wasi)
        });
        linking.await
    }

    /// Runs what blocks on a thread of its own, and waits for it no longer than a compilation and a `configure` may take. What is left
    /// behind keeps its place until it ends, so that however often a plugin is tried, few compilers are at work.
    async fn on_thread<T: Send + 'static>(
        &self,
        limits: &Limits,
        work: impl FnOnce() -> Result<T, AdmissionError> + Send + 'static,
    ) -> Result<T, AdmissionError> {
        let deadline = limits.compile_deadline + limits.configure_deadline;
        let late = || AdmissionError::CompileTimeout(deadline.as_millis());
        let place =
            tokio::time::timeout(deadline, self.admissions.clone().acquire_owned()).await.map_err(|_| late())?;
        let place = place.map_err(|error| AdmissionError::Thread(error.to_string()))?;
        let (tell, told) = oneshot::channel();
        let thread = std::thread::Builder::new().name("plugin-admission".into()).stack_size(THREAD_STACK_BYTES);
        let spawned = thread.spawn(move || {
            let _place = place;
            // Requests go first.
            let _ = rustix::process::nice(10);
            drop(tell.send(work()));
        });
        spawned.map_err(|error| AdmissionError::Thread(error.to_string()))?;
        match tokio::time::timeout(deadline, told).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(AdmissionError::Compile("the compiler panicked".into())),
            Err(_) => Err(late()),
        }
    }

    /// Blocks: configures, compiles, links, asks what it needs.
    fn make_policy(&self, candidate: &Candidate, scan: &Scan) -> Result<PolicyPlugin, AdmissionError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| AdmissionError::Thread(error.to_string()))?;
        let Candidate { bytes, settings, limits, log, wasi, .. } = candidate;
        let version = &scan.settings_version;
        let configuring = snapshot::configure_policy(self, bytes, version, settings, limits, log.clone(), *wasi);
        match runtime.block_on(configuring).map_err(AdmissionError::Configure)? {
            Snapshot::Taken(snapshot) => {
                let pre = self.link(&compile(&self.policies, &snapshot)?, *wasi)?;
                let making = PolicyPlugin::new(pre, limits.clone(), log.clone(), None, *wasi);
                runtime.block_on(making).map_err(AdmissionError::Configure)
            }
            Snapshot::Refused(problems) => Err(AdmissionError::Settings(problems)),
            Snapshot::Impossible(why) => {
                let plugin = &candidate.name;
                tracing::info!(plugin, why, "no snapshot of this policy: it is configured for each decision");
                let pre = self.link(&compile(&self.policies, bytes)?, *wasi)?;
                runtime.block_on(configured_afresh(&pre, candidate))
            }
        }
    }

    fn link(&self, component: &Component, wasi: bool) -> Result<PolicyPre, AdmissionError> {
        let linker = policy::linker(&self.policies, wasi).map_err(|error| compile_error(&error))?;
        let pre = linker.instantiate_pre(component).map_err(|error| compile_error(&error))?;
        PolicyPre::new(pre).map_err(|error| compile_error(&error))
    }
}

/// A policy that configures each instance, once it has taken its settings the first time.
pub(super) async fn configured_afresh(pre: &PolicyPre, candidate: &Candidate) -> Result<PolicyPlugin, AdmissionError> {
    let Candidate { settings, limits, log, wasi, .. } = candidate;
    let mut store = policy::store(pre.engine(), limits, log.clone(), limits.configure_deadline);
    let calling = async {
        let instance = pre.instantiate_async(&mut store).await?;
        let configure = instance.origan_codec_settings().func_configure();
        configure.call_async(&mut store, (&**settings,)).await
    };
    match calling.await {
        Ok((Ok(()),)) => {}
        Ok((Err(problems),)) => {
            let problems = problems.into_iter();
            let problems = problems.map(|problem| Problem { path: problem.path, message: problem.message });
            return Err(AdmissionError::Settings(problems.collect()));
        }
        Err(error) => return Err(AdmissionError::Configure(Fault::of(&error, store.data().meter.refused()))),
    }
    let making = PolicyPlugin::new(pre.clone(), limits.clone(), log.clone(), Some(settings.clone()), *wasi);
    making.await.map_err(AdmissionError::Configure)
}

impl Candidate {
    /// Everything that can be told without compiling.
    pub fn check(&self, wanted: Kind, http: bool, lines: bool) -> Result<Scan, AdmissionError> {
        let (bytes, limit) = (self.bytes.len(), self.limits.component_bytes);
        if bytes > limit {
            return Err(AdmissionError::TooLarge { bytes, limit });
        }
        let found = Sha256Digest::of(&self.bytes);
        if let Some(pinned) = self.pinned.filter(|pinned| *pinned != found) {
            return Err(AdmissionError::DigestMismatch { found, pinned });
        }
        let scan = Scan::of(&self.bytes, self.limits.function_bytes)?;
        if scan.kind != wanted {
            return Err(AdmissionError::WrongKind { found: scan.kind, wanted });
        }
        for import in &scan.imports {
            if let Some(grant) = missing_grant(import, scan.kind, http, lines, self.wasi) {
                return Err(AdmissionError::ImportNotGranted { import: printable(import), grant });
            }
        }
        Ok(scan)
    }

    /// The pool's places are of one size.
    fn refuse_limits_beyond_the_pool(&self) -> Result<(), AdmissionError> {
        let limits = &self.limits;
        if limits.memory_bytes > POOLED_MEMORY_BYTES_MAX || limits.table_elements > POOLED_TABLE_ELEMENTS_MAX {
            let message = format!("limits: at most {POOLED_MEMORY_BYTES_MAX} bytes of memory for a policy");
            return Err(AdmissionError::Settings(vec![Problem { path: String::new(), message }]));
        }
        Ok(())
    }
}

/// What would grant `import`; none if it is granted.
fn missing_grant(import: &str, kind: Kind, http: bool, lines: bool, wasi: bool) -> Option<&'static str> {
    if import.starts_with("wasi:") {
        return (!wasi).then_some("`wasi = true` would let it be there, with nothing in it");
    }
    match Scan::own_import(import).filter(|name| kind.imports().contains(name)) {
        None => Some("its world has no such import, so no grant can give it"),
        Some("http") if !http => Some("`http` must list the origins that it may reach"),
        Some("lines") if !lines => Some("`lines` must list the outputs that it may write to"),
        Some(_) => None,
    }
}

fn compile(engine: &Engine, bytes: &[u8]) -> Result<Component, AdmissionError> {
    Component::from_binary(engine, bytes).map_err(|error| compile_error(&error))
}

fn compile_error(error: &wasmtime::Error) -> AdmissionError {
    AdmissionError::Compile(printable(&format!("{error:#}")))
}

fn problems_text(problems: &[Problem]) -> String {
    let told = problems.iter().take(PROBLEMS_MAX).map(|problem| {
        let (path, message) = (printable(&problem.path), printable(&problem.message));
        if path.is_empty() { message } else { format!("{path}: {message}") }
    });
    told.collect::<Vec<_>>().join("; ")
}

impl Sha256Digest {
    /// Of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// 64 hexadecimal digits, with or without `sha256:` in front.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl std::fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl From<ConfigureError> for AdmissionError {
    fn from(error: ConfigureError) -> Self {
        match error {
            ConfigureError::Refused(problems) => Self::Settings(problems),
            ConfigureError::Fault(fault) => Self::Configure(fault),
        }
    }
}
