//! Sinks that are down, slow, refused or garbled: what is required refuses at its deadline and then at once, what is optional holds up
//! nobody, and no record is lost.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::collector::{Collector, Fault, Kind, Reply};
use crate::support::haproxy::HaProxy;
use crate::support::plugins::{assert_at_least_once, assert_same, component, lines};
use crate::support::{Answer, Codec, Launch};

/// A sink into a file, beside the one that fails.
const BESIDE: &str = r#"
[[outputs]]
name = "file"
to = "file:beside.jsonl"
[[sinks]]
name = "beside"
path = "audit-lines.wasm"
lines = ["file"]
settings = { output = "file" }
"#;

/// `audit-http`, as lines of JSON.
fn http(origin: &str, path: &str, more: &str) -> String {
    format!(
        "[[sinks]]\nname = \"siem\"\npath = \"audit-http.wasm\"\n{more}\n\
         http = [{{ origin = \"{origin}\", addresses = [\"127.0.0.1/32\"] }}]\nsettings = {{ url = \"{origin}{path}\" }}\n"
    )
}

async fn call(codec: &Codec) -> (Answer, Duration) {
    let started = Instant::now();
    let answer = codec.client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await;
    (answer, started.elapsed())
}

async fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "not so in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn seq(receipt: &str) -> u64 {
    receipt.split(':').nth(1).and_then(|seq| seq.parse().ok()).expect("a receipt")
}

fn seq_of(line: &str) -> u64 {
    serde_json::from_str::<Value>(line).expect("JSON")["seq"].as_u64().expect("a number")
}

fn beside(codec: &Codec) -> Vec<String> {
    lines(&codec.launch.output("beside.jsonl"))
}

#[tokio::test]
async fn an_answer_waits_for_its_record_at_the_required_sink_and_is_refused_at_the_deadline_and_then_at_once() {
    let server = Collector::start(Kind::NdJson).await;
    let front = HaProxy::start(&server.address.to_string(), None).await;
    let toml = |required: bool| {
        let siem = http(&format!("http://{}", front.address), server.path(), &format!("required = {required}"));
        format!("[audit]\ndeadline_ms = 5000\n{siem}{BESIDE}")
    };
    let mut codec = Launch::new().with_plugins().toml(&toml(true)).start().await;
    for _ in 0..5 {
        let (answer, _) = call(&codec).await;
        answer.ok();
        let (taken, seq) = (server.taken(), seq(answer.receipt()));
        assert!(taken.iter().any(|line| seq_of(line) == seq), "answered before the sink had it");
    }
    server.delay(Duration::from_millis(200));
    let (answer, took) = call(&codec).await;
    answer.ok();
    assert!(took >= Duration::from_millis(200), "{took:?}");
    server.delay(Duration::ZERO);

    front.passes(false);
    let (answer, took) = call(&codec).await;
    answer.refused(503, "audit_unavailable");
    assert!(answer.header("x-audit-receipt").is_none());
    assert!(took >= Duration::from_millis(4_950), "it waits to its deadline: {took:?}");
    assert!(took < Duration::from_secs(30), "and no longer: {took:?}");
    // The breaker opens, and nobody is made to wait.
    let sink = codec.until_sink("siem", "the breaker opens", |sink| sink["breaker"] == "open").await;
    assert!(sink["lastFailure"].is_string() && sink["lagRecords"].as_u64() > Some(0), "{sink}");
    for _ in 0..10 {
        let (answer, took) = call(&codec).await;
        answer.refused(503, "audit_unavailable");
        assert!(took < Duration::from_millis(2_500), "it is refused at once: {took:?}");
    }
    // Its disk is well, and another replica would fare no better.
    assert_eq!(codec.client.get("/readyz").await.status, 200);
    assert_eq!(codec.client.get("/status").await.ok()["audit"]["failing"], false);
    // Other sinks go on; what was refused stands in the trail as such.
    let refused = || beside(&codec).iter().filter(|line| line.contains("\"reason\":\"audit_unavailable\"")).count();
    until(|| refused() == 10).await;

    // Made optional by an edit, it holds up nobody, though it is as dead as before; made required, it does again.
    codec.reconfigure(&toml(false)).await;
    codec.calls(20).await;
    codec.reconfigure(&toml(true)).await;
    call(&codec).await.0.refused(503, "audit_unavailable");

    // It mends itself.
    front.passes(true);
    codec.until_sink("siem", "the breaker closes", |sink| sink["breaker"] == "closed" && sink["lagRecords"] == 0).await;
    codec.calls(5).await;
    assert_eq!(codec.terminate().await, 0);
    let journal = codec.launch.journal_lines();
    assert_same(&server.taken(), &journal);
    assert_same(&beside(&codec), &journal);
}

