//! Every record reaches every sink, in order: across segments, restarts, crashes, edits of the configuration and broken files.

use std::time::Duration;

use serde_json::json;

use crate::support::plugins::{assert_at_least_once, assert_same, component, lines};
use crate::support::{Codec, Launch};

/// A sink into a file in the outputs' folder.
const FILE: &str = r#"
[[outputs]]
name = "file"
to = "file:audit.jsonl"

[[sinks]]
name = "trail"
path = "audit-lines.wasm"
lines = ["file"]
settings = { output = "file" }
"#;

fn arrived(codec: &Codec) -> Vec<String> {
    lines(&codec.launch.output("audit.jsonl"))
}

#[tokio::test]
async fn a_file_has_the_journal_byte_for_byte_and_a_restart_goes_on_where_it_was() {
    let launch = Launch::new().with_plugins().toml("[audit]\nsegment_bytes = 4000").toml(FILE);
    let mut codec = launch.start().await;
    codec.calls(60).await;
    codec.until_carried("trail").await;
    assert_same(&arrived(&codec), &codec.launch.journal_lines());
    let status = codec.sink("trail").await;
    assert_eq!((&status["required"], &status["breaker"]), (&json!(false), &json!("closed")));
    assert!(status["records"].as_u64() > Some(60) && status["batches"].as_u64() > Some(5), "{status}");
    codec.calls(20).await;
    // What the end of the process adds is carried too.
    assert_eq!(codec.terminate().await, 0);
    let before = codec.launch.journal_lines();
    assert_same(&arrived(&codec), &before);
    let launch = codec.launch.clone();
    drop(codec);

    let mut codec = launch.start().await;
    codec.calls(20).await;
    codec.until_carried("trail").await;
    assert_eq!(codec.terminate().await, 0);
    let journal = codec.launch.journal_lines();
    assert!(journal.len() > before.len() + 20, "{} and {}", before.len(), journal.len());
    assert_same(&arrived(&codec), &journal);
    let segments = std::fs::read_dir(codec.launch.journal_dir()).expect("a journal").count();
    assert!(segments > 8, "{segments}");
}

#[tokio::test]
async fn after_kill_9_no_record_is_missing_and_what_comes_again_is_whole_and_in_order() {
    let mut launch = Launch::new().with_plugins().toml("[audit]\nsegment_bytes = 20000").toml(FILE);
    for round in 0..4 {
        let mut codec = launch.clone().start().await;
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let client = codec.client.keeping_connections();
                tokio::spawn(async move {
                    while client.try_post("/encrypt", json!({"projectId": "shop", "value": "v"})).await.is_ok() {}
                })
            })
            .collect();
        codec.until_sink("trail", "records are on their way", |sink| sink["records"].as_u64() > Some(40)).await;
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
        codec.kill();
        for caller in callers {
            caller.await.expect("ended");
        }
        launch = codec.launch.clone();
    }
    let mut codec = launch.start().await;
    codec.until_carried("trail").await;
    assert_eq!(codec.terminate().await, 0);
    let twice = assert_at_least_once(&arrived(&codec), &codec.launch.journal_lines());
    assert!(twice <= 4 * 500, "more than a batch for each crash: {twice}");
    codec.verify(&[]);
}

#[tokio::test]
async fn a_new_sink_begins_with_the_oldest_record_or_with_the_next_as_it_is_told() {
    let mut codec = Launch::new().with_plugins().toml("[audit]\nsegment_bytes = 4000").start().await;
    codec.calls(30).await;
    let before = codec.launch.journal_lines();
    let late = FILE.replace("audit.jsonl", "late.jsonl").replace("\"file\"", "\"late\"").replace("trail", "from-now");
    let late = late.replace("[[sinks]]", "[[sinks]]\nfrom = \"now\"");
    codec.reconfigure(&format!("[audit]\nsegment_bytes = 4000\n{FILE}{late}")).await;
    codec.until_carried("trail").await;
    codec.calls(10).await;
    codec.until_carried("trail").await;
    codec.until_carried("from-now").await;
    let journal = codec.launch.journal_lines();
    assert_same(&arrived(&codec), &journal);
    assert_same(&lines(&codec.launch.output("late.jsonl")), &journal[before.len()..]);
}

