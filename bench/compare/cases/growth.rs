//! The store as it grows: a call that must ask it, with few projects and with many, on SQLite and on PostgreSQL.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::calls::{CONNECTIONS, load};
use super::store::{fill_postgres, fill_sqlite};
use crate::alternate::{rows, turns, warm_up};
use crate::client::block_on;
use crate::figures::{count, number};
use crate::launches::{Launch, NO_FSYNC, os};
use crate::ports::free_port;
use crate::report::Report;
use crate::server::Server;
use crate::setting::{OwnedDek, Setting};
use crate::wrk::Script;

#[expect(dead_code, unreachable_pub, clippy::expect_used, reason = "the tests' own")]
#[path = "../../../tests/support/postgres.rs"]
pub(super) mod postgres;

/// The case.
pub(crate) const GROWTH: &str = "/decrypt-value that must ask the store, as it grows";
/// Its rows.
pub(crate) const STORES: [&str; 2] = ["codec, os, SQLite", "codec, os, PostgreSQL"];
/// What the others are compared with, as ratios name it.
pub(crate) const FEWEST: &str = "10 projects";
/// Raw DEKs in turn, more than are cached.
const DEKS: usize = 2_000;
const ENTRIES: usize = 16;

/// Of what the module above asks its parent.
fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// As rows name a size.
pub(crate) fn size(projects: usize) -> String {
    format!("{} projects, {}", count(projects), load(CONNECTIONS))
}

/// Each size on each database. The DEKs are no project's, so that ten projects must be asked for as often as a million: the fingerprint
/// of each is looked up, and not found.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let mut bodies: Vec<Value> = Vec::new();
    for _ in 0..DEKS {
        let stranger = OwnedDek::generate(&setting.ring)?;
        bodies.push(json!({"dek": stranger.raw(), "encrypted": stranger.sealed()?.1}));
    }
    let script = Script::new(setting, "/decrypt-value", &bodies)?;
    let database = postgres::Server::start();
    for (index, store) in STORES.into_iter().enumerate() {
        let mut servers = Vec::new();
        let mut found = Vec::new();
        for projects in setting.projects() {
            let (url, filled) = if index == 0 {
                let path = setting.scratch.path().join(format!("growth-{projects}.db"));
                (format!("sqlite:{}", path.display()), block_on(fill_sqlite(setting, &path, projects))?)
            } else {
                let url = block_on(async { Ok(database.database().await) })?;
                let filled = block_on(fill_postgres(setting, &url, projects))?;
                (url, filled)
            };
            if projects == setting.projects()[2] {
                report.notes.push(format!(
                    "{store}: {} projects were filled in within {} s, many rows in a statement and without records",
                    count(projects),
                    number(filled.took.as_secs_f64())
                ));
            }
            let toml = os(&[&format!("[keys]\ncache_entries = {ENTRIES}\n[store]\nurl = \"{url}\"\n")]);
            servers.push(Server::start_all(setting, vec![Launch::codec(store, toml, NO_FSYNC)])?.remove(0));
            found.push(filled.bodies);
        }
        // What was filled in is what codec would have written: it opens.
        for (server, bodies) in servers.iter().zip(&found) {
            for body in bodies.iter().step_by(bodies.len().div_ceil(10)) {
                server.check("/decrypt-value", body, |answer| answer["value"].is_string())?;
            }
        }
        let playing: Vec<_> = servers.iter().map(|server| (server, &script)).collect();
        warm_up(setting, &playing)?;
        let all = turns(setting, &playing, CONNECTIONS)?;
        for ((server, turns), projects) in servers.iter().zip(&all).zip(setting.projects()) {
            let (turns, at) = (std::slice::from_ref(turns), projects as f64);
            rows(report, GROWTH, &size(projects), at, &[server], turns, &[]);
            if let Some(row) = report.rows.last_mut() {
                row.over.push((FEWEST.into(), row.figures.over(&all[0].rate)));
            }
        }
    }
    Ok(())
}
