//! The corpus of hostile plugins against the real service, under honest load: the honest answers stay right, and memory stays flat.
//!
//! What each guest does and what must come of it stands at its beginning; `host/tests/hostile.rs` holds the host's library to it.
//! Here it is a policy or a sink of a service that others use at the same time.

#[expect(dead_code, reason = "the host's own tests look at more of it")]
#[path = "hostile/corpus.rs"]
pub mod corpus;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::plugins::replace;
use crate::support::{Client, Codec, Launch, secret};
use corpus::{Guest, Must, World};

/// Bytes by which the service may grow while all of the corpus runs.
const GROWTH_KIB_MAX: u64 = 96 << 10;
/// Why key providers are left to the host's own tests.
const ONE_FOR_LIFE: &str = "a service has one key provider for its life, and what takes its place is proven first";

const HONEST: &str = r#"
# It is not the disk that is tried here.
[audit]
deadline_ms = 30000
[plugins]
default = "allow"
[[policies]]
name = "honest"
path = "honest.wasm"
"#;

/// An honest caller, and how long its answers took.
struct Load {
    ends: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<Vec<Duration>>>,
}

impl Load {
    fn start(codec: &Codec, body: &Value) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let clients = (0..2).map(|_| {
            let (client, body, ends) = (codec.client.keeping_connections(), body.clone(), ends.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                while !ends.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    let answer = client.post("/decrypt-value", body.clone()).await;
                    took.push(started.elapsed());
                    assert_eq!(answer.ok()["value"], secret("honest"), "an honest answer");
                }
                took
            })
        });
        Self { clients: clients.collect(), ends }
    }

    /// The median and the 99th percentile, in milliseconds.
    async fn end(self) -> (usize, f64, f64) {
        self.ends.store(true, Ordering::Relaxed);
        let mut took = Vec::new();
        for client in self.clients {
            took.extend(client.await.expect("every honest answer was right"));
        }
        took.sort_unstable();
        let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        (took.len(), at(0.5), at(0.99))
    }
}

