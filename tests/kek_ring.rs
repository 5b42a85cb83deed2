//! Several KEKs in memory: one wraps, the others unwrap, and all of it changes while the service runs, or not at all.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::outside_kek::{decrypts, kek, waiting_for};
use crate::support::{Client, Codec, Launch};

const RING: &str = "[keys]\nkek_dir = \"keks\"";

/// What a folder is, its files, and what is said of it.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

fn launch() -> Launch {
    Launch::new().variable("KEK_SECRET", "").toml(RING)
}

/// Runs `codec keys …`, which must succeed; what it said.
#[track_caller]
fn keys(launch: &Launch, arguments: &[&str]) -> String {
    let output = launch.run(&[&["keys"], arguments].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Runs it, and it must fail; why.
#[track_caller]
fn refused(launch: &Launch, arguments: &[&str]) -> String {
    let output = launch.run(&[&["keys"], arguments].concat());
    assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn until(client: &Client, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let kek = kek(client).await;
        if holds(&kek) {
            return kek;
        }
        assert!(Instant::now() < deadline, "never {what}: {kek}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

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

/// A mount as Kubernetes makes one: files are links into `..data`, a link to a folder, which is swapped.
struct Mount {
    dir: PathBuf,
    versions: u32,
}

impl Mount {
    fn swap(&mut self, files: &[(&str, &str)]) {
        self.versions += 1;
        let version = format!("..version-{}", self.versions);
        std::fs::create_dir_all(self.dir.join(&version)).expect("a folder");
        for (name, text) in files {
            std::fs::write(self.dir.join(&version).join(name), text).expect("a file");
            let _ = symlink(Path::new("..data").join(name), self.dir.join(name));
        }
        symlink(&version, self.dir.join("..data_tmp")).expect("a link");
        std::fs::rename(self.dir.join("..data_tmp"), self.dir.join("..data")).expect("swapped");
        for entry in std::fs::read_dir(&self.dir).expect("readable").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("..") && !files.iter().any(|(file, _)| *file == name) {
                std::fs::remove_file(entry.path()).expect("gone");
            }
        }
    }
}

#[tokio::test]
async fn a_mounted_secret_is_swapped_under_load_and_a_bad_one_changes_nothing() {
    let launch = launch();
    let mut mount = Mount { dir: launch.dir.path().join("keks"), versions: 0 };
    let (one, two, stranger) = (Launch::new().kek, Launch::new().kek, Launch::new().kek);
    mount.swap(&[("one", &one)]);
    let codec = launch.start().await;
    let first = kek(&codec.client).await["primary"].clone();
    let sealed = codec.client.encrypt("shop", "v").await;
    // Honest calls go on all the while.
    let load = tokio::spawn({
        let (client, sealed) = (codec.client.clone(), sealed.clone());
        async move {
            let mut calls = 0;
            loop {
                decrypts(&client, "shop", &sealed["encrypted"], "v").await;
                client.encrypt(&format!("p-{calls}"), "v").await;
                calls += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    mount.swap(&[("one", &one), ("two", &two), ("primary", "one")]);
    until(&codec.client, "two", |kek| kek["inRing"] == 2).await;
    mount.swap(&[("one", &one), ("two", &two), ("primary", "two\n")]);
    until(&codec.client, "promoted", |kek| kek["primary"] != first).await;
    let bad: [Case<'_>; 8] = [
        ("a KEK that rows need is gone", &[("two", &two)], "DEKs are under KEK"),
        (
            "it is retired",
            &[("one", &one), ("two", &two), ("primary", "two"), ("retired", "one")],
            "DEKs are under KEK",
        ),
        ("another in its place", &[("one", &stranger), ("two", &two), ("primary", "two")], "DEKs are under KEK"),
        ("not one of ours", &[("one", &stranger)], "is not the KEK that this store was made with"),
        ("a file that is no KEK", &[("one", &one), ("two", "changeme"), ("primary", "one")], "two: "),
        ("which is primary is not said", &[("one", &one), ("two", &two)], "`primary`"),
        ("the primary is not there", &[("one", &one), ("primary", "three")], "primary: names a KEK"),
        ("nothing", &[], "holds no KEK"),
    ];
    let primary = kek(&codec.client).await["primary"].clone();
    for (case, files, why) in bad {
        mount.swap(files);
        let said =
            until(&codec.client, case, |kek| kek["ringFailure"].as_str().is_some_and(|text| text.contains(why))).await;
        assert_eq!((&said["primary"], &said["inRing"]), (&primary, &json!(2)), "{case}");
        assert!(!said.to_string().contains(&two) && !said.to_string().contains("changeme"), "{case}");
        mount.swap(&[("one", &one), ("two", &two), ("primary", "two")]);
        until(&codec.client, "good again", |kek| kek["ringFailure"].is_null()).await;
    }
    let metrics = codec.client.get("/metrics").await.text;
    assert!(metrics.contains("codec_kek_rings_total{outcome=\"taken\"} 2\n"), "{metrics}");
    assert!(metrics.contains("codec_kek_rings_total{outcome=\"refused\"} 8\n"), "{metrics}");
    assert!(!load.is_finished(), "{:?}", load.await);
    load.abort();
    let why = refused(&codec.launch, &["add", "three"]);
    assert!(why.contains("is a mounted secret"), "{why}");
    codec.verify(&[]);
}

#[test]
fn a_folder_that_is_not_one_ends_the_start_and_is_named() {
    let (one, two) = (Launch::new().kek, Launch::new().kek);
    let cases: [Case<'_>; 9] = [
        ("empty", &[], "holds no KEK"),
        ("no KEK", &[("one", "changeme")], "one: "),
        ("31 bytes", &[("one", &STANDARD.encode([7; 31]))], "one: "),
        ("two newlines", &[("one", &format!("{one}\n\n"))], "one: "),
        ("the same twice", &[("one", &one), ("two", &one), ("primary", "one")], "one and two are the same KEK"),
        ("several, and none is named", &[("one", &one), ("two", &two)], "no file `primary`"),
        (
            "a KEK in the file that names one",
            &[("one", &one), ("primary", &two)],
            "primary: names a KEK that is not there",
        ),
        ("retired and primary", &[("one", &one), ("primary", "one"), ("retired", "one")], "it cannot be both"),
        ("a name that is none", &[("a b", &one)], "is not the name of a KEK"),
    ];
    for (case, files, why) in cases {
        let launch = launch();
        let dir = launch.dir.path().join("keks");
        std::fs::create_dir(&dir).expect("a folder");
        for (name, text) in files {
            std::fs::write(dir.join(name), text).expect("a file");
        }
        let output = launch.run(&["serve"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{case}: {said}");
        assert!(said.contains("keys.kek_dir") && said.contains(why), "{case}: {said}");
        assert!(!said.contains(&one[..20]) && !said.contains(&two[..20]), "{case}: it repeats a key");
        assert!(!launch.data_dir().exists(), "{case}: something was touched");
    }
    let both = launch().variable("KEK_SECRET", &one).run(&["config", "check"]);
    assert_eq!(both.status.code(), Some(2));
    let without = Launch::new().run(&["keys", "add", "one"]);
    assert_eq!(without.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&without.stderr).contains("keys.kek_dir"));
}

#[test]
fn what_operators_mistype_changes_nothing() {
    let launch = launch();
    keys(&launch, &["add", "one"]);
    let path = launch.dir.path().join("keks");
    let state = || {
        let mut files: Vec<_> = std::fs::read_dir(&path).expect("readable").flatten().map(|file| file.path()).collect();
        files.sort();
        files.into_iter().map(|file| (file.clone(), std::fs::read(file).expect("readable"))).collect::<Vec<_>>()
    };
    let before = state();
    let twin = path.join("one").display().to_string();
    for (case, arguments, why) in [
        ("a name that is taken", vec!["add", "one"], "there already"),
        ("a name that is none", vec!["add", "../one"], "is not the name of a KEK"),
        ("a name that means something", vec!["add", "primary"], "is not the name of a KEK"),
        ("the same KEK again", vec!["add", "two", "--from", &twin], "has this KEK already"),
        ("one that is not there", vec!["promote", "two"], "there is no \"two\""),
        ("one that is not there", vec!["retire", "two"], "there is no \"two\""),
    ] {
        let said = refused(&launch, &arguments);
        assert!(said.contains(why), "{case}: {said}");
        assert_eq!(state(), before, "{case}");
    }
    use std::os::unix::fs::PermissionsExt;
    for (file, _) in before {
        let mode = std::fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", file.display());
    }
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
