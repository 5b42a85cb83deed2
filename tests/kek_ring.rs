//! Several KEKs in memory: one wraps, the others unwrap, and all of it changes while the service runs, or not at all.

use serde_json::{Value, json};

use crate::support::keks::{keys, launch, refused, until};
use crate::support::outside_kek::{decrypts, kek, waiting_for};
use crate::support::{Client, Codec, Launch};

async fn rewrap_all(client: &Client) -> u64 {
    let (mut rewrapped, mut after) = (0, Value::Null);
    loop {
        let answer = client.post("/rewrap-all", json!({"after": after, "limit": 2})).await.ok();
        assert_eq!(answer["failed"], json!([]));
        rewrapped += answer["rewrapped"].as_u64().expect("a number");
        match &answer["next"] {
            Value::Null => return rewrapped,
            next => after = next.clone(),
        }
    }
}

fn id_of(said: &str) -> String {
    said.split_whitespace().next().expect("an id").to_owned()
}

#[tokio::test]
async fn a_kek_is_added_promoted_and_the_old_one_retired_while_the_service_runs() {
    let launch = launch();
    let old = id_of(&keys(&launch, &["add", "2026-01"]));
    let codec = launch.start().await;
    assert_eq!(kek(&codec.client).await["primary"], json!(old));
    let mut sealed = Vec::new();
    for project in ["a", "b", "c", "d", "e"] {
        sealed.push((project, codec.client.encrypt(project, "v").await));
    }
    // Added: it unwraps, and wraps nothing.
    let new = id_of(&keys(&codec.launch, &["add", "2026-11"]));
    until(&codec.client, "two", |kek| kek["inRing"] == 2).await;
    assert_eq!(kek(&codec.client).await["primary"], json!(old));
    // Promoted.
    keys(&codec.launch, &["promote", "2026-11"]);
    until(&codec.client, "promoted", |kek| kek["primary"] == json!(new)).await;
    codec.client.encrypt("f", "v").await;
    let listed = keys(&codec.launch, &["list"]);
    let expected =
        [format!("{new}  primary           1 DEKs  memory"), format!("{old}  retained          5 DEKs  memory")];
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
    // Too early.
    let why = refused(&codec.launch, &["retire", "2026-01"]);
    assert!(why.contains(&format!("5 DEKs are under KEK {old}")), "{why}");
    assert!(refused(&codec.launch, &["retire", "2026-11"]).contains("1 DEKs are under KEK"));
    // Rewrapped: twice is safe, and what callers keep is known still.
    assert_eq!(rewrap_all(&codec.client).await, 5);
    assert_eq!(rewrap_all(&codec.client).await, 0);
    keys(&codec.launch, &["retire", &old]);
    until(&codec.client, "retired", |kek| kek["retired"] == 1 && kek["inRing"] == 1).await;
    for (project, value) in &sealed {
        decrypts(&codec.client, project, &value["encrypted"], "v").await;
        let call = json!({"projectId": project, "encryptedDEK": value["encryptedDEK"], "value": "w"});
        let again = codec.client.post("/encrypt", call).await.ok();
        assert_ne!(again["encryptedDEK"], value["encryptedDEK"], "what is to be kept from now on");
        let call = json!({"projectId": project, "encryptedDEK": value["encryptedDEK"]});
        assert_eq!(codec.client.post("/rewrap-dek", call).await.ok()["encryptedDEK"], again["encryptedDEK"]);
        let call = json!({"projectId": "other", "encryptedDEK": value["encryptedDEK"]});
        codec.client.post("/decrypt-dek", call).await.refused(422, "decrypt_failed");
    }
    // What the old one signed is verified by it; what came after is not.
    codec.verify(&[]);
    let starts: Vec<_> =
        codec.records().into_iter().filter(|r| r["action"] == "SEGMENT_START").map(|r| r["kekId"].clone()).collect();
    assert_eq!(starts, [json!(old), json!(new)]);
    let wraps = codec.records().into_iter().filter(|r| r["action"] == "DEK_WRAP").count();
    assert_eq!(wraps, 5);
    // And the next start has it so.
    let launch = crate::support::outside_kek::stopped(codec).await;
    let codec = launch.start().await;
    decrypts(&codec.client, "a", &sealed[0].1["encrypted"], "v").await;
    codec.verify(&[]);
}

