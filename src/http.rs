//! The HTTP contract: a flat table of routes, and one file for each family of operations with the same skeleton in each:
//! authenticate → read the body → parse → call one method of [`Service`] → wrap.
//!
//! Nothing here can name the cipher or a key of the ring.

mod answer;
mod auth;
mod body;
mod decrypt;
mod edge;
mod encrypt;
mod explain;
mod health;
mod json;
mod keys;
mod metrics;
mod problem;
mod status;

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use axum::routing::{MethodRouter, get, post};
use tokio::sync::watch;

use crate::caller::Callers;
use crate::config::LimitsConfig;
use crate::plugins::Plugins;
use crate::service::Service;

pub use auth::network_of;
pub use edge::Remote;
pub use json::fuzz;
pub use problem::Code;

/// What all requests share.
pub struct Edge {
    /// Who may come in; replaced when a file of tokens changes.
    pub callers: ArcSwap<Callers>,
    /// How much they may bring.
    pub limits: LimitsConfig,
    /// For a body to arrive.
    pub body_timeout: Duration,
    /// Requests worked on at once.
    pub requests_max: usize,
    /// There once the KEK is proven and the journal open.
    pub service: Arc<OnceLock<Arc<Service>>>,
    /// What runs beside it.
    pub plugins: Arc<Plugins>,
    /// Why it is not there yet.
    pub not_ready: watch::Receiver<String>,
    /// Set when the process is to end.
    pub draining: Arc<AtomicBool>,
    /// When the process began.
    pub started: Instant,
    /// Figures.
    pub metrics: metrics::Metrics,
    /// Wrong tokens, by where they come from.
    pub wrong_tokens: auth::WrongTokens,
    /// Memory that bodies take now.
    pub bodies_bytes: AtomicUsize,
    /// Requests worked on now.
    pub in_flight: AtomicUsize,
}

/// Every route, for the router and for the test that holds `docs/openapi.json` to it.
pub const ROUTES: [(&str, &str); 12] = [
    ("POST", "/encrypt"),
    ("POST", "/encrypt-all"),
    ("POST", "/decrypt-value"),
    ("POST", "/decrypt-all"),
    ("POST", "/decrypt-dek"),
    ("POST", "/generate-dek"),
    ("POST", "/explain"),
    ("GET", "/status"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
];

/// The contract on top of `edge`.
pub fn router(edge: Arc<Edge>) -> Router {
    let routes = ROUTES.into_iter().fold(Router::new(), |router, (_, path)| router.route(path, handler(path)));
    routes
        .fallback(edge::no_such_path)
        .method_not_allowed_fallback(edge::no_such_method)
        .layer(axum::middleware::from_fn_with_state(edge.clone(), edge::around))
        .with_state(edge)
}

fn handler(path: &str) -> MethodRouter<Arc<Edge>> {
    match path {
        "/encrypt" => post(encrypt::encrypt),
        "/encrypt-all" => post(encrypt::encrypt_all),
        "/decrypt-value" => post(decrypt::decrypt_value),
        "/decrypt-all" => post(decrypt::decrypt_all),
        "/decrypt-dek" => post(keys::decrypt_dek),
        "/generate-dek" => post(keys::generate_dek),
        "/explain" => post(explain::explain),
        "/status" => get(status::status),
        "/livez" => get(health::livez),
        "/readyz" => get(health::readyz),
        "/metrics" => get(health::metrics),
        _ => get(health::openapi),
    }
}

impl Edge {
    /// The service, once it is ready.
    fn ready(&self) -> Result<&Service, problem::Problem> {
        self.service.get().map(|service| &**service).ok_or_else(|| problem::Problem::new(Code::NotReady))
    }
}
