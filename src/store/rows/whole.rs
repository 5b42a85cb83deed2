//! The SQL of the whole store.

use std::fmt::Write;
use std::time::Duration;

use async_trait::async_trait;
use origan_codec_host::crypto::{EncryptedDek, Tag};
use sqlx::{
    AssertSqlSafe, ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Pool, SqlSafeStr, SqlStr,
    Transaction, Type,
};

use super::columns::{RowText, bind, bind_change, dek_row, get, tied_row};
use super::{ANNOUNCE, BY_FINGERPRINT, BY_VERSION, ROWS_BY_KEK};
use crate::store::postgres::KIND as POSTGRES;
use crate::store::schema::{self, refuse_other};
use crate::store::{
    Access, Canary, ENCRYPTIONS_MAX, KeptCanary, KeptRow, Remains, RowPlace, StoreError, WalkedRow, WholeStore,
};

/// For one statement. Nobody waits for an answer to a request meanwhile.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(60);
/// Rows added by one statement. PostgreSQL waits for the network between two; SQLite's driver looks each parameter up among all of them.
const ROWS_AT_ONCE_POSTGRES: usize = 500;
const ROWS_AT_ONCE_SQLITE: usize = 16;
/// Of one row that is added.
const COLUMNS: usize = 14;

const STATEMENT_TIMEOUT: &str = "SET LOCAL statement_timeout = '60s'";
const KEPT_CANARIES: &str = "SELECT kek_id, sealed, founding, created_at FROM kek_canary ORDER BY founding, kek_id";
const ADD_CANARY: &str = "INSERT INTO kek_canary (kek_id, sealed, created_at, founding) VALUES ($1, $2, $3, $4) \
     ON CONFLICT DO NOTHING RETURNING kek_id";
const AFTER: &str = rows!("WHERE (project_id, version) > ($1, $2) ORDER BY project_id, version LIMIT $3");
const BETWEEN: &str = rows!(
    "WHERE (project_id, version) > ($1, $2) AND (project_id, version) <= ($4, $5) ORDER BY project_id, version LIMIT $3"
);
const ADD: &str = "INSERT INTO project_dek \
     (project_id, version, kek_id, encrypted_dek, encrypted_dek_sha256, fingerprint, row_mac, state, origin, created_at, \
      former_sha256, generation, encryptions, last_used_at) VALUES ";
const ADDED: &str = " ON CONFLICT DO NOTHING RETURNING version";
const COUNT_UP: &str = "UPDATE project_dek \
     SET encryptions = CASE WHEN encryptions < $3 THEN $3 ELSE encryptions END, \
         last_used_at = CASE WHEN last_used_at < $4 THEN $4 ELSE last_used_at END \
     WHERE project_id = $1 AND version = $2 RETURNING version";
const BRING_FORWARD: &str = "UPDATE project_dek \
     SET kek_id = $3, encrypted_dek = $4, encrypted_dek_sha256 = $5, fingerprint = $6, row_mac = $7, state = $8, \
         former_sha256 = $9, generation = $10 \
     WHERE project_id = $1 AND version = $2 AND row_mac = $11 AND generation = $12 RETURNING version";
// What takes its place is added: so two rows that have each other's DEKs are no clash.
const TAKE_AWAY: &str =
    concat!("DELETE FROM project_dek WHERE project_id = $1 AND version = $2 RETURNING ", columns!());

struct Whole<DB: Database> {
    transaction: Transaction<'static, DB>,
    kind: &'static str,
    /// Rows added by one statement, and that statement.
    rows_at_once: usize,
    add: SqlStr,
}

/// Begins the transaction. One that reads takes the schema as it is, and only if it is this program's own.
pub(super) async fn begin<DB>(
    pool: &Pool<DB>,
    kind: &'static str,
    access: Access,
) -> Result<Box<dyn WholeStore>, StoreError>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> &'q str: Encode<'q, DB> + Type<DB>,
    for<'q> String: Decode<'q, DB> + Type<DB>,
    for<'q> Vec<u8>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    let is_postgres = kind == POSTGRES;
    let begin = match (access, is_postgres) {
        (Access::Read, true) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        (Access::Read, false) => "BEGIN",
        (Access::Write, true) => "BEGIN",
        // The lock at once: one that is asked for after a look would not be waited for.
        (Access::Write, false) => "BEGIN IMMEDIATE",
    };
    let mut transaction = in_time(pool.begin_with(begin)).await?;
    if is_postgres {
        in_time(sqlx::query::<DB>(STATEMENT_TIMEOUT).fetch_all(&mut *transaction)).await?;
    }
    if access == Access::Read {
        let step = in_time(sqlx::query::<DB>(schema::STEP).fetch_one(&mut *transaction)).await?;
        refuse_other(get::<DB, Option<i64>>(&step, 0)?).map_err(StoreError::Unavailable)?;
    }
    let rows_at_once = if is_postgres { ROWS_AT_ONCE_POSTGRES } else { ROWS_AT_ONCE_SQLITE };
    Ok(Box::new(Whole { transaction, kind, rows_at_once, add: add_sql(rows_at_once) }))
}

