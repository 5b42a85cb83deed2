//! One PostgreSQL for all tests of a run, a database for each.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{free_port, root};

const PASSWORD: &str = "for-tests-only";

/// A server of our own. Its standard input is held open: when the test process ends, so does the server.
pub struct Server {
    child: Child,
    port: u16,
    pub dir: PathBuf,
}

/// The one that most tests share.
pub async fn database() -> String {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start).database().await
}

impl Server {
    pub fn start() -> Self {
        Self::start_as(&[])
    }

    /// A streaming standby of this one.
    pub fn standby(&self) -> Self {
        Self::start_as(&[&self.port.to_string()])
    }

    fn start_as(of: &[&str]) -> Self {
        let port = free_port();
        let dir = std::env::temp_dir().join(format!("codec-tests-postgres-{}-{port}", std::process::id()));
        let mut child = Command::new(root().join("tests/support/postgres.sh"))
            .arg(binaries())
            .arg(&dir)
            .args([&port.to_string(), PASSWORD])
            .args(of)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("postgres.sh");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n", "PostgreSQL did not start");
        Self { child, port, dir }
    }

    /// A new, empty database.
    pub async fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut admin = PgConnection::connect(&self.url("postgres")).await.expect("PostgreSQL answers");
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database");
        self.url(&name)
    }

    pub fn address(&self) -> std::net::SocketAddr {
        std::net::SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// `pg_ctl`, as the server's own user.
    pub fn control(&self, arguments: &[&str]) {
        let pg_ctl = binaries().join("pg_ctl");
        let mut words: Vec<std::ffi::OsString> = Vec::new();
        if rustix::process::getuid().is_root() {
            words.extend(["runuser", "-u", "postgres", "--"].map(Into::into));
        }
        words.push(pg_ctl.into());
        words.push("-D".into());
        words.push(self.dir.join("data").into());
        words.extend(arguments.iter().map(Into::into));
        let output = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).status();
        assert!(output.expect("pg_ctl").success(), "{arguments:?}");
    }

    pub fn stop(&self) {
        self.control(&["-m", "immediate", "-s", "stop"]);
    }

    pub fn restart(&self) {
        let log = self.dir.join("data/log");
        let options = format!("-k {} -c listen_addresses=127.0.0.1 -p {} -c fsync=off", self.dir.display(), self.port);
        self.control(&["-w", "-s", "-l", &log.to_string_lossy(), "-o", &options, "start"]);
    }

    /// Stops or continues every process of the server: a database that hangs.
    pub fn signal_all(&self, signal: &str) {
        let postmaster = std::fs::read_to_string(self.dir.join("data/postmaster.pid")).expect("it runs");
        let pid = postmaster.lines().next().expect("a pid");
        for arguments in [vec![signal, pid], vec![]] {
            if !arguments.is_empty() {
                Command::new("kill").args(&arguments).status().expect("kill");
            }
        }
        Command::new("pkill").args([signal, "-P", pid]).status().expect("pkill");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Where Debian puts the newest.
fn binaries() -> PathBuf {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: run the tests with `make test`");
    let newest = versions.map(|entry| entry.expect("entry").path()).max();
    newest.expect("a version of PostgreSQL").join("bin")
}

/// Inserts of DEKs that take a while, and who is in the middle of one.
pub struct SlowInserts(PgConnection);

impl SlowInserts {
    /// Each takes three seconds.
    pub async fn each(url: &str) -> Self {
        Self::after(url, "PERFORM pg_sleep(3);").await
    }

    /// The first takes half a minute, and the others are quick: what is lost with it counts it all the same.
    pub async fn first(url: &str) -> Self {
        Self::after(url, "IF nextval('inserts') = 1 THEN PERFORM pg_sleep(30); END IF;").await
    }

    async fn after(url: &str, waits: &str) -> Self {
        let mut database = PgConnection::connect(url).await.expect("connects");
        let body = format!("BEGIN {waits} RETURN NEW; END");
        for statement in [
            "CREATE SEQUENCE inserts".to_owned(),
            format!("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"),
            "CREATE TRIGGER slow BEFORE INSERT ON project_dek FOR EACH ROW EXECUTE FUNCTION slow()".to_owned(),
        ] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut database).await.expect("slow");
        }
        Self(database)
    }

    /// How many are at work now.
    pub async fn at_work(&mut self) -> i64 {
        let count =
            "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
        sqlx::query_scalar(count).fetch_one(&mut self.0).await.expect("a count")
    }

    /// Ends the connections of whoever is at work, once somebody is.
    pub async fn strike(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.at_work().await == 0 {
            assert!(Instant::now() < deadline, "nobody inserts");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE application_name = 'codec' AND state = 'active' AND datname = current_database()";
        sqlx::query(ends).execute(&mut self.0).await.expect("struck");
    }

    pub async fn end(mut self) {
        sqlx::query("DROP TRIGGER slow ON project_dek").execute(&mut self.0).await.expect("quick again");
    }
}
