//! `GET /livez`, `/readyz`, `/metrics`, `/openapi.json`: open to all.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use super::Edge;
use super::code::Code;
use super::problem::Problem;

const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// The process answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Says no more than whether: anybody may ask.
pub(super) async fn readyz(State(edge): State<Arc<Edge>>) -> Result<&'static str, Problem> {
    if is_ready(&edge) { Ok("ok\n") } else { Err(Problem::new(Code::NotReady)) }
}

/// It can do its work, as far as that is its own: the KEK is proven, the journal is written, what is required of sinks has been admitted, it is
/// not about to end. A sink's backend that is down is down for every replica: if all of them left, nobody would say why.
pub(super) fn is_ready(edge: &Edge) -> bool {
    let journal = edge.service.get().map(|service| &service.journal);
    let takes_records = journal.is_some_and(|journal| journal.writes() && journal.has_required_sinks());
    takes_records && !edge.draining.load(Ordering::Relaxed)
}

pub(super) async fn metrics(State(edge): State<Arc<Edge>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], edge.metrics.text(&edge)).into_response()
}

pub(super) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
