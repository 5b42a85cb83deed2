//! What the parts cost, in process: cipher, envelope, a body of `/decrypt-all`, the journal, a policy's decision, a delivery to a sink.
//!
//! `cargo bench --profile dist --bench parts`; needs the plugins that `make plugins` builds.

#![expect(clippy::expect_used, clippy::panic, reason = "a benchmark fails loudly")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use origan_codec::audit::journal::{Durability, JournalSettings};
use origan_codec::audit::{Journal, Outcome, Record};
use origan_codec::http::fuzz;
use origan_codec_host::crypto::{Dek, DekCipher, EncryptedValue, Kek, KeyRing, Plaintext};
use origan_codec_host::plugin::cases::{Cases, made_up};
use origan_codec_host::plugin::outside::{Answering, HttpRequest, HttpResponse, Outside, SendError, WriteLinesError};
use origan_codec_host::plugin::{Candidate, Decision, Engines, Entry, Fault, Limits, PluginLog, Query};
use serde_json::json;
use tokio::runtime::Runtime;

/// A password's length.
const VALUE_BYTES: usize = 64;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn cipher(c: &mut Criterion) {
    let cipher = DekCipher::new(&Dek::generate().expect("randomness"));
    let plaintext = Plaintext::new("x".repeat(VALUE_BYTES));
    let sealed = cipher.seal_value(&plaintext).expect("randomness");
    let text = sealed.encode();
    let mut group = c.benchmark_group("crypto");
    group.throughput(Throughput::Bytes(VALUE_BYTES as u64));
    group.bench_function("seal 64 B", |b| b.iter(|| cipher.seal_value(&plaintext)));
    group.bench_function("open 64 B", |b| b.iter(|| cipher.open_value(sealed.clone(), None)));
    group.bench_function("envelope, encode", |b| b.iter(|| sealed.encode()));
    group.bench_function("envelope, parse", |b| b.iter(|| EncryptedValue::parse(&text)));
    group.finish();
}

fn bodies(c: &mut Criterion) {
    let cipher = DekCipher::new(&Dek::generate().expect("randomness"));
    let mut group = c.benchmark_group("parse /decrypt-all");
    for count in [20, 1_000] {
        let variable = |index: usize| {
            let sealed = cipher.seal_value(&Plaintext::new("x".repeat(VALUE_BYTES))).expect("randomness").encode();
            (
                format!("VARIABLE_{index}"),
                json!({"type": "secret", "encrypted": true, "value": sealed, "keyVersion": 1}),
            )
        };
        let variables: serde_json::Map<_, _> = (0..count).map(variable).collect();
        let body = json!({"projectId": "shop", "deploymentId": "d-1", "variables": variables}).to_string();
        assert!(fuzz::decrypt_all(body.as_bytes()), "it parses");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::from_parameter(count), body.as_bytes(), |b, body| {
            b.iter(|| fuzz::decrypt_all(body));
        });
    }
    group.finish();
}

fn journal(c: &mut Criterion) {
    // Beside the build, because /tmp may be memory.
    let scratch = tempfile::tempdir_in(target()).expect("a folder");
    let ring = Arc::new(KeyRing::new(&Kek::generate().expect("randomness"), &[]).expect("a ring"));
    let runtime = runtime();
    let mut group = c.benchmark_group("journal, append and commit");
    for (name, durability) in [("fsync", Durability::Fsync), ("os", Durability::Os)] {
        let settings = JournalSettings {
            dir: scratch.path().join(name),
            durability,
            deadline: Duration::from_secs(10),
            segment_bytes: 32 << 20,
            queue: 16_384,
        };
        let journal = Journal::open(&settings, &ring).expect("a journal");
        let mut record = Record::of_command("SECRET_DECRYPT", "decrypt-value");
        record.project_id = Some("shop".parse().expect("a project"));
        record.end(Outcome::Allowed, None);
        for at_once in [1, 256] {
            group.throughput(Throughput::Elements(at_once));
            group.bench_function(BenchmarkId::new(name, at_once), |b| {
                b.to_async(&runtime).iter(|| async {
                    let appended = (0..at_once).map(|_| journal.append(&record));
                    for receipt in futures_util::future::join_all(appended).await {
                        receipt.expect("durable");
                    }
                });
            });
        }
        runtime.block_on(journal.close());
    }
    group.finish();
}

