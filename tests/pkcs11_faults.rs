//! What can befall a token that holds the KEK: it is 503 for what needs it, and nothing for what does not.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::pkcs11::refused_start;
use crate::support::outside_kek::{database, decrypts, kek, waiting_for};
use crate::support::softhsm::Token;
use crate::support::{Client, Codec, Launch};

/// More than the pauses of a token that is looked for again.
const RECOVERY: Duration = Duration::from_secs(10);

async fn until_it_answers(client: &Client) {
    let deadline = Instant::now() + RECOVERY;
    while kek(client).await["answers"] != true {
        assert!(Instant::now() < deadline, "{}", kek(client).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_token_that_is_taken_away_is_503_for_what_needs_it_and_comes_back_by_itself() {
    let token = Token::with_a_key();
    let codec = token.launch().start().await;
    let sealed = codec.client.encrypt("cached", "v").await;
    decrypts(&codec.client, "cached", &sealed["encrypted"], "v").await;
    let dek = codec.client.post("/generate-dek", json!({"projectId": "recorded"})).await.ok();
    token.take_away();
    let created = |codec: &Codec| codec.records().iter().filter(|r| r["action"] == "DEK_CREATE").count();
    let before = created(&codec);
    for _ in 0..3 {
        let answer = codec.client.post("/encrypt", json!({"projectId": "new", "value": "v"})).await;
        assert!(answer.headers.contains_key("retry-after"));
        answer.refused(503, "kek_unavailable");
    }
    assert_eq!(created(&codec), before, "a DEK was announced that nobody made");
    assert_eq!(codec.last_record()["reason"], "kek_unavailable");
    // Not 'does not open', not corrupt, not imported: nobody knows what it is.
    let unknown = json!({"projectId": "x", "encryptedDEK": STANDARD.encode([7; 64])});
    codec.client.post("/decrypt-dek", unknown.clone()).await.refused(503, "kek_unavailable");
    // What is in the cache goes on, and the service is ready for it.
    decrypts(&codec.client, "cached", &sealed["encrypted"], "v").await;
    codec.client.encrypt("cached", "w").await;
    assert_eq!(codec.client.get("/readyz").await.status, 200);
    let status = kek(&codec.client).await;
    assert_eq!(status["answers"], false);
    assert!(status["lastFailure"].as_str().is_some_and(|why| why.contains("C_")), "{status}");
    assert!(codec.client.get("/metrics").await.text.contains("codec_kek_answers 0\n"));
    token.give_back();
    until_it_answers(&codec.client).await;
    assert!(codec.client.get("/metrics").await.text.contains("codec_kek_answers 1\n"));
    codec.client.encrypt("new", "v").await;
    let call = json!({"projectId": "recorded", "encryptedDEK": dek["encryptedDEK"]});
    codec.client.post("/decrypt-dek", call).await.ok();
    codec.client.post("/decrypt-dek", unknown).await.refused(422, "decrypt_failed");
    assert!(!codec.log().contains("ALARM"), "a token that was away is no alarm");
    codec.verify(&[]);
}

#[tokio::test]
async fn a_token_that_is_away_at_the_start_is_waited_for() {
    let token = Token::with_a_key();
    token.take_away();
    let codec = token.launch().start_unready().await;
    codec.client.get("/readyz").await.refused(503, "not_ready");
    token.give_back();
    codec.until_ready().await;
    codec.client.encrypt("shop", "v").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_hangs_costs_its_deadline_and_nobody_else() {
    let token = Token::with_a_key();
    let launch = |deadline_ms: u32| token.launch().toml(&format!("sessions = 2\ndeadline_ms = {deadline_ms}"));
    let codec = launch(5_000).start().await;
    let sealed = codec.client.encrypt("cached", "v").await;
    decrypts(&codec.client, "cached", &sealed["encrypted"], "v").await;
    let held = token.hang();
    let begun = Instant::now();
    let calls = (0..40).map(|index| {
        let client = codec.client.clone();
        let call = json!({"projectId": format!("new-{index}"), "value": "v"});
        tokio::spawn(async move { client.post("/encrypt", call).await.refused(503, "kek_unavailable") })
    });
    let calls: Vec<_> = calls.collect();
    codec.client.until_figure("codec_requests_in_flight", |requests| requests == 40.0).await;
    // Meanwhile nobody else waits.
    for _ in 0..5 {
        assert_eq!(codec.client.get("/livez").await.status, 200);
        decrypts(&codec.client, "cached", &sealed["encrypted"], "v").await;
    }
    assert!(calls.iter().all(|call| !call.is_finished()), "somebody else waits for as long");
    for call in calls {
        call.await.expect("refused");
    }
    // Two at a time, each for its own deadline, would be more than a minute.
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}: one after the other", begun.elapsed());
    drop(held);
    until_it_answers(&codec.client).await;
    codec.client.encrypt("new-0", "v").await;
    drop(codec);
    // A call that hangs keeps nobody from ending.
    let mut codec = launch(1_500).start().await;
    let held = token.hang();
    codec.client.post("/encrypt", json!({"projectId": "later", "value": "v"})).await.refused(503, "kek_unavailable");
    assert_eq!(codec.terminate().await, 0);
    drop(held);
}

#[tokio::test]
async fn an_altered_row_an_altered_service_key_and_garbage_are_what_they_are() {
    let token = Token::with_a_key();
    let mut codec = token.launch().start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    // CKR_GENERAL_ERROR, from a token that is well.
    for garbage in [STANDARD.encode([7; 64]), STANDARD.encode([0; 32])] {
        let call = json!({"projectId": "shop", "encryptedDEK": garbage});
        codec.client.post("/decrypt-dek", call).await.refused(422, "decrypt_failed");
    }
    assert_eq!(kek(&codec.client).await["answers"], true);
    codec.client.encrypt("other", "v").await;
    codec.terminate().await;
    let launch = codec.launch.clone();
    drop(codec);
    let mut rows = database(&launch).await;
    // The service key is no DEK, whoever finds it in a backup.
    let row = sqlx::query("SELECT sealed FROM kek_canary").fetch_one(&mut rows).await.expect("a row");
    let row: Vec<u8> = row.get(0);
    let length = usize::from(u16::from_be_bytes([row[14], row[15]]));
    let service_key = STANDARD.encode(&row[16..16 + length]);
    let alter = "UPDATE project_dek SET encrypted_dek = \
        CASE WHEN encrypted_dek LIKE 'A%' THEN 'B' ELSE 'A' END || substr(encrypted_dek, 2) WHERE project_id = 'shop'";
    rows.execute(alter).await.expect("altered");
    let codec = launch.clone().start().await;
    let variables = json!({"A": {"type": "secret", "value": sealed["encrypted"]}});
    let call = json!({"projectId": "shop", "deploymentId": "d", "variables": variables});
    codec.client.post("/decrypt-all", call).await.refused(500, "dek_corrupt");
    assert!(codec.log().contains("ALARM"));
    let call = json!({"projectId": "thief", "encryptedDEK": service_key});
    codec.client.post("/decrypt-dek", call).await.refused(500, "dek_corrupt");
    drop(codec);
    for (statement, why) in [
        // Of the canary alone, of the service key alone, of its name.
        (
            "UPDATE kek_canary SET sealed = CAST(substr(sealed, 1, length(sealed) - 2) || x'0000' AS BLOB)",
            "does not open",
        ),
        (
            "UPDATE kek_canary SET sealed = CAST(substr(sealed, 1, 20) || x'0000' || substr(sealed, 23) AS BLOB)",
            "made with",
        ),
        ("UPDATE kek_canary SET kek_id = '0123456789abcdef'", "does not open"),
        ("DELETE FROM kek_canary", "restore the table kek_canary"),
    ] {
        rows.execute("CREATE TABLE kept AS SELECT * FROM kek_canary").await.expect("kept");
        rows.execute(AssertSqlSafe(statement)).await.expect("altered");
        let codec = launch.clone().start_unready().await;
        let waiting = waiting_for(&codec).await;
        assert!(waiting.contains(why), "{statement}: {waiting}");
        drop(codec);
        for statement in ["DELETE FROM kek_canary", "INSERT INTO kek_canary SELECT * FROM kept", "DROP TABLE kept"] {
            rows.execute(AssertSqlSafe(statement)).await.expect("restored");
        }
    }
    launch.start().await.client.encrypt("other", "v").await;
}

#[tokio::test]
async fn a_wrong_pin_ends_the_start_and_is_tried_once() {
    let token = Token::with_a_key();
    let (launch, calls) = token.spied_on(Launch::new());
    let said = refused_start(&launch.variable("CODEC_PKCS11_PIN", "not-the-pin"));
    assert!(said.contains("CODEC_PKCS11_PIN") && said.contains("PinIncorrect"), "{said}");
    assert!(!said.contains("not-the-pin"));
    let calls = std::fs::read_to_string(calls).expect("calls");
    assert_eq!(calls.lines().filter(|line| line.ends_with(": C_Login")).count(), 1);
    // The token is not locked by it.
    token.launch().start().await.client.encrypt("shop", "v").await;
}

#[tokio::test]
async fn a_pin_that_was_changed_while_the_token_was_away_is_refused_once_and_read_again_from_its_file() {
    let mut token = Token::with_a_key();
    let (launch, calls) = token.spied_on(Launch::new());
    let file = launch.dir.path().join("pin");
    std::fs::write(&file, format!("{}\n", token.pin)).expect("a file");
    let launch = launch.variable("CODEC_PKCS11_PIN", "").toml("pin_file = \"pin\"\nsessions = 3");
    let codec = launch.start().await;
    codec.client.encrypt("shop", "v").await;
    let logins = || {
        let calls = std::fs::read_to_string(&calls).expect("calls");
        calls.lines().filter(|line| line.ends_with(": C_Login")).count()
    };
    assert_eq!(logins(), 1);
    let new_pin = crate::support::secret("another-pin");
    token.tool(&["--change-pin", "--new-pin", &new_pin]);
    token.take_away();
    codec.client.post("/encrypt", json!({"projectId": "new", "value": "v"})).await.refused(503, "kek_unavailable");
    token.give_back();
    let deadline = Instant::now() + RECOVERY;
    while logins() < 2 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for index in 0..10 {
        let call = json!({"projectId": format!("new-{index}"), "value": "v"});
        codec.client.post("/encrypt", call).await.refused(503, "kek_unavailable");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(logins(), 2, "a PIN that was refused was tried again");
    assert!(kek(&codec.client).await["lastFailure"].as_str().is_some_and(|why| why.contains("PIN")));
    std::fs::write(&file, &new_pin).expect("a file");
    until_it_answers(&codec.client).await;
    codec.client.encrypt("new", "v").await;
    assert_eq!(logins(), 3);
    token.pin = new_pin;
}

/// What needs a token that is in trouble gets 503, and nobody is told that a DEK is not what it should be.
#[tokio::test]
async fn a_token_in_trouble_is_503_and_never_does_not_open() {
    let token = Token::with_a_key();
    let launch = token.faulty(Launch::new());
    let codec = launch.start().await;
    let recorded = codec.client.post("/generate-dek", json!({"projectId": "recorded"})).await.ok();
    let opens = json!({"projectId": "recorded", "encryptedDEK": recorded["encryptedDEK"]});
    let garbage = json!({"projectId": "x", "encryptedDEK": STANDARD.encode([7; 64])});
    let new = json!({"projectId": "new", "value": "v"});
    for fault in
        ["every session is lost", "nothing opens", "opens to something else", "encrypting fails", "encrypts wrongly"]
    {
        token.fail(fault);
        codec.client.post("/encrypt", new.clone()).await.refused(503, "kek_unavailable");
        if !fault.starts_with("encrypt") {
            codec.client.post("/decrypt-dek", garbage.clone()).await.refused(503, "kek_unavailable");
        }
        assert_eq!(kek(&codec.client).await["answers"], false, "{fault}");
        token.fail("");
        until_it_answers(&codec.client).await;
    }
    let rows = codec.client.get("/status").await.ok()["store"]["deksByKek"].clone();
    assert_eq!(rows.as_object().expect("rows").values().collect::<Vec<_>>(), [1], "a DEK was made that does not open");
    // A session that has ended is nobody's trouble.
    token.fail("a session is lost");
    codec.client.post("/decrypt-dek", opens).await.ok();
    token.fail("");
    codec.client.post("/encrypt", new).await.ok();
    codec.client.post("/decrypt-dek", garbage).await.refused(422, "decrypt_failed");
}

#[test]
fn a_token_that_must_not_be_used_ends_the_start() {
    let token = Token::with_a_key();
    for (fault, why) in [
        ("everything opens", "it opens what was altered"),
        ("final try", "one more wrong PIN would lock the token"),
        ("locked", "has locked its user's PIN"),
    ] {
        let launch = token.faulty(Launch::new());
        token.fail(fault);
        let said = refused_start(&launch);
        assert!(said.contains(why), "{fault}: {said}");
    }
}
