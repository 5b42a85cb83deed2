//! What a store holds, summed up: by KEK, by version, by age.

use async_trait::async_trait;
use sqlx::{ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Pool, Type};

use super::rows::SqlStore;
use super::rows::columns::get;
use super::{DekState, StoreError};

/// Versions that are told apart; the rest is one.
const VERSIONS_MAX: i64 = 100;
/// Groups that are read: more KEKs than anybody has would be somebody's doing.
const GROUPS_MAX: i64 = 10_000;
/// The oldest DEKs that are named.
const OLDEST_MAX: i64 = 10;

// One pass over all rows.
const GROUPS: &str = "SELECT kek_id, state, CASE WHEN version > $1 THEN $1 + 1 ELSE version END, COUNT(*), \
     CAST(SUM(encryptions) AS BIGINT), MAX(last_used_at), \
     SUM(CASE WHEN state = 'primary' AND created_at < $2 THEN 1 ELSE 0 END) \
     FROM project_dek GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT $3";
const OLDEST: &str = "SELECT project_id, version, created_at FROM project_dek WHERE state = 'primary' \
     ORDER BY created_at, project_id LIMIT $1";
const KEKS: &str = "SELECT kek_id, created_at FROM kek_canary ORDER BY founding";
// Two that do it at once: one of them finds that it was done. A time to come is somebody's wrong clock.
const CLAIM: &str = "INSERT INTO periodic_work (name, done_at) VALUES ($1, $2) \
     ON CONFLICT (name) DO UPDATE SET done_at = $2 \
     WHERE periodic_work.done_at <= $3 OR periodic_work.done_at > $2 RETURNING name";

/// DEKs that have a KEK, a state and a version in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The KEK that they are under, as it stands there.
    pub kek_id: String,
    /// What they may be used for; none: nobody of ours wrote that.
    pub state: Option<DekState>,
    /// Their version; none: one beyond the hundredth.
    pub version: Option<u32>,
    /// How many.
    pub rows: u64,
    /// Encryptions leased for them.
    pub encryptions: u64,
    /// When one of them was used last, in milliseconds since 1970, to the hour; 0: never.
    pub last_used_ms: i64,
    /// Primary ones that were made before the time that was asked about.
    pub overdue: u64,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debt {
    /// Every row is in one of them.
    pub groups: Vec<Group>,
    /// The oldest primary DEKs: project, version, and when they were made.
    pub oldest: Vec<(String, i64, i64)>,
    /// When each KEK came to the store, in milliseconds since 1970.
    pub keks: Vec<(String, i64)>,
}

/// What is done over all rows, and seldom.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Sums everything up: every row is read. DEKs are overdue that were made before `overdue_before_ms`.
    async fn debt(&self, overdue_before_ms: i64) -> Result<Debt, StoreError>;

    /// Whether `name` is to be done now, for it was not since `not_since_ms`; then it counts as done at `now_ms`.
    async fn claim(&self, name: &str, now_ms: i64, not_since_ms: i64) -> Result<bool, StoreError>;
}

impl Debt {
    /// Primary DEKs made before the time that was asked about.
    pub fn overdue(&self) -> u64 {
        self.groups.iter().map(|group| group.overdue).sum()
    }
}

#[async_trait]
impl<DB> Ledger for SqlStore<DB>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c Pool<DB>: Executor<'c, Database = DB>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> &'q str: Encode<'q, DB> + Type<DB>,
    for<'q> String: Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    async fn debt(&self, overdue_before_ms: i64) -> Result<Debt, StoreError> {
        let groups = sqlx::query::<DB>(GROUPS).bind(VERSIONS_MAX).bind(overdue_before_ms).bind(GROUPS_MAX);
        let groups = self.in_time(groups.fetch_all(&self.pool)).await?;
        let oldest = sqlx::query::<DB>(OLDEST).bind(OLDEST_MAX);
        let oldest = self.in_time(oldest.fetch_all(&self.pool)).await?;
        let keks = self.in_time(sqlx::query::<DB>(KEKS).fetch_all(&self.pool)).await?;
        let dek = |row| Ok((get::<DB, _>(row, 0)?, get::<DB, _>(row, 1)?, get::<DB, _>(row, 2)?));
        let kek = |row| Ok((get::<DB, _>(row, 0)?, get::<DB, _>(row, 1)?));
        Ok(Debt {
            groups: groups.iter().map(group::<DB>).collect::<Result<_, _>>()?,
            oldest: oldest.iter().map(dek).collect::<Result<_, StoreError>>()?,
            keks: keks.iter().map(kek).collect::<Result<_, StoreError>>()?,
        })
    }

    async fn claim(&self, name: &str, now_ms: i64, not_since_ms: i64) -> Result<bool, StoreError> {
        let query = sqlx::query::<DB>(CLAIM).bind(name).bind(now_ms).bind(not_since_ms);
        Ok(!self.in_time(query.fetch_all(&self.pool)).await?.is_empty())
    }
}

fn group<DB: Database>(row: &DB::Row) -> Result<Group, StoreError>
where
    for<'q> i64: Decode<'q, DB> + Type<DB>,
    for<'q> String: Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    let number = |index| get::<DB, i64>(row, index);
    Ok(Group {
        kek_id: get::<DB, _>(row, 0)?,
        state: DekState::parse(&get::<DB, String>(row, 1)?).ok(),
        version: u32::try_from(number(2)?).ok().filter(|version| i64::from(*version) <= VERSIONS_MAX),
        rows: number(3)?.unsigned_abs(),
        encryptions: number(4)?.unsigned_abs(),
        last_used_ms: number(5)?,
        overdue: number(6)?.unsigned_abs(),
    })
}
