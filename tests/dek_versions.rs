//! Versions of a project's DEK: rotated, each disabled, enabled and destroyed by itself, and told apart for ever.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::node::Node;
use crate::support::{Client, Codec, Launch, postgres};

async fn rotated(client: &Client, project: &str) -> Value {
    client.post("/rotate-dek", json!({"projectId": project})).await.ok()
}

fn version(project: &str, version: u32) -> Value {
    json!({"projectId": project, "keyVersion": version})
}

/// A project of three versions, and a value under each.
async fn of_three_versions(codec: &Codec) -> Vec<Value> {
    let mut sealed = vec![codec.client.encrypt("shop", "v1").await];
    for number in 2..=3 {
        let answer = rotated(&codec.client, "shop").await;
        assert_eq!(answer["keyVersion"], number);
        let value = codec.client.encrypt("shop", &format!("v{number}")).await;
        assert_eq!((&value["keyVersion"], &value["encryptedDEK"]), (&json!(number), &answer["encryptedDEK"]));
        sealed.push(value);
    }
    sealed
}

fn variables(sealed: &[Value]) -> Value {
    let named = sealed.iter().enumerate().map(|(index, value)| {
        let variable = json!({"type": "secret", "value": value["encrypted"], "keyVersion": value["keyVersion"]});
        (format!("V{}", index + 1), variable)
    });
    Value::Object(named.collect())
}

fn all(sealed: &[Value], partial: bool) -> Value {
    json!({"projectId": "shop", "deploymentId": "d", "variables": variables(sealed), "partial": partial})
}

#[tokio::test]
async fn the_newest_version_encrypts_and_all_of_them_decrypt() {
    let codec = Codec::start().await;
    let sealed = of_three_versions(&codec).await;
    assert_eq!(
        codec.client.post("/decrypt-all", all(&sealed, false)).await.ok(),
        json!({"V1": "v1", "V2": "v2", "V3": "v3"})
    );
    for value in &sealed {
        // What callers keep of old versions opens, and never seals.
        let call = json!({"projectId": "shop", "encrypted": value["encrypted"], "encryptedDEK": value["encryptedDEK"]});
        codec.client.post("/decrypt-value", call).await.ok();
    }
    let old = json!({"projectId": "shop", "value": "v", "encryptedDEK": sealed[0]["encryptedDEK"]});
    codec.client.post("/encrypt", old).await.refused(409, "dek_not_primary");
    // Missing means 1, and one that is not there is never "the latest".
    let first = json!({"projectId": "shop", "deploymentId": "d",
                       "variables": {"A": {"type": "secret", "value": sealed[0]["encrypted"]}}});
    assert_eq!(codec.client.post("/decrypt-all", first).await.ok(), json!({"A": "v1"}));
    let mut unknown = all(&sealed, false);
    unknown["variables"]["V3"]["keyVersion"] = json!(4);
    codec.client.post("/decrypt-all", unknown).await.refused(422, "unknown_key_version");
    let records = codec.records();
    let made: Vec<_> = records.iter().filter(|r| r["action"] == "DEK_CREATE").map(|r| &r["keyVersions"]).collect();
    assert_eq!(made, [&json!([1]), &json!([2]), &json!([3])]);
    assert_eq!(records.iter().filter(|r| r["action"] == "DEK_ROTATE" && r["outcome"] == "allowed").count(), 2);
    codec.verify(&[]);
}

#[tokio::test]
async fn a_rotation_that_names_the_version_before_happens_once() {
    let codec = Codec::start().await;
    codec.client.post("/rotate-dek", json!({"projectId": "nobody"})).await.refused(404, "unknown_project");
    codec.client.encrypt("shop", "v").await;
    let first = codec.client.post("/rotate-dek", version("shop", 1)).await.ok();
    let again = codec.client.post("/rotate-dek", version("shop", 1)).await.ok();
    assert_eq!((&first, &first["keyVersion"]), (&again, &json!(2)));
    codec.client.post("/rotate-dek", version("shop", 7)).await.refused(422, "unknown_key_version");
}

#[tokio::test]
async fn a_dek_that_was_taken_over_to_decrypt_only_gets_a_version_that_encrypts() {
    let codec = Codec::start().await;
    let mut node = Node::start(&codec.launch.kek);
    let dek = node.call(json!({"call": "newDek"}));
    codec.client.post("/decrypt-dek", json!({"projectId": "shop", "encryptedDEK": dek["encryptedDEK"]})).await.ok();
    assert_eq!(rotated(&codec.client, "shop").await["keyVersion"], 2);
    assert_eq!(codec.client.encrypt("shop", "v").await["keyVersion"], 2);
}

