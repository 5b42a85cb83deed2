//! Policies: a fresh instance for each decision, as `configure` left it.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{ComponentExportIndex, HasSelf, Instance, Linker, TypedFunc};
use wasmtime::{Engine, Store};

use super::bindings::policy as wit;
use super::bindings::policy::exports::origan::codec::policy as exported;
use super::deadline::{WALL_FACTOR, watch};
use super::engine::{AtWork, Clock};
use super::fault::{Fault, printable};
use super::imports::{LogLevel, PluginLog, cut};
use super::limits::{Limits, Meter};
use super::wasi::EmptyWasi;

pub use wit::exports::origan::codec::policy::{Lookups, Query};
pub use wit::origan::codec::facts::{
    AttributeParam as Attribute, Caller, Deployment as DeploymentFact, KnownDeployment, Variable,
};

/// Bytes of a denial's code, and of its reason, that are kept.
const CODE_LEN_MAX: usize = 64;
const REASON_LEN_MAX: usize = 1_024;
/// A policy that may go live.
pub struct PolicyPlugin {
    pre: wit::PolicyPluginPre<PolicyState>,
    /// Where the function `evaluate` is: the only one that a decision from a snapshot looks up.
    evaluate: ComponentExportIndex,
    clock: Arc<Clock>,
    limits: Limits,
    log: Arc<PluginLog>,
    needs: Lookups,
    /// To configure each instance afresh: for a guest that cannot be snapshotted.
    settings: Option<String>,
    /// A WASI guest is called asynchronously, and finds nothing.
    wasi: bool,
}

/// What a policy decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It has nothing against it.
    Allow,
    /// It refuses.
    Deny(Denial),
    /// It has nothing to say.
    Abstain,
}

/// Why a policy refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// For the caller: 1 to 64 of a-z 0-9 and -.
    pub code: String,
    /// For the operator.
    pub reason: String,
}

/// What an instance of a policy has on the host's side.
pub(super) struct PolicyState {
    pub(super) meter: Meter,
    log: Arc<PluginLog>,
    wasi: Option<EmptyWasi>,
    _at_work: AtWork,
}

/// One instance that is kept: for measuring what freshness costs, and for nothing else.
pub struct WarmPolicy<'p> {
    plugin: &'p PolicyPlugin,
    store: Store<PolicyState>,
    evaluate: Evaluate,
}

