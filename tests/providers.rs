//! Secrets that live elsewhere, through the real service: found, judged, recorded, kept, shared by who asks at once.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::hostile::corpus::{self, World};
use crate::support::plugins::component;
use crate::support::vault::{Vault, VaultServer};
use crate::support::{Answer, CANARY, Codec, Launch, secret};

pub(crate) const TOKEN: &str = "hvs.codec-tests-0123456789";

/// `provider-vault` as `vault`, with more of its own entry.
pub(crate) fn vault_toml(vault: &Vault, dir: &Path, more: &str) -> String {
    let (origin, file) = (vault.origin(), dir.join("vault-token"));
    std::fs::write(&file, TOKEN).expect("a token");
    format!(
        "[[credentials]]\nname = \"vault\"\nheader = \"X-Vault-Token\"\nfile = \"{}\"\n\n[[providers]]\nname = \"vault\"\n\
         path = \"provider-vault.wasm\"\nparallel = 8\n{more}\n\
         http = [{{ origin = \"{origin}\", addresses = [\"127.0.0.1/32\"], credentials = [\"vault\"] }}]\n\
         settings = {{ url = \"{origin}\", credential = \"vault\", unversioned_mounts = [\"kv\"] }}\n",
        file.display()
    )
}

/// A service with a Vault, both empty.
pub(crate) async fn start(more: &str) -> (Codec, Vault) {
    let vault = VaultServer::start(TOKEN).await;
    let launch = Launch::new().with_plugins();
    let toml = vault_toml(&vault, launch.dir.path(), more);
    (launch.toml(&toml).start().await, vault)
}

pub(crate) fn external(reference: &str) -> Value {
    json!({"type": "external", "provider": "vault", "ref": reference})
}

pub(crate) async fn decrypt(codec: &Codec, variables: Value) -> Answer {
    let call = json!({"projectId": "shop", "deploymentId": "d-1", "variables": variables});
    codec.client.post("/decrypt-all", call).await
}

#[tokio::test]
async fn a_secret_of_vault_is_answered_and_recorded_by_its_place_and_version() {
    let (codec, vault) = start("").await;
    vault.with(|vault| {
        vault.put("secret/data/app", json!({"password": secret("one"), "user": "u"}));
        vault.put("secret/data/app", json!({"password": secret("two"), "user": "u", "empty": ""}));
    });
    let sealed = codec.client.encrypt("shop", &secret("own")).await;
    let variables = json!({
        "OWN": {"type": "secret", "value": sealed["encrypted"], "keyVersion": 1},
        "PASSWORD": external("secret/data/app#password"),
        "PLAIN": {"type": "plain", "value": "p"},
        "OLD": {"type": "external", "provider": "vault", "ref": "secret/data/app#password", "version": "1"},
        "EMPTY": external("secret/data/app#empty"),
    });
    let answer = decrypt(&codec, variables).await;
    assert_eq!(
        answer.ok(),
        json!({"OWN": secret("own"), "PASSWORD": secret("two"), "PLAIN": "p", "OLD": secret("one"), "EMPTY": ""})
    );
    // Two fields of one path and version are one request.
    assert_eq!(vault.requests(), 2);
    let record = codec.last_record();
    assert_eq!(record["variables"], json!(["OWN"]));
    assert_eq!(
        record["external"],
        json!([
            {"name": "EMPTY", "provider": "vault", "reference": "secret/data/app#empty", "version": "2"},
            {"name": "OLD", "provider": "vault", "reference": "secret/data/app#password", "askedVersion": "1", "version": "1"},
            {"name": "PASSWORD", "provider": "vault", "reference": "secret/data/app#password", "version": "2"},
        ])
    );
    codec.verify(&[answer.receipt()]);
}

