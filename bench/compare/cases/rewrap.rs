//! `codec rewrap` over a whole store: how fast, and whether its memory stays as it is.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use origan_codec_host::crypto::Kek;

use super::growth::postgres;
use super::store::{fill_postgres, fill_sqlite};
use crate::client::block_on;
use crate::figures::{Samples, count};
use crate::report::{Report, Row};
use crate::setting::Setting;

/// The case.
pub(crate) const REWRAP: &str = "codec rewrap, every DEK by another KEK, beside nothing";
/// Its rows.
pub(crate) const RATE: &str = "DEKs a second";
pub(crate) const MEMORY: [&str; 2] = ["resident (VmRSS), most in the first fifth", "the same, most in the last fifth"];
const STORES: [&str; 2] = ["SQLite", "PostgreSQL"];
/// How often memory is read.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// On each database once: a store can be rewrapped once.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let database = postgres::Server::start();
    let projects = setting.projects()[2];
    for (index, store) in STORES.into_iter().enumerate() {
        let url = if index == 0 {
            let path = setting.scratch.path().join("rewrap.db");
            block_on(fill_sqlite(setting, &path, projects))?;
            format!("sqlite:{}", path.display())
        } else {
            let url = block_on(async { Ok(database.database().await) })?;
            block_on(fill_postgres(setting, &url, projects))?;
            url
        };
        let dir = setting.scratch.path().join(format!("rewrap-{store}"));
        std::fs::create_dir_all(&dir)?;
        let (rate, memory) = rewrap(setting, &url, &dir, projects)?;
        let load = format!("{} projects, {store}", count(projects));
        let without = "nothing: a record for each DEK, fsynced before its row, and every DEK opened again and compared";
        report.rows.push(Row::new(REWRAP, RATE, &load, "/s", Samples(vec![rate])).without(without));
        for (what, most) in MEMORY.into_iter().zip(memory) {
            report.rows.push(Row::new(REWRAP, what, &load, "MB", Samples(vec![most])).without("nothing"));
        }
    }
    Ok(())
}

/// The rate that it says, and the most memory that it took in its first and in its last fifth.
fn rewrap(setting: &Setting, url: &str, dir: &Path, projects: usize) -> anyhow::Result<(f64, [f64; 2])> {
    let mut child = Command::new(setting.bin.join("codec"))
        .args(["rewrap", "--audit-dir", "audit"])
        .current_dir(dir)
        .env("KEK_SECRET", &*Kek::generate()?.encode_base64())
        .env("KEK_SECRET_RETAINED", &setting.kek)
        .env("DATABASE_URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut samples = Vec::new();
    while child.try_wait()?.is_none() {
        samples.extend(resident_mb(&child));
        std::thread::sleep(LOOK_EVERY);
    }
    let mut said = String::new();
    child.stdout.take().context("piped")?.read_to_string(&mut said)?;
    ensure!(child.wait()?.success(), "codec rewrap: {said}");
    ensure!(said.contains(&format!("{projects} DEKs wrapped by the primary KEK")), "{said}");
    let rate = said.lines().find_map(|line| line.strip_suffix(" a second")?.rsplit(' ').next()?.parse().ok());
    let fifth = samples.len().div_ceil(5);
    let most = |samples: &[f64]| samples.iter().copied().fold(0.0, f64::max);
    let memory = [most(&samples[..fifth]), most(&samples[samples.len() - fifth..])];
    Ok((rate.with_context(|| format!("no rate: {said}"))?, memory))
}

/// None once it has ended.
fn resident_mb(child: &Child) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(kib.trim().trim_end_matches(" kB").parse::<f64>().ok()? * 1024.0 / 1e6)
}
