//! `GET /status`, with a token.

mod debt;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use origan_codec_host::plugin::outside::Credential;

use super::Edge;
use super::answer::Json;
use super::auth::Authenticated;
use super::code::Code;
use super::health::is_ready;
use super::problem::Problem;
use crate::audit::delivery::{Breaker, Progress};
use crate::caller::Action;
use crate::clock::{rfc3339, unix_ms};
use crate::config::Mode;
use crate::keys::RowsByKek;
use crate::plugins::{KeyWrapping, PluginStatus, Status, WrapBytes};
use crate::providers::{BreakerState, Provider};
use crate::service::Service;
use crate::store::Replica;

/// So old may be what every row was read for.
const DEBT_AGE: Duration = Duration::from_secs(10);

/// What an operator wants to know.
pub(super) async fn status(
    State(edge): State<Arc<Edge>>,
    Authenticated(context): Authenticated,
) -> Result<Response, Problem> {
    let service = match edge.service.get() {
        Some(service) => {
            service.admit(&context, Action::Status).await?;
            Some(service)
        }
        None if context.caller.may(Action::Status) => None,
        None => return Err(Problem::new(Code::NotReady)),
    };
    let rows = match service {
        Some(service) => Some(service.keys.rows_by_kek().await),
        None => None,
    };
    let owed = match service {
        Some(service) => service.keys.debt(DEBT_AGE).await,
        None => None,
    };
    let mut json = Json::object(1_024);
    json.text("version", env!("CARGO_PKG_VERSION"));
    json.number("uptimeSeconds", edge.started.elapsed().as_secs());
    json.boolean("ready", is_ready(&edge));
    json.boolean("draining", edge.draining.load(Ordering::Relaxed));
    if let Some(failure) = &*edge.token_file_failure.load() {
        json.text("tokenFileFailure", failure);
    }
    match service {
        Some(service) => {
            write_service(&mut json, service, rows, &edge.replica);
            if let Some(owed) = owed {
                debt::write(&mut json, service, &owed);
            }
            write_plugins(&mut json, &edge.plugins.status(), service);
        }
        None => json.text("waitingFor", &edge.not_ready.borrow()),
    }
    Ok(json.into_response())
}

fn write_service(json: &mut Json, service: &Service, rows: Option<Option<Arc<RowsByKek>>>, replica: &Replica) {
    let ring = service.keys.ring();
    json.nested("kek", |json| {
        json.text("primary", &ring.primary_id().to_string());
        json.number("inRing", ring.kek_ids().count() as u64);
        json.number("retired", ring.retired_ids().count() as u64);
        if let Some(failure) = service.keys.ring_figures().failure() {
            json.text("ringFailure", &failure);
        }
        json.text("location", ring.primary_outside().map_or("memory", |kek| kek.kind()));
        if let Some(kek) = ring.outside() {
            json.text("name", &kek.name());
            let failure = kek.last_failure();
            json.boolean("answers", failure.is_none());
            if let Some(failure) = failure {
                json.text("lastFailure", &failure);
            }
        }
    });
    json.nested("store", |json| {
        json.text("kind", service.keys.store().kind());
        json.boolean("reachable", matches!(rows, Some(Some(_))));
        if let Some(listens) = replica.listens() {
            json.boolean("listening", listens);
        }
        json.boolean("leader", replica.leads());
        json.nested("deksByKek", |json| {
            for (kek_id, count) in rows.iter().flatten().flat_map(|rows| rows.iter()) {
                json.number(kek_id, *count);
            }
        });
        json.number("deksCached", service.keys.cached());
    });
    let journal = &service.journal;
    let gauges = journal.gauges();
    let load = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
    json.nested("audit", |json| {
        json.text("chain", &journal.chain().to_string());
        json.number("seq", journal.committed().borrow().seq);
        json.number("segment", load(&gauges.segment));
        json.number("records", load(&gauges.records));
        json.number("commits", load(&gauges.commits));
        json.number("meanCommitMicroseconds", load(&gauges.commit_time_us) / load(&gauges.commits).max(1));
        json.number("failures", load(&gauges.failures));
        json.boolean("failing", !journal.writes());
    });
}

fn write_plugins(json: &mut Json, status: &Status, service: &Service) {
    json.nested("plugins", |json| {
        json.number("changes", status.changes);
        if let Some(changed) = status.changed {
            json.text("changed", &rfc3339(changed));
        }
        if let Some(error) = &status.config_error {
            json.text("configError", error);
        }
        json.boolean("restartNeeded", status.restart_needed);
        json.list("policies", &status.policies, write_policy);
        let committed = service.journal.committed().borrow().seq;
        let chain = service.journal.chain().to_string();
        json.list("sinks", &status.sinks, |json, sink| {
            write_plugin(json, sink);
            if let Some((required, progress)) = &sink.sink {
                json.boolean("required", *required);
                write_progress(json, progress, &chain, committed);
            }
        });
        json.list("credentials", &status.credentials, |json, credential| write_credential(json, credential));
        json.list("providers", &status.providers, |json, plugin| {
            write_plugin(json, plugin);
            if let Some(provider) = &plugin.provider {
                write_provider(json, provider);
            }
        });
        if let Some(plugin) = &status.key_provider {
            json.nested("keyProvider", |json| {
                write_plugin(json, plugin);
                if let Some(place) = &plugin.key_provider {
                    write_key_provider(json, place);
                }
            });
        }
    });
}

