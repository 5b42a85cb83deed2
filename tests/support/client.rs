//! A caller.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls one `codec` with one token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    pub url: String,
    pub token: String,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

static HTTP: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client")
});

impl Client {
    pub fn new(url: &str, token: &str) -> Self {
        Self { http: HTTP.clone(), url: url.to_owned(), token: token.to_owned() }
    }

    /// With connections that are kept: for tests that call thousands of times. Not shared between runtimes.
    pub fn keeping_connections(&self) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { http, ..self.clone() }
    }

    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.try_post(path, body).await.expect("an answer")
    }

    pub async fn try_post(&self, path: &str, body: Value) -> Result<Answer, reqwest::Error> {
        self.send(self.request(path, body.to_string())).await
    }

    /// Asks again until the answer has this status: what leads to it is at work already.
    pub async fn until_status(&self, status: u16, path: &str, body: Value) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.try_post(path, body.clone()).await;
            if let Ok(answer) = &answer
                && answer.status == status
            {
                return answer.clone();
            }
            assert!(Instant::now() < deadline, "{path}: never {status}, but {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A figure of `/metrics`, by its name and labels as they stand there.
    pub async fn figure(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").await.text;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in:\n{metrics}"))
    }

    pub async fn until_figure(&self, name: &str, is_so: impl Fn(f64) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.figure(name).await;
            if is_so(value) {
                return;
            }
            assert!(Instant::now() < deadline, "{name} stays {value}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn post_text(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.request(path, body)).await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> Answer {
        let request = self.http.get(format!("{}{path}", self.url)).header("X-Service-Auth", &self.token);
        self.send(request).await.expect("an answer")
    }

    pub fn request(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}{path}", self.url))
            .header("X-Service-Auth", &self.token)
            .header("Content-Type", "application/json")
            .body(body)
    }

    pub fn bare(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    /// `/encrypt`, which must succeed.
    pub async fn encrypt(&self, project: &str, value: &str) -> Value {
        let answer = self.post("/encrypt", serde_json::json!({"projectId": project, "value": value})).await;
        answer.ok()
    }

    /// The project's DEK, raw and encrypted.
    pub async fn dek(&self, project: &str) -> (String, String) {
        let generated = self.post("/generate-dek", serde_json::json!({"projectId": project})).await.ok();
        let encrypted_dek = generated["encryptedDEK"].as_str().expect("encryptedDEK").to_owned();
        let request = serde_json::json!({"projectId": project, "encryptedDEK": encrypted_dek});
        let released = self.post("/decrypt-dek", request).await.ok();
        (released["dek"].as_str().expect("dek").to_owned(), encrypted_dek)
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, self.text))
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()
    }

    /// Status and code of a problem.
    pub fn problem(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or("").to_owned())
    }

    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.problem(), (status, code.to_owned()), "{}", self.text);
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn receipt(&self) -> &str {
        self.header("x-audit-receipt").expect("a receipt")
    }
}
