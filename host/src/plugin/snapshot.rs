//! `configure`, and a snapshot of the component as it left it.
//!
//! The instrumented component runs on an engine of its own, within the same limits; what comes out is a component like any other whose
//! memory already holds the parsed settings. A guest that cannot be snapshotted is configured afresh each time instead.

use std::sync::Arc;

use wasmtime_wizer::{WasmtimeWizerComponent, Wizer};

use super::admission::{AdmissionError, Problem};
use super::bindings::policy::{PolicyPlugin, PolicyPluginPre};
use super::code::{CodeFor, CompileError};
use super::deadline::{WALL_FACTOR, watch};
use super::engine::Engines;
use super::fault::{Fault, printable};
use super::imports::PluginLog;
use super::limits::Limits;
use super::policy::{linker, store};
use super::trim::without;

/// How `configure` went.
pub(super) enum Snapshot {
    /// The component as `configure` left it.
    Taken(Vec<u8>),
    /// It refused the settings.
    Refused(Vec<Problem>),
    /// This guest cannot be snapshotted, and why.
    Impossible(String),
}

/// Runs `configure` on a policy and takes its snapshot.
pub(super) async fn configure_policy(
    engines: &Engines,
    bytes: &[u8],
    settings: &str,
    limits: &Limits,
    log: Arc<PluginLog>,
    wasi: bool,
) -> Result<Snapshot, AdmissionError> {
    let failed = AdmissionError::Configure;
    let impossible = |error: &wasmtime::Error| Ok(Snapshot::Impossible(printable(&format!("{error:#}"))));
    let engine = &engines.snapshots;
    let mut wizer = Wizer::new();
    wizer.keep_init_func(true);
    let (context, instrumented) = match wizer.instrument_component(bytes) {
        Ok(instrumented) => instrumented,
        Err(error) => return impossible(&error),
    };
    let linker = linker(engine, wasi).map_err(|error| failed(Fault::Trap(error.to_string())))?;
    // What cannot be compiled or linked as it is will be told when that is tried.
    let instrumented = without(&instrumented, "policy");
    let component = match engines.component(&instrumented, CodeFor::Snapshots, limits.compile_deadline) {
        Ok(component) => component,
        Err(CompileError::Refused(why)) => return Ok(Snapshot::Impossible(why)),
        Err(error) => return Err(error.into()),
    };
    let pre = match linker.instantiate_pre(&component).and_then(PolicyPluginPre::new) {
        Ok(pre) => pre,
        Err(error) => return impossible(&error),
    };
    let mut store = store(engine, &engines.clock, limits, log, limits.configure_deadline);
    let calling = async {
        let instance = pre.instance_pre().instantiate_async(&mut store).await?;
        let plugin = PolicyPlugin::new(&mut store, &instance)?;
        let (outcome,) = plugin.origan_codec_settings().func_configure().call_async(&mut store, (settings,)).await?;
        Ok((instance, outcome))
    };
    let called: wasmtime::Result<_> = match tokio::time::timeout(limits.configure_deadline * WALL_FACTOR, calling).await
    {
        Ok(called) => called,
        Err(_) => return Err(failed(Fault::Timeout(", waiting in an import".into()))),
    };
    let instance = match called {
        Ok((instance, Ok(()))) => instance,
        Ok((_, Err(problems))) => {
            let problems = problems.into_iter();
            let problems = problems.map(|problem| Problem { path: problem.path, message: problem.message });
            return Ok(Snapshot::Refused(problems.collect()));
        }
        Err(error) => return Err(failed(Fault::of(&error, store.data().meter.refused()))),
    };
    // The snapshot is read through the same door as everything that a guest hands over.
    store.set_hostcall_fuel(limits.memory_bytes);
    watch(&mut store, limits.configure_deadline);
    let mut configured = WasmtimeWizerComponent { store: &mut store, instance };
    match wizer.snapshot_component(&context, &mut configured).await {
        // Nobody configures it again.
        Ok(snapshot) => Ok(Snapshot::Taken(without(&snapshot, "settings"))),
        Err(error) => impossible(&error),
    }
}