fn write_plugin(json: &mut Json, plugin: &PluginStatus) {
    json.text("name", &plugin.name);
    json.boolean("live", plugin.is_live());
    if let Some(sha256) = &plugin.sha256 {
        json.text("sha256", sha256);
    }
    if let Some((code, text)) = &plugin.error {
        json.text("errorCode", code);
        json.text("error", text);
    }
    json.number("logLinesDropped", plugin.log_dropped);
}

fn write_policy(json: &mut Json, policy: &PluginStatus) {
    write_plugin(json, policy);
    if let Some(snapshot) = policy.is_snapshotted {
        json.boolean("snapshot", snapshot);
    }
    json.boolean("slow", policy.is_slow);
    if let Some((mode, figures)) = &policy.policy {
        json.text("mode", if *mode == Mode::Enforce { "enforce" } else { "monitor" });
        json.nested("decisions", |json| {
            for (decision, count) in figures.counts() {
                json.number(decision, count);
            }
        });
    }
}

fn write_key_provider(json: &mut Json, place: &KeyWrapping) {
    if let Some(state) = place.breaker() {
        write_breaker(json, state);
    }
    let figures = place.figures();
    for (name, count) in figures.counts() {
        json.number(name, count);
    }
    json.number("requestsRefused", place.requests_refused());
    let calls = figures.calls.load(Ordering::Relaxed);
    json.number("calls", calls);
    json.number("meanCallMicroseconds", figures.call_time_us.load(Ordering::Relaxed) / calls.max(1));
}

fn write_breaker(json: &mut Json, state: BreakerState) {
    let breaker = match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::HalfOpen => "half-open",
    };
    json.text("breaker", breaker);
}

fn write_provider(json: &mut Json, provider: &Provider) {
    write_breaker(json, provider.breaker());
    json.number("cached", provider.cached() as u64);
    let figures = provider.figures();
    if let Some(failure) = figures.last_failure() {
        json.text("lastFailure", &failure);
    }
    let counts = [
        ("calls", &figures.calls),
        ("references", &figures.references),
        ("found", &figures.found),
        ("notFound", &figures.not_found),
        ("denied", &figures.denied),
        ("invalidReferences", &figures.invalid_references),
        ("unavailable", &figures.unavailable),
        ("fromCache", &figures.from_cache),
        ("joined", &figures.joined),
        ("leftAlone", &figures.left_alone),
        ("traps", &figures.traps),
        ("timeouts", &figures.timeouts),
        ("faults", &figures.faults),
    ];
    for (name, count) in counts {
        json.number(name, count.load(Ordering::Relaxed));
    }
    json.number("requestsRefused", provider.requests_refused());
    let calls = figures.calls.load(Ordering::Relaxed).max(1);
    json.number("meanCallMicroseconds", figures.call_time_us.load(Ordering::Relaxed) / calls);
}

fn write_progress(json: &mut Json, progress: &Progress, chain: &str, committed: u64) {
    let acked = progress.last();
    json.number("ackedSeq", acked.seq);
    // Of an earlier chain it is behind by all of this one at the least.
    let behind = if acked.chain == chain { committed.saturating_sub(acked.seq) } else { committed };
    json.number("lagRecords", behind);
    let waited_ms = progress.waiting_since_ms().map_or(0, |since| (unix_ms().unsigned_abs()).saturating_sub(since));
    json.number("lagSeconds", if behind == 0 { 0 } else { waited_ms / 1_000 });
    json.text("breaker", if progress.breaker() == Breaker::Open { "open" } else { "closed" });
    if let Some(failure) = progress.last_failure() {
        json.text("lastFailure", &failure);
    }
    let figures = progress.figures();
    let counts = [
        ("records", &figures.records),
        ("batches", &figures.batches),
        ("retries", &figures.retries),
        ("rejected", &figures.rejected),
        ("traps", &figures.traps),
        ("timeouts", &figures.timeouts),
        ("faults", &figures.faults),
        ("instancesReplaced", &figures.replaced),
        ("requestsRefused", &figures.requests_refused),
        ("memoryBytes", &figures.memory_bytes),
    ];
    for (name, count) in counts {
        json.number(name, count.load(Ordering::Relaxed));
    }
    let batches = figures.batches.load(Ordering::Relaxed).max(1);
    json.number("meanBatchMicroseconds", figures.batch_time_us.load(Ordering::Relaxed) / batches);
}

fn write_credential(json: &mut Json, credential: &Credential) {
    let state = credential.state();
    json.text("name", credential.name());
    json.text("kind", credential.kind());
    let condition = match &state.failing {
        Some(_) => "failing",
        None if state.was_had => "ok",
        None => "unused",
    };
    json.text("state", condition);
    if let Some((since, why)) = &state.failing {
        json.text("failingSince", &rfc3339(*since));
        json.text("error", why);
    }
    if let Some(expires) = state.expires {
        json.text("expires", &rfc3339(expires));
    }
    for (name, count) in [("logins", state.counts.logins), ("renewals", state.counts.renewals)] {
        json.number(name, count);
    }
    json.number("failures", state.counts.failures);
}
