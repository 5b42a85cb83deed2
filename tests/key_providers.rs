//! A KEK behind a key service, with the plugin for Vault Transit and a Vault of the tests: it wraps and unwraps, codec never has it, and
//! what is cached outlasts it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::key_provider_faults::down;
use crate::providers::TOKEN;
use crate::support::outside_kek::{database, decrypts, kek, stopped, waiting_for};
use crate::support::vault::{Vault, VaultServer};
use crate::support::{Codec, Launch, postgres};

/// `[keys.provider]` on the key `name` of `vault`, with more keys of `[keys]` and of its own.
pub(crate) fn transit_toml(origin: &str, dir: &Path, name: &str, keys: &str, more: &str) -> String {
    let file = dir.join("vault-token");
    std::fs::write(&file, TOKEN).expect("a token");
    format!(
        "[keys]\n{keys}\n[keys.provider]\nname = \"transit\"\npath = \"keys-vault-transit.wasm\"\n{more}\n\
         http = [{{ origin = \"{origin}\", addresses = [\"127.0.0.1/32\"], credentials = [\"vault\"] }}]\n\
         settings = {{ url = \"{origin}\", key = \"{name}\", credential = \"vault\" }}\n\n\
         [[credentials]]\nname = \"vault\"\nheader = \"X-Vault-Token\"\nfile = \"{}\"\n",
        file.display()
    )
}

/// A Vault with the keys `codec` and `other`.
pub(crate) async fn vault() -> Vault {
    let vault = VaultServer::start(TOKEN).await;
    vault.with(|vault| {
        for key in ["codec", "other"] {
            vault.change("POST", &format!("transit/keys/{key}"), json!({"type": "aes256-gcm96"}));
        }
    });
    vault.requests();
    vault
}

/// Lets nobody do anything.
const NOBODY: &str = "\n[[policies]]\nname = \"access\"\npath = \"policy-access.wasm\"\nsettings = { table = \"nobody | * | *, - | *\" }\n";

/// With no KEK of its own.
pub(crate) fn launch() -> Launch {
    Launch::new().with_plugins().variable("KEK_SECRET", "")
}

pub(crate) async fn start(keys: &str, more: &str) -> (Codec, Vault) {
    let (vault, launch) = (vault().await, launch());
    let toml = transit_toml(&vault.origin(), launch.dir.path(), "codec", keys, more);
    (launch.toml(&toml).start().await, vault)
}

#[tokio::test]
async fn a_service_makes_opens_and_keeps_deks_under_a_key_of_vault() {
    let (codec, vault) = start("", "").await;
    // The start: the service key is wrapped, opened to be sure, and opened as every start will.
    assert_eq!(vault.requests(), 3);
    let sealed = codec.client.encrypt("shop", "v").await;
    assert_eq!(vault.requests(), 3, "wrapped, opened to be sure, and opened as the row has it");
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    let (dek, encrypted_dek) = codec.client.dek("shop").await;
    let call = json!({"encrypted": sealed["encrypted"], "dek": dek});
    assert_eq!(codec.client.post("/decrypt-value", call).await.ok(), json!({"value": "v"}));
    assert_eq!(vault.requests(), 0, "by whichever way it is asked for, it is the one in the cache");
    let status = kek(&codec.client).await;
    assert_eq!(
        (&status["location"], &status["name"], &status["answers"]),
        (&json!("provider"), &json!("key provider `transit`"), &json!(true))
    );
    let plugins = codec.plugins().await;
    let provider = &plugins["keyProvider"];
    assert_eq!(
        (&provider["name"], &provider["live"], &provider["breaker"]),
        (&json!("transit"), &json!(true), &json!("closed"))
    );
    assert_eq!((&provider["wraps"], &provider["unwraps"], &provider["calls"]), (&json!(2), &json!(4), &json!(6)));
    // A row says which KEK holds it; rows, canary and journal name the same one.
    let rows: Vec<(String,)> = sqlx::query_as("SELECT kek_id FROM project_dek UNION SELECT kek_id FROM kek_canary")
        .fetch_all(&mut database(&codec.launch).await)
        .await
        .expect("rows");
    assert_eq!(rows, [(status["primary"].as_str().expect("an id").to_owned(),)]);
    assert_eq!(codec.records()[0]["kekId"], status["primary"]);
    let metrics = codec.client.get("/metrics").await.text;
    for figure in [
        "codec_kek_answers 1",
        "codec_plugin_live{kind=\"key-provider\",plugin=\"transit\"} 1",
        "codec_key_provider_outcomes_total{outcome=\"wraps\"} 2",
        "codec_key_provider_breaker_open 0",
    ] {
        assert!(metrics.lines().any(|line| line == figure), "{figure}: {metrics}");
    }
    // Beside the process that serves, and after a restart.
    codec.verify(&[]);
    let codec = stopped(codec).await.start().await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    assert_eq!(codec.client.dek("shop").await, (dek, encrypted_dek));
    assert_eq!(kek(&codec.client).await["primary"], status["primary"]);
    codec.verify(&[]);
}

