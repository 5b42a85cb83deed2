//! Around every request: its id, the load limit, panics, the headers that every answer carries, problems written out, one line of
//! log, the figures.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use tracing::{debug, warn};

use super::answer::Json;
use super::code::Code;
use super::problem::Problem;
use super::{Edge, ROUTES, answering, large};
use crate::audit::Receipt;
use crate::names::RequestId;

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_AUDIT_RECEIPT: HeaderName = HeaderName::from_static("x-audit-receipt");

/// The peer's address, as the accept loop saw it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote(pub(super) IpAddr);

/// What the route's handler answers, and all that every answer has.
pub(super) async fn around(edge: &Arc<Edge>, peer: IpAddr, mut request: Request) -> Response {
    let started = Instant::now();
    let route = ROUTES.iter().position(|(_, path)| *path == request.uri().path());
    let presented = request.headers().get(&X_REQUEST_ID).and_then(|id| RequestId::from_caller(id.to_str().ok()?));
    let request_id = presented.unwrap_or_else(RequestId::fresh);
    request.extensions_mut().insert(request_id.clone());
    request.extensions_mut().insert(Remote(peer));

    // Who looks whether it lives gets an answer however much there is to do.
    let is_work = request.method() == http::Method::POST;
    let mut response = match InFlight::enter(edge, is_work) {
        None => Problem::new(Code::Overloaded).into_response(),
        Some(_in_flight) => AssertUnwindSafe(answer(edge, route, request))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Problem::new(Code::Internal).into_response()),
    };
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        write_problem(&mut response, problem, &request_id);
    }
    if let Some(receipt) = response.extensions_mut().remove::<Receipt>()
        && let Ok(text) = HeaderValue::try_from(receipt.to_ascii())
    {
        response.headers_mut().insert(X_AUDIT_RECEIPT.clone(), text);
    }
    if let Ok(text) = HeaderValue::try_from(request_id.as_str()) {
        response.headers_mut().insert(X_REQUEST_ID.clone(), text);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    edge.metrics.answered(route, problem.as_ref().map(|problem| problem.code), started.elapsed());
    log(&request_id, route, response.status(), problem.as_ref(), started);
    // What anybody may ask for is no caller's, and much of it lies in memory anyhow.
    if is_work { large::counted(edge, response).await } else { response }
}

async fn answer(edge: &Arc<Edge>, route: Option<usize>, request: Request) -> Response {
    let Some((method, path)) = route.map(|route| ROUTES[route]) else {
        return Problem::new(Code::NotFound).into_response();
    };
    let asked = request.method().as_str();
    // Whoever asks for the head of an answer alone gets no more: hyper leaves out the rest.
    if asked == method || (asked == "HEAD" && method == "GET") {
        return answering(path, request, edge.clone()).await;
    }
    let mut refused = Problem::new(Code::MethodNotAllowed).into_response();
    let allowed = if method == "GET" { "GET,HEAD" } else { method };
    refused.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refused
}

/// RFC 9457. The body of a 5xx is the same whatever happened.
fn write_problem(response: &mut Response, problem: &Problem, request_id: &RequestId) {
    let status = problem.code.status();
    let mut json = Json::object(384);
    json.text("type", &format!("urn:origan:codec:{}", problem.code.name()));
    json.text("title", problem.code.title());
    json.number("status", u64::from(status.as_u16()));
    let detail = if status.is_server_error() { problem.code.title() } else { &problem.detail };
    json.text("detail", detail);
    json.text("code", problem.code.name());
    json.text("requestId", request_id.as_str());
    if let Some(policy_code) = &problem.policy_code {
        json.text("policyCode", policy_code.as_str());
    }
    if let Some(variable) = &problem.variable {
        json.text("variable", variable);
    }
    *response.body_mut() = json.into_body();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        headers.insert(RETRY_AFTER, HeaderValue::from(problem.retry_after_s));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(receipt) = &problem.receipt {
        response.extensions_mut().insert(**receipt);
    }
}

fn log(request_id: &RequestId, route: Option<usize>, status: StatusCode, problem: Option<&Problem>, started: Instant) {
    // A path that is no route is the caller's text, and not repeated.
    let path = route.map_or("other", |route| ROUTES[route].1);
    let duration_ms = started.elapsed().as_secs_f64() * 1e3;
    let code = problem.map_or("", |problem| problem.code.name());
    let cause = problem.and_then(|problem| problem.internal.as_deref()).unwrap_or("");
    if status.is_server_error() {
        warn!(request.id = %request_id.as_str(), path, status = status.as_u16(), code, cause, duration_ms, "answered");
    } else {
        debug!(request.id = %request_id.as_str(), path, status = status.as_u16(), code, cause, duration_ms, "answered");
    }
}

/// One of the calls worked on at once. Whoever only looks whether it lives takes nobody's place.
struct InFlight<'a>(Option<&'a Edge>);

impl<'a> InFlight<'a> {
    fn enter(edge: &'a Edge, is_work: bool) -> Option<Self> {
        if !is_work {
            return Some(Self(None));
        }
        let before = edge.in_flight.fetch_add(1, Ordering::Relaxed);
        let entered = Self(Some(edge));
        (before < edge.requests_max).then_some(entered)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(edge) = self.0 {
            edge.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
