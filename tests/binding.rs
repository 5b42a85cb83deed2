//! Every encrypted DEK belongs to one project, and nothing else finds it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::node::Node;
use crate::support::{Answer, Client, Codec, Launch, secret};

async fn decrypt_dek(client: &Client, project: &str, encrypted_dek: &Value) -> Answer {
    client.post("/decrypt-dek", json!({"projectId": project, "encryptedDEK": encrypted_dek})).await
}

#[tokio::test]
async fn garbage_never_returns_a_cached_dek() {
    let codec = Codec::start().await;
    let (dek, encrypted_dek) = codec.client.dek("shop").await;
    // The DEK of `shop` is in the cache now, by every way to it.
    codec.client.encrypt("shop", "v").await;
    let mut flipped = STANDARD.decode(&encrypted_dek).expect("base64");
    flipped[20] ^= 1;
    for garbage in [STANDARD.encode([7; 64]), STANDARD.encode(flipped), STANDARD.encode([0; 32])] {
        let answer = decrypt_dek(&codec.client, "shop", &json!(garbage)).await;
        answer.refused(422, "decrypt_failed");
        assert!(!answer.text.contains(&dek));
        let sealed = codec.client.encrypt("shop", "v").await;
        let call = json!({"encrypted": sealed["encrypted"], "projectId": "shop", "encryptedDEK": garbage});
        codec.client.post("/decrypt-value", call).await.refused(422, "decrypt_failed");
        let variables = json!({"A": {"type": "secret", "value": sealed["encrypted"]}});
        let call = json!({"projectId": "shop", "deploymentId": "d", "variables": variables, "encryptedDEK": garbage});
        codec.client.post("/decrypt-all", call).await.refused(422, "decrypt_failed");
        let call = json!({"projectId": "shop", "value": "v", "encryptedDEK": garbage});
        codec.client.post("/encrypt", call).await.refused(422, "decrypt_failed");
    }
}

