//! The SQL, once for both databases, and rows in and out.
//!
//! Both take `$1` placeholders, `ON CONFLICT` and partial indexes; numbers are 64-bit in both. What writes is fetched with
//! `fetch_all`: SQLite commits with the last step, and sqlx takes that step, and tells how it went, only when it reads to the end.

/// The columns of a whole row.
macro_rules! columns {
    () => {
        "project_id, version, kek_id, encrypted_dek, fingerprint, row_mac, state, origin, created_at, former_sha256, generation, last_used_at, encryptions"
    };
}

/// A query for whole rows.
macro_rules! rows {
    ($of:literal) => {
        concat!("SELECT ", columns!(), " FROM project_dek ", $of)
    };
}

pub(super) mod columns;
mod whole;

use std::time::Duration;

use async_trait::async_trait;
use origan_codec_host::crypto::{EncryptedDek, KekId, Tag};
use sqlx::{ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Pool, Type};

use super::{
    Access, Canary, DekRow, DekState, DekStore, ENCRYPTIONS_MAX, Replacement, RowPlace, StoreError, WalkedRow,
    WholeStore,
};
use crate::names::{KeyVersion, ProjectId};
use columns::{RowText, dek_row, get, insert, parse_version, replace};

const BY_PRIMARY: &str = rows!("WHERE project_id = $1 AND state = 'primary'");
const BY_VERSION: &str = rows!("WHERE project_id = $1 AND version = $2");
const BY_DIGEST: &str = rows!("WHERE encrypted_dek_sha256 = $1");
const BY_FINGERPRINT: &str = rows!("WHERE fingerprint = $1");
/// As many as are looked for at once: more than a ring has KEKs.
const FINGERPRINTS: usize = 16;
const BY_FINGERPRINTS: &str =
    rows!("WHERE fingerprint IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) LIMIT 1");
const ANY_ROW: &str = rows!("WHERE state <> 'destroyed' LIMIT 1");
const REWRAPPED_VERSIONS: &str = rows!("WHERE project_id = $1 AND length(former_sha256) > 0 ORDER BY version");
const NOT_UNDER: &str =
    rows!("WHERE (project_id, version) > ($1, $2) AND kek_id <> $3 ORDER BY project_id, version LIMIT $4");
const NOTE_USE: &str = "UPDATE project_dek SET last_used_at = $3 \
     WHERE project_id = $1 AND version = $2 AND last_used_at < $3 RETURNING version";
// Heard by other replicas when the transaction commits.
const ANNOUNCE: &str = "SELECT pg_notify('codec_dek', $1)";
const NEWEST_VERSION: &str = "SELECT MAX(version) FROM project_dek WHERE project_id = $1";
// Of the very DEK that is sealed under, which another of the same number may have taken the place of.
const LEASE: &str = "UPDATE project_dek SET encryptions = encryptions + $3 \
     WHERE project_id = $1 AND version = $2 AND state = 'primary' AND fingerprint = $5 AND encryptions + $3 <= $4 \
     RETURNING encryptions";
const CANARIES: &str = "SELECT kek_id, sealed FROM kek_canary";
// `founding` is the KEK's place, and unique: of two processes that begin on an empty store at once, the database lets one be first.
const INSERT_CANARY: &str = "INSERT INTO kek_canary (kek_id, sealed, created_at, founding) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING kek_id";
const ROWS_BY_KEK: &str = "SELECT kek_id, COUNT(*) FROM project_dek GROUP BY kek_id ORDER BY kek_id";
const PING: &str = "SELECT COUNT(*) FROM kek_canary";

/// A store on a pool of connections to either database.
pub struct SqlStore<DB: Database> {
    pub(super) pool: Pool<DB>,
    pub(super) deadline: Duration,
    pub(super) kind: &'static str,
    /// What was written last, beside SQLite's file.
    pub(super) wal: Option<super::sqlite::Wal>,
    /// Held as long as the store is open; the kernel takes it back however the process ends.
    pub(super) _lock: Option<std::fs::File>,
}