#[tokio::test]
async fn the_service_answers_before_a_sink_goes_live_unless_answers_wait_for_it() {
    for (required, goes_live_first) in [(false, false), (true, true)] {
        let toml = FILE.replace("[[sinks]]", &format!("[[sinks]]\nrequired = {required}"));
        let codec = Launch::new().with_plugins().toml(&toml).start().await;
        if required {
            assert_eq!(codec.sink("trail").await["live"], true);
        }
        codec.until_carried("trail").await;
        let log = codec.log();
        let at = |said: &str| log.find(said).unwrap_or_else(|| panic!("{said}: {log}"));
        // On a busy machine it may listen before it is ready.
        if log.contains("ready=true") {
            assert_eq!(at("a sink goes live") < at("codec serves"), goes_live_first, "{log}");
        }
    }
}

#[tokio::test]
async fn a_sink_that_goes_live_long_after_the_start_misses_nothing_since_whatever_happens_between() {
    let toml = FILE.replace("[[sinks]]", "[[sinks]]\nfrom = \"now\"");
    let launch = Launch::new().with_plugins().toml(&toml);
    std::fs::remove_file(launch.data_dir().join("plugins/audit-lines.wasm")).expect("removed");
    let mut codec = launch.start().await;
    codec.calls(3).await;
    let sink = codec.until_sink("trail", "it has failed", |sink| sink["errorCode"].is_string()).await;
    assert_eq!((&sink["live"], &sink["ackedSeq"]), (&json!(false), &json!(0)), "{sink}");
    codec.kill();
    let launch = codec.launch.clone();
    drop(codec);
    let mut codec = launch.start().await;
    codec.calls(3).await;
    codec.launch.put_plugin("audit-lines.wasm", &component("audit-lines"));
    codec.until_carried("trail").await;
    codec.calls(3).await;
    assert_eq!(codec.terminate().await, 0);
    // All but the one that the first start itself has left.
    assert_same(&arrived(&codec), &codec.launch.journal_lines()[1..]);
}

#[tokio::test]
async fn a_sink_that_is_taken_out_and_put_back_goes_on_where_it_was() {
    let mut codec = Launch::new().with_plugins().toml(FILE).start().await;
    codec.calls(5).await;
    codec.until_carried("trail").await;
    let plugins = codec.reconfigure("[plugins]").await;
    assert!(plugins["sinks"].as_array().is_none_or(Vec::is_empty), "{plugins:#}");
    codec.calls(5).await;
    assert!(arrived(&codec).len() < codec.launch.journal_lines().len());
    codec.reconfigure(FILE).await;
    codec.calls(5).await;
    assert_eq!(codec.terminate().await, 0);
    assert_same(&arrived(&codec), &codec.launch.journal_lines());
}

#[tokio::test]
async fn a_broken_component_leaves_the_last_good_one_and_says_so_until_it_is_mended() {
    let mut codec = Launch::new().with_plugins().toml(FILE).start().await;
    let good = component("audit-lines");
    codec.calls(3).await;
    codec.until_carried("trail").await;
    let digest = codec.sink("trail").await["sha256"].clone();
    let policy = component("policy-recency");
    for (case, content) in [("truncated", &good[..good.len() / 2]), ("empty", &[]), ("another world's", &policy)] {
        codec.launch.put_plugin("audit-lines.wasm", content);
        // Nobody is told: the files are looked at every second.
        let sink = codec.until_sink("trail", case, |sink| sink["errorCode"].is_string()).await;
        assert_eq!((&sink["live"], &sink["sha256"]), (&json!(true), &digest), "{case}: {sink}");
        codec.calls(3).await;
        codec.until_carried("trail").await;
        codec.launch.put_plugin("audit-lines.wasm", &good);
        let sink = codec.until_sink("trail", "it is mended", |sink| sink["errorCode"].is_null()).await;
        assert_eq!(sink["sha256"], digest, "{case}");
    }
    std::fs::remove_file(codec.launch.data_dir().join("plugins/audit-lines.wasm")).expect("removed");
    let sink = codec.until_sink("trail", "it is gone", |sink| sink["errorCode"] == "unreadable").await;
    assert_eq!(sink["live"], true);
    codec.calls(3).await;
    assert_eq!(codec.terminate().await, 0);
    assert_same(&arrived(&codec), &codec.launch.journal_lines());
    assert!(codec.log().contains("the last good one stays"), "{}", codec.log());
}

