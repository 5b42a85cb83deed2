//! What a secret provider costs: a call on a fresh, configured instance, with a backend that answers at once what its first case says.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use origan_codec_host::plugin::Limits;
use origan_codec_host::plugin::cases::Example;
use origan_codec_host::plugin::outside::{Answering, HttpRequest, HttpResponse, Outside, SendError, WriteLinesError};

use super::Report;
use super::figures::{Row, clocked};
use crate::host::with_engines;
use crate::plugin::Plugin;

/// An admission takes milliseconds, not microseconds.
const ADMISSIONS: usize = 5;

/// Measures `plugin`, each thing `runs` times.
pub(super) fn measure(plugin: &Plugin, settings: &str, runs: u64) -> anyhow::Result<Report> {
    let cases = plugin.cases.as_ref().map(|(_, cases)| cases);
    let Some((example, references)) =
        cases.and_then(|cases| cases.example()).and_then(|example| Some((example, example.references()?)))
    else {
        bail!("{}: its first case says what it is asked: write one with `references`", plugin.path.display());
    };
    let candidate = plugin.candidate(Limits::secret_provider(), settings.to_owned());
    let backend = Arc::new(Backend { script: Mutex::new(example.outside()) });
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

/// The case's backend, from its beginning with each call.
struct Backend {
    script: Mutex<Arc<dyn Outside>>,
}

impl Backend {
    fn begin(&self, example: &Example<'_>) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = example.outside();
    }

    fn script(&self) -> Arc<dyn Outside> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Outside for Backend {
    fn send(&self, request: HttpRequest) -> Answering<'_, Result<HttpResponse, SendError>> {
        let script = self.script();
        Box::pin(async move { script.send(request).await })
    }

    fn write_lines(&self, output: String, lines: Vec<String>) -> Answering<'_, Result<(), WriteLinesError>> {
        let script = self.script();
        Box::pin(async move { script.write_lines(output, lines).await })
    }

    fn now_ms(&self) -> u64 {
        self.script().now_ms()
    }
}