#[tokio::test]
async fn twenty_of_ours_and_five_of_vault_are_one_call_and_what_is_asked_twice_is_asked_once() {
    let (codec, vault) = start("deadline_ms = 60000").await;
    let mut variables = serde_json::Map::new();
    for index in 0..20 {
        let sealed = codec.client.encrypt("shop", &secret(&format!("own-{index}"))).await;
        variables.insert(format!("OWN_{index}"), json!({"type": "secret", "value": sealed["encrypted"]}));
    }
    for index in 0..5 {
        vault.with(|vault| {
            vault.put(&format!("secret/data/app-{index}"), json!({"a": secret(&format!("far-{index}"))}))
        });
        variables.insert(format!("FAR_{index}"), external(&format!("secret/data/app-{index}#a")));
    }
    variables.insert("FAR_AGAIN".into(), external("secret/data/app-0#a"));
    // One after the other, they would never be all there before the first is answered.
    let held = vault.hold();
    let all_there = async {
        vault.until_asked(5).await;
        drop(held);
    };
    let (answer, ()) = tokio::join!(decrypt(&codec, Value::Object(variables)), all_there);
    let answer = answer.ok();
    assert_eq!(answer.as_object().expect("an object").len(), 26);
    for index in 0..5 {
        assert_eq!(answer[format!("FAR_{index}")], secret(&format!("far-{index}")));
        assert_eq!(answer[format!("OWN_{index}")], secret(&format!("own-{index}")));
    }
    assert_eq!(answer["FAR_AGAIN"], secret("far-0"));
    assert_eq!(vault.requests(), 5);
}

#[tokio::test]
async fn who_asks_at_once_for_the_same_is_answered_by_one_request() {
    let (codec, vault) = start("cache_max_ms = 0\ndeadline_ms = 60000").await;
    vault.with(|vault| vault.put("secret/data/app", json!({"a": secret("one")})));
    let held = vault.hold();
    let calls = (0..40).map(|_| async { decrypt(&codec, json!({"A": external("secret/data/app#a")})).await.ok() });
    let all_there = async {
        codec.until_plugins("39 wait for one", |plugins| plugins["providers"][0]["joined"] == 39).await;
        drop(held);
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(calls), all_there);
    for answer in answers {
        assert_eq!(answer["A"], secret("one"));
    }
    assert_eq!(vault.requests(), 1);
    let status = codec.provider("vault").await;
    assert_eq!((&status["calls"], &status["joined"], &status["cached"]), (&json!(1), &json!(39), &json!(0)));
    // Nothing is kept: the next one asks.
    decrypt(&codec, json!({"A": external("secret/data/app#a")})).await.ok();
    assert_eq!(vault.requests(), 1);
}

#[tokio::test]
async fn a_secret_is_kept_as_long_as_its_lease_and_the_configuration_allow_and_for_one_project_and_caller() {
    let (mut codec, vault) = start("cache_max_ms = 60000").await;
    vault.with(|vault| {
        vault.put("secret/data/app", json!({"a": secret("one")}));
        vault.put("kv/long", json!({"a": secret("long"), "ttl": 60}));
        vault.put("kv/short", json!({"a": secret("short"), "ttl": 1}));
    });
    let both = json!({"A": external("secret/data/app#a"), "B": external("kv/long#a")});
    for _ in 0..3 {
        decrypt(&codec, both.clone()).await.ok();
    }
    assert_eq!(vault.requests(), 2, "one for each, then none");
    let other = json!({"projectId": "bank", "deploymentId": "d-1", "variables": both});
    codec.client.post("/decrypt-all", other).await.ok();
    assert_eq!(vault.requests(), 2, "another project's are its own");
    let mut all = both.clone();
    all["C"] = external("kv/short#a");
    decrypt(&codec, all.clone()).await.ok();
    assert_eq!(vault.requests(), 1, "the others are kept");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    decrypt(&codec, all).await.ok();
    assert_eq!(vault.requests(), 1, "its lease is over, and no other");
    let toml = codec.launch.toml.replace("cache_max_ms = 60000", "cache_max_ms = 1000");
    codec.reconfigure(&toml).await;
    decrypt(&codec, both.clone()).await.ok();
    assert_eq!(vault.requests(), 2, "what is configured otherwise begins with nothing");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    vault.with(|vault| vault.put("secret/data/app", json!({"a": secret("two")})));
    assert_eq!(decrypt(&codec, both).await.ok()["A"], secret("two"));
    assert_eq!(vault.requests(), 2, "the configured time is over, whatever the lease");
    // What has expired is wiped though nobody asks.
    codec.until_plugins("it is wiped", |plugins| plugins["providers"][0]["cached"] == 0).await;
    let metrics = codec.client.get("/metrics").await.text;
    assert!(metrics.contains("codec_provider_cache_hits_total{provider=\"vault\"} 8"), "{metrics}");
}