#[async_trait]
impl<DB> DekStore for SqlStore<DB>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c Pool<DB>: Executor<'c, Database = DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> &'q str: Encode<'q, DB> + Type<DB>,
    for<'q> String: Decode<'q, DB> + Type<DB>,
    for<'q> Vec<u8>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    async fn primary(&self, project_id: &ProjectId) -> Result<Option<DekRow>, StoreError> {
        let query = sqlx::query::<DB>(BY_PRIMARY).bind(project_id.as_str());
        self.optional_row(query.fetch_optional(&self.pool)).await
    }

    async fn version(&self, project_id: &ProjectId, version: KeyVersion) -> Result<Option<DekRow>, StoreError> {
        let query = sqlx::query::<DB>(BY_VERSION).bind(project_id.as_str()).bind(i64::from(version.number()));
        self.optional_row(query.fetch_optional(&self.pool)).await
    }

    async fn newest_version(&self, project_id: &ProjectId) -> Result<Option<KeyVersion>, StoreError> {
        let query = sqlx::query::<DB>(NEWEST_VERSION).bind(project_id.as_str());
        let row = self.in_time(query.fetch_one(&self.pool)).await?;
        let newest: Option<i64> = get(&row, 0)?;
        newest.map(parse_version).transpose()
    }

    async fn by_encrypted_dek(&self, encrypted_dek: &EncryptedDek) -> Result<Option<DekRow>, StoreError> {
        let query = sqlx::query::<DB>(BY_DIGEST).bind(encrypted_dek.digest().to_vec());
        self.optional_row(query.fetch_optional(&self.pool)).await
    }

    async fn by_fingerprints(&self, fingerprints: &[Tag]) -> Result<Option<DekRow>, StoreError> {
        if let [fingerprint] = fingerprints {
            let query = sqlx::query::<DB>(BY_FINGERPRINT).bind(fingerprint.to_vec());
            return self.optional_row(query.fetch_optional(&self.pool)).await;
        }
        for some in fingerprints.chunks(FINGERPRINTS) {
            // The last of them again and again, where there are fewer.
            let all = some.iter().chain(std::iter::repeat(&some[some.len() - 1])).take(FINGERPRINTS);
            let query =
                all.fold(sqlx::query::<DB>(BY_FINGERPRINTS), |query, fingerprint| query.bind(fingerprint.to_vec()));
            if let Some(row) = self.optional_row(query.fetch_optional(&self.pool)).await? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    async fn rewrapped_versions(&self, project_id: &ProjectId) -> Result<Vec<DekRow>, StoreError> {
        let query = sqlx::query::<DB>(REWRAPPED_VERSIONS).bind(project_id.as_str());
        self.in_time(query.fetch_all(&self.pool)).await?.iter().map(dek_row::<DB>).collect()
    }

    async fn not_under(&self, kek_id: KekId, place: &RowPlace, count: u32) -> Result<Vec<WalkedRow>, StoreError> {
        let kek_id = kek_id.to_string();
        let query = sqlx::query::<DB>(NOT_UNDER)
            .bind(place.project_id.as_str())
            .bind(place.version)
            .bind(kek_id.as_str())
            .bind(i64::from(count));
        let walked = |row: &DB::Row| {
            let place = RowPlace { project_id: get::<DB, _>(row, 0)?, version: get::<DB, _>(row, 1)? };
            Ok(WalkedRow { place, row: dek_row::<DB>(row) })
        };
        self.in_time(query.fetch_all(&self.pool)).await?.iter().map(walked).collect()
    }

    async fn replace_each(&self, replacements: &[Replacement]) -> Result<Vec<bool>, StoreError> {
        let work = async {
            let mut transaction = self.pool.begin().await?;
            let mut done = Vec::with_capacity(replacements.len());
            for replacement in replacements {
                done.push(replace(&mut transaction, replacement).await?);
            }
            transaction.commit().await?;
            Ok(done)
        };
        self.in_time(work).await
    }

    async fn change(&self, replacements: &[Replacement], added: Option<&DekRow>) -> Result<bool, StoreError> {
        let work = async {
            let mut transaction = self.pool.begin().await?;
            let mut changed = true;
            for replacement in replacements {
                changed &= replace(&mut transaction, replacement).await?;
            }
            if let Some(row) = added {
                changed &= !insert::<DB>(&RowText::of(row)).fetch_all(&mut *transaction).await?.is_empty();
            }
            if !changed {
                // Somebody else was first: nothing of it.
                transaction.rollback().await?;
                return Ok(false);
            }
            let whose = replacements.first().map(|replacement| &replacement.row).or(added);
            if let Some(row) = whose.filter(|_| self.kind == super::postgres::KIND) {
                sqlx::query::<DB>(ANNOUNCE).bind(row.project_id.as_str()).fetch_all(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(true)
        };
        let changed = self.in_time(work).await;
        // Also where it is given up: SQLite may do it all the same.
        let destroys = replacements.iter().any(|replacement| replacement.row.state == DekState::Destroyed);
        if let Some(wal) = self.wal.as_ref().filter(|_| destroys) {
            wal.is_to_be_emptied();
            wal.keep_up().await;
        }
        changed
    }

    async fn keep_up(&self) {
        if let Some(wal) = &self.wal {
            wal.keep_up().await;
        }
    }

    async fn note_use(&self, project_id: &ProjectId, version: KeyVersion, now_ms: i64) -> Result<(), StoreError> {
        let query =
            sqlx::query::<DB>(NOTE_USE).bind(project_id.as_str()).bind(i64::from(version.number())).bind(now_ms);
        self.in_time(query.fetch_all(&self.pool)).await.map(|_| ())
    }

    async fn insert(&self, row: &DekRow) -> Result<bool, StoreError> {
        let text = RowText::of(row);
        Ok(!self.in_time(insert::<DB>(&text).fetch_all(&self.pool)).await?.is_empty())
    }

    async fn lease(
        &self,
        project_id: &ProjectId,
        version: KeyVersion,
        fingerprint: &Tag,
        count: u64,
    ) -> Result<Option<u64>, StoreError> {
        let query = sqlx::query::<DB>(LEASE)
            .bind(project_id.as_str())
            .bind(i64::from(version.number()))
            .bind(count.min(ENCRYPTIONS_MAX) as i64)
            .bind(ENCRYPTIONS_MAX as i64)
            .bind(fingerprint.to_vec());
        let rows = self.in_time(query.fetch_all(&self.pool)).await?;
        rows.first().map(|row| Ok(get::<DB, i64>(row, 0)? as u64)).transpose()
    }

    async fn canaries(&self) -> Result<Vec<Canary>, StoreError> {
        let rows = self.in_time(sqlx::query::<DB>(CANARIES).fetch_all(&self.pool)).await?;
        let canary = |row| {
            let kek_id: String = get::<DB, _>(row, 0)?;
            Ok(Canary {
                kek_id: kek_id.parse().map_err(|_| StoreError::Corrupt("kek_id"))?,
                sealed: get::<DB, _>(row, 1)?,
            })
        };
        rows.iter().map(canary).collect()
    }

    async fn insert_canary(&self, canary: &Canary, place: usize) -> Result<(), StoreError> {
        let kek_id = canary.kek_id.to_string();
        let place = i64::try_from(place).unwrap_or(i64::MAX);
        let query = sqlx::query::<DB>(INSERT_CANARY)
            .bind(kek_id.as_str())
            .bind(canary.sealed.clone())
            .bind(crate::clock::unix_ms())
            .bind(place);
        self.in_time(query.fetch_all(&self.pool)).await.map(|_| ())
    }

    async fn whole(&self, access: Access) -> Result<Box<dyn WholeStore>, StoreError> {
        whole::begin(&self.pool, self.kind, access).await
    }

    async fn any_row(&self) -> Result<Option<DekRow>, StoreError> {
        self.optional_row(sqlx::query::<DB>(ANY_ROW).fetch_optional(&self.pool)).await
    }

    async fn rows_by_kek(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let rows = self.in_time(sqlx::query::<DB>(ROWS_BY_KEK).fetch_all(&self.pool)).await?;
        rows.iter().map(|row| Ok((get::<DB, String>(row, 0)?, get::<DB, i64>(row, 1)? as u64))).collect()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.in_time(sqlx::query::<DB>(PING).fetch_one(&self.pool)).await.map(|_| ())
    }

    fn kind(&self) -> &'static str {
        self.kind
    }
}

impl<DB: Database> SqlStore<DB> {
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.deadline, work).await {
            Ok(outcome) => outcome.map_err(|error| StoreError::Unavailable(error.to_string())),
            Err(_) => Err(StoreError::Unavailable(format!("no answer in {} ms", self.deadline.as_millis()))),
        }
    }

    async fn optional_row(
        &self,
        work: impl Future<Output = Result<Option<DB::Row>, sqlx::Error>>,
    ) -> Result<Option<DekRow>, StoreError>
    where
        for<'q> i64: Decode<'q, DB> + Type<DB>,
        for<'q> String: Decode<'q, DB> + Type<DB>,
        for<'q> Vec<u8>: Decode<'q, DB> + Type<DB>,
        usize: ColumnIndex<DB::Row>,
    {
        self.in_time(work).await?.as_ref().map(dek_row::<DB>).transpose()
    }
}
