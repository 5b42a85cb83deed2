//! `codec keys import-deks` takes over a table of the platform's own database.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

use crate::support::node::Node;
use crate::support::{Codec, Launch, postgres};

struct Platform {
    dek: Value,
    sealed: Value,
}

/// The platform's table: 300 projects with a DEK, one without, and some that cannot be taken over.
async fn fill<C>(database: &mut C, kek: &str) -> Platform
where
    C: Connection,
    for<'c> &'c mut C: Executor<'c, Database = C::Database>,
{
    let mut node = Node::start(kek);
    let mut statements = vec!["CREATE TABLE project (id TEXT PRIMARY KEY, name TEXT, encrypted_dek TEXT)".to_owned()];
    let mut first = Value::Null;
    for index in 0..300 {
        let dek = node.call(json!({"call": "newDek"}));
        let encrypted = dek["encryptedDEK"].as_str().expect("text");
        statements.push(format!("INSERT INTO project VALUES ('project-{index:03}', 'x', '{encrypted}')"));
        if index == 0 {
            first = dek;
        }
    }
    let taken = first["encryptedDEK"].as_str().expect("text");
    for (id, encrypted) in [
        ("without", "NULL".to_owned()),
        ("garbage", "'AAAA'".into()),
        ("../path", format!("'{taken}'")),
        ("not-ours", "'".to_owned() + &"B".repeat(88) + "'"),
        ("twice", format!("'{taken}'")),
    ] {
        statements.push(format!("INSERT INTO project VALUES ('{id}', 'x', {encrypted})"));
    }
    for statement in statements {
        (&mut *database).execute(AssertSqlSafe(statement)).await.expect("executes");
    }
    let sealed = node.call(json!({"call": "encrypt", "value": "old value", "encryptedDEK": first["encryptedDEK"]}));
    Platform { dek: first, sealed }
}

async fn takes_over(launch: Launch, from: &str, platform: &Platform) {
    let dry = launch.run(&["keys", "import-deks", "--from", from, "--dry-run"]);
    let said = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(said.contains("would be taken over as primary"), "{said}{}", String::from_utf8_lossy(&dry.stderr));
    // Nothing is pinned by it: with another KEK it only says that nothing opens.
    let wrong = Launch { kek: Launch::new().kek, ..launch.clone() };
    let said =
        String::from_utf8_lossy(&wrong.run(&["keys", "import-deks", "--from", from, "--dry-run"]).stdout).into_owned();
    assert!(said.contains("0 DEKs would be taken over as primary"), "{said}");
    let output = launch.run(&["keys", "import-deks", "--from", from]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("300 DEKs taken over as primary"), "the dry run changed something, or: {said}");
    assert!(said.contains("0 were here already, 1 rows have none"), "{said}");
    for refused in [
        "project garbage: its encrypted DEK is",
        "project ../path: its id must be",
        "project not-ours: its encrypted DEK does not open",
        "its DEK is another project's already",
    ] {
        assert!(said.contains(refused), "{refused}: {said}");
    }
    assert_eq!(output.status.code(), Some(1), "some were refused");
    let again = launch.run(&["keys", "import-deks", "--from", from]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("300 were here already"));
    let codec = launch.start().await;
    let imports = codec.records().into_iter().filter(|record| record["action"] == "DEK_IMPORT").count();
    assert_eq!(imports, 300);
    let variables =
        json!({"A": {"type": "secret", "encrypted": true, "value": platform.sealed["encrypted"], "keyVersion": 1}});
    let project = if said.contains("project twice: its DEK") { "project-000" } else { "twice" };
    let all = json!({"projectId": project, "deploymentId": "d", "variables": variables});
    assert_eq!(codec.client.post("/decrypt-all", all).await.ok(), json!({"A": "old value"}));
    // Projects go on under the DEK they had.
    let new = codec.client.encrypt(project, "new value").await;
    assert_eq!((&new["encryptedDEK"], &new["keyVersion"]), (&platform.dek["encryptedDEK"], &json!(1)));
    codec.verify(&[]);
}