#[tokio::test]
async fn a_policy_sees_the_reference_and_what_it_denies_is_asked_nobody_though_it_is_kept() {
    let (mut codec, vault) = start("").await;
    vault.with(|vault| {
        vault.put("secret/data/shop/app", json!({"a": secret("one")}));
        vault.put("secret/data/bank/app", json!({"a": secret("bank")}));
    });
    let own = json!({"A": external("secret/data/shop/app#a")});
    decrypt(&codec, own.clone()).await.ok();
    assert_eq!(vault.requests(), 1);
    codec.launch.put_plugin("policy-access.wasm", &component("policy-access"));
    let table = |external: &str| {
        let policy = format!(
            "[[policies]]\nname = \"access\"\npath = \"policy-access.wasm\"\nsettings = {{ table = \"* | * | * | * {external}\" }}\n"
        );
        policy
    };
    let providers = codec.launch.toml.clone();
    for (external_cell, own_status) in [("", 403), ("| vault:secret/data/{project}/*", 200), ("| aws:*", 403)] {
        codec.reconfigure(&format!("{}{providers}", table(external_cell))).await;
        let answer = decrypt(&codec, own.clone()).await;
        assert_eq!(answer.status, own_status, "{external_cell}: {}", answer.text);
        let others = decrypt(&codec, json!({"A": external("secret/data/bank/app#a")})).await;
        others.refused(403, "denied");
        assert_eq!(others.json()["policyCode"], "access-denied");
        let record = codec.last_record();
        assert_eq!(record["external"][0]["reference"], "secret/data/bank/app#a");
        assert_eq!(record["external"][0]["version"], Value::Null);
        assert_eq!(record["facts"]["sizes"], json!([0]));
    }
    assert_eq!(vault.requests(), 0, "the last good one was kept, and nobody was asked for the other");
}

#[tokio::test]
async fn a_provider_that_is_replaced_or_revoked_takes_what_was_kept_of_it_along() {
    let (mut codec, vault) = start("").await;
    vault.with(|vault| vault.put("secret/data/app", json!({"a": secret("one")})));
    let call = json!({"A": external("secret/data/app#a")});
    decrypt(&codec, call.clone()).await.ok();
    decrypt(&codec, call.clone()).await.ok();
    assert_eq!(vault.requests(), 1);
    let toml = codec.launch.toml.clone();
    // An edit that is not about it changes nothing.
    codec.reconfigure(&format!("{toml}\n[[outputs]]\nname = \"o\"\nto = \"stdout\"\n")).await;
    decrypt(&codec, call.clone()).await.ok();
    assert_eq!(vault.requests(), 0);
    // Its settings are another provider's.
    codec.reconfigure(&toml.replace("unversioned_mounts = [\"kv\"]", "keep = \"30s\"")).await;
    assert_eq!(codec.provider("vault").await["cached"], 0);
    decrypt(&codec, call.clone()).await.ok();
    assert_eq!(vault.requests(), 1);
    let plugins = codec.reconfigure("[plugins]").await;
    assert_eq!(plugins["providers"], json!([]));
    decrypt(&codec, call.clone()).await.refused(422, "unknown_provider");
    codec.reconfigure(&toml).await;
    assert_eq!(decrypt(&codec, call).await.ok()["A"], secret("one"));
    assert_eq!(vault.requests(), 1);
}

