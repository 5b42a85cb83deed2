//! What a store holds, summed up: by KEK, by version, by age.

use async_trait::async_trait;
use sqlx::{ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Pool, Type};

use super::rows::SqlStore;
use super::rows::columns::{get, parse_version};
use super::{DekState, StoreError};

/// Versions that are told apart; the rest is not listed.
const VERSIONS_MAX: usize = 100;
/// The oldest DEKs that are named.
const OLDEST_MAX: usize = 10;

const BY_KEK: &str = "SELECT kek_id, state, COUNT(*), CAST(SUM(encryptions) AS BIGINT), MAX(last_used_at) \
     FROM project_dek GROUP BY kek_id, state ORDER BY kek_id, state";
const BY_VERSION: &str = "SELECT version, state, COUNT(*), CAST(SUM(encryptions) AS BIGINT), MAX(last_used_at) \
     FROM project_dek GROUP BY version, state ORDER BY version LIMIT $1";
const OVERDUE: &str = "SELECT COUNT(*) FROM project_dek WHERE state = 'primary' AND created_at < $1";
const OLDEST: &str = "SELECT project_id, version, created_at FROM project_dek WHERE state = 'primary' \
     ORDER BY created_at, project_id LIMIT $1";
const KEKS: &str = "SELECT kek_id, created_at FROM kek_canary ORDER BY founding";
// Two that do it at once: one of them finds that it was done.
const CLAIM: &str = "INSERT INTO periodic_work (name, done_at) VALUES ($1, $2) \
     ON CONFLICT (name) DO UPDATE SET done_at = $2 WHERE periodic_work.done_at <= $3 RETURNING name";

/// DEKs that have something in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<T> {
    /// The KEK that they are under, or their version.
    pub by: T,
    /// What they may be used for.
    pub state: DekState,
    /// How many.
    pub rows: u64,
    /// Encryptions leased for them.
    pub encryptions: u64,
    /// When one of them was used last, in milliseconds since 1970, to the hour; 0: never.
    pub last_used_ms: i64,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debt {
    /// By KEK id.
    pub by_kek: Vec<Group<String>>,
    /// By version, the lowest first; a hundred at most.
    pub by_version: Vec<Group<u32>>,
    /// Whether there are more.
    pub versions_cut: bool,
    /// Primary DEKs made before the time that was asked about.
    pub overdue: u64,
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
        let limit = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let by_kek = self.in_time(sqlx::query::<DB>(BY_KEK).fetch_all(&self.pool)).await?;
        // Four states at most for each.
        let versions = sqlx::query::<DB>(BY_VERSION).bind(limit(4 * VERSIONS_MAX));
        let by_version = self.in_time(versions.fetch_all(&self.pool)).await?;
        let overdue = sqlx::query::<DB>(OVERDUE).bind(overdue_before_ms);
        let overdue = self.in_time(overdue.fetch_one(&self.pool)).await?;
        let oldest = sqlx::query::<DB>(OLDEST).bind(limit(OLDEST_MAX));
        let oldest = self.in_time(oldest.fetch_all(&self.pool)).await?;
        let keks = self.in_time(sqlx::query::<DB>(KEKS).fetch_all(&self.pool)).await?;
        let mut by_version = by_version
            .iter()
            .map(|row| group::<DB, u32>(row, parse_version(get::<DB, i64>(row, 0)?)?.number()))
            .collect::<Result<Vec<_>, _>>()?;
        let (found, mut versions) = (by_version.len(), std::collections::BTreeSet::new());
        by_version.retain(|group| {
            versions.insert(group.by);
            versions.len() <= VERSIONS_MAX
        });
        Ok(Debt {
            by_kek: by_kek
                .iter()
                .map(|row| group::<DB, String>(row, get::<DB, _>(row, 0)?))
                .collect::<Result<_, _>>()?,
            versions_cut: by_version.len() < found || found == 4 * VERSIONS_MAX,
            by_version,
            overdue: get::<DB, i64>(&overdue, 0)?.unsigned_abs(),
            oldest: oldest
                .iter()
                .map(|row| Ok((get::<DB, _>(row, 0)?, get::<DB, _>(row, 1)?, get::<DB, _>(row, 2)?)))
                .collect::<Result<_, StoreError>>()?,
            keks: keks
                .iter()
                .map(|row| Ok((get::<DB, _>(row, 0)?, get::<DB, _>(row, 1)?)))
                .collect::<Result<_, StoreError>>()?,
        })
    }

    async fn claim(&self, name: &str, now_ms: i64, not_since_ms: i64) -> Result<bool, StoreError> {
        let query = sqlx::query::<DB>(CLAIM).bind(name).bind(now_ms).bind(not_since_ms);
        Ok(!self.in_time(query.fetch_all(&self.pool)).await?.is_empty())
    }
}

fn group<DB: Database, T>(row: &DB::Row, by: T) -> Result<Group<T>, StoreError>
where
    for<'q> i64: Decode<'q, DB> + Type<DB>,
    for<'q> String: Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    Ok(Group {
        by,
        state: DekState::parse(&get::<DB, String>(row, 1)?)?,
        rows: get::<DB, i64>(row, 2)?.unsigned_abs(),
        encryptions: get::<DB, i64>(row, 3)?.unsigned_abs(),
        last_used_ms: get::<DB, i64>(row, 4)?,
    })
}
