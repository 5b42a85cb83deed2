//! What hostile guests do to the host: nothing. The guests are those of `tests/hostile/`; each says itself what must come of it.
//!
//! After each one an honest policy must still decide, an honest sink take a batch, an honest provider find secrets, and an honest key
//! provider unwrap what it wraps, on the same engines.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "tests")]

#[path = "../../tests/hostile/corpus.rs"]
mod corpus;
#[path = "hostile/egress.rs"]
mod egress;
#[path = "hostile/host.rs"]
mod host;
#[path = "hostile/memory.rs"]
mod memory;
#[path = "hostile/server.rs"]
mod server;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use corpus::Guest;
use host::{Host, candidate, granted, query};
use origan_codec_host::plugin::{Candidate, Decision, Limits, Sha256Digest};

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

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line for it");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}
