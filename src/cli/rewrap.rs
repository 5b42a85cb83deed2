//! `codec rewrap`: every DEK by the primary KEK.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use origan_codec_host::crypto::KeyRing;

use super::Setting;
use super::backup::lines;
use super::keys::progress_bar;
use crate::app;
use crate::audit::{Journal, Record};
use crate::keys::{Faults, KeysError, Rewrapped, Rewrapper, Walk};
use crate::store::{DekStore, RowPlace};

/// Rows of one transaction, and of one commit of the journal.
const STRETCH: u32 = 256;
/// Rows that a dry run tries out.
const SAMPLE: u32 = 256;
/// Attempts at a stretch while the store, the journal or a key service gives no answer: about two minutes.
const ATTEMPTS: u32 = 30;
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// For a key service that gave some DEKs no answer: longer than it may ask to be left alone.
const PATIENCE: Duration = Duration::from_secs(75);

/// Wrap every DEK by the primary KEK. It can be stopped anywhere and run again, beside services and other runs of it; no value changes.
#[derive(Args)]
pub(super) struct Rewrap {
    /// Say how many DEKs there are to wrap, try some, and estimate how long it takes. Change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Unwrap every DEK, wrap it by the primary KEK, unwrap that and compare. Change nothing.
    #[arg(long, conflicts_with = "dry_run")]
    shadow: bool,
    /// DEKs a second at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// DEKs worked on at once, where a KEK is outside.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    at_once: u32,
    /// Journal for the records, if a service writes the usual one.
    #[arg(long, value_name = "DIR")]
    audit_dir: Option<std::path::PathBuf>,
}

pub(super) async fn run(command: Rewrap, setting: Setting) -> anyhow::Result<ExitCode> {
    let mut config = setting.config;
    if let Some(dir) = &command.audit_dir {
        config.audit.dir = Some(dir.clone());
    }
    let writes = !command.dry_run && !command.shadow;
    let kek = app::kek_for_command(&config, &setting.environment).await?;
    let store = if writes {
        app::prepare_folders(&config)?;
        app::open_store(&config).await.context("a service that runs on it rewraps by `POST /rewrap-all`")?
    } else {
        app::open_store_to_read(&config).await?
    };
    let ring = if writes { kek.prove(&*store).await? } else { kek.check(Some(&*store)).await? };
    let journal = match writes {
        false => None,
        true => {
            let settings = app::journal_settings(&config);
            Some(Journal::open(&settings, &ring).context("what is wrapped anew is recorded; see --audit-dir")?)
        }
    };
    let total = left_over(&*store, &ring).await?;
    let at_once = command.at_once as usize;
    let rewrapper = Rewrapper { ring, store, journal: journal.clone(), at_once, patience: PATIENCE };
    let outcome = match command.dry_run {
        true => estimate(&rewrapper, total, command.rate).await,
        false => {
            let mut report = Report::default();
            let walked = walk(&rewrapper, total, command.rate, &mut report).await;
            report.print(command.shadow);
            walked.map(|()| report.refused.count == 0)
        }
    };
    if let Some(journal) = journal {
        journal.close().await;
    }
    Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// DEKs under another KEK than the primary.
async fn left_over(store: &dyn DekStore, ring: &KeyRing) -> anyhow::Result<u64> {
    let primary = ring.primary_id().to_string();
    let mut total = 0;
    for (kek_id, count) in store.rows_by_kek().await? {
        if kek_id == primary {
            println!("{count} DEKs are under the primary KEK {kek_id} already");
        } else {
            println!("{count} DEKs are under KEK {kek_id}");
            total += count;
        }
    }
    Ok(total)
}

async fn estimate(rewrapper: &Rewrapper, total: u64, rate: Option<u32>) -> anyhow::Result<bool> {
    let started = Instant::now();
    let mut report = Report::default();
    report.add(rewrapper.walk(&RowPlace::default(), SAMPLE, &cause()).await?.rows);
    let (tried, took) = (report.rows(), started.elapsed());
    report.print(true);
    if tried > 0 {
        let measured = tried as f64 / took.as_secs_f64().max(1e-6);
        let expected = rate.map_or(measured, |rate| measured.min(f64::from(rate)));
        let seconds = Duration::from_secs((total as f64 / expected).ceil() as u64);
        println!("{total} DEKs at {expected:.0} a second: about {}, and what writing takes", human(seconds));
    }
    println!("nothing was changed");
    Ok(report.refused.count == 0)
}

fn human(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

fn cause() -> Record {
    Record::of_command("DEK_REWRAP", "rewrap")
}

async fn walk(rewrapper: &Rewrapper, total: u64, rate: Option<u32>, report: &mut Report) -> anyhow::Result<()> {
    let bar = progress_bar(total, "{human_pos} of {human_len} DEKs, {per_sec}, {eta} to go");
    let (started, cause) = (Instant::now(), cause());
    let stretch = rate.map_or(STRETCH, |rate| rate.min(STRETCH));
    let mut place = Some(RowPlace::default());
    while let Some(at) = place {
        let walked = patiently(rewrapper, &at, stretch, &cause)
            .await
            .with_context(|| format!("it stopped after {}; run it again, it goes on where it was", report.done))?;
        place = walked.next;
        report.add(walked.rows);
        bar.set_position(report.rows());
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(report.done as f64 / f64::from(rate));
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        }
    }
    bar.finish_and_clear();
    report.took = started.elapsed();
    Ok(())
}

/// What may pass is waited for.
async fn patiently(rewrapper: &Rewrapper, place: &RowPlace, count: u32, cause: &Record) -> Result<Walk, KeysError> {
    let mut pause = Duration::from_millis(50);
    let mut attempts = 0;
    loop {
        match rewrapper.walk(place, count, cause).await {
            Err(KeysError::Kek(_) | KeysError::Store(_) | KeysError::Audit(_)) if attempts < ATTEMPTS => {
                attempts += 1;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            outcome => return outcome,
        }
    }
}

#[derive(Default)]
struct Report {
    done: u64,
    already: u64,
    refused: Faults,
    took: Duration,
}

impl Report {
    fn add(&mut self, rows: Vec<(RowPlace, Result<Rewrapped, KeysError>)>) {
        for (place, outcome) in rows {
            match outcome {
                Ok(Rewrapped::Done) => self.done += 1,
                Ok(Rewrapped::Already) => self.already += 1,
                Err(why) => self.refused.add(place, format!("{why}; it is as it was")),
            }
        }
    }

    /// Rows that were looked at.
    fn rows(&self) -> u64 {
        self.done + self.already + self.refused.count
    }

    fn print(&self, is_shadow: bool) {
        let how = if is_shadow { "open to the same under the primary KEK" } else { "wrapped by the primary KEK" };
        println!("{} DEKs {how}", self.done);
        if self.already > 0 {
            println!("{} were wrapped by somebody else meanwhile", self.already);
        }
        if !self.took.is_zero() {
            println!("in {:.1} s, {:.0} a second", self.took.as_secs_f64(), self.done as f64 / self.took.as_secs_f64());
        }
        print!("{}", lines(&self.refused, "REFUSED"));
    }
}
