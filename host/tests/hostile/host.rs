//! The host that hostile guests meet, and how it looks whether it is unharmed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use origan_codec_host::plugin::outside::outputs::Framing;
use origan_codec_host::plugin::outside::{
    Answering, Egress, EgressLimits, Granted, HttpRequest, HttpResponse, OriginGrant, Output, OutputTarget, SendError,
    WriteLinesError,
};
use origan_codec_host::plugin::{
    AdmissionError, Caller, Candidate, Decision, DeploymentFact, Engines, Entry, KeyContext, KeyError, KeyProvider,
    Limits, Outside, PluginLog, PolicyPlugin, Query, SecretProvider, SecretReference, SinkPlugin, WriteOutcome,
};

use super::CORPUS;
use super::corpus::{self, Guest, Must, World};
use super::server::silent_peer;

/// Longest that any step may last, on a machine that is busy with other things: far beyond every deadline below.
const STEP_MAX: Duration = Duration::from_secs(30);
const SLOW_STEP_MAX: Duration = Duration::from_secs(120);
/// Calls of each, and of one that may answer now this, now that.
const CALLS: usize = 3;
const CALLS_OF_FICKLE: usize = 12;
/// Providers of which lines must be withheld.
const LOGS_SECRETS: [&str; 2] = ["provider/log-holds-the-secret", "provider/version-holds-the-secret"];

/// The engines, an honest plugin of each kind, and a peer that takes connections and says nothing.
pub(crate) struct Host {
    pub(crate) engines: Arc<Engines>,
    pub(crate) honest_policy: PolicyPlugin,
    honest_sink: tokio::sync::Mutex<SinkPlugin>,
    honest_provider: SecretProvider,
    honest_key_provider: KeyProvider,
    pub(crate) silent: SocketAddr,
}

impl Host {
    pub(crate) async fn new() -> Self {
        let engines = Arc::new(Engines::new().expect("engines"));
        let silent = silent_peer().await;
        // One that decides by its settings: had it lost them, it would abstain.
        let honest = CORPUS.iter().find(|guest| guest.name == "policy/state-of-configure").expect("in the corpus");
        let honest = candidate("honest", honest.bytes.clone(), Limits::policy(), silent);
        let honest_policy = engines.admit_policy(honest).await.expect("admitted");
        let honest = candidate("honest", corpus::honest_sink(), Limits::sink(), silent);
        let honest_sink = engines.admit_sink(honest, Arc::new(granted(silent)), true, true).await.expect("admitted");
        let honest = candidate("honest", corpus::honest_provider(), Limits::secret_provider(), silent);
        let outside = Arc::new(granted(silent));
        let honest_provider = engines.admit_secret_provider(honest, outside.clone(), true).await.expect("admitted");
        let honest = candidate("honest", corpus::honest_key_provider(), Limits::key_provider(), silent);
        let honest_key_provider = engines.admit_key_provider(honest, outside, true).await.expect("admitted");
        let honest_sink = honest_sink.into();
        Self { engines, honest_policy, honest_sink, honest_provider, honest_key_provider, silent }
    }

    /// Runs `guest` and holds it to what must come of it; then looks whether the host is unharmed.
    pub(crate) async fn run(&self, guest: &Guest) {
        let name = &guest.name;
        let began = Instant::now();
        match guest.world {
            World::Policy => self.run_policy(guest).await,
            World::Sink => self.run_sink(guest).await,
            World::Provider => self.run_provider(guest).await,
            World::Key => self.run_key_provider(guest).await,
        }
        let took = began.elapsed();
        if took > Duration::from_secs(1) {
            println!("{name} ({}): {} ms", guest.attack, took.as_millis());
        }
        assert_eq!(self.honest_policy.evaluate(&query()).await, Ok(Decision::Allow), "honest policy after {name}");
        let outcome = self.honest_sink.lock().await.write(&batch()).await;
        assert_eq!(outcome, Ok(WriteOutcome::Written), "honest sink after {name}");
        let found = self.honest_provider.resolve(&[reference("a"), reference("b")]).await.expect("an answer");
        let found: Vec<_> = found.iter().flatten().map(|secret| secret.value.as_slice()).collect();
        assert_eq!(found, [b"honest", b"honest"], "honest provider after {name}");
        let wrapped = self.honest_key_provider.wrap(&dek(), &context()).await.expect("an answer").expect("wrapped");
        let opened = self.honest_key_provider.unwrap(&wrapped, &context()).await.expect("an answer").expect("opened");
        assert_eq!(*opened, dek(), "honest key provider after {name}");
    }

