//! The store that replicas share.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Error, PgConnection, PgPool, Postgres, Row};

use super::rows::SqlStore;
use super::schema::{migrations, newer_schema};
use super::{OpenStoreError, StoreError};

/// What it is called.
pub(super) const KIND: &str = "postgres";
/// A DEK counts as committed only when it survives a crash of the server, and the loss of it where a standby is waited for. Servers, databases
/// and roles may have been set to less; what they are set to beyond that stays.
const COMMITS_ARE_DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') IN ('off', 'local')";
/// For the connection and all migrations.
const MIGRATION_DEADLINE: Duration = Duration::from_secs(60);

/// The PostgreSQL store.
pub type PostgresStore = SqlStore<Postgres>;

impl PostgresStore {
    /// Connects to `url` and brings the schema up to date. What may pass by waiting is [`OpenStoreError::NotNow`].
    pub async fn open(url: &str, connections: u32, deadline: Duration) -> Result<Self, OpenStoreError> {
        // A server that falls silent in the middle of it would be waited for without end.
        let opening = Self::open_and_migrate(url, connections, deadline);
        tokio::time::timeout(MIGRATION_DEADLINE, opening).await.unwrap_or_else(|_| {
            let why =
                format!("no answer in {} s while the schema was brought up to date", MIGRATION_DEADLINE.as_secs());
            Err(OpenStoreError::NotNow(StoreError::Unavailable(why)))
        })
    }

    /// Whether the schema is there. Makes nothing.
    pub async fn is_made(url: &str) -> Result<bool, OpenStoreError> {
        let mut connection = PgConnection::connect(url).await.map_err(|error| not_now(&error))?;
        let found = sqlx::query("SELECT to_regclass('project_dek') IS NOT NULL").fetch_one(&mut connection).await;
        found.and_then(|row| row.try_get(0)).map_err(|error| not_now(&error))
    }

    /// Connects to `url` to read what is there. Makes nothing, and leaves the schema as it is.
    pub async fn open_to_read(url: &str, deadline: Duration) -> Result<Self, OpenStoreError> {
        let (pool, place) = connect(url, 1, deadline).await?;
        let never = |message| OpenStoreError::Never { place: place.clone(), message };
        let found = sqlx::query_scalar("SELECT to_regclass('project_dek') IS NOT NULL").fetch_one(&pool).await;
        if !found.map_err(|error| not_now(&error))? {
            return Err(never("nothing of codec's is in it".into()));
        }
        Ok(Self { pool, deadline, kind: KIND, wal: None, _lock: None })
    }

    async fn open_and_migrate(url: &str, connections: u32, deadline: Duration) -> Result<Self, OpenStoreError> {
        let (pool, place) = connect(url, connections, deadline).await?;
        let never = |message: String| OpenStoreError::Never { place: place.clone(), message };
        match migrator().run(&pool).await {
            Ok(()) => Ok(Self { pool, deadline, kind: KIND, wal: None, _lock: None }),
            Err(MigrateError::VersionMissing(version)) => Err(never(newer_schema(version))),
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => Err(not_now(&error)),
            Err(other) => Err(never(other.to_string())),
        }
    }
}

/// A pool of connections, and what the place is called without its password.
async fn connect(url: &str, connections: u32, deadline: Duration) -> Result<(PgPool, String), OpenStoreError> {
    let options: PgConnectOptions = url.parse().map_err(|_: Error| OpenStoreError::Never {
        place: "DATABASE_URL".into(),
        message: "is not a postgres:// URL".into(),
    })?;
    let place = format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or(""));
    let never = |message: String| OpenStoreError::Never { place: place.clone(), message };
    let options = options
        .application_name("codec")
        // The server gives up with us: no statement goes on for a caller who has been told 503.
        .options([("statement_timeout", deadline.as_millis().to_string())])
        .disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(deadline)
        .after_connect(|connection, _| {
            Box::pin(async move { sqlx::query(COMMITS_ARE_DURABLE).fetch_all(connection).await.map(drop) })
        })
        // The pool pings what comes back to it, and would wait for a connection that fell silent under a query for as long as the kernel
        // does: its place with it. What gives no answer in time is closed without a word.
        .after_release(move |connection, _| {
            Box::pin(async move {
                let answered = tokio::time::timeout(deadline, connection.ping()).await;
                answered.unwrap_or(Err(Error::PoolTimedOut)).map(|()| true)
            })
        })
        .connect_with(options)
        .await
        .map_err(|error| if will_not_pass(&error) { never(error.to_string()) } else { not_now(&error) })?;
    Ok((pool, place))
}

fn not_now(error: &Error) -> OpenStoreError {
    OpenStoreError::NotNow(StoreError::Unavailable(error.to_string()))
}

/// Wrong password, no such database, no such role (SQLSTATE classes 28 and 3D): waiting does not help.
fn will_not_pass(error: &Error) -> bool {
    let state = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    state.is_some_and(|state| state.starts_with("28") || state.starts_with("3D"))
}

fn migrator() -> Migrator {
    migrations([
        include_str!("migrations/1-postgres.sql"),
        include_str!("migrations/2-postgres.sql"),
        include_str!("migrations/3-postgres.sql"),
    ])
}