#[tokio::test]
async fn a_required_sink_that_hangs_or_answers_garbage_or_a_redirect_refuses_and_then_mends() {
    let server = Collector::start(Kind::NdJson).await;
    let toml = http(&server.origin(), server.path(), "required = true\ndeadline_ms = 4000");
    let mut codec = Launch::new().with_plugins().toml(&toml).start().await;
    call(&codec).await.0.ok();
    let redirect = Reply::new(307, "").with("Location", format!("{}/elsewhere", server.origin()));
    let garbage = Reply::new(404, "\u{1b}[31m<html>\n".repeat(1_000));
    for (case, logged, down) in [("a redirect", "HTTP 307", redirect), ("garbage", "HTTP 404", garbage)] {
        server.down(Some(down));
        call(&codec).await.0.refused(503, "audit_unavailable");
        codec.until_logged(logged).await;
        server.down(None);
        codec.until_carried("siem").await;
        assert_eq!(call(&codec).await.0.status, 200, "{case}");
    }
    assert!(!codec.log().contains('\u{1b}'), "what a server says is escaped");
    server.delay(Duration::from_secs(60));
    let (answer, took) = call(&codec).await;
    answer.refused(503, "audit_unavailable");
    assert!(took < Duration::from_secs(30), "{took:?}");
    codec.until_logged("no whole answer in time").await;
    server.delay(Duration::ZERO);
    codec.until_carried("siem").await;
    call(&codec).await.0.ok();
    assert_eq!(codec.terminate().await, 0);
    assert_at_least_once(&server.taken(), &codec.launch.journal_lines());
}

#[tokio::test]
async fn a_required_sink_that_cannot_be_loaded_refuses_every_audited_call_until_the_right_file_is_there() {
    let launch = Launch::new()
        .toml("[audit]\ndeadline_ms = 60000")
        .toml(&BESIDE.replace("[[sinks]]", "[[sinks]]\nrequired = true"));
    launch.put_plugin("audit-lines.wasm", b"\0asm\x0d\0\x01\0");
    let mut codec = launch.start_unready().await;
    codec.until_sink("beside", "it is there and does not run", |sink| sink["errorCode"].is_string()).await;
    let requests = [
        ("/encrypt", json!({"projectId": "shop", "value": "v"})),
        ("/generate-dek", json!({"projectId": "shop"})),
        ("/decrypt-dek", json!({"projectId": "shop", "encryptedDEK": "A".repeat(64)})),
        ("/decrypt-all", json!({"projectId": "shop", "deploymentId": "d", "variables": {}})),
    ];
    for (path, body) in requests {
        let started = Instant::now();
        codec.client.post(path, body).await.refused(503, "audit_unavailable");
        assert!(started.elapsed() < Duration::from_secs(30), "{path}: at once");
    }
    // Where replicas are replaced one after the other, this one takes nobody's place.
    codec.client.get("/readyz").await.refused(503, "not_ready");
    codec.launch.put_plugin("audit-lines.wasm", &component("audit-lines"));
    codec.until_sink("beside", "it runs", |sink| sink["live"] == true).await;
    codec.until_ready().await;
    codec.calls(5).await;
    assert_eq!(codec.terminate().await, 0);
    assert_same(&beside(&codec), &codec.launch.journal_lines());
}

#[tokio::test]
async fn a_file_that_breaks_off_lets_no_required_sink_go_and_one_that_says_so_does() {
    let whole = format!("{BESIDE}required = true\n");
    let (before_it, _) = BESIDE.split_once("[[sinks]]").expect("a sink");
    let optional = BESIDE.replace("\"beside\"", "\"optional\"") + "required = false\n";
    let mut codec = Launch::new().with_plugins().toml(&whole).start().await;
    for (case, cut) in [
        ("in the middle of it", BESIDE),
        ("before it", before_it),
        ("at the beginning", ""),
        ("where another is said to be optional", &*optional),
    ] {
        let plugins = codec.reconfigure(cut).await;
        let error = plugins["configError"].as_str().unwrap_or_default();
        assert!(error.contains("`required = false` for `beside`"), "{case}: {plugins:#}");
        assert_eq!((&plugins["sinks"][0]["live"], &plugins["sinks"][0]["required"]), (&json!(true), &json!(true)));
        codec.reconfigure(&whole).await;
        codec.until_plugins("it is whole again", |plugins| plugins["configError"].is_null()).await;
    }
    // Another one in its place; then none, in two steps.
    let another = whole.replace("\"beside\"", "\"another\"");
    let said = another.replace("required = true", "required = false");
    for (toml, sinks) in
        [(&*another, json!([["another", true]])), (&*said, json!([["another", false]])), (before_it, json!([]))]
    {
        let plugins = codec.reconfigure(toml).await;
        assert!(plugins["configError"].is_null(), "{plugins:#}");
        let found = plugins["sinks"].as_array().cloned().unwrap_or_default();
        let found: Vec<Value> = found.iter().map(|sink| json!([sink["name"], sink["required"]])).collect();
        assert_eq!(json!(found), sinks, "{plugins:#}");
    }
    codec.calls(1).await;
}

