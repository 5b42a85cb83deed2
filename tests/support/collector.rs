//! An HTTP collector on loopback, for the vendors whose servers cannot be had here: it takes only what their API pages allow, answers as
//! they say, and keeps what it took.
//!
//! - Splunk, "HTTP Event Collector REST API endpoints" and "Format events for HTTP Event Collector": `/services/collector/event`,
//!   `Authorization: Splunk <token>`, event objects one after the other; `{"text":"Success","code":0}`, busy is 503 with code 9.
//! - Grafana Loki, "Ingest logs": `/loki/api/v1/push`, `X-Scope-OrgID` of the tenant, `streams[].values[]` of nanoseconds as text and a
//!   line; 204; 429 above the rate. What has the same time, labels and line is kept once.
//! - Elasticsearch, "Bulk index or delete documents": `/_bulk`, a line for the action and a line for the document, the last one ended too;
//!   200 with an item for each; `create` of an id that is there answers 409 in its item.

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

use super::loopback;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

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

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
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

/// A document and what it is known by.
struct Document {
    id: Option<String>,
    line: String,
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

impl Reply {
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
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

fn path(kind: Kind) -> &'static str {
    match kind {
        Kind::NdJson | Kind::JsonArray => "/in",
        Kind::SplunkHec => "/services/collector/event",
        Kind::Loki => "/loki/api/v1/push",
        Kind::Elasticsearch => "/_bulk",
    }
}

fn content_type(kind: Kind) -> &'static str {
    match kind {
        Kind::NdJson | Kind::Elasticsearch => "application/x-ndjson",
        Kind::JsonArray | Kind::SplunkHec | Kind::Loki => "application/json",
    }
}

fn unauthorised(kind: Kind, is_none: bool, echo: &str) -> Reply {
    match kind {
        Kind::SplunkHec if is_none => Reply::new(401, r#"{"text":"Token is required","code":2}"#),
        Kind::SplunkHec => Reply::new(403, r#"{"text":"Invalid token","code":4}"#),
        Kind::Elasticsearch => {
            let error =
                json!({"error": {"type": "security_exception", "reason": "unable to authenticate"}, "status": 401});
            Reply::new(401, error.to_string()).with("WWW-Authenticate", "ApiKey")
        }
        _ => Reply::new(401, echo),
    }
}

fn parse(kind: Kind, body: &[u8]) -> Result<Vec<Document>, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let documents = match kind {
        Kind::NdJson => ended_lines(text)?.into_iter().map(|line| object(line).map(bare)).collect::<Result<_, _>>()?,
        Kind::JsonArray => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
            elements.into_iter().map(|element| object(element.get()).map(bare)).collect::<Result<_, _>>()?
        }
        Kind::SplunkHec => events(text)?,
        Kind::Loki => entries(text)?,
        Kind::Elasticsearch => bulk(text)?,
    };
    if documents.is_empty() { Err("no data".into()) } else { Ok(documents) }
}

fn bare(line: &str) -> Document {
    Document { id: None, line: line.to_owned() }
}

fn object(text: &str) -> Result<&str, String> {
    let parsed: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if parsed.is_object() { Ok(text) } else { Err("not an object".into()) }
}

/// Each line with its end, the last one too.
fn ended_lines(text: &str) -> Result<Vec<&str>, String> {
    text.split_inclusive('\n')
        .map(|line| line.strip_suffix('\n').ok_or_else(|| "must end with a newline".into()))
        .collect()
}

fn events(text: &str) -> Result<Vec<Document>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Event<'a> {
        time: f64,
        index: Option<&'a str>,
        source: Option<&'a str>,
        sourcetype: Option<&'a str>,
        host: Option<&'a str>,
        #[serde(borrow)]
        event: &'a RawValue,
    }
    let events = serde_json::Deserializer::from_str(text).into_iter::<Event>();
    let document = |event: Result<Event<'_>, serde_json::Error>| {
        let event = event.map_err(|error| error.to_string())?;
        if [event.index, event.source, event.sourcetype, event.host].contains(&Some("")) {
            return Err("blank metadata".to_owned());
        }
        timely(event.time * 1_000.0, event.event.get())?;
        object(event.event.get()).map(bare)
    };
    events.map(document).collect()
}

fn entries(text: &str) -> Result<Vec<Document>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Push {
        streams: Vec<Stream>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Stream {
        stream: std::collections::BTreeMap<String, String>,
        values: Vec<(String, String)>,
    }
    let push: Push = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut documents = Vec::new();
    for stream in push.streams {
        let is_label = |name: &String| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && !name.as_bytes()[0].is_ascii_digit()
        };
        if stream.stream.is_empty() || !stream.stream.keys().all(is_label) {
            return Err("error at least one label pair is required per stream".into());
        }
        for (time, line) in stream.values {
            let nanoseconds: u64 = time.parse().map_err(|_| format!("not nanoseconds: {time}"))?;
            timely(nanoseconds as f64 / 1e6, &line)?;
            documents.push(Document { id: Some(format!("{:?} {time} {line}", stream.stream)), line });
        }
    }
    Ok(documents)
}

fn bulk(text: &str) -> Result<Vec<Document>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Action {
        create: Target,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Target {
        _index: String,
        _id: String,
    }
    let lines = ended_lines(text)?;
    let mut documents = Vec::new();
    for pair in lines.chunks(2) {
        let [action, document] = pair else { return Err("an action without a document".into()) };
        let action: Action = serde_json::from_str(action).map_err(|error| error.to_string())?;
        if action.create._index != "audit" {
            return Err(format!("index_not_found_exception: {}", action.create._index));
        }
        let mut parsed: serde_json::Map<String, Value> =
            serde_json::from_str(document).map_err(|error| error.to_string())?;
        // A data stream takes no document without.
        if !parsed.remove("@timestamp").is_some_and(|time| time.is_string()) {
            return Err("document does not contain a valid timestamp field".into());
        }
        // What was put in front is taken off; the rest must be the record, byte for byte.
        let (_, rest) = document.split_once(',').ok_or("an empty document")?;
        documents.push(Document { id: Some(action.create._id), line: format!("{{{rest}") });
    }
    Ok(documents)
}

/// A vendor keeps what is of now: an event's time is its record's.
fn timely(ms: f64, line: &str) -> Result<(), String> {
    let record: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let time = record["time"].as_str().and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
    let time = time.ok_or("a record without a time")?.timestamp_millis();
    if (ms - time as f64).abs() < 1.0 { Ok(()) } else { Err(format!("{ms} is not its record's time {time}")) }
}