#[tokio::test]
async fn another_projects_dek_is_refused_by_every_call_and_counted() {
    let codec = Codec::start().await;
    let theirs = codec.client.encrypt("b", &secret("theirs")).await;
    codec.client.encrypt("a", "x").await;
    let (their_dek, encrypted_dek) = codec.client.dek("b").await;
    let refused = |answer: Answer| {
        answer.refused(403, "dek_not_recognised");
        assert!(!answer.text.contains(&their_dek));
    };
    for project in ["a", "nobody"] {
        refused(decrypt_dek(&codec.client, project, &json!(encrypted_dek)).await);
        let call = json!({"encrypted": theirs["encrypted"], "projectId": project, "encryptedDEK": encrypted_dek});
        refused(codec.client.post("/decrypt-value", call).await);
        // A raw DEK with a project must be that project's too.
        let call = json!({"encrypted": theirs["encrypted"], "projectId": project, "dek": their_dek});
        refused(codec.client.post("/decrypt-value", call).await);
        let variables = json!({"A": {"type": "secret", "value": theirs["encrypted"]}});
        let call =
            json!({"projectId": project, "deploymentId": "d", "variables": variables, "encryptedDEK": encrypted_dek});
        refused(codec.client.post("/decrypt-all", call).await);
        let call = json!({"projectId": project, "value": "v", "encryptedDEK": encrypted_dek});
        refused(codec.client.post("/encrypt", call).await);
    }
    let record = codec.last_record();
    assert_eq!((&record["outcome"], &record["reason"]), (&json!("denied"), &json!("dek_not_recognised")));
    let metrics = codec.client.get("/metrics").await.text;
    assert!(metrics.contains(r#"path="/decrypt-dek",code="dek_not_recognised"} 2"#), "{metrics}");
}

#[tokio::test]
async fn a_dek_that_nobody_owned_becomes_the_first_ones_to_decrypt_only_and_is_recorded_as_imported() {
    let codec = Codec::start().await;
    let mut node = Node::start(&codec.launch.kek);
    let dek = node.call(json!({"call": "newDek"}));
    let sealed = node.call(json!({"call": "encrypt", "value": secret("old"), "encryptedDEK": dek["encryptedDEK"]}));
    let variables = json!({"A": {"type": "secret", "encrypted": true, "value": sealed["encrypted"], "keyVersion": 1}});
    let call =
        json!({"projectId": "old", "deploymentId": "d", "variables": variables, "encryptedDEK": dek["encryptedDEK"]});
    assert_eq!(codec.client.post("/decrypt-all", call).await.ok(), json!({"A": secret("old")}));
    let imports: Vec<Value> = codec.records().into_iter().filter(|record| record["action"] == "DEK_IMPORT").collect();
    assert_eq!(imports.len(), 1);
    assert_eq!((&imports[0]["projectId"], &imports[0]["dek"]), (&json!("old"), &json!("imported")));
    // It is `old`'s now, and found without being given.
    decrypt_dek(&codec.client, "thief", &dek["encryptedDEK"]).await.refused(403, "dek_not_recognised");
    let call = json!({"projectId": "old", "deploymentId": "d", "variables": variables});
    assert_eq!(codec.client.post("/decrypt-all", call).await.ok(), json!({"A": secret("old")}));
    // It is decrypted under by its name even where the caller's count of versions is another than ours.
    let mut own_count = call_with(&variables, &dek["encryptedDEK"]);
    own_count["variables"]["A"]["keyVersion"] = json!(7);
    assert_eq!(codec.client.post("/decrypt-all", own_count).await.ok(), json!({"A": secret("old")}));
    // To decrypt only: new values get a DEK of our own.
    let call = json!({"projectId": "old", "value": "v", "encryptedDEK": dek["encryptedDEK"]});
    codec.client.post("/encrypt", call).await.refused(409, "dek_not_primary");
    let new = codec.client.encrypt("old", "v").await;
    assert_eq!(new["keyVersion"], 2);
    assert_ne!(new["encryptedDEK"], dek["encryptedDEK"]);
    // Wrapped once more it is still the same DEK.
    let again = {
        let raw = STANDARD.decode(dek["dek"].as_str().expect("dek")).expect("base64");
        let kek = origan_codec_host::crypto::Kek::parse_base64(&codec.launch.kek).expect("a KEK");
        let ring = origan_codec_host::crypto::KeyRing::new(&kek, &[]).expect("a ring");
        let dek = origan_codec_host::crypto::Dek::from_slice(&raw).expect("32 bytes");
        ring.wrap_dek(&dek, origan_codec_host::crypto::WrapContext::Unrecorded)
            .await
            .expect("random")
            .encrypted_dek
            .encode()
    };
    decrypt_dek(&codec.client, "thief", &json!(again)).await.refused(403, "dek_not_recognised");
    assert_eq!(decrypt_dek(&codec.client, "old", &json!(again)).await.ok()["dek"], dek["dek"]);
}

fn call_with(variables: &Value, encrypted_dek: &Value) -> Value {
    json!({"projectId": "old", "deploymentId": "d", "variables": variables, "encryptedDEK": encrypted_dek})
}

#[tokio::test]
async fn a_platform_that_kept_its_own_deks_goes_on_after_the_service_made_one() {
    let codec = Codec::start().await;
    let mut node = Node::start(&codec.launch.kek);
    let dek = node.call(json!({"call": "newDek"}));
    let old = node.call(json!({"call": "encrypt", "value": secret("old"), "encryptedDEK": dek["encryptedDEK"]}));
    let new = codec.client.encrypt("old", &secret("new")).await;
    assert_eq!(new["keyVersion"], 1);
    // Both say version 1; the platform's own DEK came second here.
    let variables = json!({
        "OLD": {"type": "secret", "encrypted": true, "value": old["encrypted"], "keyVersion": 1},
        "NEW": {"type": "secret", "encrypted": true, "value": new["encrypted"], "keyVersion": 1},
    });
    let answer = codec.client.post("/decrypt-all", call_with(&variables, &dek["encryptedDEK"])).await.ok();
    assert_eq!(answer, json!({"OLD": secret("old"), "NEW": secret("new")}));
    assert_eq!(codec.last_record()["keyVersions"], json!([1, 2]));
}

#[tokio::test]
async fn a_dek_that_is_only_presented_to_encrypt_is_not_imported() {
    let codec = Codec::start().await;
    let mut node = Node::start(&codec.launch.kek);
    let dek = node.call(json!({"call": "newDek"}));
    let call = json!({"projectId": "old", "value": "v", "encryptedDEK": dek["encryptedDEK"]});
    codec.client.post("/encrypt", call).await.refused(409, "dek_not_primary");
    assert!(codec.records().iter().all(|record| record["action"] != "DEK_IMPORT"));
    assert_eq!(codec.client.encrypt("old", "v").await["keyVersion"], 1);
}

#[tokio::test]
async fn unknown_deks_are_refused_where_operators_say_so() {
    let codec = Launch::new().toml("[keys]\nunknown_dek = \"refuse\"").start().await;
    let mut node = Node::start(&codec.launch.kek);
    let dek = node.call(json!({"call": "newDek"}));
    let sealed = node.call(json!({"call": "encrypt", "value": "v", "encryptedDEK": dek["encryptedDEK"]}));
    decrypt_dek(&codec.client, "old", &dek["encryptedDEK"]).await.refused(403, "dek_not_recognised");
    let call = json!({"encrypted": sealed["encrypted"], "dek": dek["dek"]});
    codec.client.post("/decrypt-value", call).await.refused(403, "dek_not_recognised");
    assert!(codec.records().iter().all(|record| record["action"] != "DEK_IMPORT"));
    let (dek, _) = codec.client.dek("shop").await;
    let sealed = codec.client.encrypt("shop", "v").await;
    codec.client.post("/decrypt-value", json!({"encrypted": sealed["encrypted"], "dek": dek})).await.ok();
}

#[tokio::test]
async fn a_raw_dek_is_recorded_as_its_projects_or_as_unknown() {
    let codec = Codec::start().await;
    let mut node = Node::start(&codec.launch.kek);
    let dek = node.call(json!({"call": "newDek"}));
    let sealed = node.call(json!({"call": "encrypt", "value": "v", "encryptedDEK": dek["encryptedDEK"]}));
    let call = json!({"encrypted": sealed["encrypted"], "dek": dek["dek"]});
    assert_eq!(codec.client.post("/decrypt-value", call.clone()).await.ok()["value"], "v");
    let record = codec.last_record();
    assert_eq!((&record["dek"], record.get("projectId")), (&json!("unknown"), None));
    // From the moment it is a project's, its record says so.
    decrypt_dek(&codec.client, "old", &dek["encryptedDEK"]).await.ok();
    codec.client.post("/decrypt-value", call).await.ok();
    let record = codec.last_record();
    assert_eq!((&record["projectId"], record.get("dek")), (&json!("old"), None));
}

#[tokio::test]
async fn a_dek_of_another_length_is_an_alarm_and_never_cut_or_padded() {
    let codec = Codec::start().await;
    let kek = STANDARD.decode(&codec.launch.kek).expect("base64");
    for length in [0, 16, 31, 33, 64] {
        let wrapped = seal(&kek, &vec![9; length]);
        let answer = decrypt_dek(&codec.client, "shop", &json!(wrapped)).await;
        answer.refused(500, "dek_corrupt");
    }
    assert!(codec.log().contains("ALARM"));
}

/// What a key seals outside the service: `iv ‖ ciphertext ‖ tag`.
fn seal(key: &[u8], plaintext: &[u8]) -> String {
    use aes_gcm::aead::{AeadInOut, KeyInit, consts::U16};
    let cipher = aes_gcm::AesGcm::<aes_gcm::aes::Aes256, U16>::new_from_slice(key).expect("32 bytes");
    let mut sealed = [&[5; 16], plaintext].concat();
    let tag = cipher.encrypt_inout_detached(&[5; 16].into(), b"", (&mut sealed[16..]).into()).expect("short");
    sealed.extend_from_slice(&tag);
    STANDARD.encode(sealed)
}

#[tokio::test]
async fn a_sealed_dek_is_a_handle_that_only_its_caller_can_use_and_only_for_a_while() {
    let launch = Launch::new().toml(
        "[keys]\ndek_release = \"sealed\"\ndek_handle_ttl_s = 60\n\
         [[callers]]\nname = \"other\"\ntoken_file = \"other\"\nactions = [\"decrypt-value\"]",
    );
    std::fs::write(launch.dir.path().join("other"), "another-callers-token").expect("written");
    let codec = launch.start().await;
    let sealed = codec.client.encrypt("shop", &secret("x")).await;
    let handle = decrypt_dek(&codec.client, "shop", &sealed["encryptedDEK"]).await.ok()["dek"].clone();
    assert!(handle.as_str().is_some_and(|text| text.starts_with("dh1.")));
    let call = json!({"encrypted": sealed["encrypted"], "dek": handle});
    assert_eq!(codec.client.post("/decrypt-value", call.clone()).await.ok()["value"], secret("x"));
    assert_eq!(codec.last_record()["projectId"], "shop");
    let mut claimed = call.clone();
    claimed["projectId"] = json!("other");
    codec.client.post("/decrypt-value", claimed).await.refused(403, "dek_not_recognised");
    codec
        .client
        .with_token("another-callers-token")
        .post("/decrypt-value", call.clone())
        .await
        .refused(403, "dek_handle_invalid");
    let mut altered = handle.as_str().expect("text").to_owned();
    altered.replace_range(30..31, if &altered[30..31] == "A" { "B" } else { "A" });
    let wrong = json!({"encrypted": sealed["encrypted"], "dek": altered});
    codec.client.post("/decrypt-value", wrong).await.refused(403, "dek_handle_invalid");
    // One that lives for a second.
    let codec = Launch::new().toml("[keys]\ndek_release = \"sealed\"\ndek_handle_ttl_s = 1").start().await;
    let sealed = codec.client.encrypt("shop", &secret("x")).await;
    let handle = decrypt_dek(&codec.client, "shop", &sealed["encryptedDEK"]).await.ok()["dek"].clone();
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let call = json!({"encrypted": sealed["encrypted"], "dek": handle});
    codec.client.post("/decrypt-value", call).await.refused(403, "dek_handle_invalid");
}

#[tokio::test]
async fn no_dek_leaves_where_operators_say_never() {
    let codec = Launch::new().toml("[keys]\ndek_release = \"never\"").start().await;
    let sealed = codec.client.encrypt("shop", &secret("x")).await;
    decrypt_dek(&codec.client, "shop", &sealed["encryptedDEK"]).await.refused(403, "dek_release_refused");
    assert_eq!(codec.last_record()["outcome"], "denied");
    let call = json!({"encrypted": sealed["encrypted"], "projectId": "shop", "encryptedDEK": sealed["encryptedDEK"]});
    assert_eq!(codec.client.post("/decrypt-value", call).await.ok()["value"], secret("x"));
}

/// By its fingerprint a raw DEK is found. One that was altered leads to no other project's DEK, not even to one that is in the cache.
#[tokio::test]
async fn fingerprints_that_were_swapped_are_an_alarm_though_the_deks_are_in_the_cache() {
    let codec = Codec::start().await;
    let (shop, blog) = (codec.client.encrypt("shop", "s").await, codec.client.encrypt("blog", "b").await);
    let (shops, _) = codec.client.dek("shop").await;
    let (blogs, _) = codec.client.dek("blog").await;
    let mut database = crate::support::outside_kek::database(&codec.launch).await;
    let mut fingerprint = async |project: &str| -> Vec<u8> {
        let query = sqlx::query_scalar("SELECT fingerprint FROM project_dek WHERE project_id = ?").bind(project);
        query.fetch_one(&mut database).await.expect("a row")
    };
    let (of_shop, of_blog) = (fingerprint("shop").await, fingerprint("blog").await);
    for (project, value) in [("shop", &b"aside"[..]), ("blog", &of_shop), ("shop", &of_blog)] {
        let update = sqlx::query("UPDATE project_dek SET fingerprint = ? WHERE project_id = ?");
        update.bind(value).bind(project).execute(&mut database).await.expect("updated");
    }
    for (dek, sealed) in [(&blogs, &blog), (&shops, &shop)] {
        let call = json!({"dek": dek, "encrypted": sealed["encrypted"]});
        codec.client.post("/decrypt-value", call).await.refused(500, "dek_corrupt");
    }
    assert!(codec.log().contains("ALARM"));
}