#[tokio::test]
async fn an_optional_sink_that_is_down_for_a_while_costs_no_request_no_memory_and_no_record() {
    let server = Collector::start(Kind::NdJson).await;
    let front = HaProxy::start(&server.address.to_string(), None).await;
    let siem = http(&format!("http://{}", front.address), server.path(), "batch_records = 100");
    let mut codec = Launch::new().with_plugins().toml(&format!("{siem}{BESIDE}")).start().await;
    codec.calls(50).await;
    codec.until_carried("siem").await;
    front.passes(false);
    codec.calls(100).await;
    let before = codec.resident_kb();
    codec.calls(900).await;
    let grown = codec.resident_kb().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KB for records that the journal holds");
    let sink = codec.sink("siem").await;
    assert!(sink["lagRecords"].as_u64() >= Some(1_000), "{sink}");
    codec.until_carried("beside").await;
    front.passes(true);
    codec.until_carried("siem").await;
    assert_eq!(codec.terminate().await, 0);
    let journal = codec.launch.journal_lines();
    assert_same(&server.taken(), &journal);
    assert_same(&beside(&codec), &journal);
}

#[tokio::test]
async fn an_optional_sink_that_is_down_at_the_end_has_its_records_after_the_next_start() {
    let server = Collector::start(Kind::NdJson).await;
    let toml = http(&server.origin(), server.path(), "");
    let mut codec = Launch::new().with_plugins().toml(&toml).start().await;
    codec.calls(5).await;
    codec.until_carried("siem").await;
    server.down(Some(Reply::new(503, "")));
    codec.calls(20).await;
    let ending = Instant::now();
    assert_eq!(codec.terminate().await, 0);
    assert!(ending.elapsed() < Duration::from_secs(10), "{:?}", ending.elapsed());
    server.down(None);
    let mut codec = codec.launch.clone().start().await;
    codec.until_carried("siem").await;
    assert_eq!(codec.terminate().await, 0);
    assert_same(&server.taken(), &codec.launch.journal_lines());
}

#[tokio::test]
async fn a_slow_sink_slows_neither_requests_nor_another_sink() {
    let server = Collector::start(Kind::NdJson).await;
    let siem = http(&server.origin(), server.path(), "batch_records = 5");
    let mut codec = Launch::new().with_plugins().toml(&format!("{siem}{BESIDE}")).start().await;
    codec.calls(5).await;
    codec.until_carried("siem").await;
    server.delay(Duration::from_secs(2));
    let mut times = Vec::new();
    for _ in 0..40 {
        let (answer, took) = call(&codec).await;
        answer.ok();
        times.push(took);
    }
    times.sort();
    assert!(times[20] < Duration::from_millis(400), "{times:?}");
    codec.until_carried("beside").await;
    let slow = codec.sink("siem").await;
    assert!(slow["lagRecords"].as_u64() > Some(20), "{slow}");
    server.delay(Duration::ZERO);
    codec.until_carried("siem").await;
    assert_eq!(codec.terminate().await, 0);
    assert_same(&server.taken(), &codec.launch.journal_lines());
}

#[tokio::test]
async fn a_record_that_the_collector_never_takes_is_told_and_alone_is_left_out_and_no_answer_is_given_that_requires_it()
{
    let server = Collector::start(Kind::NdJson).await;
    let toml = |required: bool| http(&server.origin(), server.path(), &format!("required = {required}"));
    let mut codec = Launch::new().with_plugins().toml(&toml(false)).start().await;
    codec.calls(3).await;
    codec.until_carried("siem").await;
    let unknown = || Fault::Refuse(Reply::new(422, "a field that I know otherwise"));
    server.fault(unknown());
    codec.calls(1).await;
    // Counted a moment before its place moves on.
    let left_out = |sink: &Value| sink["rejected"] == 1 && sink["lagRecords"] == 0;
    let sink = codec.until_sink("siem", "it is rejected", left_out).await;
    let first = sink["ackedSeq"].as_u64().expect("a number");
    codec.reconfigure(&toml(true)).await;
    codec.calls(3).await;
    server.fault(unknown());
    call(&codec).await.0.refused(503, "audit_unavailable");
    let second = codec.sink("siem").await["ackedSeq"].as_u64().expect("a number");
    codec.calls(3).await;
    assert_eq!(codec.terminate().await, 0);
    assert!(codec.log().contains("a field that I know otherwise"), "{}", codec.log());
    let journal = codec.launch.journal_lines();
    let left_out = [first, second];
    let rest: Vec<String> = journal.iter().filter(|line| !left_out.contains(&seq_of(line))).cloned().collect();
    assert_eq!(rest.len() + 2, journal.len());
    assert_same(&server.taken(), &rest);
}
