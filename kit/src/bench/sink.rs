//! What a sink costs: batches of 1 and of 100 to a backend that has them at once.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use origan_codec_host::plugin::cases::made_up;
use origan_codec_host::plugin::outside::{Answering, HttpRequest, HttpResponse, Outside, SendError, WriteLinesError};
use origan_codec_host::plugin::{Entry, Fault, Kind, WriteOutcome};

use super::Report;
use super::figures::{ADMISSIONS, Row, clocked};
use crate::host::with_engines;
use crate::plugin::{Plugin, limits_of};

/// Measures `plugin`, each thing `runs` times.
pub(super) fn measure(plugin: &Plugin, settings: &str, runs: u64) -> anyhow::Result<Report> {
    let candidate = plugin.candidate(limits_of(Kind::AuditSink), settings.to_owned());
    with_engines(async |engines| {
        let mut admissions = Vec::new();
        let mut sink = loop {
            let start = Instant::now();
            let sink = engines.admit_sink(candidate.clone(), Arc::new(Everything), true, true).await;
            let sink =
                sink.context("the host does not admit it, so there is nothing to measure: codec-plugin check")?;
            admissions.push(start.elapsed());
            if admissions.len() == ADMISSIONS {
                break sink;
            }
        };
        let mut rows = Vec::new();
        for size in [1, 100] {
            let batch: Vec<Entry> = (1..=size).map(made_up).collect();
            let outcome = sink.write(&batch).await?;
            ensure!(
                outcome == WriteOutcome::Written,
                "a backend that says yes to everything does not content it: it answers {outcome:?}; give it other --settings"
            );
            let times = clocked(runs, async || match sink.write(&batch).await {
                // Engines with a garbage collector of their own grow until they are replaced.
                Err(Fault::OutOfMemory(_)) => sink.write(&batch).await.map(drop),
                outcome => outcome.map(drop),
            });
            let times = times.await?;
            rows.extend(Row::of(&format!("a batch of {size}"), times));
        }
        let mut notes = Vec::new();
        if sink.replaced() > 0 {
            notes.push(format!("it outgrew its memory {} times, and was replaced", sink.replaced()));
        }
        rows.extend(Row::of("cold: an admission (compile, configure)", admissions));
        Ok(Report {
            plugin: plugin.name.clone(),
            kind: "audit-sink",
            debug_build: cfg!(debug_assertions),
            asked: "made-up records to a backend that takes all at once; the time is the plugin's and the host's alone"
                .into(),
            rows,
            memory_bytes: Some(sink.memory_bytes()),
            notes,
        })
    })
}

/// A backend that has everything at once.
struct Everything;

impl Outside for Everything {
    fn send(&self, _request: HttpRequest) -> Answering<'_, Result<HttpResponse, SendError>> {
        // What collectors of several kinds say where all is well.
        let body = br#"{"code":0,"text":"Success","errors":false,"items":[]}"#.to_vec();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Box::pin(std::future::ready(Ok(HttpResponse { status: 200, headers, body })))
    }

    fn write_lines(&self, _output: String, _lines: Vec<String>) -> Answering<'_, Result<(), WriteLinesError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
