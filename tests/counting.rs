//! Encryptions are counted per DEK, and the 2^32nd is the last.

use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use crate::support::{Codec, Launch};

async fn count(launch: &Launch, set: Option<i64>) -> i64 {
    let url = format!("sqlite:{}", launch.data_dir().join("codec.db").display());
    let mut database = SqliteConnection::connect(&url).await.expect("the database");
    if let Some(count) = set {
        let query = sqlx::query("UPDATE project_dek SET encryptions = $1").bind(count);
        query.execute(&mut database).await.expect("updated");
    }
    let row: (i64,) =
        sqlx::query_as("SELECT encryptions FROM project_dek").fetch_one(&mut database).await.expect("a row");
    row.0
}

async fn restarted(mut codec: Codec, set: i64) -> Codec {
    codec.terminate().await;
    let launch = codec.launch.clone();
    drop(codec);
    count(&launch, Some(set)).await;
    launch.start().await
}

#[tokio::test]
async fn every_encryption_is_counted_before_it_happens_in_few_writes() {
    let codec = Codec::start().await;
    let client = codec.client.keeping_connections();
    for _ in 0..300 {
        client.encrypt("shop", "v").await;
    }
    let counted = count(&codec.launch, None).await;
    assert!((300..=600).contains(&counted), "{counted}: at least what happened, at most twice of it");
}

#[tokio::test]
async fn the_last_one_is_allowed_the_next_refused_and_decryption_goes_on() {
    let codec = Codec::start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    let codec = restarted(codec, (1 << 32) - 3).await;
    let call = json!({"projectId": "shop", "variables": {
        "A": {"type": "secret", "value": "a"}, "B": {"type": "secret", "value": "b"}}});
    codec.client.post("/encrypt-all", call.clone()).await.ok();
    codec.client.post("/encrypt-all", call).await.refused(409, "dek_exhausted");
    codec.client.encrypt("shop", "the 2^32nd").await;
    codec.client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await.refused(409, "dek_exhausted");
    assert_eq!(count(&codec.launch, None).await, 1 << 32);
    let all = json!({"projectId": "shop", "deploymentId": "d", "variables": {"A": {"type": "secret", "value": sealed["encrypted"]}}});
    assert_eq!(codec.client.post("/decrypt-all", all).await.ok(), json!({"A": "v"}));
}

#[tokio::test]
async fn half_of_it_is_a_warning() {
    let codec = Codec::start().await;
    codec.client.encrypt("shop", "v").await;
    let codec = restarted(codec, 1 << 31).await;
    codec.client.encrypt("shop", "v").await;
    assert!(codec.log().contains("rotate it"), "{}", codec.log());
}
