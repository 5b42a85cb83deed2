//! Plugins are compiled in a process of their own: without secrets, confined, and ended when it takes too long.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::plugins::{component, replace};
use crate::support::{Codec, Launch, proc};

const PATIENCE: Duration = Duration::from_secs(20);

/// A policy in Python: its interpreter takes seconds to compile.
fn slow(launch: Launch) -> Launch {
    launch.put_plugin("slow.wasm", &component("policy-recency-py"));
    launch
}

fn toml(deadline_ms: u32) -> String {
    format!(
        "[[policies]]\nname = \"slow\"\npath = \"slow.wasm\"\nsettings = {{ max_age = \"24h\" }}\n\
         compile_deadline_ms = {deadline_ms}\n"
    )
}

/// The processes that `codec` has started and not seen the end of.
fn children(codec: &Codec) -> Vec<PathBuf> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", codec.pid())).expect("it runs");
    let of = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let pids: Vec<String> = threads.flatten().map(of).collect();
    pids.iter().flat_map(|pids| pids.split_whitespace()).map(|pid| PathBuf::from("/proc").join(pid)).collect()
}

fn follow(codec: &Codec, toml: &str) {
    replace(&codec.launch.dir.path().join("codec.toml"), toml.as_bytes());
    codec.signal("-HUP");
}

/// Whether a compiler is past its own start. Before, it may be a copy of the service still, whose thread waits for it to be more.
fn is_confined(compiler: &Path) -> bool {
    std::fs::read_to_string(compiler.join("limits")).is_ok_and(|limits| limit(&limits, "Max open files") == ["0", "0"])
}

/// The soft and the hard limit of that name, from `limits` in `/proc`.
fn limit<'a>(limits: &'a str, name: &str) -> Vec<&'a str> {
    let columns = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    columns.split_whitespace().take(2).collect()
}

