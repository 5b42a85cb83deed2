//! A table of another database that holds encrypted DEKs: what `codec keys import-deks` reads. Never written to.

use std::pin::Pin;

use futures_util::{Stream, TryStreamExt};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, PgPool, Row, SqlitePool};

/// The table, and the columns that matter.
pub struct ForeignTable {
    pool: Pool,
    select: String,
    count: String,
}

enum Pool {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// One row, as it stands there.
pub struct ForeignDek {
    /// The project's id.
    pub project: String,
    /// Its encrypted DEK, if it has one.
    pub encrypted_dek: Option<String>,
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ForeignTableError {
    /// A name with other than letters, digits and underscores, dots between.
    #[error("{0:?} is not the name of a table or a column")]
    Name(String),
    /// A store of `codec`'s own. Its DEKs have versions and states that would be lost.
    #[error(
        "{0} is a table of codec's own, whose versions and states an import would lose: `codec backup` and `codec restore` bring \
         a store elsewhere, `codec rewrap` brings its DEKs under another KEK"
    )]
    Own(String),
    /// Neither PostgreSQL nor SQLite.
    #[error("the other database must be given as postgres://… or sqlite:<path>")]
    Url,
    /// The database says no.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Rows as they arrive.
pub type Rows<'a> = Pin<Box<dyn Stream<Item = Result<ForeignDek, sqlx::Error>> + Send + 'a>>;

impl ForeignTable {
    /// Connects to `url`.
    pub async fn open(url: &str, table: &str, project: &str, dek: &str) -> Result<Self, ForeignTableError> {
        let (name, table, project, dek) = (table, quoted(table)?, quoted(project)?, quoted(dek)?);
        let pool = if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options: PgConnectOptions = url.parse()?;
            Pool::Postgres(PgPoolOptions::new().max_connections(1).connect_with(options).await?)
        } else {
            let path = url.strip_prefix("sqlite:").ok_or(ForeignTableError::Url)?;
            let options = SqliteConnectOptions::new().filename(path.strip_prefix("//").unwrap_or(path)).read_only(true);
            Pool::Sqlite(SqlitePoolOptions::new().max_connections(1).connect_with(options).await?)
        };
        let select = format!("SELECT CAST({project} AS TEXT), CAST({dek} AS TEXT) FROM {table}");
        // Not in quotes: SQLite would take a name that it does not know for a text.
        let own = AssertSqlSafe(format!("SELECT row_mac FROM {table} LIMIT 0"));
        let is_own = match &pool {
            Pool::Postgres(pool) => sqlx::query(own).fetch_optional(pool).await.is_ok(),
            Pool::Sqlite(pool) => sqlx::query(own).fetch_optional(pool).await.is_ok(),
        };
        if is_own {
            return Err(ForeignTableError::Own(name.to_owned()));
        }
        Ok(Self { pool, select, count: format!("SELECT COUNT(*) FROM {table}") })
    }

    /// How many rows there are.
    pub async fn count(&self) -> Result<u64, sqlx::Error> {
        // Names were checked and quoted when it was opened.
        let count = AssertSqlSafe(self.count.clone());
        let count: i64 = match &self.pool {
            Pool::Postgres(pool) => sqlx::query(count).fetch_one(pool).await?.try_get(0)?,
            Pool::Sqlite(pool) => sqlx::query(count).fetch_one(pool).await?.try_get(0)?,
        };
        Ok(count.unsigned_abs())
    }

    /// All of them, one after the other: however many, memory stays flat.
    pub fn rows(&self) -> Rows<'_> {
        let select = AssertSqlSafe(self.select.clone());
        match &self.pool {
            Pool::Postgres(pool) => Box::pin(sqlx::query(select).fetch(pool).and_then(|row| async move {
                Ok(ForeignDek { project: row.try_get(0)?, encrypted_dek: row.try_get(1)? })
            })),
            Pool::Sqlite(pool) => Box::pin(sqlx::query(select).fetch(pool).and_then(|row| async move {
                Ok(ForeignDek { project: row.try_get(0)?, encrypted_dek: row.try_get(1)? })
            })),
        }
    }
}

/// `schema.table` as `"schema"."table"`.
fn quoted(name: &str) -> Result<String, ForeignTableError> {
    let is_name = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !name.split('.').all(is_name) {
        return Err(ForeignTableError::Name(name.to_owned()));
    }
    Ok(name.split('.').map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join("."))
}
