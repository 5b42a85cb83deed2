//! What can befall the DEK store.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

use crate::support::postgres::{self, Server, SlowInserts};
use crate::support::{Codec, Launch, secret};

fn all(project: &str, encrypted: &Value) -> Value {
    json!({"projectId": project, "deploymentId": "d", "variables": {"A": {"type": "secret", "value": encrypted}}})
}

async fn execute(url: &str, statement: &str) {
    let statement = AssertSqlSafe(statement.to_owned());
    if url.starts_with("postgres") {
        PgConnection::connect(url).await.expect("connects").execute(statement).await.expect("executes");
    } else {
        SqliteConnection::connect(url).await.expect("connects").execute(statement).await.expect("executes");
    }
}

fn sqlite_url(launch: &Launch) -> String {
    format!("sqlite:{}", launch.data_dir().join("codec.db").display())
}

/// What it says when it must not start.
async fn refused_start(launch: &Launch) -> String {
    let output = launch.run(&["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[tokio::test]
async fn rows_altered_or_swapped_between_projects_are_an_alarm() {
    let url = postgres::database().await;
    for url in [None, Some(url)] {
        let mut launch = Launch::new();
        if let Some(url) = &url {
            launch = launch.variable("DATABASE_URL", url);
        }
        let mut codec = launch.clone().start().await;
        let (a, b) = (codec.client.encrypt("a", "x").await, codec.client.encrypt("b", "x").await);
        codec.terminate().await;
        drop(codec);
        let database = url.unwrap_or_else(|| sqlite_url(&launch));
        for statement in [
            "UPDATE project_dek SET project_id = CASE project_id WHEN 'a' THEN 'temporary' ELSE project_id END",
            "UPDATE project_dek SET project_id = 'a' WHERE project_id = 'b'",
            "UPDATE project_dek SET project_id = 'b' WHERE project_id = 'temporary'",
        ] {
            execute(&database, statement).await;
        }
        let codec = launch.start().await;
        for (project, sealed) in [("a", &a), ("b", &b)] {
            codec.client.post("/decrypt-all", all(project, &sealed["encrypted"])).await.refused(500, "dek_corrupt");
            codec
                .client
                .post("/encrypt", json!({"projectId": project, "value": "v"}))
                .await
                .refused(500, "dek_corrupt");
        }
        assert!(codec.log().contains("ALARM"));
        codec.client.encrypt("c", "v").await;
    }
}

#[tokio::test]
async fn a_state_changed_in_the_database_is_an_alarm_too() {
    let mut codec = Codec::start().await;
    let sealed = codec.client.encrypt("shop", "x").await;
    codec.terminate().await;
    let launch = codec.launch.clone();
    drop(codec);
    execute(&sqlite_url(&launch), "UPDATE project_dek SET state = 'decrypt-only'").await;
    let codec = launch.start().await;
    codec.client.post("/decrypt-all", all("shop", &sealed["encrypted"])).await.refused(500, "dek_corrupt");
}

#[tokio::test]
async fn sqlite_opened_twice_is_refused_and_the_first_goes_on() {
    let codec = Codec::start().await;
    let said = refused_start(&codec.launch).await;
    assert!(said.contains("another codec process") && said.contains("PostgreSQL"), "{said}");
    codec.client.encrypt("shop", "v").await;
}

#[tokio::test]
async fn sqlite_that_is_corrupt_no_database_locked_or_of_the_future_is_refused_by_name() {
    let mut codec = Codec::start().await;
    codec.client.encrypt("shop", "v").await;
    codec.terminate().await;
    let launch = codec.launch.clone();
    drop(codec);
    let path = launch.data_dir().join("codec.db");
    let mut locker = SqliteConnection::connect(&sqlite_url(&launch)).await.expect("connects");
    for statement in ["PRAGMA journal_mode = DELETE", "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"] {
        locker.execute(statement).await.expect("executes");
    }
    let said = refused_start(&launch).await;
    assert!(said.contains("locked"), "{said}");
    locker.close().await.expect("closes");
    execute(
        &sqlite_url(&launch),
        "INSERT INTO _sqlx_migrations SELECT 99, 'future', installed_on, 1, checksum, 1 FROM _sqlx_migrations LIMIT 1",
    )
    .await;
    let said = refused_start(&launch).await;
    assert!(said.contains("migration 99") && said.contains("newer"), "{said}");
    execute(&sqlite_url(&launch), "DELETE FROM _sqlx_migrations WHERE version = 99").await;
    execute(&sqlite_url(&launch), "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let good = std::fs::read(&path).expect("the file");
    let mut corrupt = good.clone();
    corrupt[100..4_096].fill(0xff);
    std::fs::write(&path, corrupt).expect("written");
    let said = refused_start(&launch).await;
    assert!(said.contains("corrupt"), "{said}");
    std::fs::write(&path, b"This is no database, but it is long enough to be looked at.".repeat(100)).expect("written");
    let said = refused_start(&launch).await;
    assert!(said.contains("not a SQLite database"), "{said}");
    std::fs::write(&path, good).expect("written");
    launch.start().await.client.encrypt("shop", "v").await;
}

#[tokio::test]
async fn postgres_of_the_future_a_wrong_password_and_another_scheme_are_refused_by_name() {
    let url = postgres::database().await;
    let launch = Launch::new().variable("DATABASE_URL", &url);
    drop(launch.clone().start().await);
    execute(
        &url,
        "INSERT INTO _sqlx_migrations SELECT 99, 'future', now(), true, checksum, 1 FROM _sqlx_migrations LIMIT 1",
    )
    .await;
    let said = refused_start(&launch).await;
    assert!(said.contains("migration 99") && said.contains("newer"), "{said}");
    let said =
        refused_start(&launch.clone().variable("DATABASE_URL", &url.replace("for-tests-only", "wrong-password-1")))
            .await;
    assert!(said.contains("password authentication failed") && !said.contains("wrong-password-1"), "{said}");
    for url in ["mysql://user:wrong-password-1@x/y", "sqlite::memory:", "sqlite:"] {
        let output = launch.clone().variable("DATABASE_URL", url).run(&["serve"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("DATABASE_URL") && !said.contains("wrong-password-1"), "{said}");
    }
}

#[tokio::test]
async fn postgres_down_at_the_start_is_waited_for() {
    let server = tokio::task::spawn_blocking(Server::start).await.expect("starts");
    let url = server.database().await;
    server.stop();
    let codec = Launch::new().variable("DATABASE_URL", &url).start_unready().await;
    assert_eq!(codec.client.get("/livez").await.status, 200);
    codec.client.get("/readyz").await.refused(503, "not_ready");
    let answer = codec.client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await;
    answer.refused(503, "not_ready");
    assert_eq!(answer.header("retry-after"), Some("1"));
    server.restart();
    codec.until_ready().await;
    until_encrypts(&codec, "shop").await;
}

#[tokio::test]
async fn postgres_gone_hanging_or_read_only_in_flight() {
    let server = tokio::task::spawn_blocking(Server::start).await.expect("starts");
    let url = server.database().await;
    // The deadline is the default, two seconds: who listens for changes gives up after three, and then lets go of what it has cached.
    let codec = Launch::new().variable("DATABASE_URL", &url).start().await;
    let cached = codec.client.encrypt("cached", &secret("c")).await;
    assert_eq!(
        codec.client.post("/decrypt-all", all("cached", &cached["encrypted"])).await.ok(),
        json!({"A": secret("c")})
    );
    // It listens for the changes of others: when it begins to, it lets go of what it has cached, for it may have missed something.
    let warm = async || {
        while codec.client.get("/status").await.ok()["store"]["listening"] != true {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        codec.client.post("/decrypt-all", all("cached", &cached["encrypted"])).await.ok();
        codec.client.encrypt("cached", "v").await;
    };
    let unavailable = async |case: &str| {
        let started = Instant::now();
        let answer = codec.client.post("/encrypt", json!({"projectId": "new", "value": "v"})).await;
        assert_eq!(answer.problem(), (503, "store_unavailable".into()), "{case}: {}", answer.text);
        assert_eq!(answer.header("retry-after"), Some("1"), "{case}");
        assert!(started.elapsed() < Duration::from_secs(30), "{case}: it hangs");
        // What is cached goes on.
        assert_eq!(
            codec.client.post("/decrypt-all", all("cached", &cached["encrypted"])).await.ok(),
            json!({"A": secret("c")}),
            "{case}"
        );
        codec.client.encrypt("cached", "v").await;
    };
    warm().await;
    server.signal_all("-STOP");
    unavailable("hanging").await;
    server.signal_all("-CONT");
    until_encrypts(&codec, "after-hanging").await;
    warm().await;
    server.stop();
    unavailable("gone").await;
    server.restart();
    until_encrypts(&codec, "after-restart").await;
    warm().await;
    let (_, name) = url.rsplit_once('/').expect("a database");
    execute(&url, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    execute(&url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'codec'").await;
    unavailable("read-only").await;
}

async fn until_encrypts(codec: &Codec, project: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while codec.client.post("/encrypt", json!({"projectId": project, "value": "v"})).await.status != 200 {
        assert!(Instant::now() < deadline, "it does not recover:\n{}", codec.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_digest_altered_in_the_database_leads_garbage_nowhere() {
    let mut codec = Codec::start().await;
    let (dek, _) = codec.client.dek("shop").await;
    codec.terminate().await;
    let launch = codec.launch.clone();
    drop(codec);
    use base64::Engine;
    use sha2::Digest;
    let garbage = [7; 64];
    let digest: String = sha2::Sha256::digest(garbage).iter().map(|byte| format!("{byte:02x}")).collect();
    execute(&sqlite_url(&launch), &format!("UPDATE project_dek SET encrypted_dek_sha256 = x'{digest}'")).await;
    let codec = launch.start().await;
    let garbage = base64::engine::general_purpose::STANDARD.encode(garbage);
    for (path, call) in [
        ("/decrypt-dek", json!({"projectId": "shop", "encryptedDEK": garbage})),
        ("/encrypt", json!({"projectId": "shop", "value": "v", "encryptedDEK": garbage})),
    ] {
        let answer = codec.client.post(path, call).await;
        answer.refused(500, "dek_corrupt");
        assert!(!answer.text.contains(&dek));
    }
    assert!(codec.log().contains("ALARM"));
}

#[tokio::test]
async fn sqlite_on_a_full_disk_acknowledges_no_dek_that_it_does_not_have() {
    // The database on 400 KB, the journal beside it with room enough.
    let launch = Launch::new().toml("[store]\nurl = \"sqlite:small/db\"");
    let dir = launch.dir.path().join("small");
    std::fs::create_dir(&dir).expect("a folder");
    let script = format!("mount -t tmpfs -o size=400k none {0} && exec \"$@\"", dir.display());
    let codec = launch.wrapped_in(&["unshare", "-m", "sh", "-c", &script, "sh"]).start().await;
    let client = codec.client.keeping_connections();
    let mut acknowledged = Vec::new();
    loop {
        let project = format!("project-{}", acknowledged.len());
        let answer = client.post("/generate-dek", json!({"projectId": project})).await;
        if answer.status != 200 {
            answer.refused(503, "store_unavailable");
            break;
        }
        acknowledged.push((project, answer.json()["encryptedDEK"].clone()));
        assert!(acknowledged.len() < 5_000, "the disk is never full");
    }
    let remounted = std::process::Command::new("nsenter")
        .args(["-t", &codec.pid().to_string(), "-m", "mount", "-o", "remount,size=8m", &dir.display().to_string()])
        .status();
    assert!(remounted.expect("nsenter").success());
    until_encrypts(&codec, "after-full").await;
    // SQLite resolves links, and so would not find what is mounted for the other process alone.
    let copy = codec.launch.dir.path().join("copy");
    for suffix in ["", "-wal"] {
        let from = format!("/proc/{}/root{}/db{suffix}", codec.pid(), dir.display());
        std::fs::copy(from, format!("{}{suffix}", copy.display())).expect("copied");
    }
    let mut database = SqliteConnection::connect(&format!("sqlite:{}", copy.display())).await.expect("connects");
    for (project, encrypted_dek) in acknowledged {
        let row: (String,) = sqlx::query_as("SELECT encrypted_dek FROM project_dek WHERE project_id = $1")
            .bind(&project)
            .fetch_one(&mut database)
            .await
            .expect("an acknowledged DEK");
        assert_eq!(encrypted_dek, row.0, "{project}");
    }
}

#[tokio::test]
async fn postgres_that_is_silent_at_the_start_keeps_nobody_from_livez_or_from_ending() {
    let server = tokio::task::spawn_blocking(Server::start).await.expect("starts");
    let url = server.database().await;
    server.signal_all("-STOP");
    let launch = Launch::new().variable("DATABASE_URL", &url).toml("[store]\ndeadline_ms = 60000");
    let mut codec = launch.start_unready().await;
    assert_eq!(codec.client.get("/livez").await.status, 200);
    codec.client.get("/readyz").await.refused(503, "not_ready");
    assert_eq!(codec.terminate().await, 0);
    server.signal_all("-CONT");
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_of_a_creation_is_looked_after_and_one_row_is_there() {
    let url = postgres::database().await;
    let codec = Launch::new().variable("DATABASE_URL", &url).toml("[store]\ndeadline_ms = 20000").start().await;
    // The first insert takes long enough to be struck.
    let mut inserts = SlowInserts::first(&url).await;
    let (sealed, ()) = tokio::join!(codec.client.encrypt("shop", "v"), inserts.strike());
    assert!(codec.log().contains("looking again"), "the strike missed:\n{}", codec.log());
    let mut database = PgConnection::connect(&url).await.expect("connects");
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT encrypted_dek FROM project_dek").fetch_all(&mut database).await.expect("rows");
    assert_eq!(rows.len(), 1);
    assert_eq!(sealed["encryptedDEK"], rows[0].0);
    assert_eq!(codec.client.post("/decrypt-all", all("shop", &sealed["encrypted"])).await.ok(), json!({"A": "v"}));
}
