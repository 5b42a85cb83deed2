//! The steps that bring a store's schema up to date, the same in number in both databases.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

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
