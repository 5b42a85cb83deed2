//! `GET /livez`, `/readyz`, `/metrics`, `/openapi.json`, open to all; `GET /status`, with a token.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use super::Edge;
use super::answer::Json;
use super::auth::Authenticated;
use super::problem::{Code, Problem};
use crate::caller::Action;
use crate::service::Service;

const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// The process answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Says no more than whether: anybody may ask.
pub(super) async fn readyz(State(edge): State<Arc<Edge>>) -> Result<&'static str, Problem> {
    if is_ready(&edge) { Ok("ok\n") } else { Err(Problem::new(Code::NotReady)) }
}

/// It can do its work: the KEK is proven, the journal takes records, it is not about to end.
fn is_ready(edge: &Edge) -> bool {
    let takes_records = edge.service.get().is_some_and(|service| service.journal.takes_records());
    takes_records && !edge.draining.load(Ordering::Relaxed)
}

pub(super) async fn metrics(State(edge): State<Arc<Edge>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], edge.metrics.text()).into_response()
}

pub(super) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

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
        Some(service) => Some(service.keys.store().rows_by_kek().await),
        None => None,
    };
    let mut json = Json::object(1_024);
    json.text("version", env!("CARGO_PKG_VERSION"));
    json.number("uptimeSeconds", edge.started.elapsed().as_secs());
    json.boolean("ready", is_ready(&edge));
    json.boolean("draining", edge.draining.load(Ordering::Relaxed));
    match service {
        Some(service) => write_service(&mut json, service, rows),
        None => json.text("waitingFor", &edge.not_ready.borrow()),
    }
    Ok(json.into_response())
}

fn write_service(
    json: &mut Json,
    service: &Service,
    rows: Option<Result<Vec<(String, u64)>, crate::store::StoreError>>,
) {
    let ring = service.keys.ring();
    json.nested("kek", |json| {
        json.text("primary", &ring.primary_id().to_string());
        json.number("inRing", ring.kek_ids().count() as u64);
    });
    json.nested("store", |json| {
        json.text("kind", service.keys.store().kind());
        json.boolean("reachable", matches!(rows, Some(Ok(_))));
        json.nested("deksByKek", |json| {
            for (kek_id, count) in rows.into_iter().flatten().flatten() {
                json.number(&kek_id, count);
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
        json.boolean("failing", !journal.takes_records());
    });
}