fn decisions(c: &mut Criterion) {
    let engines = Arc::new(Engines::new().expect("engines"));
    let runtime = runtime();
    let mut group = c.benchmark_group("one decision");
    for name in ["policy-recency", "policy-access", "policy-window"] {
        let file = root().join("plugins").join(name).join("cases.toml");
        let cases = Cases::parse(&std::fs::read_to_string(file).expect("cases")).expect("cases");
        let example = cases.example().expect("a case");
        let candidate = candidate(name, Limits::policy(), example.settings());
        let policy = runtime.block_on(engines.admit_policy(candidate.clone())).expect("admitted");
        let afresh = runtime.block_on(engines.admit_policy_afresh(&candidate)).expect("admitted");
        assert!(policy.is_snapshotted(), "{name}");
        let mut warm = policy.warm().expect("an instance");
        runtime.block_on(example.with_query(policy.needs(), async |query: &Query<'_>| {
            group.bench_function(BenchmarkId::new(name, "fresh, from the snapshot"), |b| {
                b.iter(|| at_once(policy.evaluate(query)));
            });
            group.bench_function(BenchmarkId::new(name, "fresh, configured for each"), |b| {
                b.iter(|| at_once(afresh.evaluate(query)));
            });
            group.bench_function(BenchmarkId::new(name, "warm"), |b| {
                b.iter(|| warm.evaluate(query).expect("a decision"))
            });
        }));
    }
    group.finish();
}

/// A decision waits for nothing.
fn at_once(decision: impl Future<Output = Result<Decision, Fault>>) -> Decision {
    decision.now_or_never().expect("it waits for nothing").expect("a decision")
}

fn delivery(c: &mut Criterion) {
    let engines = Arc::new(Engines::new().expect("engines"));
    let runtime = runtime();
    let mut group = c.benchmark_group("delivery of a batch");
    for (name, settings) in [("audit-lines", "{}"), ("audit-syslog", r#"{"output":"stdout"}"#)] {
        let candidate = candidate(name, Limits::sink(), settings.to_owned());
        let mut sink =
            runtime.block_on(engines.admit_sink(candidate, Arc::new(Everything), true, true)).expect("admitted");
        for records in [1, 100, 500] {
            let batch: Vec<Entry> = (1..=records).map(made_up).collect();
            group.throughput(Throughput::Elements(batch.len() as u64));
            group.bench_function(BenchmarkId::new(name, batch.len()), |b| {
                b.iter(|| runtime.block_on(sink.write(&batch)).expect("written"));
            });
        }
    }
    group.finish();
}

fn candidate(name: &str, limits: Limits, settings: String) -> Candidate {
    let path = target().join("plugins").join(name).with_extension("wasm");
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}: `make plugins` builds it"));
    let log = PluginLog::kept(name);
    Candidate { name: name.into(), bytes: bytes.into(), pinned: None, settings, limits, wasi: false, log, cases: None }
}

/// A backend that takes everything at once: what is measured is the plugin and the host.
struct Everything;

impl Outside for Everything {
    fn send(&self, _request: HttpRequest) -> Answering<'_, Result<HttpResponse, SendError>> {
        Box::pin(std::future::ready(Ok(HttpResponse { status: 200, headers: Vec::new(), body: Vec::new() })))
    }

    fn write_lines(&self, _output: String, _lines: Vec<String>) -> Answering<'_, Result<(), WriteLinesError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn now_ms(&self) -> u64 {
        0
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn target() -> PathBuf {
    root().join("target")
}

criterion_group!(parts, cipher, bodies, journal, decisions, delivery);
criterion_main!(parts);