#[tokio::test]
async fn encrypt_all_passes_a_reference_through_and_asks_nobody() {
    let (codec, vault) = start("").await;
    let given = json!({"type": "external", "provider": "nobody", "ref": "secret/data/app#a", "version": "7"});
    let call = json!({"projectId": "shop", "variables": {"A": given, "B": {"type": "secret", "value": secret("own")}}});
    let answer = codec.client.post("/encrypt-all", call).await.ok();
    assert_eq!(answer["variables"]["A"], given);
    let record = codec.last_record();
    assert_eq!(record["variables"], json!(["B"]));
    let noted = json!([{"name": "A", "provider": "nobody", "reference": "secret/data/app#a", "askedVersion": "7"}]);
    assert_eq!(record["external"], noted);
    assert_eq!(vault.requests(), 0);
}

#[tokio::test]
async fn what_is_no_reference_is_told_before_anybody_is_asked_and_other_types_do_not_mind_its_fields() {
    let (codec, vault) = start("").await;
    let wrong = [
        json!({"type": "external", "provider": "vault"}),
        json!({"type": "external", "ref": "a"}),
        json!({"type": "external", "provider": "Vault!", "ref": "a"}),
        json!({"type": "external", "provider": "vault", "ref": ""}),
        json!({"type": "external", "provider": "vault", "ref": "a\nb"}),
        json!({"type": "external", "provider": "vault", "ref": "a".repeat(1_025)}),
        json!({"type": "external", "provider": "vault", "ref": 7}),
        json!({"type": "external", "provider": "vault", "ref": "a", "version": 3}),
        json!({"type": "external", "provider": "vault", "ref": "a", "version": ""}),
        json!({"type": "external", "provider": "vault", "ref": "a", "value": "x"}),
        json!({"type": "external", "provider": "vault", "ref": "a", "keyVersion": 1}),
    ];
    for variable in wrong {
        let answer = decrypt(&codec, json!({"A": variable})).await;
        answer.refused(400, "invalid_request");
        assert_eq!(answer.json()["variable"], "A", "{}", answer.text);
    }
    let plain = json!({"type": "plain", "value": "p", "version": 3, "provider": {"a": [1]}, "ref": null});
    assert_eq!(decrypt(&codec, json!({"A": plain})).await.ok()["A"], "p");
    let doubled = r#"{"projectId":"shop","deploymentId":"d-1","variables":{"A":{"type":"plain","value":"p","ref":{"a":1,"a":2}}}}"#;
    codec.client.post_text("/decrypt-all", doubled).await.refused(400, "duplicate_key");
    assert_eq!(vault.requests(), 0);
}

