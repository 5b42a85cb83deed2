//! A KEK in a token, over PKCS#11, with SoftHSM as the token: it wraps and unwraps, and its key never leaves it.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqliteConnection};

use crate::support::outside_kek::{database, decrypts, kek, waiting_for};
use crate::support::softhsm::{MODULE, Token, bytes_that_crossed};
use crate::support::{Codec, Launch, postgres, root, tool};

/// What it says when it must not start, because of the configuration.
pub fn refused_start(launch: &Launch) -> String {
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
        wrong.client.post("/encrypt", json!({"projectId": "new", "value": "v"})).await.refused(503, "not_ready");
        let waiting = waiting_for(&wrong).await;
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

/// What the first version wrote, under the KEK 000102…1f in a token.
#[tokio::test]
async fn a_frozen_store_of_a_token_opens() {
    let token = Token::new();
    token.import("kek", &(0..32).collect::<Vec<u8>>());
    let mut codec = token.launch().start().await;
    codec.terminate().await;
    let launch = codec.launch.clone();
    drop(codec);
    let mut rows = database(&launch).await;
    for statement in [
        "DELETE FROM kek_canary",
        "INSERT INTO kek_canary (kek_id, sealed, founding, created_at) VALUES ('657f1201d109fcec', x'736572766963652D6B65792F7631005B\
         378A6C4C5AB419DD6BABAA99CCB20D0251111C7CD942A49A3D532936184808430C821644C76896D951501D067650FD741E57FF9F651C5E9A9EB2799C666E\
         CA7B356998C67897BADCE9E21FF5803C9BEBA625A08838A8B3F1914BDD3B003C35BB5DD3CE4204177B2BC1E2F7E6C5DDDF1B0C816CF535B1047436DADE0E\
         7AB4A13307F809E6A322C4B4514AE3C4001C', 1, 0)",
        "INSERT INTO project_dek (project_id, version, kek_id, encrypted_dek, encrypted_dek_sha256, fingerprint, row_mac, state, \
         origin, created_at) VALUES ('shop', 1, '657f1201d109fcec', \
         'Bf5ipIR71vdnhyhXMDZXSLnhFPYNZswggBmza8gIeTPyvKIIKSuBR1wamxYHZ0ISII7hE0/CaBB8F6n8GLL6Qg==', \
         x'A176D776774F2E311A9F5D7CCAA67B4629546FA5D1E42D8F1D2A0D116B4F3737', \
         x'81D8C8E504532AE6236DED40ACDB07C0E7772E21EF0A5581FC89D22F18AB520B', \
         x'41B53CB683516EDCB8C2C364ADD56665ED8FBFB8857C8C6B211786C8ADB96305', 'primary', 'created', 1795581594651)",
    ] {
        rows.execute(statement).await.expect("frozen rows");
    }
    // Of the store's first life; its journal is under another service key.
    std::fs::remove_dir_all(launch.journal_dir()).expect("removed");
    let codec = launch.start().await;
    assert_eq!(kek(&codec.client).await["primary"], "657f1201d109fcec");
    let encrypted = json!("tYXWwv4VbUTU06dye9T3Lz51omZa7kRk7QeOGAd6einjS/mVdUA=");
    decrypts(&codec.client, "shop", &encrypted, "frozen").await;
}

/// Both make a service key; the database lets one be first, and the other takes it.
#[tokio::test]
async fn replicas_that_begin_at_once_with_one_token_have_one_service_key() {
    for _ in 0..5 {
        let token = Token::with_a_key();
        let url = postgres::database().await;
        let one = token.launch().variable("DATABASE_URL", &url);
        let two = Launch { dir: Launch::new().dir, ..one.clone() };
        let (one, two) = tokio::join!(one.start(), two.start());
        assert_eq!(kek(&one.client).await["primary"], kek(&two.client).await["primary"]);
        let sealed = one.client.encrypt("shop", "v").await;
        decrypts(&two.client, "shop", &sealed["encrypted"], "v").await;
        two.verify(&[]);
    }
}

#[tokio::test]
async fn a_store_of_a_kek_in_memory_is_not_a_tokens() {
    let mut codec = Codec::start().await;
    codec.client.encrypt("shop", "v").await;
    codec.terminate().await;
    let launch = codec.launch.clone();
    drop(codec);
    let wrong = Token::with_a_key().on(launch).start_unready().await;
    let waiting = waiting_for(&wrong).await;
    assert!(waiting.contains("is not the KEK that this store was made with"), "{waiting}");
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
    let own = before.launch.data_dir().join("codec.db");
    let own = format!("sqlite:{}", own.display());
    let import = ["keys", "import-deks", "--from", &own, "--table", "project_dek", "--project-column", "project_id"];
    let refused = launch.run(&import);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("a table of codec's own"), "{said}");
    assert!(!launch.data_dir().join("codec.db").exists(), "something was touched");
    // The platform's table.
    let path = launch.dir.path().join("platform.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut platform = SqliteConnection::connect_with(&options).await.expect("a database");
    let statement = format!(
        "CREATE TABLE project (id TEXT, encrypted_dek TEXT); INSERT INTO project VALUES ('shop', '{}')",
        sealed["encryptedDEK"].as_str().expect("text")
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut platform).await.expect("filled");
    platform.close().await.expect("closed");
    let from = format!("sqlite:{}", path.display());
    let import = ["keys", "import-deks", "--from", &from];
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
