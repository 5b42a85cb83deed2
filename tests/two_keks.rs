//! A KEK in memory and one behind a key service in one ring: `keys.primary` says which of them wraps, a row says which holds it, and both open.

use serde_json::json;

use crate::key_providers::{launch, transit_toml, vault};
use crate::support::backend::{Fault, Reply};
use crate::support::node::Node;
use crate::support::outside_kek::{database, decrypts, kek, stopped, waiting_for};
use crate::support::{Launch, postgres};

/// KEK ids of rows, by project.
async fn holders(launch: &Launch) -> Vec<(String, String)> {
    let query = sqlx::query_as("SELECT project_id, kek_id FROM project_dek ORDER BY project_id");
    query.fetch_all(&mut database(launch).await).await.expect("rows")
}

#[tokio::test]
async fn a_store_of_a_kek_in_memory_goes_on_under_a_key_of_vault_and_back() {
    let vault = vault().await;
    let in_memory = launch().variable("KEK_SECRET", &Launch::new().kek);
    let secret = in_memory.variables.iter().find(|(name, _)| name == "KEK_SECRET").expect("set").1.clone();
    let toml = |primary: &str| {
        transit_toml(&vault.origin(), in_memory.dir.path(), "codec", &format!("primary = \"{primary}\""), "")
    };
    let codec = in_memory.clone().start().await;
    let old = codec.client.encrypt("old", "o").await;
    let memory_id = kek(&codec.client).await["primary"].as_str().expect("an id").to_owned();
    // The provider wraps from now on; what memory wrapped opens.
    let mut launch = stopped(codec).await;
    launch.toml = toml("provider");
    let codec = launch.start().await;
    let status = kek(&codec.client).await;
    assert_eq!(
        (&status["inRing"], &status["location"], &status["answers"]),
        (&json!(2), &json!("provider"), &json!(true))
    );
    let vault_id = status["primary"].as_str().expect("an id").to_owned();
    let new = codec.client.encrypt("new", "n").await;
    decrypts(&codec.client, "old", &old["encrypted"], "o").await;
    // The platform's own, under the KEK in memory, and no row names it: taken over, as ever.
    let mut node = Node::start(&secret);
    let dek = node.call(json!({"call": "newDek"}));
    let call = json!({"projectId": "platform", "encryptedDEK": dek["encryptedDEK"]});
    assert_eq!(codec.client.post("/decrypt-dek", call).await.ok()["dek"], dek["dek"]);
    assert_eq!(
        holders(&codec.launch).await,
        [("new", &vault_id), ("old", &memory_id), ("platform", &memory_id)]
            .map(|(project, id)| (project.into(), id.clone()))
    );
    codec.verify(&[]);
    // An outage of Vault is none for what memory holds.
    vault.always(Some(Fault::Say(Reply::new(503, "{}"))));
    decrypts(&codec.client, "old", &old["encrypted"], "o").await;
    vault.always(None);
    // And back: the same store, the other primary.
    let mut launch = stopped(codec).await;
    launch.toml = toml("memory");
    let codec = launch.start().await;
    let status = kek(&codec.client).await;
    assert_eq!((&status["primary"], &status["location"]), (&json!(memory_id), &json!("memory")));
    codec.client.encrypt("newest", "v").await;
    decrypts(&codec.client, "new", &new["encrypted"], "n").await;
    decrypts(&codec.client, "old", &old["encrypted"], "o").await;
    codec.verify(&[]);
    // Beside the process that serves: the primary first.
    let listed = codec.launch.run(&["keys", "list"]);
    let said = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.status.success(), "{said}{}", String::from_utf8_lossy(&listed.stderr));
    let expected = [
        format!("{memory_id}  primary           3 DEKs  memory"),
        format!("{vault_id}  retained          1 DEKs  key provider `transit`"),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let check = codec.launch.run(&["config", "check"]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    // Taken out too early: rows would be left behind, and nothing is written.
    let mut launch = stopped(codec).await;
    launch.toml = "# in memory alone\n".into();
    let refused = launch.clone().start_unready().await;
    let waiting = waiting_for(&refused).await;
    assert!(waiting.contains(&format!("1 DEKs are under KEK {vault_id}")), "{waiting}");
    let listed = refused.launch.run(&["keys", "list"]);
    let said = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(!listed.status.success() && said.contains(&format!("{vault_id}  MISSING           1 DEKs")), "{said}");
    drop(refused);
    // Another KEK in its place.
    launch.toml = toml("provider");
    let wrong = launch.clone().variable("KEK_SECRET", &Launch::new().kek).start_unready().await;
    let waiting = waiting_for(&wrong).await;
    assert!(waiting.contains(&format!("are under KEK {memory_id}")), "{waiting}");
    drop(wrong);
    let canaries: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM kek_canary")
        .fetch_one(&mut database(&launch).await)
        .await
        .expect("a count");
    assert_eq!(canaries, 2, "a wrong KEK has left nothing");
    let codec = launch.start().await;
    decrypts(&codec.client, "old", &old["encrypted"], "o").await;
}

/// The same with a token as the one outside.
#[cfg(feature = "pkcs11")]
#[tokio::test]
async fn a_store_of_a_kek_in_memory_goes_on_in_a_token_beside_it() {
    let mut codec = crate::support::Codec::start().await;
    let old = codec.client.encrypt("old", "o").await;
    codec.terminate().await;
    let launch = codec.launch.clone();
    drop(codec);
    let kek_in_memory = launch.kek.clone();
    let token = crate::support::softhsm::Token::with_a_key();
    let both = token.on(launch.toml("[keys]\nprimary = \"pkcs11\""));
    let mut codec = both.variable("KEK_SECRET", &kek_in_memory).start().await;
    let status = kek(&codec.client).await;
    assert_eq!((&status["inRing"], &status["location"]), (&json!(2), &json!("pkcs11")));
    let new = codec.client.encrypt("new", "n").await;
    codec.terminate().await;
    let launch = codec.launch.clone();
    drop(codec);
    let codec = launch.start().await;
    decrypts(&codec.client, "old", &old["encrypted"], "o").await;
    decrypts(&codec.client, "new", &new["encrypted"], "n").await;
    codec.verify(&[]);
}

#[tokio::test]
async fn an_empty_store_is_made_with_both_and_strangers_get_nothing() {
    let vault = vault().await;
    let launch = launch().variable("KEK_SECRET", &Launch::new().kek);
    let dir = launch.dir.clone();
    let toml = |key: &str| transit_toml(&vault.origin(), dir.path(), key, "primary = \"provider\"", "");
    let codec = launch.toml(&toml("codec")).start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    assert_eq!(
        codec.client.get("/status").await.ok()["store"]["deksByKek"].as_object().map(serde_json::Map::len),
        Some(1)
    );
    // Two others: neither has ever seen this store.
    let mut launch = stopped(codec).await;
    let good = launch.clone();
    launch.toml = toml("other");
    let strangers = launch.variable("KEK_SECRET", &Launch::new().kek).start_unready().await;
    let waiting = waiting_for(&strangers).await;
    assert!(waiting.contains("is not the KEK that this store was made with"), "{waiting}");
    drop(strangers);
    let codec = good.start().await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
}

#[tokio::test]
async fn replicas_that_add_the_same_key_at_once_have_one_service_key() {
    let (vault, url, secret) = (vault().await, postgres::database().await, Launch::new().kek);
    let replica = |toml: bool| {
        let launch = launch().variable("KEK_SECRET", &secret).variable("DATABASE_URL", &url);
        let both = transit_toml(&vault.origin(), launch.dir.path(), "codec", "primary = \"provider\"", "");
        if toml { launch.toml(&both) } else { launch }
    };
    let first = replica(false).start().await;
    let old = first.client.encrypt("old", "o").await;
    stopped(first).await;
    let (one, two) = tokio::join!(replica(true).start(), replica(true).start());
    assert_eq!(kek(&one.client).await["primary"], kek(&two.client).await["primary"]);
    let sealed = one.client.encrypt("shop", "v").await;
    decrypts(&two.client, "shop", &sealed["encrypted"], "v").await;
    decrypts(&two.client, "old", &old["encrypted"], "o").await;
}

#[test]
fn which_is_primary_is_said_or_it_does_not_start() {
    let launch = launch().variable("KEK_SECRET", &Launch::new().kek);
    let toml = |keys: &str| transit_toml("http://127.0.0.1:9", launch.dir.path(), "codec", keys, "");
    for (case, toml, named) in [
        ("two, and nothing said", toml(""), "keys.provider: KEK_SECRET is set too"),
        ("a token that is not there", toml("primary = \"pkcs11\""), "keys.primary"),
        ("no such place", toml("primary = \"vault\""), "primary"),
        ("a provider that is not there", "[keys]\nprimary = \"provider\"".to_owned(), "keys.primary"),
    ] {
        let mut launch = launch.clone();
        launch.toml = toml;
        let output = launch.run(&["serve"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{case}: {said}");
        assert!(said.contains(named), "{case}: {said}");
    }
    let mut alone = launch.clone().variable("KEK_SECRET", "");
    alone.toml = toml("primary = \"memory\"");
    let output = alone.run(&["serve"]);
    assert_eq!(output.status.code(), Some(2));
}
