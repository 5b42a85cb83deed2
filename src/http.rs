//! The HTTP contract: a flat table of routes, and one file for each family of operations with the same skeleton in each:
//! authenticate → read the body → parse → call one method of [`Service`] → wrap.
//!
//! Nothing here can name the cipher or a key of the ring.

mod answer;
mod auth;
mod body;
mod change;
mod code;
mod decrypt;
mod edge;
mod encrypt;
mod explain;
mod health;
mod json;
mod keys;
mod large;
mod long;
mod metrics;
mod problem;
mod status;
mod variable;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::response::Response;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::caller::Callers;
use crate::config::LimitsConfig;
use crate::keys::DekChange;
use crate::plugins::Plugins;
use crate::service::Service;
use crate::store::Replica;

pub use auth::network_of;
pub use code::Code;
pub use json::fuzz;

/// What all requests share.
pub struct Edge {
    /// Who may come in; replaced when a file of tokens changes.
    pub callers: ArcSwap<Callers>,
    /// What is wrong with a file of tokens, if one of them is bad now.
    pub token_file_failure: ArcSwapOption<String>,
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
    /// Among others on the same store.
    pub replica: Arc<Replica>,
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
    /// Memory that bodies take now, and large answers.
    pub bodies_bytes: AtomicUsize,
    /// Calls worked on now.
    pub in_flight: AtomicUsize,
    /// The runtime beside the threads that serve.
    pub beside: Handle,
}

/// Every route, for requests and for the test that holds `docs/openapi.json` to it.
pub const ROUTES: [(&str, &str); 19] = [
    ("POST", "/encrypt"),
    ("POST", "/encrypt-all"),
    ("POST", "/decrypt-value"),
    ("POST", "/decrypt-all"),
    ("POST", "/decrypt-dek"),
    ("POST", "/generate-dek"),
    ("POST", "/re-encrypt"),
    ("POST", "/rotate-dek"),
    ("POST", "/rewrap-dek"),
    ("POST", "/rewrap-all"),
    ("POST", "/disable-dek"),
    ("POST", "/enable-dek"),
    ("POST", "/destroy-dek"),
    ("POST", "/explain"),
    ("GET", "/status"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
];

/// The contract, ready to answer. Clones are cheap, and the same.
#[derive(Clone)]
pub struct Contract(Arc<Edge>);

impl Contract {
    /// On top of `edge`.
    pub fn new(edge: Arc<Edge>) -> Self {
        Self(edge)
    }

    /// Answers `request`, which came from `peer`: always, whatever becomes of it.
    pub async fn answer(&self, peer: IpAddr, request: Request) -> Response {
        edge::around(&self.0, peer, request).await
    }
}

/// A handler at work.
type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Has the handler of `path`, which is one of [`ROUTES`], answer.
///
/// Called by its name: a router would copy the handler, and move what it does to the heap twice more, for each request.
fn answering(path: &str, request: Request, edge: Arc<Edge>) -> Answering {
    let change = |what, request, edge| {
        let handler = move |State(edge), who, request| change::change_dek(what, edge, who, request);
        Handler::call(handler, request, edge)
    };
    match path {
        "/encrypt" => Handler::call(encrypt::encrypt, request, edge),
        "/encrypt-all" => Handler::call(encrypt::encrypt_all, request, edge),
        "/decrypt-value" => Handler::call(decrypt::decrypt_value, request, edge),
        "/decrypt-all" => Handler::call(decrypt::decrypt_all, request, edge),
        "/decrypt-dek" => Handler::call(keys::decrypt_dek, request, edge),
        "/generate-dek" => Handler::call(keys::generate_dek, request, edge),
        "/re-encrypt" => Handler::call(encrypt::re_encrypt, request, edge),
        "/rotate-dek" => Handler::call(change::rotate_dek, request, edge),
        "/rewrap-dek" => Handler::call(change::rewrap_dek, request, edge),
        "/rewrap-all" => Handler::call(change::rewrap_all, request, edge),
        "/disable-dek" => change(DekChange::Disable, request, edge),
        "/enable-dek" => change(DekChange::Enable, request, edge),
        "/destroy-dek" => change(DekChange::Destroy, request, edge),
        "/explain" => Handler::call(explain::explain, request, edge),
        "/status" => Handler::call(status::status, request, edge),
        "/livez" => Handler::call(health::livez, request, edge),
        "/readyz" => Handler::call(health::readyz, request, edge),
        "/metrics" => Handler::call(health::metrics, request, edge),
        _ => Handler::call(health::openapi, request, edge),
    }
}

impl Edge {
    /// The service, once it is ready.
    fn ready(&self) -> Result<&Service, problem::Problem> {
        self.service.get().map(|service| &**service).ok_or_else(|| problem::Problem::new(Code::NotReady))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_call<A, B, C, F: Future>(_call: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// Each call is moved to the heap and wiped when it is done.
    #[test]
    fn no_call_carries_the_room_of_its_slow_paths() {
        let sizes = [
            ("decrypt_value", size_of_call(decrypt::decrypt_value)),
            ("decrypt_all", size_of_call(decrypt::decrypt_all)),
            ("encrypt", size_of_call(encrypt::encrypt)),
            ("decrypt_dek", size_of_call(keys::decrypt_dek)),
        ];
        assert!(sizes.iter().all(|(_, size)| *size <= 4_096), "{sizes:?}");
    }
}
