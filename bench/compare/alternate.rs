//! Servers take turns under the same load: A B A B …

use std::time::Duration;

use crate::figures::Samples;
use crate::launches::{ECHO, NODE};
use crate::report::{Report, Row};
use crate::server::Server;
use crate::setting::Setting;
use crate::wrk::Script;

/// Before the turns that count.
const WARM_UP: Duration = Duration::from_secs(1);

/// What one server's turns came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns {
    pub(crate) rate: Samples,
    pub(crate) p50_us: Samples,
    pub(crate) p99_us: Samples,
}

/// One load for each server and pair; each server's script may be another.
pub(crate) fn turns(
    setting: &Setting,
    servers: &[(&Server, &Script)],
    connections: usize,
) -> anyhow::Result<Vec<Turns>> {
    let mut all = vec![Turns::default(); servers.len()];
    for _ in 0..setting.pairs {
        for (turns, (server, script)) in all.iter_mut().zip(servers) {
            let load = script.run(&server.client.address, connections, setting.each)?;
            turns.rate.0.push(load.per_second);
            turns.p50_us.0.push(load.p50_us);
            turns.p99_us.0.push(load.p99_us);
            server.settle()?;
        }
    }
    Ok(all)
}

/// Once each, unwatched.
pub(crate) fn warm_up(setting: &Setting, servers: &[(&Server, &Script)]) -> anyhow::Result<()> {
    if setting.quick {
        return Ok(());
    }
    for (server, script) in servers {
        script.run(&server.client.address, 32, WARM_UP)?;
        server.settle()?;
    }
    Ok(())
}

/// A row for each server, with its ratios to Node, to the echo and to `others`, where they took turns too.
pub(crate) fn rows(
    report: &mut Report,
    case: &str,
    load: &str,
    at: f64,
    servers: &[&Server],
    all: &[Turns],
    others: &[&str],
) {
    let of = |name: &str| servers.iter().position(|server| server.launch.name == name).map(|index| &all[index].rate);
    for (server, turns) in servers.iter().zip(all) {
        let mut row = Row::new(case, server.launch.name, load, "requests/s", turns.rate.clone());
        row.at = at;
        row.p50_us = Some(turns.p50_us.clone());
        row.p99_us = Some(turns.p99_us.clone());
        server.launch.without.clone_into(&mut row.without);
        for other in [NODE, ECHO].iter().chain(others).filter(|other| **other != server.launch.name) {
            if let Some(rate) = of(other) {
                row.over.push(((*other).to_owned(), turns.rate.over(rate)));
            }
        }
        report.rows.push(row);
    }
}
