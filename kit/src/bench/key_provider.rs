//! What a key provider costs: a wrap and an unwrap, each on a fresh, configured instance, with a backend that answers at once what the
//! first case of each says.

use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use origan_codec_host::plugin::Kind;
use origan_codec_host::plugin::cases::Example;

use super::Report;
use super::backend::Backend;
use super::figures::{ADMISSIONS, Row, clocked};
use crate::host::with_engines;
use crate::plugin::{Plugin, limits_of};

/// Measures `plugin`, each thing `runs` times.
pub(super) fn measure(plugin: &Plugin, settings: &str, runs: u64) -> anyhow::Result<Report> {
    let examples: Vec<Example<'_>> =
        plugin.cases.as_ref().map(|(_, cases)| cases.key_examples().collect()).unwrap_or_default();
    let Some(first) = examples.first() else {
        bail!("{}: a case in which it wraps says what it is asked: write one with `wrap`", plugin.path.display());
    };
    let candidate = plugin.candidate(limits_of(Kind::KeyProvider), settings.to_owned());
    let backend = Backend::of(first);
    with_engines(async |engines| {
        let mut admissions = Vec::new();
        let provider = loop {
            let start = Instant::now();
            let provider = engines.admit_key_provider(candidate.clone(), backend.clone(), true).await;
            let provider =
                provider.context("the host does not admit it, so there is nothing to measure: codec-plugin check")?;
            admissions.push(start.elapsed());
            if admissions.len() == ADMISSIONS {
                break provider;
            }
        };
        let mut rows = Vec::new();
        for example in &examples {
            let Some((call, context)) = example.key_call() else { continue };
            let ask = async || {
                backend.begin(example);
                match &call {
                    Ok(plaintext) => provider.wrap(plaintext, &context).await.map(|answer| answer.map(drop)),
                    Err(wrapped) => provider.unwrap(wrapped, &context).await.map(|answer| answer.map(drop)),
                }
            };
            let outcome = ask().await?;
            ensure!(
                outcome.is_ok(),
                "the case \"{}\" ends in {outcome:?}, which costs something else: codec-plugin test",
                example.name()
            );
            let times = clocked(runs, async || ask().await.map(drop)).await?;
            let what = if call.is_ok() { "a wrap, a fresh instance" } else { "an unwrap, a fresh instance" };
            rows.extend(Row::of(what, times));
        }
        rows.extend(Row::of("cold: an admission (compile, configure)", admissions));
        let names: Vec<String> = examples.iter().map(|example| format!("\"{}\"", example.name())).collect();
        Ok(Report {
            plugin: plugin.name.clone(),
            kind: "key-provider",
            debug_build: cfg!(debug_assertions),
            asked: format!(
                "the cases {}, whose backend answers at once; the time is the plugin's and the host's alone",
                names.join(" and ")
            ),
            rows,
            memory_bytes: None,
            notes: Vec::new(),
        })
    })
}
