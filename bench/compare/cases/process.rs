//! The process itself: from start to ready, and its memory after many requests, with five plugins.

use anyhow::Context as _;

use super::calls::{CONNECTIONS, load};
use crate::figures::{Samples, number};
use crate::launches::Launch;
use crate::report::{Report, Row};
use crate::server::Server;
use crate::setting::Setting;
use crate::wrk::Script;

/// The case.
pub(crate) const PROCESS: &str = "The process, with five plugins in Rust";
/// Its rows.
pub(crate) const READY: &str = "start to ready";
/// Later by the sinks that no answer waits for.
pub(crate) const LIVE: &str = "start to every plugin live";
/// Ever: every plugin is compiled.
pub(crate) const FIRST: &str = "the first start";
/// Any other.
pub(crate) const AGAIN: &str = "started again";
/// Resident memory, as rows name it.
pub(crate) const RESIDENT: &str = "resident (VmRSS)";
/// Of that, what no file backs.
pub(crate) const ANONYMOUS: &str = "of that anonymous (RssAnon)";

/// Both.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let mut times = [(); 4].map(|()| Samples::default());
    let mut last = None;
    for _ in 0..setting.pairs {
        // The one before is gone first.
        drop(last.take());
        let mut server = Server::spawn(setting, Launch::five_plugins())?;
        let first = [server.until_ready()?, server.until_live()?];
        server.restart(setting)?;
        let took = [first[0], server.until_ready()?, first[1], server.until_live()?];
        for (times, took) in times.iter_mut().zip(took) {
            times.0.push(took.as_secs_f64() * 1e3);
        }
        last = Some(server);
    }
    let cached = "compiling: what the first start compiled is kept, and its MAC checked";
    let cases =
        [(READY, FIRST, "the two sinks"), (READY, AGAIN, cached), (LIVE, FIRST, "nothing"), (LIVE, AGAIN, cached)];
    for ((what, at, without), took) in cases.into_iter().zip(times) {
        report.rows.push(Row::new(PROCESS, what, at, "ms", took).without(without));
    }
    let server = last.context("no pair")?;
    server.learn(setting)?;
    let (body, text) = setting.decrypt_value()?;
    let script = Script::new(setting, "/decrypt-value", std::slice::from_ref(&body))?;
    server.check("/decrypt-value", &body, |answer| answer["value"] == *text)?;
    let mut answered = 0;
    for part in [setting.requests() / 10, setting.requests()] {
        while answered < part {
            answered += script.run(&server.client.address, CONNECTIONS, setting.each)?.requests;
        }
        server.settle()?;
        for (what, line) in [(RESIDENT, "VmRSS"), (ANONYMOUS, "RssAnon")] {
            let samples = Samples(vec![server.memory_mb(line)?]);
            report.rows.push(Row::new(PROCESS, what, &after(part), "MB", samples).without("nothing"));
        }
        report.notes.push(format!(
            "memory after {} requests was read after {}, at {}",
            number(part as f64),
            number(answered as f64),
            load(CONNECTIONS)
        ));
    }
    Ok(())
}

/// As rows name the moment.
pub(crate) fn after(requests: u64) -> String {
    format!("after {} requests", number(requests as f64))
}
