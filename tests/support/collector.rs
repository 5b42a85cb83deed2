//! An HTTP collector on loopback, for the vendors whose servers cannot be had here: it takes only what their API pages allow, answers as
//! they say, and keeps what it took.
//!
//! - Splunk, "HTTP Event Collector REST API endpoints" and "Format events for HTTP Event Collector": `/services/collector/event`,
//!   `Authorization: Splunk <token>`, event objects one after the other; `{"text":"Success","code":0}`, busy is 503 with code 9.
//! - Grafana Loki, "Ingest logs": `/loki/api/v1/push`, `X-Scope-OrgID` of the tenant, `streams[].values[]` of nanoseconds as text and a
//!   line; 204; 429 above the rate. What has the same time, labels and line is kept once.
//! - Elasticsearch, "Bulk index or delete documents": `/_bulk`, a line for the action and a line for the document, the last one ended too;
//!   200 with an item for each; `create` of an id that is there answers 409 in its item.

mod formats;

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use serde_json::{Value, json};

use formats::{Document, content_type, parse, path, unauthorised};

use super::loopback;
pub use super::reply::Reply;

/// What a collector understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    NdJson,
    JsonArray,
    SplunkHec,
    Loki,
    Elasticsearch,
}

/// One that runs, on a thread of its own: whatever a test's own thread waits for, it answers.
pub struct Collector {
    pub kind: Kind,
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    _ends: loopback::Ends,
}

/// What comes in place of the next answers.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing is taken, and this is answered.
    Refuse(Reply),
    /// All is taken, and this is answered: the acknowledgement is lost.
    TakeAndSay(Reply),
    /// Elasticsearch: the item of this place answers so, and its document is not taken.
    Item(usize, u16, &'static str),
}

#[derive(Default)]
struct State {
    /// Records in the order in which they were taken, as they were written.
    taken: Vec<String>,
    ids: HashSet<String>,
    /// What no vendor would have accepted.
    wrong: Vec<String>,
    faults: VecDeque<Fault>,
    /// While it is there, everything is answered so.
    down: Option<Reply>,
    delay: Duration,
    /// The value that the credential's header must have.
    credential: Option<String>,
    /// What came in that header, request by request.
    seen: Vec<String>,
    arrived: Vec<Instant>,
    echoes: bool,
}

impl Collector {
    pub async fn start(kind: Kind) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let (address, ends) = loopback::serve(move |listener| serve(listener, kind, shared)).await;
        Self { kind, address, state, _ends: ends }
    }

    /// Of its origin.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it takes records, below an origin.
    pub fn path(&self) -> &'static str {
        path(self.kind)
    }

    /// Of what it takes.
    pub fn content_type(&self) -> &'static str {
        content_type(self.kind)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    /// What it has, in the order in which it came.
    pub fn taken(&self) -> Vec<String> {
        self.state().taken.clone()
    }

    pub fn requests(&self) -> usize {
        self.state().arrived.len()
    }

    /// When each request came.
    pub fn arrived(&self) -> Vec<Instant> {
        self.state().arrived.clone()
    }

    /// The credential's header in each request.
    pub fn seen(&self) -> Vec<String> {
        self.state().seen.clone()
    }

    pub fn fault(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    pub fn down(&self, reply: Option<Reply>) {
        self.state().down = reply;
    }

    pub fn delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// From now on only who sends this is let in.
    pub fn ask_for(&self, credential: &str) {
        self.state().credential = Some(credential.to_owned());
    }

    /// What it has refused as nothing that its vendor would accept, which is then no failure of the test.
    pub fn forgive(&self) -> usize {
        std::mem::take(&mut self.state().wrong).len()
    }

    /// From now on it repeats in its answers what came in the credential's header.
    pub fn echo(&self) {
        self.state().echoes = true;
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let wrong = &self.state().wrong;
            assert!(wrong.is_empty(), "no vendor would have accepted: {wrong:#?}");
        }
    }
}

