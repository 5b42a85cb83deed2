//! Honest calls beside what should not touch them: a sink whose backend is slow, plugins that are replaced, a policy that never ends.

#[expect(dead_code, reason = "the tests look at more of it")]
#[path = "../../../tests/hostile/corpus.rs"]
mod corpus;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use axum::Router;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::json;

use crate::client::block_on;
use crate::figures::{Samples, number};
use crate::launches::{Launch, policies};
use crate::paced::{self, Clock};
use crate::report::{Report, Row};
use crate::server::Server;
use crate::setting::Setting;

/// The case.
pub(crate) const NEIGHBOURS: &str = "/decrypt-value, paced, beside neighbours (fsync, 2 policies)";
/// Its rows, the first by itself.
pub(crate) const ALL: [&str; 4] = ["alone", "beside a slow sink", "beside reloads", "beside a hostile policy"];

/// As many turns as elsewhere, times this: what the disk does by itself moves a turn's p99 threefold, and only many tell.
const TURNS: usize = 10;
/// How long the slow sink's backend thinks about each batch.
const THINKS: Duration = Duration::from_millis(500);
/// Between two new versions of a plugin.
const RELOADS_EVERY: Duration = Duration::from_secs(1);
/// Asked for other projects, and only watched: it decides nothing, and never ends.
const HOSTILE: &str =
    "[[policies]]\nname = \"hostile\"\npath = \"hostile.wasm\"\nmode = \"monitor\"\nprojects = [\"attacked\"]\n";

/// Far from what the service could.
fn per_second(setting: &Setting) -> f64 {
    if setting.quick { 200.0 } else { 2_000.0 }
}

/// As rows name it.
pub(crate) fn rate(setting: &Setting) -> String {
    format!("{} calls/s", number(per_second(setting)))
}

/// One server for each, in turn.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    paced::wake_in_time();
    let per_second = per_second(setting);
    let backend = slow_backend()?;
    let mut guests = corpus::all().into_iter();
    let hostile = guests.find(|guest| guest.name == "policy/loop-in-evaluate").context("not in the corpus")?.bytes;
    let sink = format!(
        "[[sinks]]\nname = \"slow\"\npath = \"audit-http.wasm\"\nfrom = \"now\"\nsettings = {{ url = \"http://{backend}/\" }}\n\
         [[sinks.http]]\norigin = \"http://{backend}\"\naddresses = [\"127.0.0.0/8\"]\n"
    );
    let tomls = [policies(2), policies(2) + &sink, policies(2), policies(2) + HOSTILE];
    let launch = |(name, toml)| Launch {
        plugins: vec![("hostile.wasm", hostile.clone())],
        ..Launch::codec(name, toml, "nothing")
    };
    let servers = Server::start_all(setting, ALL.into_iter().zip(tomls).map(launch).collect())?;
    let (body, text) = setting.decrypt_value()?;
    for server in &servers {
        server.check("/decrypt-value", &body, |answer| answer["value"] == *text)?;
    }
    let (body, changes) = (body.to_string(), AtomicU64::new(0));
    for server in servers.iter().filter(|_| !setting.quick) {
        paced::run(&server.client, "/decrypt-value", &body, per_second, setting.each, Clock::First)?;
    }
    let mut all = vec![(Samples::default(), Samples::default()); ALL.len()];
    for _ in 0..setting.turns(TURNS) {
        for (index, ((p50, p99), server)) in all.iter_mut().zip(&servers).enumerate() {
            let call = || paced::run(&server.client, "/decrypt-value", &body, per_second, setting.each, Clock::First);
            let times = match index {
                2 => beside(|ends| reload(server, ends, &changes), call)?,
                3 => beside(|ends| attack(server, ends), call)?,
                _ => call()?,
            };
            p50.0.push(times.p50_us);
            p99.0.push(times.p99_us);
        }
    }
    for ((p50, p99), name) in all.iter().zip(ALL) {
        let mut row = Row::new(NEIGHBOURS, name, &rate(setting), "µs, p99", p99.clone());
        (row.p50_us, row.p99_us) = (Some(p50.clone()), Some(p99.clone()));
        "nothing".clone_into(&mut row.without);
        report.rows.push(if name == ALL[0] { row } else { row.over(ALL[0], p99.over(&all[0].1)) });
    }
    report.notes.push(format!(
        "neighbours: the slow sink's backend takes {} ms for each batch, in the others' turns too; a changed policy is dropped in every second ({} times); the hostile \
         policy spins for as long as it may, for one caller that asks again at once",
        THINKS.as_millis(),
        changes.load(Ordering::Relaxed)
    ));
    Ok(())
}

/// A collector that takes its time, on a port of its own.
fn slow_backend() -> anyhow::Result<SocketAddr> {
    let router = Router::new().fallback(|_: bytes::Bytes| tokio::time::sleep(THINKS));
    block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Ok(address)
    })
}

/// `call`, while `other` goes on until it is told to end.
fn beside<T>(
    other: impl FnOnce(&AtomicBool) -> anyhow::Result<()> + Send,
    call: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| other(&ends));
        let found = call();
        ends.store(true, Ordering::Relaxed);
        other.join().map_err(|_| anyhow!("the neighbour panics"))??;
        found
    })
}

fn reload(server: &Server, ends: &AtomicBool, changes: &AtomicU64) -> anyhow::Result<()> {
    let component = server.plugin("policy-recency.wasm")?;
    while !ends.load(Ordering::Relaxed) {
        // A custom section: id 0, its length, the length of its name, the name, a mark. The same component by another digest.
        let mut marked = component.clone();
        marked.extend_from_slice(&[0, 10, 1, b'm']);
        marked.extend_from_slice(&changes.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        server.put_plugin("policy-recency.wasm", &marked)?;
        server.hang_up()?;
        let next = Instant::now() + RELOADS_EVERY;
        while Instant::now() < next && !ends.load(Ordering::Relaxed) {
            std::thread::sleep(RELOADS_EVERY / 50);
        }
    }
    server.put_plugin("policy-recency.wasm", &component)
}

fn attack(server: &Server, ends: &AtomicBool) -> anyhow::Result<()> {
    while !ends.load(Ordering::Relaxed) {
        server.client.post("/encrypt", &json!({"projectId": "attacked", "value": "v"}))?;
    }
    Ok(())
}
