//! The four calls of the contract answer exactly as the platform's callers expect, and the additions change none of them.

use serde_json::{Value, json};

use crate::support::{Codec, secret};

#[tokio::test]
async fn what_encrypt_answers_decrypt_value_opens_under_the_dek_of_decrypt_dek() {
    let codec = Codec::start().await;
    let encrypted = codec.client.encrypt("shop", &secret("database")).await;
    let (dek, encrypted_dek) = codec.client.dek("shop").await;
    assert_eq!(encrypted["encryptedDEK"], encrypted_dek);
    assert_eq!(encrypted["keyVersion"], 1);
    let opened = codec.client.post("/decrypt-value", json!({"encrypted": encrypted["encrypted"], "dek": dek})).await;
    assert_eq!(opened.ok(), json!({"value": secret("database")}));
}

#[tokio::test]
async fn decrypt_all_answers_a_flat_object_in_the_order_given() {
    let codec = Codec::start().await;
    let one = codec.client.encrypt("shop", &secret("one")).await;
    let two = codec.client.encrypt("shop", "").await;
    // Old data: `encrypted` and `keyVersion` may be missing.
    let variables = json!({
        "ZULU": {"type": "plain", "value": "z"},
        "ALPHA": {"type": "secret", "encrypted": true, "value": one["encrypted"], "keyVersion": 1},
        "__proto__": {"type": "secret", "value": two["encrypted"]},
        "": {"type": "plain", "encrypted": false, "value": ""},
        "MIKE": {"type": "plain", "value": "m", "unknown": [1, {"x": null}]},
    });
    // serde_json sorts keys; the order given matters here.
    let given: Vec<String> = ["ZULU", "ALPHA", "__proto__", "", "MIKE"]
        .iter()
        .map(|name| format!("{}:{}", json!(name), variables[name]))
        .collect();
    let text = format!(r#"{{"projectId":"shop","deploymentId":"d-1","variables":{{{}}}}}"#, given.join(","));
    let answer = codec.client.post_text("/decrypt-all", text).await;
    answer.ok();
    let expected = format!(r#"{{"ZULU":"z","ALPHA":"{}","__proto__":"","":"","MIKE":"m"}}"#, secret("one"));
    assert_eq!(answer.text, expected);
}

#[tokio::test]
async fn no_variables_answer_an_empty_object_for_any_project_and_deployment() {
    let codec = Codec::start().await;
    let answer =
        codec.client.post("/decrypt-all", json!({"projectId": "p", "deploymentId": "d", "variables": {}})).await;
    assert_eq!(answer.ok(), json!({}));
}

#[tokio::test]
async fn plain_variables_pass_for_a_project_nobody_knows_and_secrets_do_not() {
    let codec = Codec::start().await;
    let all = |variables: Value| json!({"projectId": "nobody", "deploymentId": "d", "variables": variables});
    let plain = json!({"A": {"type": "plain", "value": "x"}});
    assert_eq!(codec.client.post("/decrypt-all", all(plain)).await.ok(), json!({"A": "x"}));
    let value = codec.client.encrypt("somebody", "x").await["encrypted"].clone();
    let answer = codec.client.post("/decrypt-all", all(json!({"A": {"type": "secret", "value": value}}))).await;
    answer.refused(404, "unknown_project");
    assert_eq!(answer.json()["variable"], "A");
}

#[tokio::test]
async fn encrypt_all_answers_what_decrypt_all_takes() {
    let codec = Codec::start().await;
    let given = json!({
        "API_URL": {"type": "plain", "value": "https://api.example.com"},
        "DATABASE_URL": {"type": "secret", "value": secret("db")},
        "EMPTY": {"type": "secret", "encrypted": false, "value": ""},
    });
    let stored = codec.client.post("/encrypt-all", json!({"projectId": "shop", "variables": given})).await.ok();
    assert_eq!(stored["keyVersion"], 1);
    assert_eq!(stored["variables"]["API_URL"], json!({"type": "plain", "value": "https://api.example.com"}));
    assert_eq!(stored["variables"]["DATABASE_URL"]["encrypted"], true);
    // What is sealed already passes through, so that a caller can send the whole object after each edit.
    let again = json!({"projectId": "shop", "variables": stored["variables"]});
    assert_eq!(codec.client.post("/encrypt-all", again).await.ok()["variables"], stored["variables"]);
    let all = json!({"projectId": "shop", "deploymentId": "d", "variables": stored["variables"]});
    let opened = codec.client.post("/decrypt-all", all).await.ok();
    assert_eq!(opened, json!({"API_URL": "https://api.example.com", "DATABASE_URL": secret("db"), "EMPTY": ""}));
}

#[tokio::test]
async fn one_bad_value_fails_the_call_and_is_named_and_with_partial_the_rest_is_answered() {
    let codec = Codec::start().await;
    let mut variables = serde_json::Map::new();
    let value = codec.client.encrypt("shop", &secret("v")).await["encrypted"].clone();
    for index in 0..1_000 {
        variables.insert(format!("V{index}"), json!({"type": "secret", "value": value}));
    }
    let mut broken = value.as_str().expect("text").as_bytes().to_vec();
    broken[30] = if broken[30] == b'A' { b'B' } else { b'A' };
    variables["V500"]["value"] = json!(String::from_utf8(broken).expect("ASCII"));
    let mut call = json!({"projectId": "shop", "deploymentId": "d", "variables": variables});
    let answer = codec.client.post("/decrypt-all", call.clone()).await;
    answer.refused(422, "decrypt_failed");
    assert_eq!(answer.json()["variable"], "V500");
    call["partial"] = json!(true);
    let answer = codec.client.post("/decrypt-all", call.clone()).await.ok();
    assert_eq!(answer["values"].as_object().expect("values").len(), 999);
    assert_eq!(answer["errors"]["V500"]["code"], "decrypt_failed");
    assert_eq!(codec.last_record()["failedVariables"], json!(["V500"]));
    call["variables"]["V7"]["value"] = json!("not base64");
    call["variables"]["V8"]["keyVersion"] = json!(9);
    let answer = codec.client.post("/decrypt-all", call.clone()).await.ok();
    assert_eq!(answer["values"].as_object().expect("values").len(), 997);
    assert_eq!(answer["errors"]["V7"]["code"], "invalid_base64");
    assert_eq!(answer["errors"]["V8"]["code"], "unknown_key_version");
    call["partial"] = json!(false);
    let answer = codec.client.post("/decrypt-all", call).await;
    answer.refused(400, "invalid_base64");
    assert_eq!(answer.json()["variable"], "V7");
}

#[tokio::test]
async fn decrypt_value_takes_an_encrypted_dek_so_that_the_dek_never_leaves() {
    let codec = Codec::start().await;
    let sealed = codec.client.encrypt("shop", &secret("x")).await;
    let mut call = json!({"encrypted": sealed["encrypted"], "projectId": "shop",
                          "encryptedDEK": sealed["encryptedDEK"], "deploymentId": "d-7"});
    assert_eq!(codec.client.post("/decrypt-value", call.clone()).await.ok(), json!({"value": secret("x")}));
    let record = codec.last_record();
    assert_eq!((&record["projectId"], &record["deploymentId"]), (&json!("shop"), &json!("d-7")));
    call["dek"] = json!("AAAA");
    codec.client.post("/decrypt-value", call).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn generate_dek_is_safe_to_repeat_and_encrypt_takes_the_dek_it_answers() {
    let codec = Codec::start().await;
    let first = codec.client.post("/generate-dek", json!({"projectId": "shop"})).await.ok();
    let again = codec.client.post("/generate-dek", json!({"projectId": "shop"})).await.ok();
    assert_eq!(first, again);
    let call = json!({"projectId": "shop", "value": "v", "encryptedDEK": first["encryptedDEK"],
                      "name": "DATABASE_URL", "format": "v1"});
    let sealed = codec.client.post("/encrypt", call).await.ok();
    assert_eq!(sealed["encryptedDEK"], first["encryptedDEK"]);
    assert_eq!(codec.last_record()["variables"], json!(["DATABASE_URL"]));
    let other = json!({"projectId": "shop", "value": "v", "format": "v9"});
    codec.client.post("/encrypt", other).await.refused(422, "unsupported_format");
}

#[tokio::test]
async fn every_audited_answer_carries_a_receipt_that_verifies() {
    let codec = Codec::start().await;
    let sealed = codec.client.post("/encrypt", json!({"projectId": "shop", "value": secret("x")})).await;
    let wrong = json!({"encrypted": "A".repeat(44), "projectId": "shop", "encryptedDEK": sealed.ok()["encryptedDEK"]});
    let failed = codec.client.post("/decrypt-value", wrong).await;
    failed.refused(422, "decrypt_failed");
    let record = codec.last_record();
    assert_eq!((&record["outcome"], &record["reason"]), (&json!("failed"), &json!("decrypt_failed")));
    assert_eq!(record["action"], "SECRET_DECRYPT");
    assert_eq!(record["caller"], json!({"name": "service", "method": "shared-token"}));
    assert_eq!(record["remote"], "127.0.0.1");
    codec.verify(&[sealed.receipt(), failed.receipt()]);
    for answer in [&sealed, &failed] {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.header("x-request-id").is_some());
    }
    assert_eq!(failed.json()["requestId"], failed.header("x-request-id").expect("an id"));
    assert_eq!(failed.header("content-type"), Some("application/problem+json"));
}
