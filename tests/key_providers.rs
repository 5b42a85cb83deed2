//! A KEK behind a key service, with the plugin for Vault Transit and a Vault of the tests: it wraps and unwraps, codec never has it, and
//! what is cached outlasts it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::providers::TOKEN;
use crate::support::backend::{Fault, Reply};
use crate::support::outside_kek::{database, decrypts, kek};
use crate::support::vault::{Vault, VaultServer};
use crate::support::{Codec, Launch, postgres};

/// Longer than `cache_ttl_s = 1`.
const OUT_OF_THE_CACHE: Duration = Duration::from_millis(1_100);

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

/// With no KEK of its own.
pub(crate) fn launch() -> Launch {
    Launch::new().with_plugins().variable("KEK_SECRET", "")
}

async fn start(keys: &str, more: &str) -> (Codec, Vault) {
    let (vault, launch) = (vault().await, launch());
    let toml = transit_toml(&vault.origin(), launch.dir.path(), "codec", keys, more);
    (launch.toml(&toml).start().await, vault)
}

fn down() -> Fault {
    Fault::Say(Reply::new(503, json!({"errors": ["Vault is sealed"]}).to_string()))
}

async fn again(mut codec: Codec, toml: Option<&str>) -> Launch {
    codec.terminate().await;
    let mut launch = codec.launch.clone();
    if let Some(toml) = toml {
        launch.toml = toml.to_owned();
    }
    launch
}

async fn waiting_for(codec: &Codec) -> String {
    codec.client.get("/readyz").await.refused(503, "not_ready");
    codec.client.get("/status").await.ok()["waitingFor"].as_str().expect("a cause").to_owned()
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
    let codec = again(codec, None).await.start().await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    assert_eq!(codec.client.dek("shop").await, (dek, encrypted_dek));
    assert_eq!(kek(&codec.client).await["primary"], status["primary"]);
    codec.verify(&[]);
}