    async fn run_policy(&self, guest: &Guest) {
        let candidate = candidate(&guest.name, guest.bytes.clone(), policy_limits(), self.silent);
        let mut candidate = Candidate { wasi: guest.wasi, ..candidate };
        if guest.slow {
            candidate.limits.compile_deadline = SLOW_STEP_MAX;
        }
        let plugin = match in_time(guest, self.engines.admit_policy(candidate)).await {
            Ok(plugin) => plugin,
            Err(error) => return assert_refused(guest, &error),
        };
        for _ in 0..calls(guest) {
            let (answer, text) = match in_time(guest, plugin.evaluate(&query())).await {
                Ok(Decision::Allow) => ("allow".to_owned(), String::new()),
                Ok(Decision::Abstain) => ("abstain".to_owned(), String::new()),
                Ok(Decision::Deny(denial)) => (format!("deny {}", denial.code), denial.reason),
                Err(fault) => (fault.code().to_owned(), fault.to_string()),
            };
            assert_answered(guest, &answer, &text);
        }
    }

    async fn run_sink(&self, guest: &Guest) {
        let limits = sink_limits(guest);
        let memory_bytes = limits.memory_bytes;
        let candidate = candidate(&guest.name, guest.bytes.clone(), limits, self.silent);
        let outside = Arc::new(granted(self.silent));
        let mut plugin = match in_time(guest, self.engines.admit_sink(candidate, outside, true, true)).await {
            Ok(plugin) => plugin,
            Err(error) => return assert_refused(guest, &error),
        };
        for _ in 0..calls(guest) {
            let (answer, text) = match in_time(guest, plugin.write(&batch())).await {
                Ok(WriteOutcome::Written) => ("ok".to_owned(), String::new()),
                Ok(WriteOutcome::Retry(_)) => ("retry".to_owned(), String::new()),
                Ok(WriteOutcome::Rejected(rejected)) => (format!("rejected {}", rejected.len()), String::new()),
                Err(fault) => (fault.code().to_owned(), fault.to_string()),
            };
            assert_answered(guest, &answer, &text);
            assert!(plugin.memory_bytes() <= memory_bytes);
        }
    }

    async fn run_provider(&self, guest: &Guest) {
        let candidate = candidate(&guest.name, guest.bytes.clone(), sink_limits(guest), self.silent);
        let outside = Arc::new(granted(self.silent));
        let plugin = match in_time(guest, self.engines.admit_secret_provider(candidate, outside, true)).await {
            Ok(plugin) => plugin,
            Err(error) => return assert_refused(guest, &error),
        };
        for _ in 0..calls(guest) {
            let (answer, text) = match in_time(guest, plugin.resolve(&[reference("a"), reference("b#c")])).await {
                Ok(found) if found.iter().all(Result::is_ok) => ("found".to_owned(), String::new()),
                Ok(found) => {
                    let errors: Vec<_> = found.iter().filter_map(|found| found.as_ref().err()).collect();
                    ("not found".to_owned(), format!("{errors:?}"))
                }
                Err(fault) => (fault.code().to_owned(), fault.to_string()),
            };
            assert_answered(guest, &answer, &text);
            // All of them find `honest`, or what begins with it.
            let lines = format!("{:?}", plugin.log().take());
            assert!(!text.contains("honest") && !lines.contains("honest"), "{}: {text}: {lines}", guest.name);
            let is_withheld = lines.contains("is not written: it tells a secret");
            assert_eq!(is_withheld, LOGS_SECRETS.contains(&&*guest.name), "{}: {lines}", guest.name);
        }
    }

