//! `codec audit`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::{Setting, keys::progress_bar};
use crate::app;
use crate::audit::Receipt;
use crate::audit::cursor::Cursor;
use crate::audit::reader::{Verification, journal_bytes, verify};

/// How often a followed journal is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

#[derive(Subcommand)]
pub(super) enum Command {
    /// Check every hash and every link of the journal; it may be growing meanwhile. Needs the KEK.
    Verify(Verify),
    /// Print the last records, one JSON object a line.
    Tail(Tail),
}

#[derive(Args)]
pub(super) struct Verify {
    /// An X-Audit-Receipt whose record must be there; can be given several times.
    #[arg(long = "receipt", value_name = "CHAIN:SEQ:HASH")]
    receipts: Vec<Receipt>,
    /// Another journal than the service's: what a command was given as `--audit-dir`.
    #[arg(long, value_name = "DIR")]
    audit_dir: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Tail {
    /// How many records.
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: usize,
    /// Go on printing what comes.
    #[arg(short, long)]
    follow: bool,
    /// Another journal than the service's: what a command was given as `--audit-dir`.
    #[arg(long, value_name = "DIR")]
    audit_dir: Option<PathBuf>,
}

pub(super) async fn run(command: Command, setting: &Setting) -> anyhow::Result<ExitCode> {
    match command {
        Command::Verify(command) => verify_journal(&command, setting).await,
        Command::Tail(command) => tail(&command, setting),
    }
}

async fn verify_journal(command: &Verify, setting: &Setting) -> anyhow::Result<ExitCode> {
    let kek = app::kek_for_command(&setting.config, &setting.environment).await?;
    let ring = app::ring_for_the_journal(&setting.config, &kek).await?;
    let dir = command.audit_dir.clone().unwrap_or_else(|| setting.config.journal_dir());
    let context = || format!("cannot read the journal in {}", dir.display());
    let bar = progress_bar(journal_bytes(&dir).with_context(context)?, "{bytes} of {total_bytes}");
    let report = verify(&dir, &ring, &command.receipts, |bytes| bar.inc(bytes)).with_context(context)?;
    bar.finish_and_clear();
    print_report(&report, command.receipts.len());
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_report(report: &Verification, receipts: usize) {
    println!("{} records in {} segments", report.records, report.segments);
    for (chain, first, last) in &report.chains {
        println!("chain {chain}: records {first} to {}", last.seq);
    }
    if report.torn_bytes > 0 {
        println!("{} bytes of an unfinished record at the end: a crash, or it is being written", report.torn_bytes);
    }
    for aside in &report.set_aside {
        println!("set aside at a start: {} bytes of {}, kept as {}", aside.torn_bytes, aside.segment, aside.kept_as);
    }
    for (first, last) in &report.missing_segments {
        println!("MISSING: segment {first}{}", if first == last { String::new() } else { format!(" to {last}") });
    }
    for (path, fault) in &report.faults {
        println!("BROKEN: {}: {fault}", path.display());
    }
    for receipt in &report.unmatched {
        println!("NO RECORD for receipt {receipt}");
    }
    if receipts > report.unmatched.len() {
        println!("{} of {receipts} receipts have their record", receipts - report.unmatched.len());
    }
    println!("{}", if report.is_sound() { "the journal is sound" } else { "THE JOURNAL IS NOT SOUND" });
}

fn tail(command: &Tail, setting: &Setting) -> anyhow::Result<ExitCode> {
    let dir = command.audit_dir.clone().unwrap_or_else(|| setting.config.journal_dir());
    let context = || format!("cannot read the journal in {}", dir.display());
    let mut cursor = Cursor::before_last(&dir, command.lines).with_context(context)?;
    let mut out = std::io::stdout().lock();
    loop {
        while let Some(mut line) = cursor.next_line().with_context(context)? {
            line.push(b'\n');
            if out.write_all(&line).is_err() {
                // Whoever read us has gone.
                return Ok(ExitCode::SUCCESS);
            }
        }
        if !command.follow {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(FOLLOW_EVERY);
    }
}
