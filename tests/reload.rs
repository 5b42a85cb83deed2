//! Plugins are replaced while the service answers: no request fails, and what is not better than what runs does not replace it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::hostile::corpus;
use crate::support::callers::Callers;
use crate::support::plugins::replace;
use crate::support::{Codec, Launch, secret};

/// Replacements under load.
const RELOADS: u64 = 1_000;

/// A service with a folder of plugins, and one policy in it that abstains.
async fn serve() -> Codec {
    let launch = Launch::new().toml(&toml("a.wasm", ""));
    launch.put_plugin("a.wasm", &corpus::honest_policy());
    launch.start().await
}

fn toml(path: &str, more: &str) -> String {
    format!("[plugins]\ndefault = \"allow\"\n[[policies]]\nname = \"p\"\npath = \"{path}\"\n{more}\n")
}

fn configure(codec: &Codec, toml: &str) {
    replace(&codec.launch.dir.path().join("codec.toml"), toml.as_bytes());
}

async fn plugins(codec: &Codec) -> Value {
    codec.client.get("/status").await.ok()["plugins"].clone()
}

/// Polls until `is_so`; the files are looked at every second without being told.
async fn until(codec: &Codec, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    // Admission lets everything else go first.
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let found = plugins(codec).await;
        if is_so(&found) {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: {found:#}\n{}", codec.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn went_live(codec: &Codec) -> u64 {
    codec.log().matches("a policy goes live").count() as u64
}

/// The same component, by another digest.
fn marked(component: &[u8], mark: u64) -> Vec<u8> {
    let mut marked = component.to_vec();
    // A custom section: id 0, its length, the length of its name, the name, the mark.
    marked.extend_from_slice(&[0, 10, 1, b'm']);
    marked.extend_from_slice(&mark.to_le_bytes());
    marked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_during_a_thousand_reloads_under_load() {
    let codec = serve().await;
    let sealed = codec.client.encrypt("shop", &secret("v")).await;
    let body = json!({"projectId": "shop", "encryptedDEK": sealed["encryptedDEK"], "encrypted": sealed["encrypted"]});
    let load = Callers::start(
        4,
        || codec.client.keeping_connections(),
        move |client| {
            let body = body.clone();
            async move {
                let answer = client.post("/decrypt-value", body).await;
                assert_eq!(answer.ok()["value"], secret("v"));
            }
        },
    );
    let component = corpus::honest_policy();
    let asking = codec.client.keeping_connections();
    let changes = async || asking.get("/status").await.ok()["plugins"]["changes"].as_u64().expect("a number");
    let mut reload = 0;
    while reload % 100 != 0 || went_live(&codec) <= RELOADS {
        reload += 1;
        let before = changes().await;
        // Its settings, or itself.
        if reload % 2 == 0 {
            codec.launch.put_plugin("a.wasm", &marked(&component, reload));
        } else {
            configure(&codec, &toml("a.wasm", &format!("settings = {{ version = {reload} }}")));
        }
        codec.signal("-HUP");
        let deadline = Instant::now() + Duration::from_secs(20);
        while changes().await == before {
            assert!(Instant::now() < deadline, "reload {reload} never came");
        }
    }
    let status = plugins(&codec).await;
    assert!(status["policies"][0]["error"].is_null(), "{status:#}");
    let answers = u64::from(load.end().await);
    assert!(answers > RELOADS, "hardly any load: {answers} answers");
}

#[tokio::test]
async fn what_is_no_good_leaves_the_last_good_one_and_says_why() {
    let codec = serve().await;
    let good = plugins(&codec).await["policies"][0]["sha256"].clone();
    assert!(good.is_string());
    let component = corpus::honest_policy();
    let with = |bytes: &[u8]| codec.launch.put_plugin("a.wasm", bytes);
    let guests = corpus::all();
    let guest = |name: &str| guests.iter().find(|guest| guest.name == name).expect("in the corpus").bytes.clone();
    for (bytes, code) in [
        (Vec::new(), "empty"),
        (component[..component.len() / 2].to_vec(), "malformed"),
        (b"not a component".to_vec(), "malformed"),
        (guest("whole/core-module"), "core-module"),
        (guest("policy/import-http"), "import-not-granted"),
        (guest("policy/trap-in-configure"), "configure"),
        (guest("policy/loop-in-start"), "configure"),
        (corpus::honest_sink(), "wrong-world"),
    ] {
        let before = plugins(&codec).await["changes"].clone();
        with(&bytes);
        let is_refused = |found: &Value| found["changes"] != before && found["policies"][0]["errorCode"] == code;
        let status = until(&codec, code, is_refused).await;
        assert_eq!(status["policies"][0]["sha256"], good, "{code}");
        codec.client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await.ok();
    }
    assert!(
        codec.client.get("/metrics").await.text.contains("codec_plugin_not_admitted{kind=\"policy\",plugin=\"p\"} 1")
    );
    with(&marked(&component, 7));
    let status = until(&codec, "mended", |found| found["policies"][0]["error"].is_null()).await;
    assert_ne!(status["policies"][0]["sha256"], good);
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing_and_what_needs_a_restart_is_told() {
    let codec = serve().await;
    let good = std::fs::read_to_string(codec.launch.dir.path().join("codec.toml")).expect("readable");
    for (bad, named) in [
        ("[[policies]]\nname = \"p\"\n", "path"),
        ("[[policies", "codec.toml"),
        (&*format!("{good}\ntypo = 1\n"), "typo"),
        (&*toml("../a.wasm", ""), "policies[0].path"),
        (&*toml("a.wasm", "actions = [\"status\"]"), "policies[0].actions"),
        (&*toml("a.wasm", "deadline_ms = 0"), "policies[0].deadline_ms"),
        (&*toml("a.wasm", "compile_deadline_ms = 600001"), "policies[0].compile_deadline_ms"),
        (&*toml("a.wasm", "sha256 = \"abc\""), "policies[0].sha256"),
    ] {
        configure(&codec, bad);
        codec.signal("-HUP");
        let status =
            until(&codec, named, |found| found["configError"].as_str().is_some_and(|error| error.contains(named)));
        let status = status.await;
        assert_eq!(status["policies"][0]["live"], true, "{bad}");
    }
    configure(&codec, &format!("{good}\n[server]\nrequests_max = 7\n"));
    until(&codec, "restart", |found| found["configError"].is_null() && found["restartNeeded"] == true).await;
    configure(&codec, &good);
    until(&codec, "as before", |found| found["restartNeeded"] == false).await;
}

#[tokio::test]
async fn a_policy_is_dropped_in_and_taken_out_again() {
    let codec = Launch::new().toml("[plugins]\ndefault = \"allow\"").start().await;
    let encrypt = async || codec.client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await.status;
    assert_eq!(encrypt().await, 200);
    // Named before it is there: it denies.
    configure(&codec, &toml("late.wasm", ""));
    until(&codec, "missing", |found| found["policies"][0]["errorCode"] == "unreadable").await;
    assert_eq!(encrypt().await, 403);
    codec.launch.put_plugin("late.wasm", &corpus::honest_policy());
    until(&codec, "there", |found| found["policies"][0]["live"] == true).await;
    assert_eq!(encrypt().await, 200);
    configure(
        &codec,
        &toml("late.wasm", "sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\""),
    );
    let status = until(&codec, "pinned", |found| found["policies"][0]["errorCode"] == "digest-mismatch").await;
    assert_eq!(status["policies"][0]["live"], true);
    configure(&codec, "[plugins]\ndefault = \"allow\"\n");
    until(&codec, "taken out", |found| found["policies"] == json!([])).await;
    assert_eq!(encrypt().await, 200);
}
