//! The steps that bring a store's schema up to date, the same in number in both databases.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The step that this program's schema has come to.
pub(super) const NEWEST: i64 = STEPS.len() as i64;
/// What a store says of its steps.
pub(super) const STEP: &str = "SELECT MAX(version) FROM _sqlx_migrations";
/// What each step is for.
const STEPS: [&str; 3] = ["project_dek", "rewrapping", "periodic_work"];

/// The steps, in SQL of one of the databases.
pub(super) fn migrations(sql: [&'static str; STEPS.len()]) -> Migrator {
    let steps = (1..).zip(STEPS).zip(sql);
    let steps = steps.map(|((number, name), sql)| {
        Migration::new(number, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(steps.collect())
}

/// What a schema of the future is called in both stores.
pub(super) fn newer_schema(version: i64) -> String {
    format!("its schema (migration {version}) is newer than this program; start the newer version of codec")
}

/// For those who take the schema as it is: none but this program's own.
pub(super) fn refuse_other(version: Option<i64>) -> Result<(), String> {
    match version.unwrap_or_default() {
        NEWEST => Ok(()),
        version if version > NEWEST => Err(newer_schema(version)),
        version => Err(format!(
            "its schema (migration {version}) is older than this program's; use the codec that serves it, or let this one serve it first"
        )),
    }
}