#[tokio::test]
async fn from_postgres_into_postgres() {
    let from = postgres::database().await;
    let launch = Launch::new().variable("DATABASE_URL", &postgres::database().await);
    let platform = fill(&mut PgConnection::connect(&from).await.expect("connects"), &launch.kek).await;
    takes_over(launch, &from, &platform).await;
}

#[tokio::test]
async fn from_sqlite_into_sqlite() {
    let launch = Launch::new();
    let from = format!("sqlite:{}", launch.dir.path().join("platform.db").display());
    let mut database = SqliteConnection::connect(&format!("{from}?mode=rwc")).await.expect("connects");
    let platform = fill(&mut database, &launch.kek).await;
    database.close().await.expect("closes");
    std::fs::create_dir_all(launch.data_dir()).expect("a folder");
    takes_over(launch, &from, &platform).await;
}

#[tokio::test]
async fn decrypt_only_leaves_new_values_to_new_deks() {
    let from = postgres::database().await;
    let launch = Launch::new().variable("DATABASE_URL", &postgres::database().await);
    let platform = fill(&mut PgConnection::connect(&from).await.expect("connects"), &launch.kek).await;
    let output = launch.run(&["keys", "import-deks", "--from", &from, "--decrypt-only"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("300 DEKs taken over to decrypt only"));
    let codec = launch.start().await;
    let new = codec.client.encrypt("project-007", "v").await;
    assert_eq!(new["keyVersion"], 2);
    assert_ne!(new["encryptedDEK"], platform.dek["encryptedDEK"]);
}

#[tokio::test]
async fn names_that_are_no_names_never_reach_the_database_and_a_running_service_keeps_its_journal() {
    let url = postgres::database().await;
    let codec: Codec = Launch::new().variable("DATABASE_URL", &url).start().await;
    let run = |arguments: &[&str]| {
        let output = codec.launch.run(&[&["keys", "import-deks", "--from", &url], arguments].concat());
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(run(&["--table", "project; DROP TABLE project_dek"]).contains("is not the name of a table"));
    assert!(run(&["--dek-column", "x\""]).contains("is not the name of a table or a column"));
    assert!(run(&["--table", "absent"]).contains("cannot count the rows"));
    // Versions, states and counts would be lost.
    let said = run(&["--table", "project_dek", "--project-column", "project_id"]);
    assert!(said.contains("a table of codec's own") && said.contains("codec rewrap"), "{said}");
    let mut database = PgConnection::connect(&url).await.expect("the database");
    database.execute("CREATE TABLE project (id TEXT, encrypted_dek TEXT)").await.expect("made");
    let said = run(&[]);
    assert!(said.contains("another codec process writes the audit journal") && said.contains("--audit-dir"), "{said}");
    let beside = codec.launch.run(&["keys", "import-deks", "--from", &url, "--audit-dir", "data/audit-import"]);
    assert!(beside.status.success(), "{}", String::from_utf8_lossy(&beside.stderr));
}

#[tokio::test]
async fn a_dry_run_leaves_a_schema_from_before_as_it_is() {
    let url = postgres::database().await;
    let mut codec = Launch::new().variable("DATABASE_URL", &url).start().await;
    assert_eq!(codec.terminate().await, 0);
    let mut database = PgConnection::connect(&url).await.expect("the database");
    let before = "DROP TABLE periodic_work; DELETE FROM _sqlx_migrations WHERE version = 3; \
         CREATE TABLE project (id TEXT, encrypted_dek TEXT)";
    sqlx::raw_sql(before).execute(&mut database).await.expect("as it was");
    let versions = async |database: &mut PgConnection| {
        let query = sqlx::query_scalar::<_, i64>("SELECT MAX(version) FROM _sqlx_migrations");
        query.fetch_one(database).await.expect("a version")
    };
    let dry = codec.launch.run(&["keys", "import-deks", "--from", &url, "--dry-run"]);
    assert_eq!(versions(&mut database).await, 2, "{}", String::from_utf8_lossy(&dry.stderr));
}