#[async_trait]
impl<DB> WholeStore for Whole<DB>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> &'q str: Encode<'q, DB> + Type<DB>,
    for<'q> String: Decode<'q, DB> + Type<DB>,
    for<'q> Vec<u8>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    async fn canaries(&mut self) -> Result<Vec<KeptCanary>, StoreError> {
        let rows = in_time(sqlx::query::<DB>(KEPT_CANARIES).fetch_all(&mut *self.transaction)).await?;
        let canary = |row: &DB::Row| {
            let kek_id = get::<DB, String>(row, 0)?.parse().map_err(|_| StoreError::Corrupt("kek_id"))?;
            let canary = Canary { kek_id, sealed: get::<DB, _>(row, 1)? };
            Ok(KeptCanary { canary, place: get::<DB, _>(row, 2)?, created_at_ms: get::<DB, _>(row, 3)? })
        };
        rows.iter().map(canary).collect()
    }

    async fn rows_by_kek(&mut self) -> Result<Vec<(String, u64)>, StoreError> {
        let rows = in_time(sqlx::query::<DB>(ROWS_BY_KEK).fetch_all(&mut *self.transaction)).await?;
        rows.iter().map(|row| Ok((get::<DB, _>(row, 0)?, get::<DB, i64>(row, 1)? as u64))).collect()
    }

    async fn rows_after(
        &mut self,
        place: &RowPlace,
        last: Option<&RowPlace>,
        count: u32,
    ) -> Result<Vec<WalkedRow<KeptRow>>, StoreError> {
        let query = sqlx::query::<DB>(if last.is_some() { BETWEEN } else { AFTER });
        let query = query.bind(place.project_id.as_str()).bind(place.version).bind(i64::from(count));
        let query = match last {
            Some(last) => query.bind(last.project_id.as_str()).bind(last.version),
            None => query,
        };
        let rows = in_time(query.fetch_all(&mut *self.transaction)).await?;
        let walked = |row: &DB::Row| {
            let place = RowPlace { project_id: get::<DB, _>(row, 0)?, version: get::<DB, _>(row, 1)? };
            Ok(WalkedRow { place, row: kept_row::<DB>(row) })
        };
        rows.iter().map(walked).collect()
    }

    async fn add_canary(&mut self, kept: &KeptCanary) -> Result<bool, StoreError> {
        let kek_id = kept.canary.kek_id.to_string();
        let query = sqlx::query::<DB>(ADD_CANARY).bind(kek_id.as_str()).bind(kept.canary.sealed.clone());
        let query = query.bind(kept.created_at_ms).bind(kept.place);
        Ok(!in_time(query.fetch_all(&mut *self.transaction)).await?.is_empty())
    }

    async fn add(&mut self, rows: &[&KeptRow]) -> Result<usize, StoreError> {
        let mut added = 0;
        for rows in rows.chunks(self.rows_at_once) {
            let texts: Vec<_> = rows.iter().map(|kept| RowText::of(&kept.row)).collect();
            let sql = if rows.len() == self.rows_at_once { self.add.clone() } else { add_sql(rows.len()) };
            let mut query = sqlx::query::<DB>(sql);
            for (kept, text) in rows.iter().zip(&texts) {
                query = bind(query, text).bind(count_of(kept)).bind(kept.row.last_used_at_ms);
            }
            added += in_time(query.fetch_all(&mut *self.transaction)).await?.len();
        }
        Ok(added)
    }

    async fn bring_forward(&mut self, kept: &KeptRow, replaces: &Tag, generation: u64) -> Result<bool, StoreError> {
        let text = RowText::of(&kept.row);
        let query = bind_change(sqlx::query::<DB>(BRING_FORWARD), &text).bind(as_number(kept.row.generation));
        let query = query.bind(replaces.to_vec()).bind(as_number(generation));
        if in_time(query.fetch_all(&mut *self.transaction)).await?.is_empty() {
            return Ok(false);
        }
        if self.kind == POSTGRES {
            let query = sqlx::query::<DB>(ANNOUNCE).bind(kept.row.project_id.as_str());
            in_time(query.fetch_all(&mut *self.transaction)).await?;
        }
        self.count_up(kept).await.map(|()| true)
    }

    async fn place_of(&mut self, fingerprint: &Tag) -> Result<Option<RowPlace>, StoreError> {
        let query = sqlx::query::<DB>(BY_FINGERPRINT).bind(fingerprint.to_vec());
        let rows = in_time(query.fetch_all(&mut *self.transaction)).await?;
        let place = |row| Ok(RowPlace { project_id: get::<DB, _>(row, 0)?, version: get::<DB, _>(row, 1)? });
        rows.first().map(place).transpose()
    }

    async fn remains(&mut self, place: &RowPlace, takes_away: bool) -> Result<Option<Remains>, StoreError> {
        let query = sqlx::query::<DB>(if takes_away { TAKE_AWAY } else { BY_VERSION });
        let query = query.bind(place.project_id.as_str()).bind(place.version);
        let rows = in_time(query.fetch_all(&mut *self.transaction)).await?;
        let remains = rows.first().map(remains::<DB>).transpose()?;
        if takes_away && self.kind == POSTGRES {
            let query = sqlx::query::<DB>(ANNOUNCE).bind(place.project_id.as_str());
            in_time(query.fetch_all(&mut *self.transaction)).await?;
        }
        Ok(remains)
    }

    async fn count_up(&mut self, kept: &KeptRow) -> Result<(), StoreError> {
        let query = sqlx::query::<DB>(COUNT_UP).bind(kept.row.project_id.as_str());
        let query = query.bind(i64::from(kept.row.version.number())).bind(count_of(kept));
        let query = query.bind(kept.row.last_used_at_ms);
        in_time(query.fetch_all(&mut *self.transaction)).await.map(|_| ())
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        // However long: half-way there is nothing to say of it.
        self.transaction.commit().await.map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}

