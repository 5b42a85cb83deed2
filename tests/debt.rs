//! What operators owe: counted by KEK and by version, with what is safe to retire; what is older than it should be is told, once a day, by one
//! replica for all.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use origan_codec::store::{Ledger, PostgresStore};

use crate::support::outside_kek::{database, stopped};
use crate::support::{Client, Codec, Launch, postgres};

/// Until `/status` has it so; what is kept of it may be ten seconds old.
async fn until_debt(client: &Client, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let debt = client.get("/status").await.ok()["debt"].clone();
        if holds(&debt) {
            return debt;
        }
        assert!(Instant::now() < deadline, "never {what}: {debt}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test]
async fn rows_encryptions_and_last_use_are_counted_by_kek_and_by_version() {
    let codec = Codec::start().await;
    for project in ["a", "b", "c"] {
        codec.client.encrypt(project, "v").await;
    }
    for path in ["/rotate-dek", "/disable-dek"] {
        codec.client.post(path, json!({"projectId": "a", "keyVersion": 1})).await.ok();
    }
    let debt = until_debt(&codec.client, "four", |debt| {
        debt["keks"][0]["deks"] == 4 && debt["keks"][0]["disabled"] == 1 && debt["versions"][0]["lastUsed"].is_string()
    })
    .await;
    let kek = &debt["keks"][0];
    assert_eq!(
        (&kek["primary"], &kek["inRing"], &kek["decryptOnly"], &kek["destroyed"], &kek["safeToRetire"]),
        (&json!(3), &json!(true), &json!(0), &json!(0), &json!(false))
    );
    assert_eq!((&kek["wraps"], &kek["ageDays"]), (&json!(true), &json!(0)));
    // Leased in blocks.
    assert!(kek["encryptions"].as_u64().is_some_and(|count| (3..=4 * 64).contains(&count)), "{kek}");
    let versions = debt["versions"].as_array().expect("versions");
    assert_eq!(versions.len(), 2);
    assert_eq!(
        (&versions[0]["keyVersion"], &versions[0]["deks"], &versions[0]["disabled"]),
        (&json!(1), &json!(3), &json!(1))
    );
    assert_eq!(
        (&versions[1]["keyVersion"], &versions[1]["deks"], &versions[1]["primary"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert_eq!((&debt["reminders"], &debt["overdue"]), (&json!([]), &json!(0)));
    // However many there are, a hundred are told apart, here and in the metrics.
    let many = "WITH RECURSIVE n(i) AS (SELECT 101 UNION ALL SELECT i + 1 FROM n WHERE i < 400) \
        INSERT INTO project_dek (project_id, version, kek_id, encrypted_dek, encrypted_dek_sha256, fingerprint, row_mac, \
                                 state, origin, created_at) \
        SELECT 'many', i, kek_id, encrypted_dek, randomblob(32), randomblob(32), row_mac, 'decrypt-only', origin, created_at \
        FROM n, (SELECT * FROM project_dek LIMIT 1)";
    sqlx::query(many).execute(&mut database(&codec.launch).await).await.expect("many");
    let debt = until_debt(&codec.client, "others", |debt| debt["keks"][0]["deks"] == 304).await;
    let versions = debt["versions"].as_array().expect("versions");
    assert_eq!((versions.len(), &versions[2]["others"], &versions[2]["deks"]), (3, &json!(true), &json!(300)));
    let metrics = codec.client.get("/metrics").await.text;
    let told = metrics.lines().filter(|line| line.starts_with("codec_dek_versions{")).count();
    assert_eq!(told, 4, "{metrics}");
}

#[tokio::test]
async fn a_kek_is_safe_to_retire_once_nothing_is_under_it() {
    let codec = Codec::start().await;
    codec.client.encrypt("a", "v").await;
    let launch = stopped(codec).await;
    let launch = launch.clone().variable("KEK_SECRET", &Launch::new().kek).variable("KEK_SECRET_RETAINED", &launch.kek);
    let codec = launch.start().await;
    let safe = |debt: &Value| -> Vec<(bool, bool, u64)> {
        let keks = debt["keks"].as_array().into_iter().flatten();
        let of =
            |kek: &Value| (kek["wraps"] == true, kek["safeToRetire"] == true, kek["deks"].as_u64().expect("a number"));
        let mut of: Vec<_> = keks.map(of).collect();
        of.sort();
        of
    };
    let debt =
        until_debt(&codec.client, "two", |debt| debt["keks"].as_array().is_some_and(|keks| keks.len() == 2)).await;
    assert_eq!(safe(&debt), [(false, false, 1), (true, false, 0)]);
    codec.client.post("/rewrap-all", json!({})).await.ok();
    until_debt(&codec.client, "safe", |debt| safe(debt) == [(false, true, 0), (true, false, 1)]).await;
}

/// A DEK and a KEK that are a hundred days old.
const AGE: &str = "UPDATE project_dek SET created_at = created_at - 8640000000 WHERE project_id = 'old'";
const AGE_KEK: &str = "UPDATE kek_canary SET created_at = created_at - 8640000000";
const REMIND: &str = "[keys]\ndek_max_age_days = 90\nkek_max_age_days = 99\n";

fn reminders(codec: &Codec) -> Vec<Value> {
    codec.records().into_iter().filter(|record| record["action"] == "KEY_REMINDER").collect()
}

async fn until_reminded(codecs: &[&Codec], count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let found: Vec<Value> = codecs.iter().flat_map(|codec| reminders(codec)).collect();
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn what_is_older_than_it_should_be_is_a_warning_a_metric_and_a_record() {
    let codec = Launch::new().toml(&format!("{REMIND}reminder_every_s = 1")).start().await;
    for project in ["old", "new"] {
        codec.client.encrypt(project, "v").await;
    }
    until_debt(&codec.client, "nothing", |debt| debt["reminders"] == json!([])).await;
    assert!(reminders(&codec).is_empty());
    let mut database = database(&codec.launch).await;
    for age in [AGE, AGE_KEK] {
        sqlx::query(age).execute(&mut database).await.expect("aged");
    }
    let debt =
        until_debt(&codec.client, "two", |debt| debt["reminders"].as_array().is_some_and(|all| all.len() == 2)).await;
    let said = debt["reminders"].to_string();
    assert!(
        said.contains("1 DEKs are older than 90 days: rotate them; the oldest is old version 1, of 100 days"),
        "{said}"
    );
    assert!(said.contains("is in use for 100 days, more than 99"), "{said}");
    assert_eq!((&debt["overdue"], &debt["oldest"][0]["projectId"]), (&json!(1), &json!("old")));
    let metrics = codec.client.get("/metrics").await.text;
    assert!(metrics.contains("codec_deks_overdue 1\n") && metrics.contains("codec_key_reminders 2\n"), "{metrics}");
    let record = until_reminded(&[&codec], 1).await.remove(0);
    assert_eq!((&record["outcome"], &record["caller"]["name"]), (&json!("allowed"), &json!("codec")));
    assert!(record["reminders"].to_string().contains("old version 1"), "{record}");
    // Rotated, it is not due any more.
    codec.client.post("/rotate-dek", json!({"projectId": "old"})).await.ok();
    until_debt(&codec.client, "one", |debt| debt["overdue"] == 0).await;
    codec.verify(&[]);
}

#[tokio::test]
async fn one_replica_reminds_for_all_and_a_restart_does_not_again() {
    let url = postgres::database().await;
    let first = Launch::new().variable("DATABASE_URL", &url);
    let codec = first.start().await;
    codec.client.encrypt("old", "v").await;
    let launch = stopped(codec).await;
    let mut database = PgConnection::connect(&url).await.expect("the database");
    sqlx::query(AGE).execute(&mut database).await.expect("aged");
    // Looked at every three seconds, recorded once in them.
    let launch = launch.toml(&format!("{REMIND}reminder_every_s = 3"));
    let other = Launch { dir: Launch::new().dir, ..launch.clone() };
    let (one, two) = (launch.start().await, other.start().await);
    until_reminded(&[&one, &two], 2).await;
    let written = [&one, &two].map(|codec| reminders(codec).len());
    assert!(written.contains(&0), "both of them remind: {written:?}");
    // Whoever leads, and whoever starts again, knows when it was done.
    let day = |launch: Launch| Launch {
        toml: launch.toml.replace("reminder_every_s = 3", "reminder_every_s = 4000"),
        ..launch
    };
    let (one, two) = (day(stopped(one).await), day(stopped(two).await));
    let count = |launch: &Launch| {
        let records = crate::support::codec::records(&launch.journal_dir());
        records.into_iter().filter(|record| record["action"] == "KEY_REMINDER").count()
    };
    let before = [count(&one), count(&two)];
    let store = PostgresStore::open(&url, 1, Duration::from_secs(5)).await.expect("opens");
    let now_ms = 2_000_000_000_000;
    assert!(store.claim("reminder", now_ms, now_ms - 1).await.expect("answers"), "due");
    for elsewhere in [now_ms, now_ms + 3_999_000] {
        assert!(!store.claim("reminder", elsewhere, elsewhere - 4_000_000).await.expect("answers"), "done already");
    }
    assert!(store.claim("reminder", now_ms + 4_000_000, now_ms).await.expect("answers"), "due again");
    drop(store);
    let (one, two) = (one.start().await, two.start().await);
    assert_eq!(before, [count(&one.launch), count(&two.launch)]);
}