#[tokio::test]
async fn settings_that_a_plugin_refuses_name_the_key_and_the_last_good_one_goes_on() {
    let mut codec = Launch::new().with_plugins().toml(FILE).start().await;
    codec.until_carried("trail").await;
    let wrong =
        FILE.replace("settings = { output = \"file\" }", "settings = { output = \"file\", formatt = \"wrapped\" }");
    codec.reconfigure(&wrong).await;
    let sink = codec.until_sink("trail", "it is refused", |sink| sink["errorCode"].is_string()).await;
    assert!(sink["error"].as_str().expect("a text").contains("/formatt"), "{sink}");
    codec.calls(5).await;
    codec.until_carried("trail").await;
    assert_same(&arrived(&codec), &codec.launch.journal_lines());
}

#[tokio::test]
async fn batches_are_as_large_as_the_configuration_says_and_an_edit_of_that_alone_counts() {
    let sized = |records: usize| FILE.replace("[[sinks]]", &format!("[[sinks]]\nbatch_records = {records}"));
    let mut codec = Launch::new().with_plugins().toml(&sized(1)).start().await;
    codec.calls(10).await;
    codec.until_carried("trail").await;
    let sink = codec.sink("trail").await;
    assert_eq!(sink["records"], sink["batches"]);
    // Kept back behind a folder that stands in the file's place, they go together.
    let aside = codec.launch.output("aside.jsonl");
    std::fs::rename(codec.launch.output("audit.jsonl"), &aside).expect("moved");
    std::fs::create_dir(codec.launch.output("audit.jsonl")).expect("a folder");
    codec.reconfigure(&sized(500)).await;
    codec.calls(50).await;
    std::fs::remove_dir(codec.launch.output("audit.jsonl")).expect("removed");
    codec.until_carried("trail").await;
    let after = codec.sink("trail").await;
    let batches = after["batches"].as_u64().expect("a count") - sink["batches"].as_u64().expect("a count");
    assert!(batches <= 3, "{batches} batches");
    let arrived = [lines(&aside), arrived(&codec)].concat();
    assert_same(&arrived, &codec.launch.journal_lines());
}

#[tokio::test]
async fn a_place_that_cannot_be_read_is_an_error_and_not_a_new_beginning() {
    let mut codec = Launch::new().with_plugins().toml(FILE).start().await;
    codec.calls(3).await;
    assert_eq!(codec.terminate().await, 0);
    let cursor = codec.launch.data_dir().join("cursors/trail.json");
    let kept = std::fs::read(&cursor).expect("kept");
    std::fs::write(&cursor, "{\"segment\":").expect("written");
    let mut codec = codec.launch.clone().start().await;
    let sink = codec.until_sink("trail", "it is refused", |sink| sink["errorCode"].is_string()).await;
    assert!(sink["error"].as_str().expect("a text").contains("trail.json"), "{sink}");
    codec.calls(3).await;
    std::fs::write(&cursor, kept).expect("written");
    codec.signal("-HUP");
    codec.until_carried("trail").await;
    assert_eq!(codec.terminate().await, 0);
    assert_same(&arrived(&codec), &codec.launch.journal_lines());
}