/// Bound to project and version: no row of another project opens, even to who can compute its MAC; nor does what no row names, and Vault
/// is not asked.
#[tokio::test]
async fn what_no_row_names_is_refused_without_asking_anybody() {
    let (codec, vault) = start("", "").await;
    let sealed = codec.client.encrypt("shop", "v").await;
    vault.requests();
    let encrypted_dek = sealed["encryptedDEK"].as_str().expect("text");
    let mut altered = encrypted_dek.to_owned();
    let last = if altered.ends_with('A') { "B" } else { "A" };
    altered.replace_range(40..41, last);
    for (case, encrypted_dek) in [("altered", altered.as_str()), ("garbage", &"Zm9v".repeat(20))] {
        let call = json!({"projectId": "shop", "encryptedDEK": encrypted_dek});
        let answer = codec.client.post("/decrypt-dek", call).await;
        assert!((400..500).contains(&answer.status), "{case}: {}", answer.text);
    }
    let call = json!({"projectId": "blog", "encryptedDEK": encrypted_dek});
    codec.client.post("/decrypt-dek", call).await.refused(403, "dek_not_recognised");
    assert_eq!(vault.requests(), 0);
}

#[tokio::test]
async fn what_takes_its_place_must_open_the_same_and_vaults_own_rotation_needs_nothing() {
    let (mut codec, vault) = start("", "").await;
    let dir = codec.launch.dir.clone();
    let sealed = codec.client.encrypt("shop", "v").await;
    let toml = |origin: &str, key: &str, more: &str| transit_toml(origin, dir.path(), key, "", more);
    // Another key, another Vault, none at all: the one before stays, and serves.
    let empty = VaultServer::start(TOKEN).await;
    for (case, bad) in [
        ("another key", toml(&vault.origin(), "other", "")),
        ("no such key", toml(&vault.origin(), "missing", "")),
        ("another Vault", toml(&empty.origin(), "codec", "")),
        ("nobody there", toml("http://127.0.0.1:9", "codec", "")),
    ] {
        let plugins = codec.reconfigure(&bad).await;
        assert_eq!(plugins["keyProvider"]["errorCode"], "unproven", "{case}: {plugins:#}");
        assert_eq!(plugins["keyProvider"]["live"], true, "{case}");
        codec.client.encrypt(&format!("new-{}", case.replace(' ', "-").to_lowercase()), "v").await;
    }
    // The same key by another way, and with another deadline.
    let plugins = codec.reconfigure(&toml(&vault.origin(), "codec", "deadline_ms = 4000")).await;
    assert_eq!((&plugins["keyProvider"]["errorCode"], &plugins["restartNeeded"]), (&Value::Null, &json!(false)));
    codec.until_logged("the key provider goes live").await;
    // Another KEK is for another process.
    let other = toml(&vault.origin(), "codec", "").replace("name = \"transit\"", "name = \"another\"");
    let plugins = codec.reconfigure(&other).await;
    assert_eq!(plugins["restartNeeded"], true, "{plugins:#}");
    codec.reconfigure(&toml(&vault.origin(), "codec", "")).await;
    vault.with(|vault| vault.change("POST", "transit/keys/codec/rotate", json!({})));
    let new = codec.client.encrypt("rotated", "v").await;
    let codec = Launch { toml: toml(&vault.origin(), "codec", ""), ..stopped(codec).await }.start().await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    decrypts(&codec.client, "rotated", &new["encrypted"], "v").await;
    codec.verify(&[]);
}