/// The function `evaluate` of one instance.
type Evaluate = TypedFunc<(Query<'static>,), (exported::Decision,)>;

impl PolicyPlugin {
    pub(super) async fn new(
        pre: wit::PolicyPluginPre<PolicyState>,
        clock: Arc<Clock>,
        limits: Limits,
        log: Arc<PluginLog>,
        settings: Option<String>,
        wasi: bool,
    ) -> Result<Self, Fault> {
        let evaluate = evaluate_of(&pre).ok_or_else(|| Fault::BadAnswer("it exports no `evaluate`".into()))?;
        let mut plugin = Self { pre, evaluate, clock, limits, log, needs: Lookups::empty(), settings, wasi };
        plugin.needs = plugin.ask_needs().await?;
        Ok(plugin)
    }

    /// What must be looked up or listed for it.
    pub fn needs(&self) -> Lookups {
        self.needs
    }

    /// How long a decision may compute.
    pub fn deadline(&self) -> Duration {
        self.limits.call_deadline
    }

    /// The longest that a decision goes on by the clock. Whose thread hardly gets a processor sees that late.
    pub fn patience(&self) -> Duration {
        self.limits.call_deadline * WALL_FACTOR
    }

    /// Whether a decision begins from a snapshot; otherwise it begins with `configure`.
    pub fn is_snapshotted(&self) -> bool {
        self.settings.is_none()
    }

    /// Its lines in the log.
    pub fn log(&self) -> &PluginLog {
        &self.log
    }

    /// Decides, on an instance of its own. A fault stands in the plugin's log too, whatever becomes of the decision.
    pub async fn evaluate(&self, query: &Query<'_>) -> Result<Decision, Fault> {
        let outcome = match self.wasi {
            false => self.evaluate_here(query),
            // On the heap, or every decision would carry the room that this one takes.
            true => Box::pin(self.evaluate_async(query)).await,
        };
        outcome.inspect_err(|fault| {
            let request = [("request", query.request_id), ("action", query.action)];
            self.log.emit_fault(&format!("the policy {fault}"), request.into_iter());
        })
    }

    fn evaluate_here(&self, query: &Query<'_>) -> Result<Decision, Fault> {
        let mut store = self.store();
        let outcome = self.instance(&mut store).and_then(|evaluate| called(&evaluate, &mut store, query));
        decided(&store, outcome)
    }

    /// An instance that is kept. Not for WASI guests.
    pub fn warm(&self) -> Result<WarmPolicy<'_>, Fault> {
        let mut store = self.store();
        match self.instance(&mut store) {
            Ok(evaluate) => Ok(WarmPolicy { plugin: self, store, evaluate }),
            Err(error) => Err(Fault::of(&error, store.data().meter.refused())),
        }
    }

    async fn evaluate_async(&self, query: &Query<'_>) -> Result<Decision, Fault> {
        let mut store = self.store();
        let calling = async {
            let instance = self.pre.instantiate_async(&mut store).await?;
            if let Some(settings) = &self.settings {
                configured_async(&mut store, &instance, settings).await?;
            }
            let evaluate = instance.origan_codec_policy().func_evaluate();
            evaluate.call_async(&mut store, (query.clone(),)).await.map(|(decision,)| decision)
        };
        match tokio::time::timeout(self.patience(), calling).await {
            Ok(outcome) => decided(&store, outcome),
            Err(_) => Err(Fault::Timeout(", waiting in an import".into())),
        }
    }

    async fn ask_needs(&self) -> Result<Lookups, Fault> {
        let mut store = self.store();
        let outcome = async {
            let instance = self.pre.instantiate_async(&mut store).await?;
            if let Some(settings) = &self.settings {
                configured_async(&mut store, &instance, settings).await?;
            }
            let needs = instance.origan_codec_policy().func_needs();
            needs.call_async(&mut store, ()).await.map(|(needs,)| needs)
        };
        let outcome = tokio::time::timeout(self.patience(), outcome).await;
        let outcome = outcome.map_err(|_| Fault::Timeout(", waiting in an import".into()))?;
        outcome.map_err(|error| Fault::of(&error, store.data().meter.refused()))
    }

    /// The function of a fresh instance, configured.
    fn instance(&self, store: &mut Store<PolicyState>) -> wasmtime::Result<Evaluate> {
        let instance = match &self.settings {
            None => self.pre.instance_pre().instantiate(&mut *store)?,
            Some(settings) => self.configured(store, settings)?,
        };
        instance.get_typed_func(store, self.evaluate)
    }

    fn configured(&self, store: &mut Store<PolicyState>, settings: &str) -> wasmtime::Result<Instance> {
        let instance = self.pre.instance_pre().instantiate(&mut *store)?;
        let policy = wit::PolicyPlugin::new(&mut *store, &instance)?;
        let outcome = policy.origan_codec_settings().call_configure(&mut *store, settings)?;
        // Its settings were good when it was admitted; a guest that changes its mind is not believed.
        outcome.map_err(|_| wasmtime::Error::msg("`configure` refused settings that it had taken"))?;
        Ok(instance)
    }

    fn store(&self) -> Store<PolicyState> {
        store(self.pre.engine(), &self.clock, &self.limits, self.log.clone(), self.limits.call_deadline)
    }
}