fn resident_kib(codec: &Codec) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", codec.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Lets `guest` in, and waits until the service has made up its mind.
async fn admit(codec: &Codec, guest: &Guest, round: u64) -> Value {
    codec.launch.put_plugin("hostile.wasm", &guest.bytes);
    // A name of its own: under another's, the last good one of that name would stay.
    let name = format!("hostile-{round}");
    let wasi = guest.wasi;
    let (kind, more) = match guest.world {
        World::Policy => ("policies", "projects = [\"attacked\"]\ndeadline_ms = 60"),
        World::Sink => ("sinks", "from = \"now\"\ndeadline_ms = 200"),
        World::Provider if guest.row.starts_with("endless loop") => {
            ("providers", "deadline_ms = 300\nbreaker_failures = 100")
        }
        // By the clock: none of these misses it, however busy the machine is.
        World::Provider => ("providers", "deadline_ms = 5000\nbreaker_failures = 100"),
        World::Key => panic!("{}: {ONE_FOR_LIFE}", guest.name),
    };
    let toml = format!("{HONEST}[[{kind}]]\nname = \"{name}\"\npath = \"hostile.wasm\"\nwasi = {wasi}\n{more}\n");
    replace(&codec.launch.dir.path().join("codec.toml"), toml.as_bytes());
    codec.signal("-HUP");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let plugins = codec.client.get("/status").await.ok()["plugins"].clone();
        let place = match guest.world {
            World::Policy => &plugins["policies"][1],
            World::Sink => &plugins["sinks"][0],
            World::Provider => &plugins["providers"][0],
            World::Key => panic!("{}: {ONE_FOR_LIFE}", guest.name),
        };
        if place["name"] == *name {
            return place.clone();
        }
        assert!(Instant::now() < deadline, "{}: no end of its admission\n{}", guest.name, codec.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Calls that need the guest's secrets: none is given where it does not answer as it should, and each cause has its code.
async fn attack_provider(client: &Client, guest: &Guest, name: &str) {
    let own = json!({"type": "plain", "value": "p"});
    let call = |variables: Value| {
        client.post("/decrypt-all", json!({"projectId": "shop", "deploymentId": "d", "variables": variables}))
    };
    for reference in ["a#x", "b#x"] {
        let far = json!({"type": "external", "provider": name, "ref": reference});
        let answer = call(json!({"FAR": far, "FAR_TOO": {"type": "external", "provider": name, "ref": "c"}})).await;
        let [must] = &*guest.must else { panic!("{}: one thing must come of it", guest.name) };
        let expected = match must {
            Must::Answer(wanted) => match wanted.as_str() {
                "found" => (200, ""),
                "timeout" => (503, "provider_unavailable"),
                _ => (502, "provider_answer_invalid"),
            },
            Must::Refused(_) | Must::ConfigureFault(_) => (503, "provider_unavailable"),
        };
        assert_eq!(answer.problem(), (expected.0, expected.1.to_owned()), "{}: {}", guest.name, answer.text);
        if expected.0 == 200 {
            assert_eq!(answer.json(), json!({"FAR": "honest", "FAR_TOO": "honest"}), "{}", guest.name);
        }
    }
    call(json!({"OWN": own})).await.ok();
}

/// Calls that the guest decides on, carries away, or finds secrets for.
async fn attack(client: &Client, guest: &Guest, name: &str) {
    if guest.world == World::Provider {
        return attack_provider(client, guest, name).await;
    }
    for _ in 0..2 {
        let project = if guest.world == World::Policy { "attacked" } else { "shop" };
        let answer = client.post("/encrypt", json!({"projectId": project, "value": "v"})).await;
        let code = answer.json()["policyCode"].as_str().unwrap_or("").to_owned();
        if guest.world == World::Sink {
            // A sink that nobody requires never holds up an answer.
            answer.ok();
            continue;
        }
        // Where several things may come of it, the host's own test says which.
        let [must] = &*guest.must else { continue };
        let expected = match must {
            Must::Answer(wanted) => match wanted.as_str() {
                "allow" | "abstain" => String::new(),
                wanted if wanted.starts_with("deny ") => wanted.trim_start_matches("deny ").to_owned(),
                fault => format!("policy-{fault}"),
            },
            Must::Refused(_) | Must::ConfigureFault(_) => "policy-not-loaded".to_owned(),
        };
        // Some need nearly all of the deadline, and the machine is shared.
        let is_late = guest.slow && code == "policy-timeout";
        assert!(code == expected || is_late, "{}: {expected:?}, not {}", guest.name, answer.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_survives_the_whole_corpus_under_honest_load() {
    let launch = Launch::new().toml(HONEST);
    launch.put_plugin("honest.wasm", &corpus::honest_policy());
    let codec = launch.start().await;
    let sealed = codec.client.encrypt("shop", &secret("honest")).await;
    let body = json!({"projectId": "shop", "encryptedDEK": sealed["encryptedDEK"], "encrypted": sealed["encrypted"]});
    let mut guests = corpus::all();
    guests.retain(|guest| guest.world != World::Key);
    assert!(guests.len() > 100, "the corpus is somewhere else");

    let quiet = Load::start(&codec, &body);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let quiet = quiet.end().await;

    let load = Load::start(&codec, &body);
    let mut before_kib = 0;
    let mut round = 0;
    for (index, guest) in guests.iter().enumerate() {
        round += 1;
        let place = admit(&codec, guest, round).await;
        let is_refused = guest.must.iter().all(|must| !matches!(must, Must::Answer(_)));
        if is_refused {
            assert_eq!(place["live"], false, "{}: {place}", guest.name);
            assert!(place["errorCode"].is_string(), "{}: {place}", guest.name);
        }
        attack(&codec.client, guest, &format!("hostile-{round}")).await;
        // After a while, so that caches and pools are filled.
        if index == guests.len() / 8 {
            before_kib = resident_kib(&codec);
        }
    }
    let after_kib = resident_kib(&codec);
    let attacked = load.end().await;
    eprintln!("honest answers, debug build: count, median ms, p99 ms");
    eprintln!("  alone            {:6} {:8.2} {:8.2}", quiet.0, quiet.1, quiet.2);
    eprintln!("  beside {:4} guests {:5} {:8.2} {:8.2}", guests.len(), attacked.0, attacked.1, attacked.2);
    eprintln!("  resident: {before_kib} KiB, at the end {after_kib} KiB");
    assert!(after_kib < before_kib + GROWTH_KIB_MAX, "{before_kib} KiB grew to {after_kib} KiB");
    let panics: Vec<String> =
        codec.log().lines().filter(|line| line.starts_with("thread '")).map(str::to_owned).collect();
    // A library of the compiler's may panic on its own thread, which refuses the guest; nothing of ours does.
    assert!(!panics.iter().any(|line| line.contains("panicked at src") || line.contains("host/src")), "{panics:?}");
    codec.verify(&[]);
}

/// As `tests/hostile/README.md` tells others to: the whole corpus as files, with a table of what must come of each.
#[test]
fn others_get_the_corpus_as_files_with_a_table() {
    let example = std::path::Path::new(env!("CARGO_BIN_EXE_codec")).with_file_name("examples/hostile");
    assert!(example.exists(), "run the tests with `make test`");
    let out = tempfile::TempDir::new().expect("a folder");
    let output = std::process::Command::new(example).arg(out.path()).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = std::fs::read_to_string(out.path().join("table.tsv")).expect("a table");
    let lines: Vec<&str> = table.lines().skip(1).collect();
    let guests = corpus::all();
    assert_eq!(lines.len(), guests.len());
    for (line, guest) in lines.iter().zip(&guests) {
        let file = line.split('\t').next().expect("a file");
        assert_eq!(std::fs::read(out.path().join(file)).expect("a guest"), guest.bytes, "{file}");
    }
    for world in ["policy", "sink", "provider", "key"] {
        assert!(out.path().join(format!("honest-{world}.wasm")).exists(), "{world}");
    }
}
