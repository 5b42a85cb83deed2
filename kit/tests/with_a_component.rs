//! `check`, `test`, `bench` and `replay` with a policy that ships: one test, for its component takes a minute to build where
//! `target/plugins` does not hold it yet.

#![expect(clippy::expect_used, reason = "tests fail loudly")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Two segments as the service writes them: decisions for deployments of an hour and of two days, one that nobody looked up, a DEK's
/// creation, a refusal by the caller's configuration, and a torn end.
const SEGMENTS: [&str; 2] = [
    r#"{"chain":"00000000000000aa","seq":1,"time":"2026-01-03T12:00:00Z","action":"SEGMENT_START","kekId":"00112233","prev":"0","hash":"0"}
{"chain":"00000000000000aa","seq":2,"time":"2026-01-03T12:00:01Z","action":"SECRET_DECRYPT","operation":"decrypt-all","projectId":"shop","deploymentId":"d-new","caller":{"name":"runner","method":"token"},"variables":["A"],"facts":{"deployment":{"created":"2026-01-03T11:00:00Z"}},"decisions":{"recency":"allow"},"outcome":"allowed","requestId":"r-2","remote":"10.0.0.1","prev":"0","hash":"0"}
{"chain":"00000000000000aa","seq":3,"time":"2026-01-03T12:00:02Z","action":"SECRET_DECRYPT","operation":"decrypt-all","projectId":"shop","deploymentId":"d-old","caller":{"name":"runner","method":"token"},"variables":["A"],"facts":{"deployment":{"created":"2026-01-01T12:00:00Z"}},"decisions":{"recency":"monitor:allow"},"outcome":"allowed","requestId":"r-3","prev":"0","hash":"0"}
"#,
    r#"{"chain":"00000000000000aa","seq":4,"time":"2026-01-03T12:00:03Z","action":"DEK_CREATE","operation":"encrypt","projectId":"shop","caller":{"name":"runner","method":"token"},"dek":"created","outcome":"allowed","requestId":"r-4","prev":"0","hash":"0"}
{"chain":"00000000000000aa","seq":5,"time":"2026-01-03T12:00:04Z","action":"SECRET_DECRYPT","operation":"decrypt-all","projectId":"blog","deploymentId":"d-5","caller":{"name":"runner","method":"token"},"variables":["A"],"outcome":"allowed","requestId":"r-5","prev":"0","hash":"0"}
{"chain":"00000000000000aa","seq":6,"time":"2026-01-03T12:00:05Z","action":"SECRET_DECRYPT","operation":"decrypt-all","projectId":"blog","deploymentId":"d-6","caller":{"name":"guest","method":"token"},"variables":["A"],"outcome":"denied","reason":"denied","requestId":"r-6","prev":"0","hash":"0"}
{"chain":"00000000000000aa","seq":7,"time":"2026-01-03T12:00:06Z","action":"SECRET_DECRYPT","operation":"decrypt-all","projectId":"blog","deploymentId":"d-7","caller":{"name":"runner","method":"token"},"variables":["A"],"facts":{"deployment":{"created":"2026-01-03T11:59:00Z"}},"decisions":{"recency":"deny"},"policy":{"name":"recency","code":"deployment-too-old"},"outcome":"denied","reason":"denied","requestId":"r-7","prev":"0","hash":"0"}
{"chain":"0000000000"#,
];

fn codec_plugin(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_codec-plugin")).args(arguments).output().expect("codec-plugin runs");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, told)
}

fn passes(arguments: &[&str]) -> String {
    let (output, told) = codec_plugin(arguments);
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn fails(arguments: &[&str], says: &str) {
    let (output, told) = codec_plugin(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
    assert!(told.contains(says), "{arguments:?}: {told}");
}

/// From `make test`, or built now.
fn policy_recency(root: &Path, folder: &Path) -> PathBuf {
    let built = root.join("target/plugins/policy-recency.wasm");
    if built.is_file() {
        return built;
    }
    let project = root.join("plugins/policy-recency");
    passes(&["build", &project.to_string_lossy(), "--out", &folder.to_string_lossy()]);
    folder.join("policy-recency.wasm")
}

#[test]
fn a_policy_that_ships_is_checked_tested_measured_and_replayed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("inside")).expect("made");
        fs::write(&path, text).expect("written");
        path.to_string_lossy().into_owned()
    };
    let wasm = policy_recency(root, folder.path()).to_string_lossy().into_owned();
    let cases = root.join("plugins/policy-recency/cases.toml").to_string_lossy().into_owned();
    let settings = write("settings.toml", "max_age = \"24h\"\n");

    fails(&["check", &wasm], "/max_age");
    let checked = passes(&["check", &wasm, "--settings", &settings, "--cases", &cases]);
    for line in
        ["ok  configure  snapshot: yes", "ok  needs      the deployment", "ok  cases      37 pass", "admitted in "]
    {
        assert!(checked.contains(line), "{line}: {checked}");
    }
    fails(&["check", &wasm, "--settings", &settings, "--sha256", &"0".repeat(64)], "digest-mismatch");

    let tested = passes(&["test", &wasm, "--cases", &cases]);
    assert_eq!(tested.lines().last(), Some("37 passed, 0 failed"));
    let one = passes(&["test", &wasm, "--cases", &cases, "--filter", "exactly at the limit"]);
    assert_eq!(one, "ok      exactly at the limit passes\n1 passed, 0 failed\n");
    let wrong =
        "[settings]\nmax_age = \"1h\"\n[[case]]\nname = \"w\"\nquery.action = \"decrypt-all\"\nexpect = \"allow\"\n";
    fails(&["test", &wasm, "--cases", &write("wrong.toml", wrong)], "0 passed, 1 failed");
    fails(&["test", &wasm, "--cases", &write("none.toml", "")], "no case");
    fails(&["test", &wasm], "has no cases");

    let measured: Value =
        serde_json::from_str(&passes(&["bench", &wasm, "--cases", &cases, "-n", "2000", "--json"])).expect("JSON");
    assert_eq!(measured["rows"].as_array().map(Vec::len), Some(4), "{measured}");
    assert!(measured["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{measured}");

    for (number, text) in SEGMENTS.iter().enumerate() {
        write(&format!("audit/segment-000000000{}.jsonl", number + 1), text);
    }
    let journal = folder.path().join("audit").to_string_lossy().into_owned();
    replays(&["replay", &journal, "--policy", &wasm, "--settings", &settings]);
}

fn replays(arguments: &[&str]) {
    let text = passes(arguments);
    assert!(text.contains("3 runner decrypt-all shop  allowed → deny deployment-too-old: "), "{text}");
    assert!(text.contains("7 runner decrypt-all blog  denied by recency deployment-too-old → allow"), "{text}");

    let json = |more: &[&str]| -> Value {
        serde_json::from_str(&passes(&[arguments, &["--json"], more].concat())).expect("JSON")
    };
    let report = json(&[]);
    for (count, expected) in [("replayed", 4), ("same", 1), ("now_denied", 1), ("now_allowed", 1), ("torn_ends", 1)] {
        assert_eq!(report[count], expected, "{count}: {report}");
    }
    let sum = |what: &str| report[what].as_object().map_or(0, |whys| whys.values().filter_map(Value::as_u64).sum());
    assert_eq!((sum("not_decidable"), sum("skipped")), (1, 3), "{report}");

    let named = json(&["--name", "recency", "--projects", "sh*", "--limit", "0"]);
    assert_eq!((&named["replayed"], &named["now_denied"], &named["unlisted"]), (&2.into(), &1.into(), &1.into()));
    fails(&[arguments, &["--actions", "decrypt"]].concat(), "policies are asked about encrypt,");
}
