//! Whatever a provider or its backend does: who needs it is told, with one code for each cause, and nobody else notices.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::providers::{TOKEN, decrypt, external, made, start, vault_toml};
use crate::support::backend::{Fault, Reply};
use crate::support::plugins::component;
use crate::support::vault::{Vault, VaultServer, errors};
use crate::support::{Launch, secret};

/// Not kept, and never left alone: each call meets the backend.
const BARE: &str = "cache_max_ms = 0\nbreaker_failures = 1000000\ndeadline_ms = 6000";

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
        ("slow", Some(Fault::Late(Duration::from_secs(60))), good, 503, "provider_unavailable"),
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
        vault.requests();
        decrypt(&codec, json!({"OWN": own})).await.ok();
        assert_eq!(vault.requests(), 0, "{case}");
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
    let bounds = "cache_max_ms = 0\ndeadline_ms = 60000\nbreaker_failures = 3\nbreaker_ms = 60000";
    let (mut codec, vault) = start(bounds).await;
    vault.with(|vault| vault.put("secret/data/app", json!({"a": secret("one")})));
    let call = json!({"A": external("secret/data/app#a")});
    vault.always(Some(Fault::Say(errors(500, &["internal error"]))));
    for _ in 0..3 {
        decrypt(&codec, call.clone()).await.refused(503, "provider_unavailable");
    }
    assert_eq!(vault.requests(), 3);
    for _ in 0..10 {
        let answer = decrypt(&codec, call.clone()).await;
        answer.refused(503, "provider_unavailable");
        let after_s = answer.header("retry-after").and_then(|text| text.parse::<u64>().ok());
        assert!(after_s.is_some_and(|after_s| (2..=60).contains(&after_s)), "{after_s:?}");
    }
    assert_eq!(vault.requests(), 0, "left alone");
    let status = codec.provider("vault").await;
    assert_eq!((&status["breaker"], &status["leftAlone"]), (&json!("open"), &json!(10)));
    assert!(status["lastFailure"].as_str().expect("a text").contains("internal error"), "{status}");
    let metrics = codec.client.get("/metrics").await.text;
    assert!(metrics.contains("codec_provider_breaker_open{provider=\"vault\"} 1"), "{metrics}");

    // Left alone for a second only, and then half open: one tries, and fails.
    let toml = codec.launch.toml.replace("breaker_ms = 60000", "breaker_ms = 1000");
    codec.reconfigure(&toml).await;
    let is_half_open = |plugins: &Value| plugins["providers"][0]["breaker"] == "half-open";
    for _ in 0..3 {
        decrypt(&codec, call.clone()).await.refused(503, "provider_unavailable");
    }
    codec.until_plugins("it may be tried", is_half_open).await;
    assert_eq!(vault.requests(), 3);
    let began = Instant::now();
    decrypt(&codec, call.clone()).await.refused(503, "provider_unavailable");
    assert_eq!(vault.requests(), 1);
    codec.until_plugins("it may be tried again", is_half_open).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "it is left alone as long as before: {:?}", began.elapsed());

    // And the next one that tries it finds it well: nobody else asked meanwhile.
    let held = vault.hold();
    let others = async {
        vault.until_asked(1).await;
        let other = |index| {
            let (codec, call) = (&codec, json!({"A": external(&format!("secret/data/other-{index}#a"))}));
            async move { decrypt(codec, call).await }
        };
        let others = futures_util::future::join_all((0..5).map(other)).await;
        drop(held);
        others
    };
    let (first, others) = tokio::join!(decrypt(&codec, call.clone()), others);
    assert_eq!(first.ok()["A"], secret("one"));
    for other in others {
        other.refused(503, "provider_unavailable");
    }
    assert_eq!(vault.requests(), 1);
    decrypt(&codec, call).await.ok();
    assert_eq!(codec.provider("vault").await["breaker"], "closed");
}

