//! Stores with many projects. Rows are made as `docs/FORMAT.md` has them, wrapped and bound to their projects under the run's KEK, and
//! added many at a time: one by one, each with its record, a million would take the better part of an hour.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use origan_codec::keys::KekSource;
use origan_codec::store::{PostgresStore, SqliteStore};
use origan_codec_host::crypto::{Dek, DekCipher, Kek, KeyRing, Plaintext, WrapContext};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{
    ConnectOptions as _, Connection as _, Database, Encode, Executor, IntoArguments, Postgres, QueryBuilder, Sqlite,
    Type,
};

use crate::setting::{Setting, random_text};

/// Rows in one statement: ten places each, of which SQLite takes 32,766.
const ROWS_AT_ONCE: usize = 1_000;
/// Projects of which a call is made.
const CALLS_MAX: usize = 20_000;
const INSERT: &str = "INSERT INTO project_dek \
    (project_id, version, kek_id, encrypted_dek, encrypted_dek_sha256, fingerprint, row_mac, state, origin, created_at) ";
/// For each operation of the store while it is set up.
const DEADLINE: Duration = Duration::from_secs(10);

/// A store that was filled.
pub(crate) struct Filled {
    /// `/decrypt-value` under the encrypted DEKs of as many projects, evenly spread.
    pub(crate) bodies: Vec<Value>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// One project's row.
struct Row {
    project: String,
    kek_id: String,
    encrypted_dek: String,
    digest: Vec<u8>,
    fingerprint: Vec<u8>,
    row_mac: Vec<u8>,
}

/// A new SQLite file with so many projects.
pub(crate) async fn fill_sqlite(setting: &Setting, path: &Path, projects: usize) -> anyhow::Result<Filled> {
    let store = SqliteStore::open(path, DEADLINE).await?;
    KekSource::in_memory(Kek::parse_base64(&setting.kek)?.into()).prove(&store).await?;
    drop(store);
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await?;
    connection.execute("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000").await?;
    let filled = fill::<Sqlite>(setting, &mut connection, projects).await?;
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
    connection.close().await?;
    Ok(filled)
}

/// An empty PostgreSQL database, with so many projects from then on.
pub(crate) async fn fill_postgres(setting: &Setting, url: &str, projects: usize) -> anyhow::Result<Filled> {
    let store = PostgresStore::open(url, 2, DEADLINE).await?;
    KekSource::in_memory(Kek::parse_base64(&setting.kek)?.into()).prove(&store).await?;
    drop(store);
    let mut connection = url.parse::<PgConnectOptions>()?.connect().await?;
    connection.execute("SET synchronous_commit = off").await?;
    let filled = fill::<Postgres>(setting, &mut connection, projects).await?;
    // As its own maintenance would have done by the time that a store has grown.
    connection.execute("VACUUM ANALYZE project_dek").await?;
    connection.execute("CHECKPOINT").await?;
    connection.close().await?;
    Ok(filled)
}

async fn fill<DB>(setting: &Setting, connection: &mut DB::Connection, projects: usize) -> anyhow::Result<Filled>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> &'q str: Encode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> Vec<u8>: Encode<'q, DB> + Type<DB>,
{
    let begun = Instant::now();
    let every = projects.div_ceil(CALLS_MAX);
    let mut bodies = Vec::new();
    let mut index = 0;
    while index < projects {
        let mut rows = Vec::with_capacity(ROWS_AT_ONCE);
        while rows.len() < ROWS_AT_ONCE && index < projects {
            let dek = Dek::generate()?;
            let row = Row::new(&setting.ring, format!("project-{index:07}"), &dek)?;
            if index % every == 0 {
                let sealed = DekCipher::new(&dek).seal_value(&Plaintext::new(random_text()?))?.encode();
                bodies.push(json!({"projectId": row.project, "encryptedDEK": row.encrypted_dek, "encrypted": sealed}));
            }
            rows.push(row);
            index += 1;
        }
        let mut query = QueryBuilder::<DB>::new(INSERT);
        query.push_values(rows, |mut values, row| {
            values.push_bind(row.project).push_bind(1_i64).push_bind(row.kek_id).push_bind(row.encrypted_dek);
            values.push_bind(row.digest).push_bind(row.fingerprint).push_bind(row.row_mac);
            values.push_bind("primary").push_bind("created").push_bind(1_767_268_800_000_i64);
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(Filled { bodies, took: begun.elapsed() })
}

impl Row {
    /// Of version 1, primary.
    fn new(ring: &KeyRing, project: String, dek: &Dek) -> anyhow::Result<Self> {
        let wrapped =
            ring.wrap_dek(dek, WrapContext::Unrecorded).now_or_never().context("a KEK in memory does not wait")??;
        let digest = wrapped.encrypted_dek.digest();
        let parts = [project.as_bytes(), &1_u32.to_be_bytes(), b"primary", &digest];
        let row_mac = ring.row_mac(wrapped.kek_id, &parts)?.0.to_vec();
        let fingerprint = ring.fingerprint(wrapped.kek_id, dek)?.0.to_vec();
        let encrypted_dek = wrapped.encrypted_dek.encode();
        Ok(Self {
            project,
            kek_id: wrapped.kek_id.to_string(),
            encrypted_dek,
            digest: digest.to_vec(),
            fingerprint,
            row_mac,
        })
    }
}
