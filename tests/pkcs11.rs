//! A KEK in a token, over PKCS#11, with SoftHSM as the token: it wraps and unwraps, its key never leaves it, and whatever befalls it is
//! 503 for what needs it and nothing for what does not.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqliteConnection};

use crate::support::softhsm::{MODULE, Token, bytes_that_crossed};
use crate::support::{Client, Codec, Launch, root, tool};

/// More than the pauses of a token that is looked for again.
const RECOVERY: Duration = Duration::from_secs(10);

async fn decrypts(client: &Client, project: &str, encrypted: &Value, value: &str) {
    let variables = json!({"A": {"type": "secret", "value": encrypted}});
    let call = json!({"projectId": project, "deploymentId": "d", "variables": variables});
    assert_eq!(client.post("/decrypt-all", call).await.ok(), json!({"A": value}));
}

async fn kek(client: &Client) -> Value {
    client.get("/status").await.ok()["kek"].clone()
}

async fn until_it_answers(client: &Client) {
    let deadline = Instant::now() + RECOVERY;
    while kek(client).await["answers"] != true {
        assert!(Instant::now() < deadline, "{}", kek(client).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn database(launch: &Launch) -> SqliteConnection {
    let url = format!("sqlite:{}", launch.data_dir().join("codec.db").display());
    SqliteConnection::connect(&url).await.expect("the database")
}

/// What it says when it must not start, because of the configuration.
fn refused_start(launch: &Launch) -> String {
    let output = launch.run(&["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains(crate::support::CANARY), "{said}");
    said
}

#[tokio::test]
async fn what_a_token_wrapped_opens_after_a_restart_and_the_journal_verifies() {
    let token = Token::with_a_key();
    let mut codec = token.launch().start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    let (dek, encrypted_dek) = codec.client.dek("shop").await;
    let status = kek(&codec.client).await;
    assert_eq!(status["location"], "pkcs11");
    assert_eq!(status["name"], "token `codec`, key `kek`");
    assert_eq!(status["answers"], true);
    // Rows and journal name the same KEK.
    let rows: Vec<(String,)> = sqlx::query_as("SELECT kek_id FROM project_dek UNION SELECT kek_id FROM kek_canary")
        .fetch_all(&mut database(&codec.launch).await)
        .await
        .expect("rows");
    assert_eq!(rows, [(status["primary"].as_str().expect("an id").to_owned(),)]);
    assert_eq!(codec.records()[0]["kekId"], status["primary"]);
    // Beside the process that serves.
    codec.verify(&[]);
    codec.terminate().await;
    let launch = codec.launch.clone();
    drop(codec);
    let codec = launch.start().await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    assert_eq!(codec.client.dek("shop").await, (dek, encrypted_dek));
    assert_eq!(kek(&codec.client).await["primary"], status["primary"]);
    codec.verify(&[]);
}

/// What crosses into the module and out of it is written down, byte for byte: what it is given to wrap, what it unwraps, and no KEK.
#[tokio::test]
async fn the_kek_never_leaves_the_token_and_one_login_is_enough() {
    let token = Token::new();
    let kek = STANDARD.decode(Launch::new().kek).expect("base64");
    token.import("kek", &kek);
    let (launch, calls) = token.spied_on(Launch::new());
    let codec = launch.start().await;
    for project in 0..20 {
        codec.client.encrypt(&format!("p-{project}"), "v").await;
    }
    let (dek, _) = codec.client.dek("p-0").await;
    let crossed = bytes_that_crossed(&calls);
    let holds = |bytes: &[u8]| crossed.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(&STANDARD.decode(dek).expect("base64")), "the spy saw no DEK");
    for piece in kek.chunks(8) {
        assert!(!holds(piece), "the KEK left the token");
    }
    let calls = std::fs::read_to_string(calls).expect("calls");
    let count = |name: &str| calls.lines().filter(|line| line.ends_with(&format!(": {name}"))).count();
    assert!(count("C_EncryptInit") >= 20, "the spy saw nothing");
    assert_eq!(count("C_Login"), 1);
    for never in ["C_WrapKey", "C_UnwrapKey", "C_DeriveKey", "C_CreateObject", "C_CopyObject", "C_SetAttributeValue"] {
        assert_eq!(count(never), 0, "{never}");
    }
}

/// The platform's own KEK, imported into a token: what it wrapped so far opens, and the other way round.
#[tokio::test]
async fn an_imported_kek_opens_what_the_same_kek_wrapped_in_memory() {
    let mut before = Codec::start().await;
    let sealed = before.client.encrypt("shop", "v").await;
    let (dek, encrypted_dek) = before.client.dek("shop").await;
    before.terminate().await;
    let token = Token::new();
    token.import("kek", &STANDARD.decode(&before.launch.kek).expect("base64"));
    let codec = token.launch().start().await;
    let call = json!({"projectId": "shop", "encryptedDEK": encrypted_dek});
    assert_eq!(codec.client.post("/decrypt-dek", call).await.ok()["dek"], dek);
    let call = json!({"projectId": "shop", "encryptedDEK": encrypted_dek, "encrypted": sealed["encrypted"]});
    assert_eq!(codec.client.post("/decrypt-value", call).await.ok(), json!({"value": "v"}));
    assert!(codec.log().contains("was made outside of the token"));
    codec.client.encrypt("new", "v").await;
    let (dek, encrypted_dek) = codec.client.dek("new").await;
    let here = Launch { kek: before.launch.kek.clone(), ..Launch::new() }.start().await;
    let call = json!({"projectId": "new", "encryptedDEK": encrypted_dek});
    assert_eq!(here.client.post("/decrypt-dek", call).await.ok()["dek"], dek);
}

#[tokio::test]
async fn another_key_of_the_same_name_is_refused_and_writes_nothing() {
    let (token, other) = (Token::with_a_key(), Token::with_a_key());
    let mut codec = token.launch().start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    codec.terminate().await;
    let launch = codec.launch.clone();
    let records = codec.records().len();
    drop(codec);
    // Another token, a KEK in memory: each is refused, loudly.
    let none = Launch { toml: "# in memory\n".into(), ..launch.clone() };
    for wrong in [other.on(none.clone()), none.variable("KEK_SECRET", &Launch::new().kek)] {
        let wrong = wrong.start_unready().await;
        wrong.client.get("/readyz").await.refused(503, "not_ready");
        wrong.client.post("/encrypt", json!({"projectId": "new", "value": "v"})).await.refused(503, "not_ready");
        let waiting = wrong.client.get("/status").await.ok()["waitingFor"].as_str().expect("a cause").to_owned();
        assert!(waiting.contains("this store was made with"), "{waiting}");
        assert!(wrong.log().contains("NOT READY"));
        assert_eq!(wrong.records().len(), records);
    }
    let rows = sqlx::query("SELECT (SELECT COUNT(*) FROM project_dek), (SELECT COUNT(*) FROM kek_canary)");
    let rows = rows.fetch_one(&mut database(&launch).await).await.expect("counts");
    assert_eq!((rows.get::<i64, _>(0), rows.get::<i64, _>(1)), (1, 1));
    let codec = launch.start().await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
}

#[tokio::test]
async fn a_store_of_a_kek_in_memory_is_not_a_tokens() {
    let mut codec = Codec::start().await;
    codec.client.encrypt("shop", "v").await;
    codec.terminate().await;
    let launch = codec.launch.clone();
    drop(codec);
    let wrong = Token::with_a_key().on(launch).start_unready().await;
    let waiting = wrong.client.get("/status").await.ok()["waitingFor"].as_str().expect("a cause").to_owned();
    assert!(waiting.contains("is not the KEK that this store was made with"), "{waiting}");
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
    token.give_back();
    until_it_answers(&codec.client).await;
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
    let launch = token.launch().toml("sessions = 2\ndeadline_ms = 700");
    let mut codec = launch.start().await;
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
    // Meanwhile nobody else waits.
    while begun.elapsed() < Duration::from_millis(600) {
        let asked = Instant::now();
        assert_eq!(codec.client.get("/livez").await.status, 200);
        decrypts(&codec.client, "cached", &sealed["encrypted"], "v").await;
        assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    }
    for call in calls {
        call.await.expect("refused");
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}: one after the other", begun.elapsed());
    drop(held);
    until_it_answers(&codec.client).await;
    codec.client.encrypt("new-0", "v").await;
    // A call that hangs keeps nobody from ending.
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
        let waiting = codec.client.get("/status").await.ok()["waitingFor"].as_str().expect("a cause").to_owned();
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

/// From a KEK in memory to the same KEK in a token: a new store, and the DEKs of the old one.
#[tokio::test]
async fn deks_of_a_kek_in_memory_are_taken_over_into_a_tokens_store() {
    let mut before = Codec::start().await;
    let sealed = before.client.encrypt("shop", "v").await;
    before.terminate().await;
    let token = Token::new();
    token.import("kek", &STANDARD.decode(&before.launch.kek).expect("base64"));
    let launch = token.launch();
    let from = format!("sqlite:{}", before.launch.data_dir().join("codec.db").display());
    let import = ["keys", "import-deks", "--from", &from, "--table", "project_dek", "--project-column", "project_id"];
    let dry = launch.run(&[&import[..], &["--dry-run"]].concat());
    assert!(dry.status.success(), "{}", String::from_utf8_lossy(&dry.stderr));
    assert!(!launch.data_dir().join("codec.db").exists(), "something was touched");
    let taken = launch.run(&import);
    let said = String::from_utf8_lossy(&[taken.stdout, taken.stderr].concat()).into_owned();
    assert!(taken.status.success() && said.contains("1 DEKs taken over as primary"), "{said}");
    let codec = launch.start().await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    assert_eq!(codec.client.encrypt("shop", "w").await["encryptedDEK"], sealed["encryptedDEK"]);
    codec.verify(&[]);
}

#[test]
fn the_walk_through_works_as_written() {
    let page = std::fs::read_to_string(root().join("docs/OPERATIONS.md")).expect("readable");
    let (_, page) = page.split_once("## A KEK in a token\n").expect("the walk-through");
    let (page, _) = page.split_once("\n## ").expect("its end");
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [walk, import] = blocks[..] else { panic!("{} blocks", blocks.len()) };
    let with_import = walk.replace("codec keys generate --pkcs11", import);
    for (script, key) in
        [(walk, "always sensitive, never extractable, local"), (&with_import, "Access:     sensitive\n")]
    {
        let launch = Launch::new();
        let codec = Path::new(env!("CARGO_BIN_EXE_codec")).parent().expect("a folder").display().to_string();
        let path = format!("{codec}:{}", std::env::var("PATH").expect("PATH"));
        // A variable of the shell alone: codec itself must be given the KEK once.
        let script = format!("KEK_SECRET='{}'\n{script}", launch.kek);
        let mut command = std::process::Command::new("bash");
        command.args(["-euc", &script]).env_clear().env("PATH", path).current_dir(launch.dir.path());
        let output = command.output().expect("bash");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("the configuration is good") && said.contains(key), "{said}");
    }
}

#[test]
fn keys_that_are_not_fit_for_a_kek_are_refused_by_name() {
    let token = Token::new();
    token.keygen("extractable", "AES:32", &["--sensitive", "--extractable"]);
    token.keygen("readable", "AES:32", &[]);
    token.keygen("small", "AES:16", &["--sensitive"]);
    token.keygen("twin", "AES:32", &["--sensitive", "--id", "01"]);
    token.keygen("twin", "AES:32", &["--sensitive", "--id", "02"]);
    for (key, why) in [
        ("extractable", "CKA_EXTRACTABLE must be false"),
        ("readable", "CKA_SENSITIVE must be true"),
        ("small", "not 32 bytes long"),
        ("twin", "several AES keys"),
    ] {
        let said = refused_start(&Launch { toml: token.toml(MODULE, key), ..token.launch() });
        assert!(said.contains(why), "{key}: {said}");
    }
    // Two of one label are told apart by their ids.
    let launch = Launch { toml: token.toml(MODULE, "twin"), ..token.launch() }.toml("key_id = \"02\"");
    let checked = launch.run(&["config", "check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(!launch.data_dir().exists(), "something was touched");
}

#[test]
fn a_key_is_made_once_and_never_replaced() {
    let token = Token::new();
    let none = token.launch().run(&["config", "check"]);
    assert!(!none.status.success());
    assert!(String::from_utf8_lossy(&none.stderr).contains("codec keys generate --pkcs11"));
    assert!(token.launch().run(&["keys", "generate", "--pkcs11"]).status.success());
    let again = token.launch().run(&["keys", "generate", "--pkcs11"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("never replaced"));
    let shown = token.tool(&["--list-objects", "--type", "secrkey"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.matches("Secret Key Object; AES length 32").count(), 1, "{shown}");
    assert!(shown.contains("sensitive, always sensitive, never extractable, local"), "{shown}");
    assert!(token.launch().run(&["config", "check"]).status.success());
    let memory = Launch::new().run(&["keys", "generate", "--pkcs11"]);
    assert!(String::from_utf8_lossy(&memory.stderr).contains("keys.pkcs11"), "a key is made where nobody said");
}

#[test]
fn mistakes_in_its_configuration_are_exit_code_2_and_their_name() {
    let token = Token::new();
    let with = |toml: &str| Launch { toml: format!("[keys.pkcs11]\n{toml}"), ..token.launch() };
    let module = format!("module = \"{MODULE}\"");
    let whole = format!("{module}\ntoken = \"codec\"\nkey_label = \"kek\"\n");
    for (case, launch, named) in [
        ("no module", with("token = \"codec\"\nkey_label = \"kek\""), "module"),
        (
            "a module that is not there",
            with("module = \"/nowhere.so\"\ntoken = \"codec\"\nkey_label = \"kek\""),
            "keys.pkcs11.module",
        ),
        (
            "a module that is none",
            with("module = \"codec.toml\"\ntoken = \"codec\"\nkey_label = \"kek\""),
            "keys.pkcs11.module",
        ),
        ("no token", with(&format!("{module}\nkey_label = \"kek\"")), "keys.pkcs11.token"),
        ("two names of it", with(&format!("{whole}slot = 1")), "keys.pkcs11.slot"),
        ("no key", with(&format!("{module}\ntoken = \"codec\"")), "keys.pkcs11.key_label"),
        ("an id that is none", with(&format!("{whole}key_id = \"0x1\"")), "keys.pkcs11.key_id"),
        ("a PIN in the file", with(&format!("{whole}pin = \"canary-7c1f5e\"")), "pin"),
        ("no PIN", with(&whole).variable("CODEC_PKCS11_PIN", ""), "CODEC_PKCS11_PIN"),
        ("two PINs", with(&format!("{whole}pin_file = \"pin\"")), "keys.pkcs11.pin_file"),
        (
            "no file of the PIN",
            with(&format!("{whole}pin_file = \"pin\"")).variable("CODEC_PKCS11_PIN", ""),
            "keys.pkcs11.pin_file",
        ),
        ("no session", with(&format!("{whole}sessions = 0")), "keys.pkcs11.sessions"),
        ("no time", with(&format!("{whole}deadline_ms = 0")), "keys.pkcs11.deadline_ms"),
        ("two KEKs", with(&whole).variable("KEK_SECRET", &Launch::new().kek), "KEK_SECRET"),
        ("two KEKs", with(&format!("{whole}[keys]\nkek_file = \"kek\"")), "keys.kek_file"),
    ] {
        let said = refused_start(&launch);
        assert!(said.contains(named), "{case}: {said}");
        assert!(!launch.data_dir().exists(), "{case}: something was touched");
    }
}

#[test]
fn a_build_without_it_says_so() {
    let plain = tool("plain/codec");
    let launch = Token::with_a_key().launch();
    for arguments in [&["serve"][..], &["config", "check"], &["keys", "generate", "--pkcs11"]] {
        let mut command = launch.command(arguments);
        let mut asked = std::process::Command::new(&plain);
        asked.args(arguments).env_clear().current_dir(launch.dir.path());
        asked.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = asked.output().expect("codec runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("keys.pkcs11") && said.contains("--features pkcs11"), "{said}");
        command.env_clear();
    }
    assert!(!Path::new(&launch.data_dir()).exists());
}
