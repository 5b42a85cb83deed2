//! No secret in anything a process leaves: log, journal, metrics, status, errors, database. (Every other test's process is searched
//! for its canaries too, when it ends.)

use serde_json::json;

use crate::support::{Launch, secret};

#[tokio::test]
async fn secrets_are_nowhere_but_in_their_answers() {
    let mut codec = Launch::new().toml("[log]\nlevel = \"trace\"\nformat = \"json\"").start().await;
    let client = codec.client.clone();
    let sealed = client.encrypt("shop", &secret("value")).await;
    let (dek, encrypted_dek) = client.dek("shop").await;
    let all = |value: &serde_json::Value| {
        json!({"projectId": "shop", "deploymentId": "d", "variables": {
        "SECRET": {"type": "secret", "value": value}, "PLAIN": {"type": "plain", "value": secret("plain")}}})
    };
    let mut said = String::new();
    client.post("/decrypt-all", all(&sealed["encrypted"])).await.ok();
    client.post("/decrypt-value", json!({"encrypted": sealed["encrypted"], "dek": dek})).await.ok();
    // Whatever fails must not repeat what it was given.
    for (path, body) in [
        ("/encrypt", json!({"projectId": "../x", "value": secret("a")})),
        ("/encrypt", json!({"projectId": secret("b") + "/", "value": 1})),
        ("/encrypt", json!({"projectId": "p", "value": [secret("c")]})),
        ("/encrypt", json!({"projectId": "p", "value": "v", "keyVersion": secret("d"), "format": secret("e")})),
        ("/encrypt-all", json!({"projectId": "p", "variables": {"A": {"type": secret("f"), "value": secret("g")}}})),
        (
            "/encrypt-all",
            json!({"projectId": "p", "variables": {"A": {"type": "secret", "encrypted": true, "value": secret("h")}}}),
        ),
        ("/decrypt-all", all(&json!(secret("i")))),
        ("/decrypt-all", all(&json!("A".repeat(48)))),
        ("/decrypt-value", json!({"encrypted": sealed["encrypted"], "dek": secret("j")})),
        ("/decrypt-value", json!({"encrypted": sealed["encrypted"], "dek": format!("dh1.{dek}")})),
        ("/decrypt-value", json!({"encrypted": sealed["encrypted"], "dek": dek, "projectId": "other"})),
        ("/decrypt-value", json!({"encrypted": dek, "dek": dek})),
        ("/decrypt-dek", json!({"projectId": "other", "encryptedDEK": encrypted_dek})),
        ("/decrypt-dek", json!({"projectId": "shop", "encryptedDEK": dek})),
    ] {
        let answer = client.post(path, body.clone()).await;
        assert_ne!(answer.status, 200, "{body}");
        said.push_str(&format!("{:?}{}\n", answer.headers, answer.text));
    }
    client
        .post_text("/encrypt", format!("{{\"projectId\":\"p\",\"value\":\"{}", secret("k")))
        .await
        .refused(400, "invalid_json");
    client.with_token(&secret("token")).post("/encrypt", json!({})).await.refused(401, "unauthenticated");
    let open = client.bare(reqwest::Method::GET, &format!("/{}?x={}", secret("path"), secret("query")));
    client.send(open).await.expect("an answer").refused(404, "not_found");
    for path in ["/metrics", "/status", "/openapi.json"] {
        said.push_str(&client.get(path).await.text);
    }
    codec.terminate().await;
    said.push_str(&codec.log());
    for entry in std::fs::read_dir(codec.launch.journal_dir()).expect("a journal") {
        said.push_str(&String::from_utf8_lossy(&std::fs::read(entry.expect("entry").path()).expect("readable")));
    }
    for name in ["codec.db", "codec.db-wal"] {
        said.push_str(&String::from_utf8_lossy(&std::fs::read(codec.launch.data_dir().join(name)).unwrap_or_default()));
    }
    assert!(
        said.contains("decrypt-all") && said.contains("codec_answers") && said.contains(&encrypted_dek),
        "nothing was searched"
    );
    for (what, canary) in [
        ("a value", secret("")),
        ("the DEK", dek),
        ("the KEK", codec.launch.kek.clone()),
        ("the token", codec.launch.token.clone()),
    ] {
        assert!(
            !said.contains(&canary),
            "{what} leaked: {}",
            said.lines().find(|line| line.contains(&canary)).unwrap_or("")
        );
    }
}

#[tokio::test]
async fn nobody_else_reads_the_memory_or_gets_a_core() {
    let codec = Launch::new().start().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", codec.pid())).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", codec.pid())).expect("status");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("VmLck");
    let is_locked = locked.split_whitespace().next() != Some("0");
    assert!(is_locked || codec.log().contains("may be swapped out"), "{locked}");
    // PR_SET_DUMPABLE shows in who owns the process's files: not its user, but root; and as root, in what a debugger is told.
    codec.signal("-ABRT");
    let mut codec = codec;
    codec.exit_code().await;
    let dumped = std::fs::read_dir(codec.launch.dir.path())
        .expect("a folder")
        .any(|entry| entry.expect("entry").file_name().to_string_lossy().starts_with("core"));
    assert!(!dumped);
}
