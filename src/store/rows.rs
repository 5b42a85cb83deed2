//! The SQL, once for both databases, and rows in and out.
//!
//! Both take `$1` placeholders, `ON CONFLICT` and partial indexes; numbers are 64-bit in both. What writes is fetched with
//! `fetch_all`: SQLite commits with the last step, and sqlx takes that step, and tells how it went, only when it reads to the end.

use std::time::Duration;

use async_trait::async_trait;
use origan_codec_host::crypto::{EncryptedDek, Tag};
use sqlx::{ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Pool, Row, Type};

use super::{Canary, DekOrigin, DekRow, DekState, DekStore, ENCRYPTIONS_MAX, StoreError};
use crate::names::{KeyVersion, ProjectId};

const BY_PRIMARY: &str = "SELECT project_id, version, kek_id, encrypted_dek, fingerprint, row_mac, state, origin, created_at \
     FROM project_dek WHERE project_id = $1 AND state = 'primary'";
const BY_VERSION: &str = "SELECT project_id, version, kek_id, encrypted_dek, fingerprint, row_mac, state, origin, created_at \
     FROM project_dek WHERE project_id = $1 AND version = $2";
const BY_DIGEST: &str = "SELECT project_id, version, kek_id, encrypted_dek, fingerprint, row_mac, state, origin, created_at \
     FROM project_dek WHERE encrypted_dek_sha256 = $1";
const BY_FINGERPRINT: &str = "SELECT project_id, version, kek_id, encrypted_dek, fingerprint, row_mac, state, origin, created_at \
     FROM project_dek WHERE fingerprint = $1";
const ANY_ROW: &str = "SELECT project_id, version, kek_id, encrypted_dek, fingerprint, row_mac, state, origin, created_at \
     FROM project_dek LIMIT 1";
const NEWEST_VERSION: &str = "SELECT MAX(version) FROM project_dek WHERE project_id = $1";
const INSERT: &str = "INSERT INTO project_dek \
     (project_id, version, kek_id, encrypted_dek, encrypted_dek_sha256, fingerprint, row_mac, state, origin, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING version";
const LEASE: &str = "UPDATE project_dek SET encryptions = encryptions + $3 \
     WHERE project_id = $1 AND version = $2 AND encryptions + $3 <= $4 RETURNING encryptions";
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
    /// Held as long as the store is open; the kernel takes it back however the process ends.
    pub(super) _lock: Option<std::fs::File>,
}

#[async_trait]
impl<DB> DekStore for SqlStore<DB>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c Pool<DB>: Executor<'c, Database = DB>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Decode<'q, DB> + Type<DB>,
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

    async fn by_fingerprint(&self, fingerprint: &Tag) -> Result<Option<DekRow>, StoreError> {
        let query = sqlx::query::<DB>(BY_FINGERPRINT).bind(fingerprint.to_vec());
        self.optional_row(query.fetch_optional(&self.pool)).await
    }

    async fn insert(&self, row: &DekRow) -> Result<bool, StoreError> {
        let (kek_id, encrypted_dek) = (row.kek_id.to_string(), row.encrypted_dek.encode());
        let query = sqlx::query::<DB>(INSERT)
            .bind(row.project_id.as_str())
            .bind(i64::from(row.version.number()))
            .bind(kek_id.as_str())
            .bind(encrypted_dek.as_str())
            .bind(row.encrypted_dek.digest().to_vec())
            .bind(row.fingerprint.to_vec())
            .bind(row.row_mac.to_vec())
            .bind(row.state.name())
            .bind(row.origin.name())
            .bind(row.created_at_ms);
        Ok(!self.in_time(query.fetch_all(&self.pool)).await?.is_empty())
    }

    async fn lease(&self, project_id: &ProjectId, version: KeyVersion, count: u64) -> Result<Option<u64>, StoreError> {
        let query = sqlx::query::<DB>(LEASE)
            .bind(project_id.as_str())
            .bind(i64::from(version.number()))
            .bind(count.min(ENCRYPTIONS_MAX) as i64)
            .bind(ENCRYPTIONS_MAX as i64);
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
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
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

fn dek_row<DB: Database>(row: &DB::Row) -> Result<DekRow, StoreError>
where
    for<'q> i64: Decode<'q, DB> + Type<DB>,
    for<'q> String: Decode<'q, DB> + Type<DB>,
    for<'q> Vec<u8>: Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    let text = |index| get::<DB, String>(row, index);
    Ok(DekRow {
        project_id: text(0)?.parse().map_err(|_| StoreError::Corrupt("project_id"))?,
        version: parse_version(get::<DB, i64>(row, 1)?)?,
        kek_id: text(2)?.parse().map_err(|_| StoreError::Corrupt("kek_id"))?,
        encrypted_dek: EncryptedDek::parse(&text(3)?).map_err(|_| StoreError::Corrupt("encrypted_dek"))?,
        fingerprint: parse_tag(get::<DB, Vec<u8>>(row, 4)?)?,
        row_mac: parse_tag(get::<DB, Vec<u8>>(row, 5)?)?,
        state: DekState::parse(&text(6)?)?,
        origin: DekOrigin::parse(&text(7)?)?,
        created_at_ms: get::<DB, i64>(row, 8)?,
    })
}

fn get<DB: Database, T>(row: &DB::Row, index: usize) -> Result<T, StoreError>
where
    for<'q> T: Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    row.try_get(index).map_err(|_| StoreError::Corrupt("column type"))
}

fn parse_version(number: i64) -> Result<KeyVersion, StoreError> {
    let number = u64::try_from(number).map_err(|_| StoreError::Corrupt("version"))?;
    KeyVersion::try_from(number).map_err(|_| StoreError::Corrupt("version"))
}

fn parse_tag(bytes: Vec<u8>) -> Result<Tag, StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("tag length"))
}