async fn serve(listener: tokio::net::TcpListener, kind: Kind, state: Arc<Mutex<State>>) {
    loop {
        let (stream, _) = listener.accept().await.expect("accepts");
        let state = state.clone();
        let service = service_fn(move |request| answer(kind, state.clone(), request));
        tokio::spawn(async move {
            // A peer that goes away ends its connection, and nothing else.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    kind: Kind,
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await;
    let delay = state.lock().expect("unharmed").delay;
    tokio::time::sleep(delay).await;
    let reply = match body {
        Ok(body) => state.lock().expect("unharmed").receive(kind, &parts, &body.to_bytes()),
        Err(error) => Reply::new(400, error.to_string()),
    };
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    Ok(response.body(Full::new(reply.body.into())).expect("an answer"))
}

impl State {
    fn receive(&mut self, kind: Kind, parts: &http::request::Parts, body: &[u8]) -> Reply {
        self.arrived.push(Instant::now());
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let credential = header("authorization").to_owned();
        self.seen.push(credential.clone());
        let echo = if self.echoes { format!("you sent {credential}") } else { String::new() };
        let mut refuse = |why: String| {
            self.wrong.push(why.clone());
            Reply::new(400, why)
        };
        if parts.method != http::Method::POST || parts.uri.path() != path(kind) {
            return refuse(format!("{} {}", parts.method, parts.uri));
        }
        if header("content-type") != content_type(kind) {
            return refuse(format!("content-type: {}", header("content-type")));
        }
        if kind == Kind::Loki && header("x-scope-orgid").is_empty() {
            return refuse("no org id".into());
        }
        if self.credential.as_ref().is_some_and(|wanted| *wanted != credential) {
            // A credential that has been changed is nothing that a sink does wrong.
            return unauthorised(kind, credential.is_empty(), &echo);
        }
        let documents = match parse(kind, body) {
            Ok(documents) => documents,
            Err(why) => return refuse(format!("{why}: {}", String::from_utf8_lossy(body))),
        };
        if let Some(down) = &self.down {
            return down.clone();
        }
        match self.faults.pop_front() {
            None => self.take(kind, documents, None, &echo),
            Some(Fault::Refuse(reply)) => reply,
            Some(Fault::TakeAndSay(reply)) => {
                self.take(kind, documents, None, &echo);
                reply
            }
            Some(Fault::Item(place, status, why)) => self.take(kind, documents, Some((place, status, why)), &echo),
        }
    }

    fn take(
        &mut self,
        kind: Kind,
        documents: Vec<Document>,
        fault: Option<(usize, u16, &'static str)>,
        echo: &str,
    ) -> Reply {
        let mut items = Vec::new();
        for (place, document) in documents.into_iter().enumerate() {
            let failed = fault.filter(|(at, _, _)| *at == place);
            let is_new = document.id.as_ref().is_none_or(|id| !self.ids.contains(id));
            let (status, error) = match failed {
                Some((_, status, why)) => (status, json!({"type": why, "reason": why})),
                None if is_new => (201, Value::Null),
                None => {
                    (409, json!({"type": "version_conflict_engine_exception", "reason": "document already exists"}))
                }
            };
            if status == 201 {
                self.ids.extend(document.id.clone());
                self.taken.push(document.line);
            }
            let mut item = json!({"_index": "audit", "_id": document.id, "status": status});
            if !error.is_null() {
                item["error"] = error;
            }
            items.push(json!({"create": item}));
        }
        match kind {
            Kind::NdJson | Kind::JsonArray => Reply::new(200, echo),
            Kind::SplunkHec => Reply::new(200, r#"{"text":"Success","code":0}"#),
            Kind::Loki => Reply::new(204, ""),
            Kind::Elasticsearch => {
                let errors = items.iter().any(|item| item["create"]["status"] != 201);
                Reply::new(200, json!({"took": 1, "errors": errors, "items": items}).to_string())
            }
        }
    }
}