    async fn run_key_provider(&self, guest: &Guest) {
        let candidate = candidate(&guest.name, guest.bytes.clone(), key_limits(guest), self.silent);
        let outside = Arc::new(Counting { granted: granted(self.silent), asked: AtomicU64::new(0) });
        let plugin = match in_time(guest, self.engines.admit_key_provider(candidate, outside, true)).await {
            Ok(plugin) => plugin,
            Err(error) => return assert_refused(guest, &error),
        };
        for _ in 0..calls(guest) {
            let wrapped = match in_time(guest, plugin.wrap(&dek(), &context())).await {
                Ok(Ok(wrapped)) => wrapped,
                Ok(Err(error)) => {
                    assert_answered(guest, &format!("wrap {}", code_of(&error)), &text_of(&error));
                    continue;
                }
                Err(fault) => {
                    assert_answered(guest, &format!("wrap {}", fault.code()), &fault.to_string());
                    continue;
                }
            };
            let (answer, text) = match in_time(guest, plugin.unwrap(&wrapped, &context())).await {
                Ok(Ok(bytes)) if *bytes == dek() => ("opened".to_owned(), String::new()),
                Ok(Ok(bytes)) => (format!("other {}", bytes.len()), String::new()),
                Ok(Err(error)) => (code_of(&error).to_owned(), text_of(&error)),
                Err(fault) => (fault.code().to_owned(), fault.to_string()),
            };
            assert_answered(guest, &format!("unwrap {answer}"), &text);
        }
    }
}

/// What is granted, with a clock that says how often it was asked: a guest that goes by the time is the same in each run.
struct Counting {
    granted: Granted,
    asked: AtomicU64,
}

impl Outside for Counting {
    fn send(&self, request: HttpRequest) -> Answering<'_, Result<HttpResponse, SendError>> {
        self.granted.send(request)
    }

    fn write_lines(&self, output: String, lines: Vec<String>) -> Answering<'_, Result<(), WriteLinesError>> {
        self.granted.write_lines(output, lines)
    }

    fn now_ms(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }
}

/// No two of its bytes are the same, so that no piece of it is found by chance.
fn dek() -> Vec<u8> {
    (100..132).collect()
}

fn context() -> KeyContext {
    vec![("project".to_owned(), "shop".to_owned()), ("version".to_owned(), "1".to_owned())]
}

fn code_of(error: &KeyError) -> &'static str {
    match error {
        KeyError::Denied(_) => "denied",
        KeyError::UnknownKey(_) => "unknown-key",
        KeyError::Corrupt => "corrupt",
        KeyError::Retry(_) => "retry",
        KeyError::Unavailable(_) => "unavailable",
    }
}

fn text_of(error: &KeyError) -> String {
    match error {
        KeyError::Denied(why) | KeyError::UnknownKey(why) | KeyError::Unavailable(why) => why.clone(),
        KeyError::Corrupt | KeyError::Retry(_) => String::new(),
    }
}

fn reference(text: &str) -> SecretReference {
    SecretReference::parse(text, None)
}

fn calls(guest: &Guest) -> usize {
    match guest.world {
        World::Sink if guest.must.len() > 1 => CALLS_OF_FICKLE,
        _ if guest.row.starts_with("waiting") => 1,
        _ => CALLS,
    }
}

async fn in_time<T>(guest: &Guest, step: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let outcome = step.await;
    let longest = if guest.slow { SLOW_STEP_MAX } else { STEP_MAX };
    assert!(began.elapsed() < longest, "{}: {} ms", guest.name, began.elapsed().as_millis());
    outcome
}

