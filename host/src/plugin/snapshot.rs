//! `configure`, and a snapshot of the component as it left it.
//!
//! The instrumented component runs on an engine of its own, within the same limits; what comes out is a component like any other whose
//! memory already holds the parsed settings. A guest that cannot be snapshotted is configured afresh each time instead.

use std::sync::Arc;

use wasmtime::Trap;
use wasmtime::component::Val;
use wasmtime_wizer::Wizer;

use super::admission::Problem;
use super::engine::Engines;
use super::fault::{Fault, printable};
use super::imports::PluginLog;
use super::limits::Limits;
use super::policy::{linker, store};

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
    version: &str,
    settings: &str,
    limits: &Limits,
    log: Arc<PluginLog>,
    wasi: bool,
) -> Result<Snapshot, Fault> {
    let engine = &engines.snapshots;
    let mut store = store(engine, &engines.clock, limits, log, limits.configure_deadline);
    // The snapshot is read through the same door as everything that a guest hands over.
    store.set_hostcall_fuel(limits.memory_bytes + limits.transfer_bytes);
    let linker = linker(engine, wasi).map_err(|error| Fault::Trap(error.to_string()))?;
    let mut wizer = Wizer::new();
    wizer.init_func(format!("origan:codec/settings.configure@{version}({})", wave_text(settings)));
    wizer.keep_init_func(true);
    let outcome = wizer
        .run_component(&mut store, bytes, async |store, component| linker.instantiate_async(store, component).await)
        .await;
    match outcome {
        Ok((component, answers)) => Ok(match refusal(&answers) {
            None => Snapshot::Taken(component),
            Some(problems) => Snapshot::Refused(problems),
        }),
        Err(error) if error.downcast_ref::<Trap>().is_some() || store.data().meter.refused().is_some() => {
            Err(Fault::of(&error, store.data().meter.refused()))
        }
        Err(error) => Ok(Snapshot::Impossible(printable(&format!("{error:#}")))),
    }
}

/// A text as WAVE writes it.
fn wave_text(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 16);
    written.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            written.push('\\');
        }
        written.push(c);
    }
    written.push('"');
    written
}

/// The problems that `configure` answered; none if it took the settings.
fn refusal(answers: &[Val]) -> Option<Vec<Problem>> {
    let Some(Val::Result(Err(problems))) = answers.first() else { return None };
    let Some(Val::List(problems)) = problems.as_deref() else { return Some(Vec::new()) };
    let read = |problem: &Val| match problem {
        Val::Record(fields) => {
            let text = |name: &str| {
                fields.iter().find_map(|(key, value)| match value {
                    Val::String(text) if key == name => Some(text.clone()),
                    _ => None,
                })
            };
            Problem { path: text("path").unwrap_or_default(), message: text("message").unwrap_or_default() }
        }
        _ => Problem { path: String::new(), message: String::new() },
    };
    Some(problems.iter().map(read).collect())
}
