//! `/decrypt-value` under encrypted DEKs of many projects: all in the cache, or none.

use super::calls::{CONNECTIONS, load};
use super::store::{Filled, fill_sqlite};
use crate::alternate::{rows, turns};
use crate::client::block_on;
use crate::figures::count;
use crate::launches::{Launch, NO_FSYNC, os};
use crate::report::Report;
use crate::server::Server;
use crate::setting::Setting;
use crate::wrk::Script;

/// The case.
pub(crate) const CACHE: &str = "/decrypt-value under a wrapped DEK, projects in turn";
/// Kept where none of them is found again.
const ENTRIES: usize = 16;

/// Both, on a store each.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let projects = if setting.quick { 500 } else { 20_000 };
    let mut launches = Vec::new();
    let mut scripts = Vec::new();
    for (name, keys) in [
        ("codec, os, every DEK cached", ""),
        ("codec, os, no DEK cached", &*format!("[keys]\ncache_entries = {ENTRIES}\n")),
    ] {
        let path = setting.scratch.path().join(format!("cache-{}.db", launches.len()));
        let Filled { bodies, .. } = block_on(fill_sqlite(setting, &path, projects))?;
        let store = format!("{keys}[store]\nurl = \"sqlite:{}\"\n", path.display());
        launches.push(Launch::codec(name, os(&[&store]), NO_FSYNC));
        scripts.push(Script::new(setting, "/decrypt-value", &bodies)?);
    }
    let servers = Server::start_all(setting, launches)?;
    let servers: Vec<&Server> = servers.iter().collect();
    let playing: Vec<_> = servers.iter().copied().zip(&scripts).collect();
    // Once through all of them: the cache is full, or as full as it gets.
    for (server, script) in &playing {
        let mut answered = 0;
        while answered < projects as u64 {
            answered += script.run(&server.client.address, CONNECTIONS, setting.each)?.requests;
        }
    }
    let all = turns(setting, &playing, CONNECTIONS)?;
    rows(
        report,
        CACHE,
        &format!("{} projects, {}", count(projects), load(CONNECTIONS)),
        projects as f64,
        &servers,
        &all,
        &["codec, os, every DEK cached"],
    );
    Ok(())
}
