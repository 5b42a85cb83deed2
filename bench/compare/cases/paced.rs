//! Latency at half of the maximal rate, with the journal fsynced and two policies, beside the bare echo, and the
//! echo that waits for one fsync, at the same rate.

use super::calls::{DECRYPT_VALUE, load};
use crate::figures::{Samples, number};
use crate::launches::{ECHO_FSYNC, FSYNC_TWO, Launch};
use crate::paced::{self, Clock};
use crate::report::{Report, Row};
use crate::server::Server;
use crate::setting::Setting;
use crate::wrk::Script;

/// The case.
pub(crate) const PACED: &str = "/decrypt-value, paced: calls begin when they are due";
/// The rate, as rows name it.
pub(crate) const HALF: &str = "half of the maximal rate";

/// As many turns as elsewhere, times this: a stall of the disk decides a turn's p99, and only many tell.
const TURNS: usize = 3;

/// All in turn.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    paced::wake_in_time();
    let servers =
        Server::start_all(setting, vec![Launch::fsync_with_two_policies(), Launch::echo_and_fsync(), Launch::echo()])?;
    let (body, text) = setting.decrypt_value()?;
    servers[0].check("/decrypt-value", &body, |answer| answer["value"] == *text)?;
    let maximal = match maximal(setting, report) {
        Some(known) => known,
        None => {
            let script = Script::new(setting, "/decrypt-value", std::slice::from_ref(&body))?;
            script.run(&servers[0].client.address, 256, setting.each)?.per_second
        }
    };
    let body = body.to_string();
    for server in servers.iter().filter(|_| !setting.quick) {
        paced::run(&server.client, "/decrypt-value", &body, maximal / 2.0, setting.each, Clock::Fair)?;
    }
    let mut all = vec![(Samples::default(), Samples::default(), 0); servers.len()];
    for _ in 0..setting.turns(TURNS) {
        for ((p50, p99, calls), server) in all.iter_mut().zip(&servers) {
            let times = paced::run(&server.client, "/decrypt-value", &body, maximal / 2.0, setting.each, Clock::Fair)?;
            p50.0.push(times.p50_us);
            p99.0.push(times.p99_us);
            *calls += times.calls;
        }
    }
    for ((p50, p99, _), server) in all.iter().zip(&servers) {
        let mut row = Row::new(PACED, server.launch.name, HALF, "µs, p99", p99.clone()).without(server.launch.without);
        (row.p50_us, row.p99_us) = (Some(p50.clone()), Some(p99.clone()));
        if server.launch.name == FSYNC_TWO {
            row = row.over(ECHO_FSYNC, p99.over(&all[1].1));
        }
        report.rows.push(row);
    }
    report.notes.push(format!(
        "paced: {} calls/s, half of {}/s, over {} connections; times count from when a call was due",
        number(maximal / 2.0),
        number(maximal),
        paced::CONNECTIONS
    ));
    Ok(())
}

/// The best of what wrk has found, at any number of connections.
fn maximal(setting: &Setting, report: &Report) -> Option<f64> {
    let rates = setting.connections().map(|connections| report.find(DECRYPT_VALUE, FSYNC_TWO, &load(connections)));
    rates.into_iter().flatten().map(|row| row.figures.median()).max_by(f64::total_cmp)
}
