//! What hostile guests do to the host: nothing. The guests are those of `tests/hostile/`; each says itself what must come of it.
//!
//! After each one an honest policy must still decide, an honest sink take a batch, and an honest provider find secrets, on the same engines.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "tests")]

#[path = "../../tests/hostile/corpus.rs"]
mod corpus;
#[path = "hostile/egress.rs"]
mod egress;
#[path = "hostile/memory.rs"]
mod memory;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use corpus::{Guest, Must, World};
use origan_codec_host::plugin::outside::outputs::Framing;
use origan_codec_host::plugin::outside::{Egress, EgressLimits, Granted, OriginGrant, Output, OutputTarget};
use origan_codec_host::plugin::{
    AdmissionError, Caller, Candidate, Decision, DeploymentFact, Engines, Entry, Limits, PluginLog, PolicyPlugin,
    Query, SecretProvider, SecretReference, Sha256Digest, SinkPlugin, WriteOutcome,
};

/// Longest that any step may last, on a machine that is busy with other things: far beyond every deadline below.
const STEP_MAX: Duration = Duration::from_secs(30);
const SLOW_STEP_MAX: Duration = Duration::from_secs(120);
/// Calls of each, and of one that may answer now this, now that.
const CALLS: usize = 3;
const CALLS_OF_FICKLE: usize = 12;
/// Rounds of a guest after which memory is looked at, the first few left out: allocators keep something back.
const ROUNDS_BEFORE: usize = 2;
const ROUNDS: usize = 6;
const GROWTH_MAX_BYTES: usize = 64 << 20;

