//! Rows of `project_dek`, into the database and out of it.

use origan_codec_host::crypto::{EncryptedDek, Tag};
use sqlx::query::Query;
use sqlx::{ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Row, Transaction, Type};

use crate::names::KeyVersion;
use crate::store::{DekOrigin, DekRow, DekState, Replacement, StoreError};

const INSERT: &str = "INSERT INTO project_dek \
     (project_id, version, kek_id, encrypted_dek, encrypted_dek_sha256, fingerprint, row_mac, state, origin, created_at, \
      former_sha256, generation) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING RETURNING version";
// A row that has its fingerprint keeps it from its place; were that left to the index, it would end the transaction, and others' with it.
const REPLACE: &str = "UPDATE project_dek \
     SET kek_id = $3, encrypted_dek = $4, encrypted_dek_sha256 = $5, fingerprint = $6, row_mac = $7, state = $8, \
         former_sha256 = $9, generation = generation + 1 \
     WHERE project_id = $1 AND version = $2 AND row_mac = $10 \
       AND NOT EXISTS (SELECT 1 FROM project_dek AS other \
                       WHERE other.fingerprint = $6 AND NOT (other.project_id = $1 AND other.version = $2)) \
     RETURNING version";

/// What of a row is bound as text.
pub(super) struct RowText<'a> {
    row: &'a DekRow,
    kek_id: String,
    encrypted_dek: String,
}

impl<'a> RowText<'a> {
    pub(super) fn of(row: &'a DekRow) -> Self {
        Self { row, kek_id: row.kek_id.to_string(), encrypted_dek: row.encrypted_dek.encode() }
    }
}

/// The query that adds a row.
pub(super) fn insert<'q, DB: Database>(text: &'q RowText<'_>) -> Query<'q, DB, DB::Arguments>
where
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> &'e str: Encode<'e, DB> + Type<DB>,
    for<'e> Vec<u8>: Encode<'e, DB> + Type<DB>,
{
    bind(sqlx::query::<DB>(INSERT), text)
}

/// The twelve columns that every insert has.
pub(super) fn bind<'q, DB: Database>(
    query: Query<'q, DB, DB::Arguments>,
    text: &'q RowText<'_>,
) -> Query<'q, DB, DB::Arguments>
where
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> &'e str: Encode<'e, DB> + Type<DB>,
    for<'e> Vec<u8>: Encode<'e, DB> + Type<DB>,
{
    let row = text.row;
    bind_first(query, text)
        .bind(row.origin.name())
        .bind(row.created_at_ms)
        .bind(row.former_digests.concat())
        .bind(i64::try_from(row.generation).unwrap_or(i64::MAX))
}

/// Replaces one row, if it is still the one that the replacement was made from, and if no other has its DEK.
pub(super) async fn replace<DB: Database>(
    transaction: &mut Transaction<'_, DB>,
    replacement: &Replacement,
) -> Result<bool, sqlx::Error>
where
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> &'e str: Encode<'e, DB> + Type<DB>,
    for<'e> Vec<u8>: Encode<'e, DB> + Type<DB>,
{
    let text = RowText::of(&replacement.row);
    let query = bind_change(sqlx::query::<DB>(REPLACE), &text).bind(replacement.replaces.to_vec());
    Ok(!query.fetch_all(&mut **transaction).await?.is_empty())
}

/// The nine columns that find a row and change it.
pub(super) fn bind_change<'q, DB: Database>(
    query: Query<'q, DB, DB::Arguments>,
    text: &'q RowText<'_>,
) -> Query<'q, DB, DB::Arguments>
where
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> &'e str: Encode<'e, DB> + Type<DB>,
    for<'e> Vec<u8>: Encode<'e, DB> + Type<DB>,
{
    bind_first(query, text).bind(text.row.former_digests.concat())
}

/// The eight columns that both begin with.
fn bind_first<'q, DB: Database>(
    query: Query<'q, DB, DB::Arguments>,
    text: &'q RowText<'_>,
) -> Query<'q, DB, DB::Arguments>
where
    for<'e> i64: Encode<'e, DB> + Type<DB>,
    for<'e> &'e str: Encode<'e, DB> + Type<DB>,
    for<'e> Vec<u8>: Encode<'e, DB> + Type<DB>,
{
    let row = text.row;
    query
        .bind(row.project_id.as_str())
        .bind(i64::from(row.version.number()))
        .bind(text.kek_id.as_str())
        .bind(text.encrypted_dek.as_str())
        .bind(row.encrypted_dek.digest().to_vec())
        .bind(row.fingerprint.to_vec())
        .bind(row.row_mac.to_vec())
        .bind(row.state.name())
}

pub(super) fn dek_row<DB: Database>(row: &DB::Row) -> Result<DekRow, StoreError>
where
    for<'q> i64: Decode<'q, DB> + Type<DB>,
    for<'q> String: Decode<'q, DB> + Type<DB>,
    for<'q> Vec<u8>: Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    Ok(DekRow {
        fingerprint: parse_tag(get::<DB, Vec<u8>>(row, 4)?)?,
        origin: DekOrigin::parse(&get::<DB, String>(row, 7)?)?,
        created_at_ms: get::<DB, i64>(row, 8)?,
        generation: u64::try_from(get::<DB, i64>(row, 10)?).map_err(|_| StoreError::Corrupt("generation"))?,
        last_used_at_ms: get::<DB, i64>(row, 11)?,
        ..tied_row::<DB>(row)?
    })
}

/// What a row's MAC ties together, and the MAC, whatever stands in the other columns: they are as in no row.
pub(super) fn tied_row<DB: Database>(row: &DB::Row) -> Result<DekRow, StoreError>
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
        fingerprint: [0; 32],
        row_mac: parse_tag(get::<DB, Vec<u8>>(row, 5)?)?,
        state: DekState::parse(&text(6)?)?,
        origin: DekOrigin::Created,
        created_at_ms: 0,
        former_digests: parse_digests(&get::<DB, Vec<u8>>(row, 9)?)?,
        generation: 0,
        last_used_at_ms: 0,
    })
}

pub(in crate::store) fn get<DB: Database, T>(row: &DB::Row, index: usize) -> Result<T, StoreError>
where
    for<'q> T: Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    row.try_get(index).map_err(|_| StoreError::Corrupt("column type"))
}

pub(in crate::store) fn parse_version(number: i64) -> Result<KeyVersion, StoreError> {
    let number = u64::try_from(number).map_err(|_| StoreError::Corrupt("version"))?;
    KeyVersion::try_from(number).map_err(|_| StoreError::Corrupt("version"))
}

fn parse_tag(bytes: Vec<u8>) -> Result<Tag, StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("tag length"))
}

fn parse_digests(bytes: &[u8]) -> Result<Vec<[u8; 32]>, StoreError> {
    let (digests, rest) = bytes.as_chunks();
    if rest.is_empty() { Ok(digests.to_vec()) } else { Err(StoreError::Corrupt("former_sha256")) }
}