async fn until_it_compiles(codec: &Codec) -> PathBuf {
    let start = Instant::now();
    loop {
        if let Some(child) = children(codec).into_iter().find(|child| is_confined(child)) {
            return child;
        }
        assert!(start.elapsed() < PATIENCE, "no compiler was seen:\n{}", codec.log());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn assert_gone(processes: &[PathBuf]) {
    let start = Instant::now();
    while let Some(left) = processes.iter().find(|process| process.exists()) {
        assert!(start.elapsed() < PATIENCE, "{} is still there", left.display());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn error_of(plugins: &Value) -> &str {
    plugins["policies"][0]["errorCode"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_compiler_has_no_secret_and_can_open_nothing() {
    let launch = slow(Launch::new());
    let codec = launch.toml(&toml(60_000)).start_unready().await;
    let compiler = until_it_compiles(&codec).await;
    let read = |name: &str| std::fs::read_to_string(compiler.join(name)).expect("it compiles");
    assert_eq!(read("environ"), "");
    assert_eq!(std::fs::read_link(compiler.join("cwd")).expect("a folder"), PathBuf::from("/"));
    let limits = read("limits");
    for name in ["Max open files", "Max file size", "Max core file size"] {
        assert_eq!(limit(&limits, name), ["0", "0"], "{name}");
    }
    // The allocator's threads too, which are there before ours.
    let threads: Vec<_> = std::fs::read_dir(compiler.join("task")).expect("it runs").flatten().collect();
    assert!(threads.len() > 1, "{threads:?}");
    for thread in threads {
        // One that has ended since has opened nothing.
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or("NoNewPrivs:\t1".to_owned());
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
    let open = |process: &Path| -> BTreeSet<(OsString, PathBuf)> {
        let open = std::fs::read_dir(process.join("fd")).expect("it runs").flatten();
        open.filter_map(|entry| Some((entry.file_name(), std::fs::read_link(entry.path()).ok()?))).collect()
    };
    // What whoever started the tests has left open is passed on to every process.
    let here = open(Path::new("/proc/self"));
    let own: Vec<_> = open(&compiler).difference(&here).cloned().collect();
    assert_eq!(own.len(), 3, "{own:?}");
    assert!(own.iter().all(|(_, target)| target.to_string_lossy().starts_with("pipe:")), "{own:?}");
    // It lets those who serve go first.
    assert_eq!(proc::niceness(&proc::behind_name(&compiler)), "5");
}

#[tokio::test]
async fn a_compiler_that_dies_takes_nothing_along_and_is_tried_again() {
    let mut codec = slow(Launch::new()).start().await;
    follow(&codec, &toml(60_000));
    // One that lives on spare time may be replaced just then.
    let mut plugins = codec.plugins().await;
    while error_of(&plugins) != "compiler" {
        let compiler = until_it_compiles(&codec).await;
        let _ = Command::new("kill").arg("-KILL").arg(compiler.file_name().expect("a pid")).status().expect("kill");
        assert_gone(&[compiler]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        plugins = codec.plugins().await;
    }
    assert!(plugins["policies"][0]["error"].as_str().expect("words").contains("signal: 9"), "{plugins:#}");
    // It never went live, so it denies; the service itself goes on.
    assert_eq!(codec.client.get("/readyz").await.status, 200);
    let body = json!({"projectId": "shop", "value": "v"});
    codec.client.post("/encrypt", body).await.refused(403, "denied");
    // By itself.
    until_it_compiles(&codec).await;
    // Nobody is left behind when the service ends.
    let left = children(&codec);
    assert_eq!(codec.terminate().await, 0);
    assert_gone(&left).await;
}

/// How the kernel runs a compiler: its niceness, and how it is scheduled.
const ON_SPARE_TIME: [&str; 2] = ["19", "5"];
const ON_ITS_OWN: [&str; 2] = ["5", "0"];

fn runs_like(process_or_thread: &Path, how: [&str; 2]) -> bool {
    let stat = proc::behind_name(process_or_thread);
    [proc::niceness(&stat), proc::policy(&stat)] == how
}

#[tokio::test]
async fn while_there_are_requests_admissions_live_on_spare_time_and_are_begun_anew_where_there_is_none() {
    let codec = slow(Launch::new()).start().await;
    follow(&codec, &toml(60_000));
    let mut lived_on_spare_time = false;
    let start = Instant::now();
    loop {
        let compilers = children(&codec);
        let stopped = |compiler: &&PathBuf| is_confined(compiler) && runs_like(compiler, ON_SPARE_TIME);
        for compiler in compilers.iter().filter(stopped) {
            // Stopped, it gets as little as if others wanted all there is. If they do, it may be gone already, or has never been there.
            let _ = Command::new("kill").arg("-STOP").arg(compiler.file_name().expect("a pid")).status().expect("kill");
        }
        lived_on_spare_time |=
            proc::threads_named(codec.pid(), "plugin-admission").iter().any(|thread| runs_like(thread, ON_SPARE_TIME));
        if compilers.iter().any(|compiler| runs_like(compiler, ON_ITS_OWN)) {
            break;
        }
        assert!(start.elapsed() < 3 * PATIENCE, "no compiler has time of its own:\n{}", codec.log());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(lived_on_spare_time, "the admission took time of its own at once");
}

#[tokio::test]
async fn a_compiler_that_takes_too_long_is_ended() {
    let codec = slow(Launch::new()).start().await;
    follow(&codec, &toml(2_000));
    let compiler = until_it_compiles(&codec).await;
    codec.until_plugins("it tells", |plugins| error_of(plugins) == "compile-timeout").await;
    assert_gone(&[compiler]).await;
}

#[test]
fn what_is_no_component_is_refused_in_words() {
    let launch = Launch::new();
    let mut compiler = launch.command(&["compile-plugin", "--for", "calls"]);
    compiler.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut compiler = compiler.spawn().expect("it starts");
    compiler.stdin.take().expect("a pipe").write_all(b"\0asm and no more").expect("written");
    let output = compiler.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(output.stdout.is_empty() && !said.is_empty() && said.lines().count() == 1, "{said}");
}