fn assert_refused(guest: &Guest, error: &AdmissionError) {
    let expected = guest.must.iter().any(|must| match (must, error) {
        (Must::Refused(None), AdmissionError::CompileTimeout(_)) => false,
        (Must::Refused(code), _) => code.as_ref().is_none_or(|code| code == error.code()),
        (Must::ConfigureFault(code), AdmissionError::Configure(fault)) => fault.code() == code,
        _ => false,
    });
    assert!(expected, "{} must be {:?}, and was not admitted: {}: {error}", guest.name, guest.must, error.code());
    assert_says(guest, &error.to_string());
}

fn assert_answered(guest: &Guest, answer: &str, text: &str) {
    let expected = guest.must.iter().any(|must| matches!(must, Must::Answer(wanted) if wanted == answer));
    assert!(expected, "{} must be {:?}, and was: {answer}: {text}", guest.name, guest.must);
    assert!(text.len() <= 4_096, "{}: {} bytes of text", guest.name, text.len());
    assert_says(guest, text);
}

/// What an operator reads names the cause, and nothing in it could act on a terminal.
fn assert_says(guest: &Guest, text: &str) {
    if let Some(part) = &guest.says {
        assert!(text.contains(&**part), "{} says `{text}`, and not `{part}`", guest.name);
    }
    let is_answer = guest.name == "policy/reason-long";
    assert!(is_answer || !text.contains(|c: char| c.is_control()), "{}: {text:?}", guest.name);
}

fn policy_limits() -> Limits {
    Limits {
        compile_deadline: Duration::from_secs(20),
        configure_deadline: Duration::from_millis(150),
        call_deadline: Duration::from_millis(100),
        ..Limits::policy()
    }
}

/// By the clock only those that wait for ever end: the others are done, or have computed for too long, however busy the machine is.
fn sink_limits(guest: &Guest) -> Limits {
    let waits = guest.row.starts_with("waiting");
    Limits {
        compile_deadline: Duration::from_secs(20),
        configure_deadline: Duration::from_secs(5),
        call_deadline: Duration::from_millis(if waits { 400 } else { 5_000 }),
        compute_deadline: Duration::from_millis(100),
        ..Limits::sink()
    }
}

fn key_limits(guest: &Guest) -> Limits {
    Limits { transfer_bytes: Limits::key_provider().transfer_bytes, ..sink_limits(guest) }
}

pub(crate) fn candidate(name: &str, bytes: Vec<u8>, limits: Limits, silent: SocketAddr) -> Candidate {
    Candidate {
        name: name.to_owned(),
        bytes: bytes.into(),
        pinned: None,
        settings: format!("{{\"url\":\"http://{silent}/\"}}"),
        limits,
        wasi: false,
        log: PluginLog::kept(name),
        cases: None,
    }
}

/// One origin and one output, both the silent peer's.
pub(crate) fn granted(silent: SocketAddr) -> Granted {
    let grant = OriginGrant {
        origin: format!("http://{silent}"),
        addresses: vec!["127.0.0.0/8".parse().expect("a network")],
        credentials: Vec::new(),
        ca_pem: None,
    };
    let limits = EgressLimits { deadline: Duration::from_secs(60), ..EgressLimits::default() };
    let target = OutputTarget::Tcp { address: silent.to_string() };
    let output = Output::new("silent", target, Framing::Newline, 16 << 20, Duration::from_secs(60)).expect("set up");
    Granted {
        http: Some(Egress::new(&[grant], limits).expect("set up")),
        lines: HashMap::from([("silent".to_owned(), Arc::new(output))]),
    }
}

pub(crate) fn query() -> Query<'static> {
    Query {
        request_id: "0001",
        action: "decrypt-value",
        time: 1_767_268_800_000,
        caller: Caller { name: "runner", method: "token", attributes: &[] },
        project_id: Some("shop"),
        deployment: DeploymentFact::Unknown("d-1"),
        variables: &[],
        attributes: &[],
    }
}

pub(crate) fn batch() -> Vec<Entry> {
    let entry = |seq| Entry {
        chain: "00000000000000aa".into(),
        seq,
        time: 1_767_268_800_000,
        line: "{\"v\":1}".into(),
        hash: "0".repeat(64),
    };
    (1..=3).map(entry).collect()
}
