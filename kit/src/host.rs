//! The host's own engines, as commands use them.

use std::sync::Arc;

use anyhow::Context as _;
use origan_codec_host::plugin::Engines;

/// Runs `work` on engines of its own, to its end.
pub(crate) fn with_engines<T>(work: impl AsyncFnOnce(&Arc<Engines>) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let engines = Arc::new(Engines::new()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.context("cannot set up a runtime")?.block_on(work(&engines))
}