fn kept_row<DB: Database>(row: &DB::Row) -> Result<KeptRow, StoreError>
where
    for<'q> i64: Decode<'q, DB> + Type<DB>,
    for<'q> String: Decode<'q, DB> + Type<DB>,
    for<'q> Vec<u8>: Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    let encryptions = u64::try_from(get::<DB, i64>(row, 12)?).ok().filter(|count| *count <= ENCRYPTIONS_MAX);
    Ok(KeptRow { row: dek_row::<DB>(row)?, encryptions: encryptions.ok_or(StoreError::Corrupt("encryptions"))? })
}

fn remains<DB: Database>(row: &DB::Row) -> Result<Remains, StoreError>
where
    for<'q> i64: Decode<'q, DB> + Type<DB>,
    for<'q> String: Decode<'q, DB> + Type<DB>,
    for<'q> Vec<u8>: Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    let text = |index| get::<DB, String>(row, index).ok();
    Ok(Remains {
        tied: tied_row::<DB>(row),
        kek_id: text(2).and_then(|text| text.parse().ok()),
        encrypted_dek: text(3).and_then(|text| EncryptedDek::parse(&text).ok()),
        encryptions: u64::try_from(get::<DB, i64>(row, 12)?).unwrap_or_default().min(ENCRYPTIONS_MAX),
        last_used_at_ms: get::<DB, i64>(row, 11)?,
    })
}

/// `INSERT … VALUES ($1, …), …` for so many rows.
fn add_sql(rows: usize) -> SqlStr {
    let mut sql = String::from(ADD);
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..COLUMNS {
            let comma = if column == 0 { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(sql, "{comma}${}", row * COLUMNS + column + 1);
        }
        sql.push(')');
    }
    sql.push_str(ADDED);
    // Numbers, and what stands above.
    AssertSqlSafe(sql).into_sql_str()
}

fn count_of(kept: &KeptRow) -> i64 {
    as_number(kept.encryptions)
}

fn as_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(STATEMENT_DEADLINE, work).await {
        Ok(outcome) => outcome.map_err(|error| StoreError::Unavailable(error.to_string())),
        Err(_) => Err(StoreError::Unavailable(format!("no answer in {} s", STATEMENT_DEADLINE.as_secs()))),
    }
}
