//! The embedded store. One process at a time: a lock beside the file keeps a second one out.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Error, Sqlite};

use super::rows::SqlStore;
use super::schema::{migrations, newer_schema};
use super::{OpenStoreError, StoreError};

/// What it is called.
const KIND: &str = "sqlite";
/// Connections to the file: writers wait for each other anyway.
const CONNECTIONS: u32 = 4;

/// The SQLite store.
pub type SqliteStore = SqlStore<Sqlite>;

impl SqliteStore {
    /// Opens or creates the database at `path`, brings its schema up to date, and keeps every other process out.
    pub async fn open(path: &Path, deadline: Duration) -> Result<Self, OpenStoreError> {
        let never = |message: String| OpenStoreError::Never { place: path.display().to_string(), message };
        let lock = lock(path).map_err(never)?;
        create_private(path).map_err(|error| never(format!("cannot be created: {error}")))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // A DEK counts as committed only when it survives a crash of the machine.
            .synchronous(SqliteSynchronous::Full)
            // What a DEK that is destroyed was wrapped as must not stay in the file.
            .pragma("secure_delete", "ON")
            .busy_timeout(deadline);
        let wal =
            Wal { options: options.clone().busy_timeout(Duration::ZERO), is_to_be_emptied: AtomicBool::new(true) };
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            // Longer than SQLite itself waits, so that its own answer is the one that is told.
            .acquire_timeout(2 * deadline)
            .connect_with(options)
            .await
            .map_err(|error| never(explain(&error)))?;
        migrator().run(&pool).await.map_err(|error| match error {
            MigrateError::VersionMissing(version) => never(newer_schema(version)),
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => never(explain(&error)),
            other => never(other.to_string()),
        })?;
        Ok(Self { pool, deadline, kind: KIND, wal: Some(wal), _lock: Some(lock) })
    }

    /// Opens the database at `path` to read, beside a process that may be writing. Makes nothing.
    pub async fn open_to_read(path: &Path, deadline: Duration) -> Result<Self, OpenStoreError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(deadline);
        let pool =
            SqlitePoolOptions::new().max_connections(1).acquire_timeout(2 * deadline).connect_with(options).await;
        let pool = pool
            .map_err(|error| OpenStoreError::Never { place: path.display().to_string(), message: explain(&error) })?;
        Ok(Self { pool, deadline, kind: KIND, wal: None, _lock: None })
    }
}

/// The log beside the file, into which SQLite writes first.
#[derive(Debug)]
pub(super) struct Wal {
    /// Of a connection that waits for nobody: whoever waits for readers holds up all who write.
    options: SqliteConnectOptions,
    /// At the start, too: a process before may not have come to it.
    is_to_be_emptied: AtomicBool,
}

impl Wal {
    /// It holds what must not stay.
    pub(super) fn is_to_be_emptied(&self) {
        self.is_to_be_emptied.store(true, Ordering::Relaxed);
    }

    /// Empties it, if it is to be, and if nobody reads or writes just then; a backup reads for long.
    pub(super) async fn keep_up(&self) {
        if !self.is_to_be_emptied.swap(false, Ordering::Relaxed) {
            return;
        }
        if !self.emptied().await.unwrap_or(false) {
            self.is_to_be_emptied();
        }
    }

    async fn emptied(&self) -> sqlx::Result<bool> {
        let mut connection = self.options.connect().await?;
        let is_busy: i64 = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(is_busy == 0)
    }
}

fn migrator() -> Migrator {
    migrations([
        include_str!("migrations/1-sqlite.sql"),
        include_str!("migrations/2-sqlite.sql"),
        include_str!("migrations/3-sqlite.sql"),
    ])
}

fn lock(path: &Path) -> Result<File, String> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let open = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&name);
    let file = open.map_err(|error| format!("its lock {} cannot be opened: {error}", name.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err("another codec process has it open; replicas share PostgreSQL (DATABASE_URL), not SQLite".into())
        }
        Err(TryLockError::Error(error)) => Err(format!("its lock {} cannot be taken: {error}", name.display())),
    }
}

/// SQLite would create the file readable by all.
fn create_private(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(path).map(|_| ())
}

fn explain(error: &Error) -> String {
    let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    // Primary result codes: https://sqlite.org/rescode.html
    match code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff) {
        Some(5 | 6) => "another program holds it locked; end that program".into(),
        Some(11) => format!("the database is corrupt; restore it from a backup ({error})"),
        Some(26) => "the file is not a SQLite database".into(),
        Some(8) => "the file is read-only".into(),
        _ => StoreError::Unavailable(error.to_string()).to_string(),
    }
}
