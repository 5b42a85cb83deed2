//! Single calls, before and after loads.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::runtime::Runtime;

/// For everything but the loads; idle during them.
static RUNTIME: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().ok()
});

static HTTP: LazyLock<Option<reqwest::Client>> = LazyLock::new(|| {
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(Duration::from_secs(60)).build().ok()
});

/// Waits for `work` on a runtime that all share.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    RUNTIME.as_ref().context("no runtime")?.block_on(work)
}

/// Calls one server with the run's token.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) address: String,
    pub(crate) token: String,
}

impl Client {
    /// The JSON that comes back; anything but a success is an error.
    pub(crate) fn post(&self, call: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, text) = self.send(reqwest::Method::POST, call, body.to_string())?;
        ensure!(status == 200, "{call}: {status} {text}");
        serde_json::from_str(&text).with_context(|| format!("{call}: {text}"))
    }

    /// The JSON that comes back.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, text) = self.send(reqwest::Method::GET, path, String::new())?;
        ensure!(status == 200, "{path}: {status} {text}");
        serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
    }

    /// The status, if anything answers.
    pub(crate) fn status(&self, path: &str) -> Option<u16> {
        self.send(reqwest::Method::GET, path, String::new()).ok().map(|(status, _)| status)
    }

    fn send(&self, method: reqwest::Method, path: &str, body: String) -> anyhow::Result<(u16, String)> {
        let request = async || {
            let http = HTTP.as_ref().context("no client")?;
            let request = http.request(method, format!("http://{}{path}", self.address));
            let request = request.header("X-Service-Auth", &self.token).header("Content-Type", "application/json");
            let response = request.body(body).send().await?;
            Ok((response.status().as_u16(), response.text().await?))
        };
        block_on(request())
    }
}