#[tokio::test]
async fn several_come_from_the_environment_too() {
    let mut codec = Codec::start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    codec.terminate().await;
    let (launch, old) = (codec.launch.clone(), codec.launch.kek.clone());
    drop(codec);
    let next = Launch::new().kek;
    let launch = launch.variable("KEK_SECRET", &next);
    let alone = launch.clone().start_unready().await;
    assert!(waiting_for(&alone).await.contains("is not the KEK that this store was made with"));
    drop(alone);
    let codec = launch.variable("KEK_SECRET_RETAINED", &old).start().await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    assert_eq!(rewrap_all(&codec.client).await, 1);
    // The journal goes on under the new one, and is read by both.
    codec.verify(&[]);
    let doubtful =
        [("the same", next.clone()), ("no KEK", "changeme".into()), ("the primary itself", format!("{old} {old}"))];
    for (case, retained) in doubtful {
        let output = codec.launch.clone().variable("KEK_SECRET_RETAINED", &retained).run(&["config", "check"]);
        assert_eq!(output.status.code(), Some(2), "{case}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("KEK_SECRET_RETAINED, number "), "{case}");
    }
}

#[tokio::test]
async fn a_replica_that_has_the_new_kek_not_yet_says_so_and_goes_on_with_the_rest() {
    let url = crate::support::postgres::database().await;
    let one = launch().variable("DATABASE_URL", &url);
    let two = Launch { dir: launch().dir, ..one.clone() };
    keys(&one, &["add", "old"]);
    let old = one.dir.path().join("keks/old").display().to_string();
    keys(&two, &["add", "old", "--from", &old]);
    let (one, two) = (one.start().await, two.start().await);
    let sealed = one.client.encrypt("shop", "v").await;
    keys(&one.launch, &["add", "new"]);
    keys(&one.launch, &["promote", "new"]);
    let primary = id_of(&keys(&one.launch, &["list"]));
    until(&one.client, "promoted", |kek| kek["primary"] == json!(primary)).await;
    assert_eq!(rewrap_all(&one.client).await, 1);
    let call = json!({"projectId": "shop", "deploymentId": "d", "variables": {"A": {"type": "secret", "value": sealed["encrypted"]}}});
    let answer = two.client.post("/decrypt-all", call.clone()).await;
    answer.refused(503, "kek_unavailable");
    assert!(answer.header("retry-after").is_some());
    // Nor is it taken for nobody's, by whoever brings what it was wrapped as.
    for project in ["thief", "shop"] {
        let call = json!({"projectId": project, "encryptedDEK": sealed["encryptedDEK"]});
        let answer = two.client.post("/decrypt-dek", call).await;
        answer.refused(503, "kek_unavailable");
    }
    let new = one.launch.dir.path().join("keks/new").display().to_string();
    keys(&two.launch, &["add", "new", "--from", &new]);
    until(&two.client, "both", |kek| kek["inRing"] == 2).await;
    assert_eq!(two.client.post("/decrypt-all", call).await.ok(), json!({"A": "v"}));
}

#[tokio::test]
async fn what_is_destroyed_stays_so_when_its_kek_is_retired_for_whoever_brings_it_however() {
    let launch = launch();
    keys(&launch, &["add", "old"]);
    let codec = launch.start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    let (raw, blob) = codec.client.dek("shop").await;
    keys(&codec.launch, &["add", "new"]);
    keys(&codec.launch, &["promote", "new"]);
    until(&codec.client, "both", |kek| kek["inRing"] == 2).await;
    let primary = id_of(&keys(&codec.launch, &["list"]));
    until(&codec.client, "promoted", |kek| kek["primary"] == json!(primary)).await;
    for path in ["/rotate-dek", "/disable-dek", "/destroy-dek"] {
        codec.client.post(path, json!({"projectId": "shop", "keyVersion": 1})).await.ok();
    }
    let destroyed = async |codec: &Codec| {
        let value = json!({"dek": raw, "encrypted": sealed["encrypted"]});
        codec.client.post("/decrypt-value", value).await.refused(410, "dek_destroyed");
        let own = json!({"projectId": "shop", "encryptedDEK": blob});
        codec.client.post("/decrypt-dek", own).await.refused(410, "dek_destroyed");
        let thief = codec.client.post("/decrypt-dek", json!({"projectId": "thief", "encryptedDEK": blob})).await;
        assert!([403, 422].contains(&thief.status), "{}", thief.text);
    };
    destroyed(&codec).await;
    assert_eq!(rewrap_all(&codec.client).await, 1);
    destroyed(&codec).await;
    // A table of the platform's still has it: nobody's it is not, not even its own project's anew.
    let launch = crate::support::outside_kek::stopped(codec).await;
    let table = launch.dir.path().join("platform.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&table).create_if_missing(true);
    let mut platform = sqlx::ConnectOptions::connect(&options).await.expect("a database");
    for statement in [
        "CREATE TABLE project (id TEXT, encrypted_dek TEXT)".to_owned(),
        format!("INSERT INTO project VALUES ('thief', '{blob}'), ('shop', '{blob}')"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut platform).await.expect("a table");
    }
    let from = format!("sqlite:{}", table.display());
    let output = launch.run(&["keys", "import-deks", "--from", &from]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && said.contains("1 were here already"), "{said}");
    assert!(said.contains("REFUSED: project thief: its DEK is another project's already"), "{said}");
    keys(&launch, &["retire", "old"]);
    let codec = launch.start().await;
    destroyed(&codec).await;
}

#[test]
fn the_walk_through_of_keys_that_live_and_die_works_as_written() {
    let said = crate::support::walk_through::run("## Keys live and die", &[], "rotated/codec.log");
    for part in [
        "refused\n",
        "{\"rewrapped\":2,\"already\":0,\"failed\":[]}",
        "{\"value\":\"postgres://shop:hunter2@db/shop\"}",
        "{\"DATABASE_URL\":\"postgres://shop:hunter2@db/shop\"}",
        "\"code\":\"dek_disabled\"",
        "{\"keyVersion\":1,\"state\":\"destroyed\"}",
        "\"safeToRetire\":true",
        "the journal is sound",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
