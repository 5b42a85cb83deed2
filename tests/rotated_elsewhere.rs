//! A rotation on another replica that this one has not heard of yet: who seals, and who rotates again, is answered by what the store has.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::{Client, Codec, Launch, postgres};

/// A project whose DEK one replica has rotated, as another knows; a value of before; and the rows before and after, in tables of those names.
struct Rotated {
    one: Codec,
    two: Codec,
    first: Value,
    database: PgConnection,
}

impl Rotated {
    async fn new() -> Self {
        let url = postgres::database().await;
        let one = Launch::new().variable("DATABASE_URL", &url).start().await;
        let two = Launch { dir: Launch::new().dir, ..one.launch.clone() }.start().await;
        let first = one.client.encrypt("shop", "v").await;
        let mut database = PgConnection::connect(&url).await.expect("connects");
        run(&mut database, "CREATE TABLE before AS SELECT * FROM project_dek").await;
        one.client.post("/rotate-dek", json!({"projectId": "shop"})).await.ok();
        run(&mut database, "CREATE TABLE after AS SELECT * FROM project_dek").await;
        until_seals_under(&two.client, 2).await;
        Self { one, two, first, database }
    }
}

/// It is not rotated yet, as `other` knows; and then it is, and nobody is told.
async fn rotate_unheard(database: &mut PgConnection, other: &Client) {
    run(database, "TRUNCATE project_dek").await;
    run(database, "INSERT INTO project_dek SELECT * FROM before").await;
    run(database, "SELECT pg_notify('codec_dek', 'shop')").await;
    until_seals_under(other, 1).await;
    run(database, "TRUNCATE project_dek").await;
    run(database, "INSERT INTO project_dek SELECT * FROM after").await;
}

#[tokio::test]
async fn who_seals_while_another_replica_rotates_is_given_the_next_version_unless_the_one_before_was_named() {
    let Rotated { one: _one, two, first, mut database } = Rotated::new().await;
    // More than a replica leases at once.
    let many = |variable: &Value| Value::Object((0..100).map(|n| (format!("V_{n}"), variable.clone())).collect());
    let plain = many(&json!({"type": "secret", "value": "v"}));
    let sealed = many(&json!({"type": "secret", "encrypted": true, "value": first["encrypted"], "keyVersion": 1}));
    let cases = [
        ("/encrypt-all", json!({"projectId": "shop", "variables": plain}), 200),
        ("/re-encrypt", json!({"projectId": "shop", "variables": sealed, "format": "v2"}), 200),
        ("/encrypt-all", json!({"projectId": "shop", "variables": plain, "encryptedDEK": first["encryptedDEK"]}), 409),
    ];
    for (path, call, status) in cases {
        rotate_unheard(&mut database, &two.client).await;
        let answer = two.client.post(path, call).await;
        if status == 409 {
            answer.refused(409, "dek_not_primary");
        } else {
            assert_eq!(answer.ok()["keyVersion"], 2, "{path}");
        }
    }
    let records = two.records();
    let of_many = |record: &&Value| record["variables"].as_array().is_some_and(|names| names.len() == 100);
    let noted = records.iter().filter(of_many).map(|record| json!([record["outcome"], record["keyVersions"]]));
    let expected = [json!(["allowed", [2]]), json!(["allowed", [1, 2]]), json!(["failed", [1]])];
    assert_eq!(noted.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_rotation_that_another_replica_has_made_is_answered_by_the_version_that_it_made() {
    let Rotated { one: _one, two, mut database, .. } = Rotated::new().await;
    rotate_unheard(&mut database, &two.client).await;
    let again = two.client.post("/rotate-dek", json!({"projectId": "shop", "keyVersion": 1})).await.ok();
    assert_eq!(again["keyVersion"], 2);
    assert_eq!(two.last_record()["keyVersions"], json!([2]));
    assert_eq!(two.client.encrypt("shop", "w").await["keyVersion"], 2);
}

#[tokio::test]
async fn of_many_who_seal_at_once_while_another_replica_rotates_none_is_refused() {
    const CALLS: usize = 100;
    let Rotated { one: _one, two, mut database, .. } = Rotated::new().await;
    rotate_unheard(&mut database, &two.client).await;
    // More each than a replica leases at once.
    let variables: Map<_, _> = (0..70).map(|n| (format!("V_{n}"), json!({"type": "secret", "value": "v"}))).collect();
    let call = json!({"projectId": "shop", "variables": variables});
    let client = two.client.keeping_connections();
    let calls = (0..CALLS).map(|_| client.post("/encrypt-all", call.clone()));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.ok()["keyVersion"], 2);
    }
}

async fn until_seals_under(client: &Client, version: u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while client.encrypt("shop", "v").await["keyVersion"] != version {
        assert!(Instant::now() < deadline, "it does not seal under version {version}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn run(database: &mut PgConnection, statement: &'static str) {
    sqlx::query(statement).execute(database).await.expect(statement);
}
