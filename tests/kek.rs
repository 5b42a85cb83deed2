//! A doubtful KEK stops the start; a wrong one never writes a DEK.

use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use crate::support::outside_kek::waiting_for;
use crate::support::{Codec, Launch};

#[test]
fn doubtful_keks_stop_the_start_by_name_and_are_not_repeated() {
    let good = Launch::new().kek;
    for (case, kek, reason) in [
        ("missing", String::new(), "is not set"),
        ("31 bytes", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZQ==".into(), "decodes to 31 bytes"),
        ("hexadecimal", "0123456789abcdef".repeat(4), "hexadecimal"),
        ("all zero", format!("{}=", "A".repeat(43)), "all zero"),
        ("changeme", "changeme".into(), "6 bytes"),
        ("a pass phrase", "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSAxMjM=".into(), "printable text"),
        ("white space inside", format!("{} {}", &good[..8], &good[8..]), "white space"),
        ("url-safe", format!("-{}", &good[1..]), "url-safe"),
        ("padding missing", good.trim_end_matches('=').into(), "not padded standard base64"),
    ] {
        let launch = Launch::new().variable("KEK_SECRET", &kek);
        let output = launch.run(&["serve"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{case}: {said}");
        assert!(said.contains(reason), "{case}: {said}");
        assert!(said.contains("KEK_SECRET"), "{case}: {said}");
        assert!(kek.len() < 20 || !said.contains(&kek[..20]), "{case}: it repeats the key");
        assert!(!launch.data_dir().exists(), "{case}: something was touched");
    }
}

#[tokio::test]
async fn a_kek_comes_from_a_file_too_with_one_trailing_newline_but_not_from_both() {
    let launch = Launch::new();
    let file = launch.dir.path().join("kek");
    let made = launch.run(&["keys", "generate", "--out", "kek"]);
    assert!(made.status.success());
    assert!(std::fs::read_to_string(&file).expect("the file").ends_with("=\n"));
    assert!(!launch.run(&["keys", "generate", "--out", "kek"]).status.success(), "a key is never replaced");
    let launch = launch.toml("[keys]\nkek_file = \"kek\"");
    let both = launch.run(&["config", "check"]);
    assert_eq!(both.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&both.stderr).contains("keys.kek_file"));
    let codec = launch.variable("KEK_SECRET", "").start().await;
    codec.client.encrypt("shop", "v").await;
}

#[tokio::test]
async fn a_wrong_kek_is_not_ready_loud_and_writes_nothing() {
    let mut codec = Codec::start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    codec.terminate().await;
    let launch = codec.launch.clone();
    let records = codec.records().len();
    drop(codec);
    let wrong = Launch { kek: Launch::new().kek, ..launch.clone() }.start_unready().await;
    assert_eq!(wrong.client.get("/livez").await.status, 200);
    assert!(waiting_for(&wrong).await.contains("is not the KEK that this store was made with"));
    wrong.client.post("/encrypt", json!({"projectId": "new", "value": "v"})).await.refused(503, "not_ready");
    let call = json!({"projectId": "shop", "encryptedDEK": sealed["encryptedDEK"]});
    wrong.client.post("/decrypt-dek", call).await.refused(503, "not_ready");
    assert_eq!(wrong.client.get("/status").await.ok()["ready"], false);
    assert!(wrong.log().contains("NOT READY"));
    assert_eq!(wrong.records().len(), records);
    drop(wrong);
    let url = format!("sqlite:{}", launch.data_dir().join("codec.db").display());
    let mut database = SqliteConnection::connect(&url).await.expect("the database");
    let counts: (i64, i64) =
        sqlx::query_as("SELECT (SELECT COUNT(*) FROM project_dek), (SELECT COUNT(*) FROM kek_canary)")
            .fetch_one(&mut database)
            .await
            .expect("counts");
    assert_eq!(counts, (1, 1));
    drop(database);
    let codec = launch.start().await;
    let all = json!({"projectId": "shop", "deploymentId": "d", "variables": {"A": {"type": "secret", "value": sealed["encrypted"]}}});
    assert_eq!(codec.client.post("/decrypt-all", all).await.ok(), json!({"A": "v"}));
}