#[tokio::test]
async fn deks_in_the_cache_outlast_an_outage_to_their_ttl_and_then_it_is_503_until_vault_is_back() {
    let (codec, vault) = start("cache_ttl_s = 4", "breaker_failures = 2\nbreaker_ms = 300").await;
    let sealed = codec.client.encrypt("shop", "v").await;
    let variables = json!({"A": {"type": "secret", "value": sealed["encrypted"]}});
    let call = json!({"projectId": "shop", "deploymentId": "d", "variables": variables});
    let unwrapped = Instant::now();
    vault.always(Some(down()));
    let records = codec.records().len();
    let refused = codec.client.post("/encrypt", json!({"projectId": "new", "value": "v"})).await;
    refused.refused(503, "kek_unavailable");
    // Nothing was announced that did not come about.
    assert!(codec.records()[records..].iter().all(|record| record["action"] != "DEK_CREATE"), "{:#?}", codec.records());
    codec.until_logged("gives no answer: DEKs in the cache go on").await;
    assert_eq!(kek(&codec.client).await["answers"], false);
    let mut from_cache = 0;
    let ended = loop {
        let answer = codec.client.post("/decrypt-all", call.clone()).await;
        if answer.status != 200 {
            answer.refused(503, "kek_unavailable");
            break unwrapped.elapsed();
        }
        assert_eq!(answer.ok(), json!({"A": "v"}));
        from_cache += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(from_cache > 10 && ended >= Duration::from_secs(3), "{from_cache} in {ended:?}");
    // Left alone meanwhile, but for a look now and then.
    vault.requests();
    for _ in 0..100 {
        codec.client.post("/decrypt-all", call.clone()).await.refused(503, "kek_unavailable");
    }
    assert!(vault.requests() < 20, "it is left alone");
    vault.always(None);
    codec.until_logged(" answers again").await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    codec.client.encrypt("new", "v").await;
    assert_eq!(kek(&codec.client).await["answers"], true);
    codec.verify(&[]);
}

/// Whatever comes in place of an answer: nothing is made, nothing announced, and the next call that is answered is as if nothing had been.
#[tokio::test]
async fn what_is_no_answer_is_503_and_nothing_is_lost() {
    let (codec, vault) = start("cache_ttl_s = 1", "deadline_ms = 1000\nbreaker_failures = 1000").await;
    let sealed = codec.client.encrypt("shop", "v").await;
    tokio::time::sleep(OUT_OF_THE_CACHE).await;
    let json = |status: u16, text: &str| Fault::Say(Reply::new(status, text).with("content-type", "application/json"));
    for (index, (case, fault)) in [
        ("403", json(403, r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#)),
        ("404", json(404, r#"{"errors":[]}"#)),
        ("no such key", json(400, r#"{"errors":["encryption key not found"]}"#)),
        ("429", Fault::Say(Reply::new(429, "{}"))),
        ("500", json(500, r#"{"errors":["internal error"]}"#)),
        ("503", down()),
        ("slow", Fault::Late(Duration::from_secs(3))),
        ("cut in the middle", Fault::Cut),
        ("10 MB", Fault::Huge(10 << 20)),
        ("not JSON", Fault::Say(Reply::new(200, "<html>"))),
        ("no data", json(200, "{}")),
        ("not base64", json(200, r#"{"data":{"plaintext":"***","ciphertext":"vault:v1:***","key_version":1}}"#)),
        ("a redirect", Fault::Say(Reply::new(307, "").with("location", "http://127.0.0.1:9/"))),
    ]
    .into_iter()
    .enumerate()
    {
        let records = codec.records().len();
        vault.always(Some(fault));
        let project = format!("p-{index}");
        let refused = codec.client.post("/encrypt", json!({"projectId": project, "value": "v"})).await;
        assert_eq!(refused.problem(), (503, "kek_unavailable".into()), "{case}: {}", refused.text);
        let call = json!({"projectId": "shop", "encryptedDEK": sealed["encryptedDEK"]});
        let refused = codec.client.post("/decrypt-dek", call.clone()).await;
        assert_eq!(refused.problem(), (503, "kek_unavailable".into()), "{case}: {}", refused.text);
        assert!(!codec.log().contains("ALARM"), "{case}");
        assert!(codec.records()[records..].iter().all(|record| record["action"] != "DEK_CREATE"), "{case}");
        vault.always(None);
        codec.client.encrypt(&project, "v").await;
    }
    let call = json!({"projectId": "shop", "encryptedDEK": sealed["encryptedDEK"]});
    codec.client.post("/decrypt-dek", call).await.ok();
    // It says for how long it wants to be left alone, and is.
    vault.fault(Fault::Say(Reply::new(429, "{}").with("retry-after", "2")));
    vault.requests();
    for _ in 0..3 {
        codec.client.post("/encrypt", json!({"projectId": "busy", "value": "v"})).await.refused(503, "kek_unavailable");
    }
    assert_eq!(vault.requests(), 1);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    codec.client.encrypt("busy", "v").await;
    codec.verify(&[]);
}

/// Callers who give up say nothing of Vault, and make no room for more calls of it than there may be.
#[tokio::test]
async fn callers_who_go_away_open_no_breaker() {
    let (codec, vault) = start("", "breaker_failures = 2\nbreaker_ms = 60000\ncalls_max = 2").await;
    vault.requests();
    vault.always(Some(Fault::Late(Duration::from_millis(1_500))));
    let impatient = (0..12).map(|index| {
        let call = json!({"projectId": format!("p-{index}"), "value": "v"});
        let calling = codec.client.post("/encrypt", call);
        tokio::time::timeout(Duration::from_millis(300), calling)
    });
    let given_up = futures_util::future::join_all(impatient).await;
    assert!(given_up.iter().all(Result::is_err));
    assert!(vault.requests() <= 2, "no more than two at once");
    vault.always(None);
    let breaker = codec.plugins().await["keyProvider"]["breaker"].clone();
    assert_eq!(breaker, "closed");
    codec.client.encrypt("patient", "v").await;
    assert_eq!(codec.plugins().await["keyProvider"]["leftAlone"], 0);
}

/// A Vault that lies: what it opens is not what was wrapped.
#[tokio::test]
async fn another_dek_in_place_of_the_projects_is_an_alarm_and_opens_nothing() {
    let (codec, vault) = start("cache_ttl_s = 1", "").await;
    codec.client.encrypt("other", "v").await;
    let (others_dek, _) = codec.client.dek("other").await;
    for (index, (case, plaintext)) in [
        ("another project's DEK", others_dek.as_str()),
        ("32 zeros", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("31 bytes", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="),
        ("33 bytes", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("nothing", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let project = format!("shop-{index}");
        let sealed = codec.client.encrypt(&project, "v").await;
        tokio::time::sleep(OUT_OF_THE_CACHE).await;
        let lie = json!({"data": {"plaintext": plaintext}}).to_string();
        vault.fault(Fault::Say(Reply::new(200, lie).with("content-type", "application/json")));
        let call = json!({"projectId": project, "encryptedDEK": sealed["encryptedDEK"]});
        let answer = codec.client.post("/decrypt-dek", call.clone()).await;
        assert_eq!(answer.problem(), (500, "dek_corrupt".into()), "{case}: {}", answer.text);
        assert!(codec.log().contains("ALARM"), "{case}");
        // Nothing of it was kept.
        codec.client.post("/decrypt-dek", call).await.ok();
    }
    // A wrap that does not open again as what it was is not believed: no row, no record.
    let records = codec.records().len();
    vault.with(|vault| vault.change("POST", "transit/keys/other/rotate", json!({})));
    for plaintext in [others_dek.as_str(), "", "AAAA"] {
        let lie = json!({"data": {"plaintext": plaintext}}).to_string();
        let lie = Fault::Say(Reply::new(200, lie).with("content-type", "application/json"));
        let honest = Fault::Late(Duration::ZERO);
        vault.fault(honest);
        vault.fault(lie);
        codec.client.post("/encrypt", json!({"projectId": "new", "value": "v"})).await.refused(503, "kek_unavailable");
    }
    assert!(codec.records()[records..].iter().all(|record| record["action"] != "DEK_CREATE"));
    codec.client.encrypt("new", "v").await;
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
    let codec = again(codec, Some(&toml(&vault.origin(), "codec", ""))).await.start().await;
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
    vault.always(None);
    codec.until_ready().await;
    codec.client.encrypt("shop", "v").await;
}

#[tokio::test]
async fn a_pinned_kek_is_that_one_or_none() {
    let (codec, vault) = start("", "").await;
    let sealed = codec.client.encrypt("shop", "v").await;
    let id = kek(&codec.client).await["primary"].as_str().expect("an id").to_owned();
    let dir = codec.launch.dir.clone();
    let toml = |id: &str| transit_toml(&vault.origin(), dir.path(), "codec", "", &format!("kek_id = \"{id}\""));
    let mut wrong = again(codec, Some(&toml("0011223344556677"))).await.start_unready().await;
    let waiting = waiting_for(&wrong).await;
    assert!(waiting.contains("keys.provider.kek_id says 0011223344556677") && waiting.contains(&id), "{waiting}");
    wrong.kill();
    let mut launch = wrong.launch.clone();
    launch.toml = toml(&id);
    drop(wrong);
    let codec = launch.start().await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    // Emptied behind our back: nothing new is begun.
    let mut launch = again(codec, None).await;
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
    let launch = again(codec, None).await;
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
