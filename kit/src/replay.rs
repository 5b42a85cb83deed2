//! `codec-plugin replay`: what a policy would have decided on what the journal has recorded, as a difference.
//!
//! A policy is pure and a record has all that it was told, so nothing but the journal is needed: no store, no keys, no service.

mod journal;
mod record;
mod report;
mod scope;
mod verdict;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use origan_codec_host::plugin::{Kind, PolicyPlugin};

use crate::host::with_engines;
use crate::plugin::{Plugin, limits_of, settings};
use journal::Journal;
use record::Record;
use report::{Change, Report, Skipped};
use scope::Scope;
use verdict::{Difference, Was, Would};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Journals: their folders, or segments of them.
    #[arg(required = true, value_name = "JOURNAL")]
    journals: Vec<PathBuf>,
    /// The policy, a component.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Its settings, a .json or .toml file; without it `{}`.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Let it import WASI, and find nothing there.
    #[arg(long)]
    wasi: bool,
    /// Compare with what the policy of this name decided then. Without it: with what became of the call; a policy that abstains leaves
    /// that as it was.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    scope: Scope,
    /// Differences that are listed; all are counted.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: usize,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Asks the policy about each record, and prints what would differ.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    args.scope.refuse_unknown_actions()?;
    let journal = Journal::open(&args.journals)?;
    let plugin = Plugin::of_file(&args.policy, args.wasi)?;
    let kind = plugin.kind()?;
    ensure!(kind == Kind::Policy, "{}: a plugin of kind {}; only policies decide", args.policy.display(), kind.name());
    let candidate = plugin.candidate(limits_of(kind), settings::read(args.settings.as_deref())?);
    let report = with_engines(async |engines| {
        let policy = engines.admit_policy(candidate.clone()).await;
        let policy = policy.with_context(|| format!("{} is not admitted", args.policy.display()))?;
        let mut report = Report::new(args.limit);
        let mut lines = journal.lines();
        while let Some(record) = lines.next_record()? {
            args.replay(&policy, &record, &mut report).await;
            // What it logs is nobody's here, and must not pile up.
            drop(candidate.log.take());
        }
        report.read(lines.end());
        Ok(report)
    })?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.text());
    }
    Ok(())
}

impl Args {
    async fn replay(&self, policy: &PolicyPlugin, record: &Record, report: &mut Report) {
        if !record.is_judged() {
            return report.skip(Skipped::NotJudged);
        }
        if !self.scope.applies(record) {
            return report.skip(Skipped::OutOfScope);
        }
        let was = match Was::of(record, self.name.as_deref()) {
            Ok(was) => was,
            Err(skipped) => return report.skip(skipped),
        };
        let asking = record.with_query(policy.needs(), async |query| Would::of(policy.evaluate(query).await));
        match asking.await {
            Err(missing) => report.cannot_tell(record, missing),
            Ok(would) => match Difference::between(&was, &would) {
                None => report.same(record),
                Some(difference) => report.differs(record, difference, || Change::of(record, &was, &would, difference)),
            },
        }
    }
}