impl WarmPolicy<'_> {
    /// Decides, on the same instance as before.
    pub fn evaluate(&mut self, query: &Query<'_>) -> Result<Decision, Fault> {
        watch(&mut self.store, self.plugin.limits.call_deadline);
        let outcome = called(&self.evaluate, &mut self.store, query);
        decided(&self.store, outcome)
    }

    /// Bytes of its memory.
    pub fn memory_bytes(&self) -> usize {
        self.store.data().meter.memory_used()
    }
}

/// Where `evaluate` is. The bindings have checked that it is there, and of its type.
fn evaluate_of(pre: &wit::PolicyPluginPre<PolicyState>) -> Option<ComponentExportIndex> {
    let component = pre.instance_pre().component();
    let policy = component.get_export_index(None, "origan:codec/policy@0.1.0")?;
    component.get_export_index(Some(&policy), "evaluate")
}

fn called(
    evaluate: &Evaluate,
    store: &mut Store<PolicyState>,
    query: &Query<'_>,
) -> wasmtime::Result<exported::Decision> {
    let evaluate: TypedFunc<(Query<'_>,), _> = *evaluate;
    evaluate.call(store, (query.clone(),)).map(|(decision,)| decision)
}

/// A linker with the imports of the world, and WASI if it is granted.
pub(super) fn linker(engine: &Engine, wasi: bool) -> wasmtime::Result<Linker<PolicyState>> {
    let mut linker = Linker::new(engine);
    wit::PolicyPlugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut PolicyState| state)?;
    if wasi {
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    }
    Ok(linker)
}

/// A store for one instance that may compute for `deadline`.
pub(super) fn store(
    engine: &Engine,
    clock: &Arc<Clock>,
    limits: &Limits,
    log: Arc<PluginLog>,
    deadline: Duration,
) -> Store<PolicyState> {
    let mut store =
        Store::new(engine, PolicyState { meter: Meter::new(limits), log, wasi: None, _at_work: clock.begin() });
    store.limiter(|state| &mut state.meter);
    store.set_hostcall_fuel(limits.transfer_bytes);
    watch(&mut store, deadline);
    store
}

async fn configured_async(
    store: &mut Store<PolicyState>,
    instance: &wit::PolicyPlugin,
    settings: &str,
) -> wasmtime::Result<()> {
    let configure = instance.origan_codec_settings().func_configure();
    let (outcome,) = configure.call_async(&mut *store, (settings,)).await?;
    outcome.map_err(|_| wasmtime::Error::msg("`configure` refused settings that it had taken"))
}

fn decided(store: &Store<PolicyState>, outcome: wasmtime::Result<exported::Decision>) -> Result<Decision, Fault> {
    match outcome {
        Ok(exported::Decision::Allow) => Ok(Decision::Allow),
        Ok(exported::Decision::Abstain) => Ok(Decision::Abstain),
        Ok(exported::Decision::Deny(denial)) if is_code(&denial.code) => {
            Ok(Decision::Deny(Denial { code: denial.code, reason: cut(&denial.reason, REASON_LEN_MAX) }))
        }
        Ok(exported::Decision::Deny(denial)) => {
            Err(Fault::BadAnswer(format!("`{}` is no code of a denial", printable(&denial.code))))
        }
        Err(error) => Err(Fault::of(&error, store.data().meter.refused())),
    }
}

fn is_code(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=CODE_LEN_MAX).contains(&text.len()) && text.bytes().all(fits)
}

impl wit::origan::codec::facts::Host for PolicyState {}

impl wit::origan::codec::log::Host for PolicyState {
    fn emit(
        &mut self,
        level: wit::origan::codec::log::Level,
        message: String,
        fields: Vec<wit::origan::codec::log::Attribute>,
    ) {
        use wit::origan::codec::log::Level;
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        self.log.emit(level, &message, fields.iter().map(|field| (&*field.name, &*field.value)));
    }
}

impl wasmtime_wasi::WasiView for PolicyState {
    fn ctx(&mut self) -> wasmtime_wasi::WasiCtxView<'_> {
        self.wasi.get_or_insert_with(EmptyWasi::pure).view()
    }
}
