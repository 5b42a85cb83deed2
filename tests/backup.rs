//! `codec backup` and `codec restore`: what went out comes back, on either store, and nothing else does.

mod files;
mod interrupted;
mod mended;
mod newer;
mod replaced;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, SqliteConnection};

use crate::support::{Codec, Launch, postgres};

/// Project, version, state, generation, encryptions.
type Rows = Vec<(String, i64, String, i64, i64)>;

/// A new and empty store of each kind, for the same KEK and token.
async fn empty_stores(like: &Launch) -> [(&'static str, Launch); 2] {
    let new = || Launch { kek: like.kek.clone(), token: like.token.clone(), toml: like.toml.clone(), ..Launch::new() };
    [("SQLite", new()), ("PostgreSQL", new().variable("DATABASE_URL", &postgres::database().await))]
}

fn database_url(launch: &Launch) -> Option<&str> {
    launch.variables.iter().find(|(name, _)| name == "DATABASE_URL").map(|(_, url)| url.as_str())
}

/// What the store has; nothing if it is not made.
async fn rows(launch: &Launch) -> Rows {
    const ALL: &str = "SELECT project_id, version, state, generation, encryptions FROM project_dek ORDER BY 1, 2";
    // In all its steps: who makes it may have been killed in between.
    const MADE: &str = "SELECT COUNT(*) > 0 FROM information_schema.columns WHERE table_name = 'project_dek' AND column_name = 'generation'";
    const MADE_IN_SQLITE: &str = "SELECT COUNT(*) > 0 FROM pragma_table_info('project_dek') WHERE name = 'generation'";
    match database_url(launch) {
        Some(url) => {
            let mut database = PgConnection::connect(url).await.expect("the database");
            let made: bool = sqlx::query_scalar(MADE).fetch_one(&mut database).await.expect("an answer");
            if made { sqlx::query_as(ALL).fetch_all(&mut database).await.expect("rows") } else { Vec::new() }
        }
        None if launch.data_dir().join("codec.db").exists() => {
            let url = format!("sqlite:{}", launch.data_dir().join("codec.db").display());
            let mut database = SqliteConnection::connect(&url).await.expect("the database");
            let made: bool = sqlx::query_scalar(MADE_IN_SQLITE).fetch_one(&mut database).await.expect("an answer");
            if made { sqlx::query_as(ALL).fetch_all(&mut database).await.expect("rows") } else { Vec::new() }
        }
        None => Vec::new(),
    }
}

async fn execute(launch: &Launch, sql: &'static str) {
    match database_url(launch) {
        Some(url) => {
            let mut database = PgConnection::connect(url).await.expect("the database");
            sqlx::query(sql).execute(&mut database).await.expect("executes");
        }
        None => {
            let url = format!("sqlite:{}", launch.data_dir().join("codec.db").display());
            let mut database = SqliteConnection::connect(&url).await.expect("the database");
            sqlx::query(sql).execute(&mut database).await.expect("executes");
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// `codec backup`, which must work.
#[track_caller]
fn backed_up(launch: &Launch, name: &str) -> PathBuf {
    let path = launch.dir.path().join(name);
    let output = launch.run(&["backup", "--out", &path.to_string_lossy()]);
    assert!(output.status.success(), "{}", said(&output));
    path
}

fn restore(launch: &Launch, file: &Path, more: &[&str]) -> Output {
    launch.run(&[&["restore", &*file.to_string_lossy()], more].concat())
}

/// `codec restore`, which must work; what it says.
#[track_caller]
fn restored(launch: &Launch, file: &Path) -> String {
    let output = restore(launch, file, &["--unwrap"]);
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

async fn post(codec: &Codec, path: &str, version: u32) {
    codec.client.post(path, json!({"projectId": "shop", "keyVersion": version})).await.ok();
}

/// `shop` with four versions: decrypt-only, disabled, destroyed, primary; and 30 more projects. A value under each.
async fn lived_in(codec: &Codec) -> Vec<(String, Value)> {
    let mut sealed = Vec::new();
    for version in 1..=4 {
        sealed.push(("shop".to_owned(), codec.client.encrypt("shop", &format!("shop-{version}")).await));
        if version < 4 {
            post(codec, "/rotate-dek", version).await;
        }
    }
    for (path, version) in [("/disable-dek", 2), ("/disable-dek", 3), ("/destroy-dek", 3)] {
        post(codec, path, version).await;
    }
    for number in 0..30 {
        let project = format!("project-{number:02}");
        sealed.push((project.clone(), codec.client.encrypt(&project, &project).await));
    }
    sealed
}

/// As `lived_in` left it.
async fn is_as_it_was(codec: &Codec, sealed: &[(String, Value)]) {
    for (index, (project, value)) in sealed.iter().enumerate() {
        let variables =
            json!({"A": {"type": "secret", "value": value["encrypted"], "keyVersion": value["keyVersion"]}});
        let call = json!({"projectId": project, "deploymentId": "d", "variables": variables});
        let answer = codec.client.post("/decrypt-all", call).await;
        match index {
            1 => answer.refused(403, "dek_disabled"),
            2 => answer.refused(410, "dek_destroyed"),
            0 | 3 => assert_eq!(answer.ok(), json!({"A": format!("shop-{}", index + 1)})),
            _ => assert_eq!(answer.ok(), json!({"A": project})),
        }
    }
    // And goes on: the next version is the next one.
    assert_eq!(codec.client.post("/rotate-dek", json!({"projectId": "shop"})).await.ok()["keyVersion"], 5);
}

/// The lines between the first and the last.
fn body(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("readable");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[1..lines.len() - 1].to_vec()
}

#[tokio::test]
async fn what_was_backed_up_beside_a_process_that_serves_opens_on_either_store() {
    for (kind, launch) in empty_stores(&Launch::new()).await {
        let codec = launch.start().await;
        let sealed = lived_in(&codec).await;
        let file = backed_up(&codec.launch, "backup");
        let before = rows(&codec.launch).await;
        for (other, target) in empty_stores(&codec.launch).await {
            let dry = restore(&target, &file, &["--dry-run"]);
            assert!(
                dry.status.success() && said(&dry).contains("34 DEKs and 1 canaries would be added"),
                "{}",
                said(&dry)
            );
            assert_eq!(rows(&target).await, Rows::new(), "{kind} to {other}");
            assert!(restored(&target, &file).contains("34 DEKs and 1 canaries added"));
            assert_eq!(rows(&target).await, before, "{kind} to {other}");
            // Twice is safe.
            assert!(restored(&target, &file).contains("34 DEKs were here already"));
            assert_eq!(rows(&target).await, before, "{kind} to {other}");
            assert_eq!(body(&backed_up(&target, "again")), body(&file), "{kind} to {other}");
            let target = target.start().await;
            is_as_it_was(&target, &sealed).await;
            target.verify(&[]);
        }
    }
}

#[tokio::test]
async fn no_secret_is_in_the_file_and_it_is_its_owners() {
    let codec = Codec::start().await;
    lived_in(&codec).await;
    let file = backed_up(&codec.launch, "backup");
    let mode = std::fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let content = std::fs::read(&file).expect("readable");
    let mut secrets = vec![codec.launch.kek.clone(), codec.launch.token.clone(), "shop-1".to_owned()];
    for number in 0..30 {
        secrets.push(codec.client.dek(&format!("project-{number:02}")).await.0);
    }
    secrets.push(codec.client.dek("shop").await.0);
    for secret in secrets {
        let raw = STANDARD.decode(&secret).unwrap_or_else(|_| secret.clone().into_bytes());
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        for spelling in [secret.trim_end_matches('=').as_bytes(), hex.as_bytes(), &raw] {
            assert!(!content.windows(spelling.len()).any(|window| window == spelling), "a secret is in the backup");
        }
    }
    // One that is there is never replaced, and none is left half-way.
    let again = codec.launch.run(&["backup", "--out", &file.to_string_lossy()]);
    assert!(!again.status.success() && said(&again).contains("never replaced"), "{}", said(&again));
    assert_eq!(std::fs::read(&file).expect("readable"), content);
    let nowhere = codec.launch.run(&["backup", "--out", "missing/backup"]);
    assert!(!nowhere.status.success() && said(&nowhere).contains("cannot write"), "{}", said(&nowhere));
    let left = std::fs::read_dir(codec.launch.dir.path()).expect("a folder").map(|entry| entry.expect("entry").path());
    assert!(!left.into_iter().any(|path| path.to_string_lossy().contains("partial")));
    // To standard output it is the same, and nothing else is there.
    let output = codec.launch.run(&["backup", "--out", "-"]);
    assert!(output.status.success());
    let piped = codec.launch.dir.path().join("piped");
    std::fs::write(&piped, &output.stdout).expect("written");
    assert_eq!(body(&piped).len(), body(&file).len());
    assert!(restore(&codec.launch, &piped, &["--dry-run"]).status.success());
}

#[tokio::test]
async fn both_are_recorded_and_a_serving_process_keeps_its_journal_and_its_sqlite() {
    let codec = Codec::start().await;
    codec.client.encrypt("shop", "v").await;
    let run = |arguments: &[&str]| codec.launch.run(arguments);
    let output = run(&["backup", "--out", "one"]);
    assert!(output.status.success() && said(&output).contains("this backup is not recorded"), "{}", said(&output));
    let output = run(&["backup", "--out", "two", "--audit-dir", "beside"]);
    assert!(output.status.success() && !said(&output).contains("not recorded"), "{}", said(&output));
    let record = crate::support::codec::records(&codec.launch.dir.path().join("beside")).pop().expect("a record");
    assert_eq!((&record["action"], &record["outcome"]), (&json!("STORE_BACKUP"), &json!("allowed")));
    assert_eq!(record["backup"]["rows"], 1);
    let output = run(&["restore", "two", "--audit-dir", "beside"]);
    assert!(!output.status.success() && said(&output).contains("stop the service first"), "{}", said(&output));
    // Beside a process that serves from PostgreSQL: only the journal is in the way.
    let url = postgres::database().await;
    let launch = Launch { kek: codec.launch.kek.clone(), ..Launch::new() }.variable("DATABASE_URL", &url);
    let shared = launch.start().await;
    let file = codec.launch.dir.path().join("two");
    let output = restore(&shared.launch, &file, &[]);
    assert!(!output.status.success() && said(&output).contains("see --audit-dir"), "{}", said(&output));
    assert_eq!(rows(&shared.launch).await, Rows::new());
    let output = restore(&shared.launch, &file, &["--audit-dir", "beside"]);
    assert!(output.status.success(), "{}", said(&output));
    let record = crate::support::codec::records(&shared.launch.dir.path().join("beside")).pop().expect("a record");
    assert_eq!((&record["action"], &record["outcome"]), (&json!("STORE_RESTORE"), &json!("allowed")));
    assert_eq!((&record["backup"]["rows"], &record["backup"]["added"]), (&json!(1), &json!(1)));
    assert_eq!(record["backup"]["broughtForward"], 0);
    let text = std::fs::read_to_string(&file).expect("readable");
    let end: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!(record["backup"]["sha256"], end["end"]["sha256"]);
    assert_eq!(shared.client.dek("shop").await, codec.client.dek("shop").await);
}

/// Versions come and go while it is read: a project has one primary in it, and no version is missing below another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_of_one_moment() {
    for (kind, launch) in empty_stores(&Launch::new()).await {
        let codec = launch.start().await;
        for number in 0..40 {
            codec.client.encrypt(&format!("project-{number:02}"), "v").await;
        }
        let client = codec.client.keeping_connections();
        let rotating = tokio::spawn(async move {
            for number in (0..40).cycle() {
                client.post("/rotate-dek", json!({"projectId": format!("project-{number:02}")})).await.ok();
            }
        });
        for round in 0..5 {
            let launch = codec.launch.clone();
            let file = tokio::task::spawn_blocking(move || backed_up(&launch, &format!("backup-{round}")));
            let mut projects = BTreeMap::<String, Vec<String>>::new();
            for line in body(&file.await.expect("backed up")).into_iter().skip(1) {
                let line: Value = serde_json::from_str(&line).expect("JSON");
                let [project, state] = ["projectId", "state"].map(|name| line["dek"][name].as_str().expect("text"));
                let states = projects.entry(project.to_owned()).or_default();
                states.push(state.to_owned());
                assert_eq!(line["dek"]["version"], states.len(), "{kind}");
            }
            assert_eq!(projects.len(), 40);
            for (project, states) in projects {
                let primaries: Vec<_> = (1..).zip(&states).filter(|(_, state)| *state == "primary").collect();
                assert!(matches!(primaries[..], [(last, _)] if last == states.len()), "{kind} {project}: {states:?}");
            }
        }
        rotating.abort();
    }
}

#[test]
fn the_walk_through_works_as_written() {
    let said = crate::support::walk_through::run("## Backup and restore", &[], "insured/codec.log");
    for line in [
        "1 DEKs and 1 canaries would be added",
        "1 DEKs and 1 canaries added",
        r#"{"URL":"postgres://shop:hunter2@db/shop"}"#,
        "REFUSED: shop:1: generation 2 (decrypt-only) in the store, 1 here",
        "nothing was restored: 1 rows are in the way",
        "exit code 1",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
}