#[tokio::test]
async fn what_is_kept_is_given_while_the_backend_is_down_and_not_longer() {
    let (codec, vault) = start("cache_max_ms = 4000\nbreaker_failures = 1").await;
    vault.with(|vault| vault.put("secret/data/app", json!({"a": secret("one")})));
    let call = || async { decrypt(&codec, json!({"A": external("secret/data/app#a")})).await };
    call().await.ok();
    vault.always(Some(Fault::Say(errors(500, &["internal error"]))));
    decrypt(&codec, json!({"A": external("secret/data/other#a")})).await.refused(503, "provider_unavailable");
    assert_eq!(codec.provider("vault").await["breaker"], "open");
    call().await.ok();
    tokio::time::sleep(Duration::from_millis(4_000)).await;
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
    down.always(Some(Fault::Late(Duration::from_secs(60))));
    let launch = Launch::new().with_plugins();
    let first = vault_toml(&up, launch.dir.path(), "cache_max_ms = 0");
    let second = vault_toml(&down, launch.dir.path(), "deadline_ms = 60000");
    // The credential is the same one.
    let (_, second) = second.split_once("\n\n").expect("two tables");
    let second = second.replace("name = \"vault\"\n", "name = \"down\"\n");
    let codec = launch.toml(&format!("{first}\n{second}")).start().await;
    let from = |provider: &str| json!({"type": "external", "provider": provider, "ref": "secret/data/app#a"});
    let mut slow = std::pin::pin!(decrypt(&codec, json!({"A": from("down")})));
    let quick = async {
        down.until_asked(1).await;
        for _ in 0..20 {
            decrypt(&codec, json!({"A": from("vault")})).await.ok();
        }
    };
    tokio::select! {
        answer = &mut slow => panic!("the others waited for it: {}", answer.text),
        () = quick => {}
    }
    drop(down);
    slow.await.refused(503, "provider_unavailable");
    let both = json!({"projectId": "shop", "deploymentId": "d-1", "variables": {"A": from("down"), "B": from("vault")}, "partial": true});
    let answer = codec.client.post("/decrypt-all", both).await.ok();
    assert_eq!(answer["values"], json!({"B": secret("up")}));
    assert_eq!(answer["errors"]["A"]["code"], "provider_unavailable");
}

#[tokio::test]
async fn more_calls_than_its_places_wait_for_one_or_are_refused_in_time() {
    let (codec, vault) = start("cache_max_ms = 0\ncalls_max = 1\ndeadline_ms = 3000").await;
    let variables: serde_json::Map<String, Value> = (0..8)
        .map(|index| {
            vault.with(|vault| vault.put(&format!("secret/data/app-{index}"), json!({"a": secret("x")})));
            (format!("A{index}"), external(&format!("secret/data/app-{index}#a")))
        })
        .collect();
    let variables = Value::Object(variables);
    decrypt(&codec, variables.clone()).await.ok();
    // All eight, one after the other, would take twice as long as one may wait.
    vault.always(Some(Fault::Late(Duration::from_millis(750))));
    let call = json!({"projectId": "shop", "deploymentId": "d-1", "variables": variables, "partial": true});
    let answer = codec.client.post("/decrypt-all", call).await.ok();
    let (values, errors) =
        (answer["values"].as_object().expect("values"), answer["errors"].as_object().expect("errors"));
    assert!(!values.is_empty() && !errors.is_empty(), "{answer}");
    assert!(errors.values().all(|error| error["code"] == "provider_unavailable"), "{answer}");
    // Too many of ours say nothing of the backend.
    assert_eq!(codec.provider("vault").await["breaker"], "closed");
}

/// `provider-vault` as `vault`, with a credential that logs in, more of its own entry and more settings.
fn login_toml(vault: &Vault, dir: &Path, more: &str, settings: &str) -> String {
    let (origin, file) = (vault.origin(), dir.join("secret-id"));
    std::fs::write(&file, "secret-id-of-the-tests\n").expect("written");
    format!(
        "[[credentials]]\nname = \"vault\"\nkind = \"vault\"\nlogin_url = \"{origin}\"\naddresses = [\"127.0.0.1/32\"]\n\
         method = \"approle\"\nrole_id = \"role-of-the-tests\"\nsecret_id_file = \"{}\"\n\n\
         [[providers]]\nname = \"vault\"\npath = \"provider-vault.wasm\"\n{more}\n\
         http = [{{ origin = \"{origin}\", addresses = [\"127.0.0.1/32\"], credentials = [\"vault\"] }}]\n\
         settings = {{ url = \"{origin}\", credential = \"vault\"{settings} }}\n",
        file.display()
    )
}

