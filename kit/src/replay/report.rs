//! What a replay has come to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::journal::End;
use super::record::{Missing, Record};
use super::verdict::{Difference, Was, Would};
use crate::plugin::printable;

/// Counts, and the first differences.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Records about which the policy was asked, or would have been if they said enough.
    replayed: u64,
    /// When the first and the last of these began.
    from: Option<String>,
    to: Option<String>,
    same: u64,
    now_denied: u64,
    now_allowed: u64,
    now_abstains: u64,
    no_answer: u64,
    not_decidable: BTreeMap<&'static str, u64>,
    skipped: BTreeMap<&'static str, u64>,
    segments: u64,
    torn_ends: u64,
    changes: Vec<Change>,
    /// Differences that are counted only.
    unlisted: u64,
    #[serde(skip)]
    limit: usize,
}

/// Why a record is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skipped {
    /// Policies are not asked about it.
    NotJudged,
    /// This policy is not asked about it.
    OutOfScope,
    /// The caller's configuration refused it, before any policy was asked.
    NotThisCallers,
    /// The policy with which it is compared was not asked.
    NotAsked,
}

/// One record on which the policy decides otherwise.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    time: String,
    seq: u64,
    caller: String,
    operation: String,
    project: Option<String>,
    was: String,
    would: String,
    reason: String,
    difference: Difference,
}

impl Change {
    pub(super) fn of(record: &Record, was: &Was, would: &Would, difference: Difference) -> Self {
        Self {
            time: record.time.clone(),
            seq: record.seq,
            caller: record.caller.name.clone(),
            operation: record.operation.clone(),
            project: record.project_id.clone(),
            was: was.text.clone(),
            would: would.text(),
            reason: would.reason(),
            difference,
        }
    }

    /// Everything in it was written by others.
    fn text(&self) -> String {
        let project = self.project.as_deref().unwrap_or("(no project)");
        let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        let Self { time, seq, caller, operation, was, would, .. } = self;
        printable(&format!("{time} {seq} {caller} {operation} {project}  {was} → {would}{reason}"))
    }
}

impl Report {
    /// Lists `limit` differences, and counts all.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    pub(super) fn skip(&mut self, why: Skipped) {
        *self.skipped.entry(why.text()).or_default() += 1;
    }

    pub(super) fn cannot_tell(&mut self, record: &Record, missing: Missing) {
        self.replays(record);
        *self.not_decidable.entry(missing.text()).or_default() += 1;
    }

    pub(super) fn same(&mut self, record: &Record) {
        self.replays(record);
        self.same += 1;
    }

    pub(super) fn differs(&mut self, record: &Record, difference: Difference, change: impl FnOnce() -> Change) {
        self.replays(record);
        *match difference {
            Difference::NowDenied => &mut self.now_denied,
            Difference::NowAllowed => &mut self.now_allowed,
            Difference::NowAbstains => &mut self.now_abstains,
            Difference::NoAnswer => &mut self.no_answer,
        } += 1;
        if self.changes.len() < self.limit { self.changes.push(change()) } else { self.unlisted += 1 }
    }

    /// How reading went.
    pub(super) fn read(&mut self, end: End) {
        (self.segments, self.torn_ends) = (end.files, end.torn);
    }

    /// For people: the differences, then the counts.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for change in &self.changes {
            text += &format!("{}\n", change.text());
        }
        if self.unlisted > 0 {
            text += &format!("and {} more: --limit lists more of them\n", self.unlisted);
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let period = match (&self.from, &self.to) {
            (Some(from), Some(to)) => printable(&format!(", {from} to {to}")),
            _ => String::new(),
        };
        text += &format!("{} records replayed, of {} segments{period}\n", self.replayed, self.segments);
        text += &count(self.same, "same");
        text += &count(self.now_denied, "would now be denied");
        text += &count(self.now_allowed, "would now be allowed");
        if self.now_abstains > 0 {
            text += &count(self.now_abstains, "on which it would now abstain");
        }
        text += &count(self.no_answer, "no answer, which the service takes for a denial");
        text += &count(self.not_decidable.values().sum(), "not decidable");
        for (why, number) in &self.not_decidable {
            let _ = writeln!(text, "            {number}: {why}");
        }
        for (why, number) in &self.skipped {
            let _ = writeln!(text, "passed over: {number}: {why}");
        }
        if self.torn_ends > 0 {
            let _ = writeln!(text, "{} segments end in what is no whole record", self.torn_ends);
        }
        text
    }

    fn replays(&mut self, record: &Record) {
        self.replayed += 1;
        self.from.get_or_insert_with(|| record.time.clone());
        self.to = Some(record.time.clone());
    }
}

impl Skipped {
    const fn text(self) -> &'static str {
        match self {
            Self::NotJudged => "no policy is asked about these",
            Self::OutOfScope => "of other actions or projects",
            Self::NotThisCallers => "refused by the caller's own configuration, before any policy",
            Self::NotAsked => "the policy of that name was not asked",
        }
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{number:>10}  {what}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_some_are_listed_and_nothing_moves_the_cursor() {
        let mut report = Report::new(1);
        let json =
            r#"{"seq":7,"time":"2026-01-01T12:00:00Z","operation":"decrypt-all","caller":{"name":"a\u001b[2J"}}"#;
        let record: Record = serde_json::from_str(json).expect("a record");
        for _ in 0..3 {
            report.differs(&record, Difference::NowDenied, || Change {
                time: record.time.clone(),
                seq: record.seq,
                caller: record.caller.name.clone(),
                operation: record.operation.clone(),
                project: None,
                was: "allowed".into(),
                would: "deny too-old".into(),
                reason: "old\nnews".into(),
                difference: Difference::NowDenied,
            });
        }
        report.cannot_tell(&record, Missing::Deployment);
        report.skip(Skipped::NotJudged);
        let text = report.text();
        let first = "2026-01-01T12:00:00Z 7 a\\u{1b}[2J decrypt-all (no project)  allowed → deny too-old: old\\nnews\n";
        assert!(text.starts_with(first), "{text}");
        assert!(text.contains("and 2 more"), "{text}");
        assert!(text.contains("4 records replayed") && text.contains("3  would now be denied\n"), "{text}");
        assert!(text.contains("1: the policy asks for the deployment"), "{text}");
    }
}
