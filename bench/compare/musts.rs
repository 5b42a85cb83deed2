//! The budgets of the design, and whether this run keeps them.

use crate::cases::batch::{self, DECRYPT_ALL};
use crate::cases::calls::{DECRYPT_VALUE, load};
use crate::cases::growth::{self, GROWTH};
use crate::cases::neighbours::{self, NEIGHBOURS};
use crate::cases::paced::{HALF, PACED};
use crate::cases::parts::{DECISIONS, DISK, FDATASYNC, FRESH, POLICIES};
use crate::cases::process::{AGAIN, FIRST, PROCESS, READY, RESIDENT, after};
use crate::figures::{self, number};
use crate::launches::{ECHO, ECHO_FSYNC, FSYNC, FSYNC_TWO, NODE, OS, OS_TWO};
use crate::report::{Report, Row, columns};
use crate::setting::Setting;

/// What counts as flat, or as linear: within a quarter, for machines are noisy.
const FLAT: f64 = 1.25;

/// One budget.
#[derive(Debug)]
pub(crate) struct Must {
    what: String,
    unit: &'static str,
    bounds: Bounds,
    /// None: not measured in this run.
    found: Option<f64>,
}

/// The must, and the goal where there is one.
#[derive(Debug, Clone, Copy)]
enum Bounds {
    AtLeast(f64, f64),
    AtMost(f64, f64),
    NoMoreThan(f64),
}

impl Must {
    /// Whether it holds; none if it was not measured.
    fn holds(&self) -> Option<bool> {
        self.found.map(|found| match self.bounds {
            Bounds::AtLeast(must, _) => found >= must,
            Bounds::AtMost(must, _) | Bounds::NoMoreThan(must) => found <= must,
        })
    }

    /// None if there is none, too.
    fn reaches_the_goal(&self) -> Option<bool> {
        let found = self.found?;
        match self.bounds {
            Bounds::AtLeast(_, goal) => Some(found >= goal),
            Bounds::AtMost(_, goal) => Some(found <= goal),
            Bounds::NoMoreThan(_) => None,
        }
    }
}