#[tokio::test]
async fn a_start_waits_for_the_plugin_and_for_vault_and_becomes_ready_by_itself() {
    let vault = vault().await;
    let launch = launch();
    let toml = transit_toml(&vault.origin(), launch.dir.path(), "codec", "", "breaker_ms = 200");
    let plugin = launch.data_dir().join("plugins/keys-vault-transit.wasm");
    let aside = plugin.with_extension("aside");
    let plugin = if plugin.exists() { plugin } else { panic!("{} is not where plugins are", plugin.display()) };
    std::fs::rename(&plugin, &aside).expect("renamed");
    let launch_dir = launch.dir.clone();
    launch.put_plugin("policy-access.wasm", &crate::support::plugins::component("policy-access"));
    let codec = launch.toml(&toml).start_unready().await;
    let waiting = waiting_for(&codec).await;
    assert!(waiting.contains("key provider `transit`") && waiting.contains("unreadable"), "{waiting}");
    vault.always(Some(down()));
    std::fs::rename(&aside, &plugin).expect("renamed");
    codec.until_logged("the key provider goes live").await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !waiting_for(&codec).await.contains("asks to be asked again") {
        assert!(Instant::now() < deadline, "{}", waiting_for(&codec).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    codec.client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await.refused(503, "not_ready");
    // What is edited meanwhile counts, and not what the process began with.
    crate::support::plugins::replace(&launch_dir.path().join("codec.toml"), (toml + NOBODY).as_bytes());
    codec.signal("-HUP");
    codec.until_logged("a policy goes live").await;
    vault.always(None);
    codec.until_ready().await;
    let call = json!({"projectId": "shop", "value": "v"});
    let refused = codec.client.post("/encrypt", call).await;
    refused.refused(403, "denied");
    assert_eq!(codec.plugins().await["policies"][0]["live"], true);
}

#[tokio::test]
async fn a_pinned_kek_is_that_one_or_none() {
    let (codec, vault) = start("", "").await;
    let sealed = codec.client.encrypt("shop", "v").await;
    let id = kek(&codec.client).await["primary"].as_str().expect("an id").to_owned();
    let dir = codec.launch.dir.clone();
    let toml = |id: &str| transit_toml(&vault.origin(), dir.path(), "codec", "", &format!("kek_id = \"{id}\""));
    let mut wrong = Launch { toml: toml("0011223344556677"), ..stopped(codec).await }.start_unready().await;
    let waiting = waiting_for(&wrong).await;
    assert!(waiting.contains("keys.provider.kek_id says 0011223344556677") && waiting.contains(&id), "{waiting}");
    wrong.kill();
    let mut launch = wrong.launch.clone();
    launch.toml = toml(&id);
    drop(wrong);
    let codec = launch.start().await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    // Emptied behind our back: nothing new is begun.
    let mut launch = stopped(codec).await;
    launch = launch.variable("DATABASE_URL", &format!("sqlite:{}", dir.path().join("empty.db").display()));
    let emptied = launch.start_unready().await;
    let waiting = waiting_for(&emptied).await;
    assert!(waiting.contains("opens KEK none"), "{waiting}");
}

#[tokio::test]
async fn replicas_that_begin_at_once_have_one_service_key() {
    let vault = vault().await;
    let url = postgres::database().await;
    let replica = || {
        let launch = launch();
        let toml = transit_toml(&vault.origin(), launch.dir.path(), "codec", "", "");
        launch.toml(&toml).variable("DATABASE_URL", &url)
    };
    let one = replica();
    let two = Launch { token: one.token.clone(), ..replica() };
    let (one, two) = tokio::join!(one.start(), two.start());
    assert_eq!(kek(&one.client).await["primary"], kek(&two.client).await["primary"]);
    let calls = (0..20).map(|index| async move { format!("p-{index}") });
    for project in futures_util::future::join_all(calls).await {
        let (a, b) = tokio::join!(one.client.encrypt(&project, "v"), two.client.encrypt(&project, "v"));
        assert_eq!(a["encryptedDEK"], b["encryptedDEK"], "{project}");
        decrypts(&two.client, &project, &a["encrypted"], "v").await;
    }
}

#[tokio::test]
async fn commands_ask_it_too_and_mistakes_are_told_by_name() {
    let (codec, vault) = start("", "").await;
    codec.client.encrypt("shop", "v").await;
    let launch = stopped(codec).await;
    let good = launch.run(&["config", "check"]);
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(good.status.success() && said.contains("key provider transit: sha-256"), "{said}");
    assert!(said.contains("KEK key provider `transit`"), "{said}");
    let verified = launch.run(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    vault.always(Some(down()));
    let refused = launch.run(&["config", "check"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("key provider `transit`"), "{said}");
    let toml = |more: &str| transit_toml(&vault.origin(), launch.dir.path(), "codec", "", more);
    for (case, bad, variable, named) in [
        ("KEK_SECRET too", toml(""), launch.kek.as_str(), "keys.provider: KEK_SECRET is set too"),
        ("no KEK id", toml("kek_id = \"abc\""), "", "keys.provider.kek_id"),
        ("a KEK id in capitals", toml("kek_id = \"00112233445566AA\""), "", "keys.provider.kek_id"),
        ("no deadline", toml("deadline_ms = 0"), "", "keys.provider.deadline_ms"),
        ("too many calls", toml("calls_max = 1000"), "", "keys.provider.calls_max"),
        ("a path that leads out", toml("").replace("keys-vault", "../keys-vault"), "", "keys.provider.path"),
        ("a name with a space", toml("").replace("\"transit\"", "\"tran sit\""), "", "keys.provider.name"),
        (
            "a credential that is not there",
            toml("").replace("credentials = [\"vault\"]", "credentials = [\"vualt\"]"),
            "",
            "keys.provider.http",
        ),
        ("an unknown key", toml("retries = 3"), "", "retries"),
        ("a file too", toml("").replacen("[keys]", "[keys]\nkek_file = \"kek\"", 1), "", "keys.kek_file"),
    ] {
        let mut launch = launch.clone().variable("KEK_SECRET", variable);
        launch.toml = bad;
        let output = launch.run(&["serve"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{case}: {said}");
        assert!(said.contains(named), "{case}: {said}");
    }
}