/// Assembling it takes seconds.
static CORPUS: LazyLock<Vec<Guest>> = LazyLock::new(corpus::all);
/// Their memory is measured: one at a time.
static TURN: LazyLock<tokio::sync::Mutex<()>> = LazyLock::new(tokio::sync::Mutex::default);

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_of_any_kind_ends_that_call_and_nothing_else() {
    run_row("trap, divide by zero").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_anywhere_ends_at_the_deadline() {
    run_row("endless loop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_ever_in_an_import_ends_by_the_wall_clock() {
    run_row("waiting for ever").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_of_anything_is_refused_at_its_cap() {
    run_row("memory to 4 GiB").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_answer_is_a_fault_and_never_a_decision() {
    run_row("a bad answer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_from_one_decision_to_the_next() {
    run_row("state kept").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_plugin_of_this_world_is_refused_and_told_why() {
    run_row("wrong world").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compile_bomb_is_refused_before_it_is_compiled() {
    run_row("a compile bomb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_reaches_nothing_that_is_not_granted() {
    run_row("egress").await;
}

/// What is compiled, at the caps: seconds each, so only when asked for.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute or two"]
async fn what_is_just_within_the_caps_compiles_in_the_end() {
    let _turn = TURN.lock().await;
    let host = Host::new().await;
    for guest in CORPUS.iter().filter(|guest| guest.slow) {
        host.run(guest).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_however_often_they_run() {
    let _turn = TURN.lock().await;
    let host = Host::new().await;
    let mut grown = Vec::new();
    for guest in CORPUS.iter().filter(|guest| guest.flat) {
        for _ in 0..ROUNDS_BEFORE {
            host.run(guest).await;
        }
        let before = resident_bytes();
        for _ in 0..ROUNDS {
            host.run(guest).await;
        }
        let growth = resident_bytes().saturating_sub(before);
        if growth > GROWTH_MAX_BYTES {
            grown.push(format!("{}: {} MiB", guest.name, growth >> 20));
        }
    }
    assert!(grown.is_empty(), "{grown:#?}");
}

/// A memory of one guest full of ones, then one that looks for them.
#[tokio::test(flavor = "multi_thread")]
async fn no_guest_finds_what_another_left_in_its_memory() {
    let _turn = TURN.lock().await;
    let host = Host::new().await;
    let find = |name: &str| CORPUS.iter().find(|guest| guest.name == name).expect("in the corpus");
    for _ in 0..ROUNDS {
        host.run(find("policy/memory-touched")).await;
        host.run(find("policy/memory-in-configure")).await;
        host.run(find("policy/state-of-others")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_decisions_stay_right_beside_hostile_ones() {
    let _turn = TURN.lock().await;
    let host = Host::new().await;
    let over = Arc::new(AtomicBool::new(false));
    let mut attacks = Vec::new();
    for name in ["loop-in-evaluate", "memory-touched", "reason-60-mib", "trap-stack-overflow", "log-flood"] {
        let guest = CORPUS.iter().find(|guest| guest.name == format!("policy/{name}")).expect("in the corpus");
        let candidate = candidate(name, guest.bytes.clone(), Limits::policy(), host.silent);
        let plugin = host.engines.admit_policy(candidate).await.expect("admitted");
        let over = over.clone();
        attacks.push(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let mut calls = 0;
            while calls == 0 || !over.load(Ordering::Relaxed) {
                let outcome = runtime.block_on(plugin.evaluate(&query()));
                assert_ne!(outcome, Ok(Decision::Allow));
                calls += 1;
            }
        }));
    }
    for _ in 0..2_000 {
        assert_eq!(host.honest_policy.evaluate(&query()).await, Ok(Decision::Allow));
    }
    over.store(true, Ordering::Relaxed);
    for attack in attacks {
        attack.join().expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_imports_what_is_not_granted_is_refused_at_load() {
    let _turn = TURN.lock().await;
    let host = Host::new().await;
    for (http, lines, import) in [(false, true, "origan:codec/http@0.1.0"), (true, false, "origan:codec/lines@0.1.0")] {
        let candidate = candidate("sink", corpus::honest_sink(), Limits::sink(), host.silent);
        let outcome = host.engines.admit_sink(candidate, Arc::new(granted(host.silent)), http, lines).await;
        let error = outcome.err().expect("refused");
        assert_eq!(error.code(), "import-not-granted");
        assert!(error.to_string().contains(import), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_other_than_the_pinned_one_is_refused() {
    let _turn = TURN.lock().await;
    let host = Host::new().await;
    let pinned = Some(Sha256Digest::of(&corpus::honest_policy()));
    let admit = async |bytes: Vec<u8>| {
        let candidate = Candidate { pinned, ..candidate("pinned", bytes, Limits::policy(), host.silent) };
        host.engines.admit_policy(candidate).await
    };
    assert!(admit(corpus::honest_policy()).await.is_ok());
    // An empty custom section changes nothing that is run.
    let other = [corpus::honest_policy(), vec![0, 1, 0]].concat();
    assert_eq!(admit(other).await.err().expect("refused").code(), "digest-mismatch");
}

#[test]
fn every_guest_is_run_by_a_test_and_told_of_in_the_readme() {
    let rows = [
        "trap, divide by zero",
        "endless loop",
        "waiting for ever",
        "memory to 4 GiB",
        "a bad answer",
        "state kept",
        "wrong world",
        "a compile bomb",
        "egress",
    ];
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/hostile/README.md"));
    let readme = readme.expect("a README");
    for guest in CORPUS.iter() {
        assert!(rows.iter().any(|row| guest.row.starts_with(row)), "{}: no test runs `{}`", guest.name, guest.row);
        let stem = guest.name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        assert!(readme.contains(&guest.name) || readme.contains(&format!("{stem}-*")), "README: {}", guest.name);
    }
}

/// Runs all guests of a row of the table of faults.
async fn run_row(row: &str) {
    let _turn = TURN.lock().await;
    let host = Host::new().await;
    let guests: Vec<&Guest> = CORPUS.iter().filter(|guest| guest.row.starts_with(row) && !guest.slow).collect();
    assert!(!guests.is_empty(), "{row}");
    for guest in guests {
        host.run(guest).await;
    }
}

/// The engines, an honest plugin of each kind, and a peer that takes connections and says nothing.
struct Host {
    engines: Arc<Engines>,
    honest_policy: PolicyPlugin,
    honest_sink: tokio::sync::Mutex<SinkPlugin>,
    honest_provider: SecretProvider,
    silent: std::net::SocketAddr,
}

impl Host {
    async fn new() -> Self {
        let engines = Arc::new(Engines::new().expect("engines"));
        let silent = egress::silent_peer().await;
        // One that decides by its settings: had it lost them, it would abstain.
        let honest = CORPUS.iter().find(|guest| guest.name == "policy/state-of-configure").expect("in the corpus");
        let honest = candidate("honest", honest.bytes.clone(), Limits::policy(), silent);
        let honest_policy = engines.admit_policy(honest).await.expect("admitted");
        let honest = candidate("honest", corpus::honest_sink(), Limits::sink(), silent);
        let honest_sink = engines.admit_sink(honest, Arc::new(granted(silent)), true, true).await.expect("admitted");
        let honest = candidate("honest", corpus::honest_provider(), Limits::secret_provider(), silent);
        let outside = Arc::new(granted(silent));
        let honest_provider = engines.admit_secret_provider(honest, outside, true).await.expect("admitted");
        Self { engines, honest_policy, honest_sink: honest_sink.into(), honest_provider, silent }
    }

    /// Runs `guest` and holds it to what must come of it; then looks whether the host is unharmed.
    async fn run(&self, guest: &Guest) {
        let name = &guest.name;
        let began = Instant::now();
        match guest.world {
            World::Policy => self.run_policy(guest).await,
            World::Sink => self.run_sink(guest).await,
            World::Provider => self.run_provider(guest).await,
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
        let candidate = candidate(&guest.name, guest.bytes.clone(), sink_limits(), self.silent);
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
            assert!(plugin.memory_bytes() <= sink_limits().memory_bytes);
        }
    }
}

impl Host {
    async fn run_provider(&self, guest: &Guest) {
        let candidate = candidate(&guest.name, guest.bytes.clone(), sink_limits(), self.silent);
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
        }
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

fn sink_limits() -> Limits {
    Limits {
        compile_deadline: Duration::from_secs(20),
        configure_deadline: Duration::from_millis(150),
        call_deadline: Duration::from_millis(400),
        compute_deadline: Duration::from_millis(100),
        ..Limits::sink()
    }
}

fn candidate(name: &str, bytes: Vec<u8>, limits: Limits, silent: std::net::SocketAddr) -> Candidate {
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
fn granted(silent: std::net::SocketAddr) -> Granted {
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

fn query() -> Query<'static> {
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

fn batch() -> Vec<Entry> {
    let entry = |seq| Entry {
        chain: "00000000000000aa".into(),
        seq,
        time: 1_767_268_800_000,
        line: "{\"v\":1}".into(),
        hash: "0".repeat(64),
    };
    (1..=3).map(entry).collect()
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line for it");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}