/// All of them.
pub(crate) fn of(report: &Report, setting: &Setting) -> Vec<Must> {
    use Bounds::{AtLeast, AtMost, NoMoreThan};
    let find = |case: &str, what: &str, load: &str| report.find(case, what, load);
    let ratio = |row: Option<&Row>, other: &str| row.and_then(|row| row.ratio(other)).map(|ratios| ratios.median());
    let p50 = |row: Option<&Row>| row.and_then(|row| row.p50_us.as_ref()).map(|samples| samples.median());
    let figure = |row: Option<&Row>| row.map(|row| row.figures.median());
    let value = |what: &str, connections: usize| find(DECRYPT_VALUE, what, &load(connections));
    let mut musts = Vec::new();
    let mut must = |what: &str, unit, bounds, found| musts.push(Must { what: what.to_owned(), unit, bounds, found });

    let (fsync, os) = (value(FSYNC, 256), value(OS, 32));
    must(
        "`/decrypt-value`, fsync, 256 connections, against Node without audit",
        "×",
        AtLeast(2.5, 4.0),
        ratio(fsync, NODE),
    );
    must("the same against the echo", "×", AtLeast(0.5, 0.9), ratio(fsync, ECHO));
    must("`/decrypt-value`, os, 32 connections, against Node without audit", "×", AtLeast(4.0, 6.0), ratio(os, NODE));
    must("the same against the echo", "×", AtLeast(0.65, 0.9), ratio(os, ECHO));
    let commit = p50(find(DISK, FDATASYNC, "one at a time"));
    let added = p50(value(FSYNC, 1)).zip(p50(value(OS, 1))).map(|(fsync, os)| fsync - os);
    let commits = added.zip(commit).map(|(added, commit)| added / commit);
    must("latency that the fsynced journal adds, 1 connection", "commits", AtMost(2.0, 1.2), commits);
    must("two policies against none, os, 32 connections", "×", AtLeast(0.6, 0.9), ratio(value(OS_TWO, 32), OS));
    for (count, least, goal) in [(20, 6.0, 9.0), (1_000, 10.0, 15.0)] {
        let found = ratio(find(DECRYPT_ALL, OS, &batch::size(count)), NODE);
        must(
            &format!("`/decrypt-all` of {}, os, against Node", figures::count(count)),
            "×",
            AtLeast(least, goal),
            found,
        );
    }
    for policy in POLICIES {
        let found = figure(find(DECISIONS, policy, FRESH));
        must(&format!("one decision of {policy}, fresh, in process"), "µs", AtMost(8.0, 3.0), found);
    }
    for (language, policy, most) in [("JavaScript", "policy-recency-js", 0.5), ("Python", "policy-recency-py", 1.5)] {
        let found = figure(find(DECISIONS, policy, FRESH)).map(|us| us / 1e3);
        must(&format!("one decision in {language}"), "ms", AtMost(most, 0.1), found);
    }
    let memory = |part: u64| figure(find(PROCESS, RESIDENT, &after(setting.requests() / part)));
    must("resident memory with five plugins, after all requests", "MB", AtMost(50.0, 30.0), memory(1));
    let grown = memory(1).zip(memory(10)).map(|(end, begin)| end / begin);
    must("the same against a tenth of the requests: flat", "×", NoMoreThan(FLAT), grown);
    for at in [AGAIN, FIRST] {
        let what = format!("start to ready with five plugins, {at}");
        must(&what, "ms", AtMost(500.0, 100.0), figure(find(PROCESS, READY, at)));
    }
    let [_, _, most] = setting.projects();
    for store in growth::STORES {
        let found = ratio(find(GROWTH, store, &growth::size(most)), growth::FEWEST).map(|ratio| 1.0 / ratio);
        let what = format!("cost with {} projects against {}, {store}: flat", figures::count(most), growth::FEWEST);
        must(&what, "×", NoMoreThan(FLAT), found);
    }
    let cost = |count: usize| figure(find(DECRYPT_ALL, OS, &batch::size(count))).map(|rate| 1.0 / rate);
    let [one, _, many, most] = setting.variables();
    let steps = cost(one).zip(cost(many)).zip(cost(most));
    let bend = steps.map(|((at_one, at_many), at_most)| {
        ((at_most - at_one) / (most - one) as f64) / ((at_many - at_one) / (many - one) as f64)
    });
    must("cost of one more variable, up to 1,000 against up to 200, os: linear", "×", NoMoreThan(FLAT), bend);
    let found = ratio(find(PACED, FSYNC_TWO, HALF), ECHO_FSYNC);
    must(
        "p99 at half of the maximal rate, fsync, 2 policies, against the echo with one fsync",
        "×",
        NoMoreThan(3.0),
        found,
    );
    let rate = neighbours::rate(setting);
    for name in &neighbours::ALL[1..] {
        let found = ratio(find(NEIGHBOURS, name, &rate), neighbours::ALL[0]);
        must(&format!("p99 of honest calls {name}, against alone"), "×", NoMoreThan(1.2), found);
    }
    musts
}

/// As Markdown.
pub(crate) fn table(musts: &[Must]) -> String {
    let said = |holds: Option<bool>| holds.map_or("", |holds| if holds { "yes" } else { "**no**" });
    let mut lines = vec![["budget", "must", "goal", "found", "must holds", "goal reached"].map(str::to_owned)];
    for must in musts {
        let with_unit = |value: f64| format!("{} {}", number(value), must.unit);
        let (least, goal) = match must.bounds {
            Bounds::AtLeast(least, goal) => (format!("≥ {}", with_unit(least)), format!("≥ {}", with_unit(goal))),
            Bounds::AtMost(most, goal) => (format!("≤ {}", with_unit(most)), format!("≤ {}", with_unit(goal))),
            Bounds::NoMoreThan(most) => (format!("≤ {}", with_unit(most)), String::new()),
        };
        lines.push([
            must.what.clone(),
            least,
            goal,
            must.found.map_or_else(|| "not measured".into(), with_unit),
            said(must.holds()).to_owned(),
            said(must.reaches_the_goal()).to_owned(),
        ]);
    }
    columns(&lines)
}
