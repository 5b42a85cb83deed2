//! Whatever a provider or its backend does: who needs it is told, with one code for each cause, and nobody else notices.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::providers::{TOKEN, decrypt, external, start, vault_toml};
use crate::support::backend::{Fault, Reply};
use crate::support::plugins::component;
use crate::support::vault::{VaultServer, errors};
use crate::support::{Launch, secret};

/// Not kept, and never left alone: each call meets the backend.
const BARE: &str = "cache_max_ms = 0\nbreaker_failures = 1000000\ndeadline_ms = 1500";

#[tokio::test]
async fn every_bad_answer_has_its_code_and_fails_only_who_needs_it() {
    let (codec, vault) = start(BARE).await;
    vault.with(|vault| {
        vault.put("secret/data/app", json!({"a": secret("one"), "empty": "", "null": null}));
        vault.put("secret/data/gone", json!({"a": secret("gone")}));
        vault.change("DELETE", "secret/data/gone", json!({}));
        vault.put("secret/data/dust", json!({"a": secret("dust")}));
        vault.change("POST", "secret/destroy/dust", json!({"versions": [1]}));
        vault.put("secret/data/denied", json!({"a": secret("denied")}));
        vault.denied.push("secret/data/denied".into());
    });
    let sealed = codec.client.encrypt("shop", &secret("own")).await;
    let own = json!({"type": "secret", "value": sealed["encrypted"]});
    let say = |status, body: &str| Some(Fault::Say(Reply::new(status, body)));
    let good = "secret/data/app#a";
    let cases: Vec<(&str, Option<Fault>, &str, u16, &str)> = vec![
        ("403", None, "secret/data/denied#a", 403, "provider_denied"),
        ("404", None, "secret/data/never#a", 404, "secret_not_found"),
        ("no such field", None, "secret/data/app#b", 404, "secret_not_found"),
        ("null", None, "secret/data/app#null", 404, "secret_not_found"),
        ("deleted", None, "secret/data/gone#a", 404, "secret_not_found"),
        ("destroyed", None, "secret/data/dust#a", 404, "secret_not_found"),
        ("no reference of Vault's", None, "app#a", 422, "invalid_reference"),
        ("429", Some(Fault::Say(errors(429, &["quota"]).with("retry-after", "7"))), good, 503, "provider_unavailable"),
        ("500", say(500, r#"{"errors":["internal error"]}"#), good, 503, "provider_unavailable"),
        ("503", say(503, r#"{"errors":["Vault is sealed"]}"#), good, 503, "provider_unavailable"),
        ("a redirect", say(307, ""), good, 503, "provider_unavailable"),
        ("slow", Some(Fault::Late(Duration::from_secs(20))), good, 503, "provider_unavailable"),
        ("cut in the middle", Some(Fault::Cut), good, 503, "provider_unavailable"),
        ("10 MB", Some(Fault::Huge(10 << 20)), good, 503, "provider_unavailable"),
        ("not JSON", say(200, "<html>sign in</html>"), good, 503, "provider_unavailable"),
        ("another's JSON", say(200, "{\"data\":{\"a\":1}}"), good, 503, "provider_unavailable"),
    ];
    for (case, fault, reference, status, code) in cases {
        vault.always(fault);
        let answer = decrypt(&codec, json!({"OWN": own, "FAR": external(reference)})).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{case}: {}", answer.text);
        assert_eq!(answer.json()["variable"], "FAR", "{case}");
        let retry_after = answer.header("retry-after");
        assert_eq!(retry_after, (status == 503).then_some(if case == "429" { "7" } else { "1" }), "{case}");
        if case == "429" {
            // It asked to be left alone, and is.
            assert_eq!(codec.provider("vault").await["breaker"], "open");
        }
        let record = codec.last_record();
        let outcome = if status == 403 { "denied" } else { "failed" };
        assert_eq!((&record["outcome"], &record["reason"]), (&json!(outcome), &json!(code)), "{case}");
        assert_eq!(record["external"][0]["reference"], reference, "{case}");
        codec.verify(&[answer.receipt()]);
        // The same in part: the rest is answered.
        let variables = json!({"OWN": own, "FAR": external(reference)});
        let call = json!({"projectId": "shop", "deploymentId": "d-1", "variables": variables, "partial": true});
        let answer = codec.client.post("/decrypt-all", call).await.ok();
        assert_eq!(answer["values"], json!({"OWN": secret("own")}), "{case}");
        assert_eq!(answer["errors"]["FAR"]["code"], code, "{case}");
        assert_eq!(codec.last_record()["failedVariables"], json!(["FAR"]), "{case}");
        if case == "429" {
            vault.always(None);
            tokio::time::sleep(Duration::from_millis(7_050)).await;
            decrypt(&codec, json!({"A": external(good)})).await.ok();
        }
        // Who needs nothing of it does not notice.
        let began = Instant::now();
        decrypt(&codec, json!({"OWN": own})).await.ok();
        assert!(began.elapsed() < Duration::from_secs(1), "{case}");
    }
    vault.always(None);
    let empty = decrypt(&codec, json!({"A": external("secret/data/app#empty")})).await.ok();
    assert_eq!(empty["A"], "", "an empty value is one");
}

#[tokio::test]
async fn a_wrong_token_is_denied_and_a_new_one_in_the_file_counts_at_once() {
    let (codec, vault) = start("").await;
    vault.with(|vault| {
        vault.put("secret/data/app", json!({"a": secret("one")}));
        vault.tokens = vec!["hvs.another-token-9876543210".into()];
    });
    let call = json!({"A": external("secret/data/app#a")});
    decrypt(&codec, call.clone()).await.refused(403, "provider_denied");
    std::fs::write(codec.launch.dir.path().join("vault-token"), "hvs.another-token-9876543210\n").expect("written");
    decrypt(&codec, call).await.ok();
    let log = codec.log();
    assert!(!log.contains(TOKEN) && !log.contains("hvs.another"), "{log}");
}

#[tokio::test]
async fn a_backend_that_fails_is_left_alone_and_one_request_tries_it_again() {
    let (codec, vault) = start("cache_max_ms = 0\nbreaker_failures = 3\nbreaker_ms = 2000").await;
    vault.with(|vault| vault.put("secret/data/app", json!({"a": secret("one")})));
    let call = || async { decrypt(&codec, json!({"A": external("secret/data/app#a")})).await };
    vault.always(Some(Fault::Say(errors(500, &["internal error"]))));
    for _ in 0..3 {
        call().await.refused(503, "provider_unavailable");
    }
    assert_eq!(vault.requests(), 3);
    for _ in 0..10 {
        let answer = call().await;
        answer.refused(503, "provider_unavailable");
        assert!(matches!(answer.header("retry-after"), Some("1" | "2")), "{:?}", answer.header("retry-after"));
    }
    assert_eq!(vault.requests(), 0, "left alone");
    let status = codec.provider("vault").await;
    assert_eq!((&status["breaker"], &status["leftAlone"]), (&json!("open"), &json!(10)));
    assert!(status["lastFailure"].as_str().expect("a text").contains("internal error"), "{status}");
    let metrics = codec.client.get("/metrics").await.text;
    assert!(metrics.contains("codec_provider_breaker_open{provider=\"vault\"} 1"), "{metrics}");

    // Half open: of many at once one tries, and fails.
    tokio::time::sleep(Duration::from_millis(2_050)).await;
    assert_eq!(codec.provider("vault").await["breaker"], "half-open");
    vault.always(Some(Fault::Late(Duration::from_secs(1))));
    vault.fault(Fault::Say(errors(500, &["internal error"])));
    call().await.refused(503, "provider_unavailable");
    assert_eq!(vault.requests(), 1);
    call().await.refused(503, "provider_unavailable");
    assert_eq!(vault.requests(), 0);

    // And the next one that tries it finds it well: nobody else asked meanwhile.
    tokio::time::sleep(Duration::from_millis(2_050)).await;
    let others = async {
        vault.until_asked().await;
        let other = |index| {
            let (codec, call) = (&codec, json!({"A": external(&format!("secret/data/other-{index}#a"))}));
            async move { decrypt(codec, call).await }
        };
        futures_util::future::join_all((0..5).map(other)).await
    };
    let (first, others) = tokio::join!(call(), others);
    assert_eq!(first.ok()["A"], secret("one"));
    for other in others {
        other.refused(503, "provider_unavailable");
    }
    assert_eq!(vault.requests(), 1);
    vault.always(None);
    call().await.ok();
    assert_eq!(codec.provider("vault").await["breaker"], "closed");
}

#[tokio::test]
async fn what_is_kept_is_given_while_the_backend_is_down_and_not_longer() {
    let (codec, vault) = start("cache_max_ms = 1500\nbreaker_failures = 1").await;
    vault.with(|vault| vault.put("secret/data/app", json!({"a": secret("one")})));
    let call = || async { decrypt(&codec, json!({"A": external("secret/data/app#a")})).await };
    call().await.ok();
    vault.always(Some(Fault::Say(errors(500, &["internal error"]))));
    decrypt(&codec, json!({"A": external("secret/data/other#a")})).await.refused(503, "provider_unavailable");
    assert_eq!(codec.provider("vault").await["breaker"], "open");
    call().await.ok();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    call().await.refused(503, "provider_unavailable");
}

#[tokio::test]
async fn a_provider_that_was_never_admitted_refuses_what_needs_it_and_goes_live_when_it_is_mended() {
    let vault = VaultServer::start(TOKEN).await;
    vault.with(|vault| vault.put("secret/data/app", json!({"a": secret("one")})));
    let launch = Launch::new().with_plugins();
    launch.put_plugin("provider-vault.wasm", &component("policy-recency"));
    let toml = vault_toml(&vault, launch.dir.path(), "");
    let codec = launch.toml(&toml).start().await;
    let status = codec.provider("vault").await;
    assert_eq!((&status["live"], &status["errorCode"]), (&json!(false), &json!("wrong-world")));
    let call = json!({"A": external("secret/data/app#a"), "B": {"type": "plain", "value": "p"}});
    decrypt(&codec, call.clone()).await.refused(503, "provider_unavailable");
    decrypt(&codec, json!({"B": {"type": "plain", "value": "p"}})).await.ok();
    codec.launch.put_plugin("provider-vault.wasm", &component("provider-vault"));
    let is_live = |plugins: &Value| plugins["providers"][0]["live"] == true;
    codec.until_plugins("it is mended", is_live).await;
    assert_eq!(decrypt(&codec, call.clone()).await.ok()["A"], secret("one"));
    // And a broken one that comes later does not replace it.
    codec.launch.put_plugin("provider-vault.wasm", b"");
    codec.until_plugins("it is refused", |plugins| plugins["providers"][0]["errorCode"] == "empty").await;
    decrypt(&codec, call).await.ok();
    assert_eq!(codec.provider("vault").await["live"], true);
}

#[tokio::test]
async fn one_provider_down_is_nothing_to_another() {
    let (up, down) = (VaultServer::start(TOKEN).await, VaultServer::start(TOKEN).await);
    up.with(|vault| vault.put("secret/data/app", json!({"a": secret("up")})));
    down.always(Some(Fault::Late(Duration::from_secs(30))));
    let launch = Launch::new().with_plugins();
    let first = vault_toml(&up, launch.dir.path(), "");
    let second = vault_toml(&down, launch.dir.path(), "deadline_ms = 2000");
    // The credential is the same one.
    let (_, second) = second.split_once("\n\n").expect("two tables");
    let second = second.replace("name = \"vault\"\n", "name = \"down\"\n");
    let codec = launch.toml(&format!("{first}\n{second}")).start().await;
    let from = |provider: &str| json!({"type": "external", "provider": provider, "ref": "secret/data/app#a"});
    let slow = decrypt(&codec, json!({"A": from("down")}));
    let quick = async {
        for _ in 0..20 {
            let began = Instant::now();
            decrypt(&codec, json!({"A": from("vault")})).await.ok();
            assert!(began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
        }
    };
    let (slow, ()) = tokio::join!(slow, quick);
    slow.refused(503, "provider_unavailable");
    let both = json!({"projectId": "shop", "deploymentId": "d-1", "variables": {"A": from("down"), "B": from("vault")}, "partial": true});
    let answer = codec.client.post("/decrypt-all", both).await.ok();
    assert_eq!(answer["values"], json!({"B": secret("up")}));
    assert_eq!(answer["errors"]["A"]["code"], "provider_unavailable");
}

#[tokio::test]
async fn more_calls_than_its_places_wait_for_one_or_are_refused_in_time() {
    let (codec, vault) = start("cache_max_ms = 0\ncalls_max = 1\ndeadline_ms = 1000").await;
    let variables: serde_json::Map<String, Value> = (0..4)
        .map(|index| {
            vault.with(|vault| vault.put(&format!("secret/data/app-{index}"), json!({"a": secret("x")})));
            (format!("A{index}"), external(&format!("secret/data/app-{index}#a")))
        })
        .collect();
    let variables = Value::Object(variables);
    decrypt(&codec, variables.clone()).await.ok();
    vault.always(Some(Fault::Late(Duration::from_millis(400))));
    let call = json!({"projectId": "shop", "deploymentId": "d-1", "variables": variables, "partial": true});
    let answer = codec.client.post("/decrypt-all", call).await.ok();
    let (values, errors) =
        (answer["values"].as_object().expect("values"), answer["errors"].as_object().expect("errors"));
    assert!(!values.is_empty() && !errors.is_empty(), "{answer}");
    assert!(errors.values().all(|error| error["code"] == "provider_unavailable"), "{answer}");
    // Too many of ours say nothing of the backend.
    assert_eq!(codec.provider("vault").await["breaker"], "closed");
}
