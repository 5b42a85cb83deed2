//! What a secret provider costs: a call on a fresh, configured instance, with a backend that answers at once what its first case says.

use std::time::Instant;

use anyhow::{Context as _, bail};
use origan_codec_host::plugin::Limits;

use super::Report;
use super::backend::Backend;
use super::figures::{ADMISSIONS, Row, clocked};
use crate::host::with_engines;
use crate::plugin::Plugin;

/// Measures `plugin`, each thing `runs` times.
pub(super) fn measure(plugin: &Plugin, settings: &str, runs: u64) -> anyhow::Result<Report> {
    let cases = plugin.cases.as_ref().map(|(_, cases)| cases);
    let Some((example, references)) =
        cases.and_then(|cases| cases.example()).and_then(|example| Some((example, example.references()?)))
    else {
        bail!("{}: its first case says what it is asked: write one with `references`", plugin.path.display());
    };
    let candidate = plugin.candidate(Limits::secret_provider(), settings.to_owned());
    let backend = Backend::of(&example);
    with_engines(async |engines| {
        let mut admissions = Vec::new();
        let provider = loop {
            let start = Instant::now();
            let provider = engines.admit_secret_provider(candidate.clone(), backend.clone(), true).await;
            let provider =
                provider.context("the host does not admit it, so there is nothing to measure: codec-plugin check")?;
            admissions.push(start.elapsed());
            if admissions.len() == ADMISSIONS {
                break provider;
            }
        };
        let mut rows = Vec::new();
        let times = clocked(runs, async || {
            backend.begin(&example);
            provider.resolve(&references).await.map(drop)
        });
        rows.extend(Row::of(&format!("a call with {} references, a fresh instance", references.len()), times.await?));
        rows.extend(Row::of("cold: an admission (compile, configure)", admissions));
        Ok(Report {
            plugin: plugin.name.clone(),
            kind: "secret-provider",
            debug_build: cfg!(debug_assertions),
            asked: format!(
                "the case \"{}\", whose backend answers at once; the time is the plugin's and the host's alone",
                example.name()
            ),
            rows,
            memory_bytes: None,
            notes: Vec::new(),
        })
    })
}