#[tokio::test]
async fn one_secret_that_is_named_many_times_takes_no_more_room_than_a_call_may() {
    const LENGTH: usize = 1_000_000;
    let (codec, vault) = start("").await;
    vault.with(|vault| vault.put("secret/data/app", json!({"large": "x".repeat(LENGTH)})));
    let named = |times: usize| -> Value {
        (0..times)
            .map(|index| (format!("V_{index:03}"), external("secret/data/app#large")))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    assert_eq!(decrypt(&codec, named(16)).await.ok().as_object().map(serde_json::Map::len), Some(16));
    decrypt(&codec, named(17)).await.refused(413, "payload_too_large");
    let call = json!({"projectId": "shop", "deploymentId": "d-1", "variables": named(20), "partial": true});
    let answer = codec.client.post("/decrypt-all", call).await.ok();
    assert_eq!(answer["values"].as_object().map(serde_json::Map::len), Some(16));
    assert_eq!(answer["errors"]["V_019"]["code"], "payload_too_large");
    assert_eq!(vault.requests(), 1);
}

/// The honest provider of the corpus, with another `resolve`. At 3000 it has a secret of 18 bytes.
pub(crate) fn made(resolve: &str) -> Vec<u8> {
    let module = format!("(data (i32.const 3000) \"{}\")\n", secret("told"));
    corpus::made(World::Provider, &[("resolve", resolve), ("module", &module)])
}

/// In its version, in its log, in what it says of another reference: a process whose traces hold the secret fails the test when it ends.
#[tokio::test]
async fn what_a_provider_finds_stands_in_no_record_no_log_and_no_status() {
    const FOUND: &str = "(local.get $count) (i32.const 3000) (i32.const 18)";
    let launch = Launch::new().toml("[log]\nlevel = \"debug\"");
    let in_version = format!("(call $answer {FOUND} (i32.const 3000) (i32.const 18))");
    let in_log = format!(
        "(call $emit (i32.const 3) (i32.const 3000) (i32.const 18) (i32.const 0) (i32.const 0))\n\
         (call $emit (i32.const 3) (i32.const 2048) (i32.const 6) (i32.const 0) (i32.const 0))\n\
         (call $answer {FOUND} (i32.const 2054) (i32.const 1))"
    );
    // The first of its answers is `denied`, and the reason is the secret that is the second.
    let in_words = format!(
        "(drop (call $answer {FOUND} (i32.const 2054) (i32.const 1)))\n\
         (local.set $references (i32.load (i32.const 16)))\n\
         (i32.store8 (local.get $references) (i32.const 1))\n\
         (i32.store8 offset=8 (local.get $references) (i32.const 1))\n\
         (i32.store offset=12 (local.get $references) (i32.const 3000))\n\
         (i32.store offset=16 (local.get $references) (i32.const 18))\n\
         (i32.const 16)"
    );
    let mut toml = String::new();
    for (name, resolve) in [("version", in_version), ("log", in_log), ("words", in_words)] {
        launch.put_plugin(&format!("{name}.wasm"), &made(&resolve));
        toml.push_str(&format!("[[providers]]\nname = \"{name}\"\npath = \"{name}.wasm\"\nbreaker_failures = 2\n\n"));
    }
    let codec = launch.toml(&toml).start().await;
    let from = |provider: &str, reference: &str| json!({"type": "external", "provider": provider, "ref": reference});

    for _ in 0..3 {
        decrypt(&codec, json!({"A": from("version", "a")})).await.refused(502, "provider_answer_invalid");
        assert_eq!(codec.last_record()["external"][0]["version"], Value::Null);
    }
    let status = codec.provider("version").await;
    assert!(status["lastFailure"].as_str().expect("a text").contains("a version that tells a secret"), "{status}");
    // Which secret it is, a caller may have chosen: that takes the provider from nobody.
    assert_eq!(status["breaker"], "closed");

    assert_eq!(decrypt(&codec, json!({"A": from("log", "a")})).await.ok()["A"], secret("told"));
    codec.until_logged("a line of its log is not written: it tells a secret, or could").await;
    codec.until_logged("honest").await;

    let both = json!({"A": from("words", "a"), "B": from("words", "b")});
    decrypt(&codec, both.clone()).await.refused(403, "provider_denied");
    codec.until_logged("what the plugin says of it is kept back").await;
    let call = json!({"projectId": "shop", "deploymentId": "d-1", "variables": both, "partial": true});
    let answer = codec.client.post("/decrypt-all", call).await.ok();
    let values: Vec<&Value> = answer["values"].as_object().expect("values").values().collect();
    assert_eq!(values, [&json!(secret("told"))], "the other one is answered");

    for path in ["/status", "/metrics"] {
        let told = codec.client.get(path).await.text;
        assert!(!told.contains(CANARY), "{told}");
    }
    codec.verify(&[]);
}