/// A Vault that is logged in to, with one secret.
async fn vault_with_login() -> Vault {
    let vault = VaultServer::start(TOKEN).await;
    vault.with(|vault| {
        vault.put("secret/data/app", json!({"a": secret("one")}));
        vault.approle = Some(("role-of-the-tests".into(), "secret-id-of-the-tests".into()));
    });
    vault
}

/// Whoever calls chooses the reference.
#[tokio::test]
async fn no_reference_that_a_caller_makes_up_takes_the_provider_from_the_others() {
    let vault = vault_with_login().await;
    let launch = Launch::new().with_plugins();
    let bounds = "cache_max_ms = 0\nbreaker_failures = 2\nbreaker_ms = 60000";
    let toml = login_toml(&vault, launch.dir.path(), bounds, "");
    let codec = launch.toml(&toml).start().await;
    let good = || decrypt(&codec, json!({"A": external("secret/data/app#a")}));
    assert_eq!(good().await.ok()["A"], secret("one"));
    vault.requests();
    // What the host asks of Vault itself, and lends its token to nobody for.
    for reference in ["secret/data/shop/auth/token/1#x", "secret/data/shop/Auth/TOKEN#x", "auth/approle/data/login#x"] {
        for _ in 0..3 {
            decrypt(&codec, json!({"A": external(reference)})).await.refused(422, "invalid_reference");
        }
    }
    assert_eq!(vault.requests(), 0, "nobody was asked");
    assert_eq!(codec.provider("vault").await["breaker"], "closed");
    // What Vault answers, and not as a secret.
    for _ in 0..3 {
        decrypt(&codec, json!({"A": external("secret/other/data/x#x")})).await.refused(503, "provider_unavailable");
    }
    assert_eq!(vault.requests(), 3);
    let status = codec.provider("vault").await;
    assert_eq!((&status["breaker"], &status["leftAlone"]), (&json!("closed"), &json!(0)));
    assert!(status["lastFailure"].as_str().expect("a text").contains("HTTP 405"), "{status}");
    assert_eq!(good().await.ok()["A"], secret("one"));
    // A Vault that fails is left alone as ever.
    vault.always(Some(Fault::Say(errors(500, &["internal error"]))));
    for _ in 0..2 {
        good().await.refused(503, "provider_unavailable");
    }
    assert_eq!(codec.provider("vault").await["breaker"], "open");
}

#[tokio::test]
async fn what_the_host_does_not_send_is_no_reference_and_what_is_not_granted_is_not_there() {
    let vault = vault_with_login().await;
    let launch = Launch::new().with_plugins();
    let bounds = "breaker_failures = 2\nbreaker_ms = 60000";
    // Beside such a credential the header is the host's.
    let toml = login_toml(&vault, launch.dir.path(), bounds, ", namespace = \"team\"");
    let mut codec = launch.toml(&toml).start().await;
    let call = json!({"A": external("secret/data/app#a")});
    for _ in 0..3 {
        decrypt(&codec, call.clone()).await.refused(422, "invalid_reference");
    }
    assert_eq!(codec.provider("vault").await["breaker"], "closed");
    // The credential is not bound to the origin: the operator's to mend, whatever is asked for.
    let unbound = toml.replace(", namespace = \"team\"", "").replace(", credentials = [\"vault\"]", "");
    codec.reconfigure(&unbound).await;
    for _ in 0..3 {
        decrypt(&codec, call.clone()).await.refused(503, "provider_unavailable");
    }
    let status = codec.provider("vault").await;
    assert_eq!((&status["breaker"], &status["requestsRefused"]), (&json!("closed"), &json!(3)));
    assert_eq!(vault.requests(), 0, "neither asked nor logged in to");
}

#[tokio::test]
async fn a_provider_that_traps_is_left_alone() {
    let launch = Launch::new();
    launch.put_plugin("traps.wasm", &made("(unreachable)"));
    let toml = "[[providers]]\nname = \"vault\"\npath = \"traps.wasm\"\nbreaker_failures = 2\nbreaker_ms = 60000";
    let codec = launch.toml(toml).start().await;
    let call = || decrypt(&codec, json!({"A": external("a")}));
    for _ in 0..2 {
        call().await.refused(502, "provider_answer_invalid");
    }
    call().await.refused(503, "provider_unavailable");
    let status = codec.provider("vault").await;
    assert_eq!((&status["breaker"], &status["leftAlone"], &status["traps"]), (&json!("open"), &json!(1), &json!(2)));
}