#[tokio::test]
async fn one_version_in_the_middle_is_disabled_alone() {
    let codec = Codec::start().await;
    let sealed = of_three_versions(&codec).await;
    let (raw, _) = (
        codec
            .client
            .post("/decrypt-dek", json!({"projectId": "shop", "encryptedDEK": sealed[1]["encryptedDEK"]}))
            .await
            .ok(),
        (),
    );
    codec.client.post("/decrypt-all", all(&sealed, false)).await.ok();
    let disabled = codec.client.post("/disable-dek", version("shop", 2)).await.ok();
    assert_eq!(disabled, json!({"keyVersion": 2, "state": "disabled"}));
    // By every way to it, at once, though it was cached; and the answer says so.
    let (dek, value) = (&sealed[1]["encryptedDEK"], &sealed[1]["encrypted"]);
    for (path, call) in [
        ("/decrypt-value", json!({"projectId": "shop", "encryptedDEK": dek, "encrypted": value})),
        ("/decrypt-value", json!({"dek": raw["dek"], "encrypted": value})),
        ("/decrypt-dek", json!({"projectId": "shop", "encryptedDEK": dek})),
        ("/decrypt-all", all(&sealed, false)),
        ("/re-encrypt", json!({"projectId": "shop", "variables": variables(&sealed)})),
        ("/rewrap-dek", version("shop", 2)),
    ] {
        codec.client.post(path, call).await.refused(403, "dek_disabled");
    }
    let partial = codec.client.post("/decrypt-all", all(&sealed, true)).await.ok();
    assert_eq!(partial["values"], json!({"V1": "v1", "V3": "v3"}));
    assert_eq!(partial["errors"]["V2"]["code"], "dek_disabled", "{partial}");
    assert_eq!(codec.client.post("/disable-dek", version("shop", 2)).await.ok(), disabled, "safe to repeat");
    // And back.
    assert_eq!(codec.client.post("/enable-dek", version("shop", 2)).await.ok()["state"], "enabled");
    codec.client.post("/decrypt-all", all(&sealed, false)).await.ok();
    let changes: Vec<_> = codec
        .records()
        .into_iter()
        .filter(|record| record["action"] == "DEK_CHANGE")
        .map(|record| (record["dek"].clone(), record["keyVersions"].clone(), record["outcome"].clone()))
        .collect();
    assert_eq!(
        changes,
        [("disabled", 2), ("enabled", 2)].map(|(note, version)| (json!(note), json!([version]), json!("allowed")))
    );
    codec.verify(&[]);
}

/// Whether the files of SQLite hold this text anywhere.
fn is_in_the_store(codec: &Codec, text: &Value) -> bool {
    let text = text.as_str().expect("a text").as_bytes();
    let holds = |name: &str| {
        let bytes = std::fs::read(codec.launch.data_dir().join(name)).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text)
    };
    holds("codec.db") || holds("codec.db-wal")
}

#[tokio::test]
async fn what_is_destroyed_never_opens_again_and_is_not_taken_for_unknown() {
    let codec = Codec::start().await;
    let sealed = of_three_versions(&codec).await;
    let dek = json!({"projectId": "shop", "encryptedDEK": sealed[0]["encryptedDEK"]});
    let raw = codec.client.post("/decrypt-dek", dek.clone()).await.ok();
    codec.client.post("/destroy-dek", version("shop", 1)).await.refused(409, "dek_not_disabled");
    codec.client.post("/destroy-dek", version("shop", 3)).await.refused(409, "dek_primary");
    codec.client.post("/disable-dek", version("shop", 3)).await.refused(409, "dek_primary");
    codec.client.post("/disable-dek", version("shop", 9)).await.refused(422, "unknown_key_version");
    codec.client.post("/disable-dek", version("nobody", 1)).await.refused(404, "unknown_project");
    codec.client.post("/disable-dek", version("shop", 1)).await.ok();
    assert!(is_in_the_store(&codec, &sealed[0]["encryptedDEK"]));
    let destroyed = codec.client.post("/destroy-dek", version("shop", 1)).await.ok();
    // Nor does whoever copies the files find it, now or later.
    let began = Instant::now();
    while is_in_the_store(&codec, &sealed[0]["encryptedDEK"]) {
        assert!(began.elapsed() < Duration::from_secs(20), "it is there still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(is_in_the_store(&codec, &sealed[1]["encryptedDEK"]));
    assert_eq!(destroyed, json!({"keyVersion": 1, "state": "destroyed"}));
    assert_eq!(codec.client.post("/destroy-dek", version("shop", 1)).await.ok(), destroyed, "safe to repeat");
    codec.client.post("/enable-dek", version("shop", 1)).await.refused(410, "dek_destroyed");
    // Callers keep what it was wrapped as, and the KEK would open that still: it is not imported anew.
    codec.client.post("/decrypt-dek", dek.clone()).await.refused(410, "dek_destroyed");
    codec.client.post("/decrypt-all", all(&sealed[..1], false)).await.refused(410, "dek_destroyed");
    let value = json!({"dek": raw["dek"], "encrypted": sealed[0]["encrypted"]});
    codec.client.post("/decrypt-value", value).await.refused(410, "dek_destroyed");
    let stranger = json!({"projectId": "other", "encryptedDEK": sealed[0]["encryptedDEK"]});
    codec.client.post("/decrypt-dek", stranger).await.refused(403, "dek_not_recognised");
    assert_eq!(codec.client.post("/decrypt-all", all(&sealed[1..], true)).await.ok()["errors"], json!({}));
}

#[tokio::test]
async fn every_replica_makes_versions_and_each_number_once() {
    let url = postgres::database().await;
    let one = Launch::new().variable("DATABASE_URL", &url);
    let two = Launch { dir: Launch::new().dir, ..one.clone() };
    let (one, two) = (one.start().await, two.start().await);
    one.client.encrypt("shop", "v").await;
    let mut numbers = Vec::new();
    for _ in 0..10 {
        let (a, b) = tokio::join!(rotated(&one.client, "shop"), rotated(&two.client, "shop"));
        numbers.extend([a["keyVersion"].as_u64().expect("a number"), b["keyVersion"].as_u64().expect("a number")]);
    }
    // Each call may see the other's version as the primary; none is made twice.
    assert_eq!(numbers.iter().max(), Some(&21));
    let both = tokio::join!(one.client.encrypt("shop", "a"), two.client.encrypt("shop", "b"));
    for sealed in [&both.0, &both.1] {
        let call = json!({"projectId": "shop", "deploymentId": "d", "variables":
            {"A": {"type": "secret", "value": sealed["encrypted"], "keyVersion": sealed["keyVersion"]}}});
        for client in [&one.client, &two.client] {
            client.post("/decrypt-all", call.clone()).await.ok();
        }
    }
    one.verify(&[]);
    two.verify(&[]);
}
