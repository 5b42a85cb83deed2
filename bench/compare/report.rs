//! The table, and `RESULTS.md`.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context as _;

use crate::figures::{Samples, number};
use crate::machine;
use crate::musts::{self, Must};
use crate::setting::Setting;

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    /// What there is to know beside the rows.
    pub(crate) notes: Vec<String>,
}

/// One thing that was measured, turn by turn.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) what: String,
    /// Under which load, or at which size.
    pub(crate) load: String,
    pub(crate) unit: &'static str,
    pub(crate) figures: Samples,
    pub(crate) p50_us: Option<Samples>,
    pub(crate) p99_us: Option<Samples>,
    /// Pair by pair, this divided by others.
    pub(crate) over: Vec<(String, Samples)>,
    /// What the figure leaves out.
    pub(crate) without: String,
    /// The load or the size, for the plots.
    pub(crate) at: f64,
}

impl Row {
    pub(crate) fn new(case: &str, what: &str, load: &str, unit: &'static str, figures: Samples) -> Self {
        Self {
            case: case.to_owned(),
            what: what.to_owned(),
            load: load.to_owned(),
            unit,
            figures,
            p50_us: None,
            p99_us: None,
            over: Vec::new(),
            without: String::new(),
            at: f64::NAN,
        }
    }

    pub(crate) fn without(mut self, without: &str) -> Self {
        without.clone_into(&mut self.without);
        self
    }

    pub(crate) fn at(mut self, at: f64) -> Self {
        self.at = at;
        self
    }

    pub(crate) fn over(mut self, other: &str, ratios: Samples) -> Self {
        self.over.push((other.to_owned(), ratios));
        self
    }

    /// The ratio to `other`.
    pub(crate) fn ratio(&self, other: &str) -> Option<&Samples> {
        self.over.iter().find(|(name, _)| name == other).map(|(_, ratios)| ratios)
    }
}

impl Report {
    /// One row.
    pub(crate) fn find(&self, case: &str, what: &str, load: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.case == case && row.what == what && row.load == load)
    }

    /// The rows of one line in a plot.
    pub(crate) fn series<'a>(&'a self, case: &'a str, what: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.case == case && row.what == what)
    }

    /// Every row, case by case, as Markdown whose columns stand below each other.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let mut cases: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !cases.contains(&&*row.case) {
                cases.push(&row.case);
            }
        }
        for case in cases {
            let mut lines = vec![
                [
                    "",
                    "at",
                    "minimum",
                    "median",
                    "maximum",
                    "",
                    "p50 µs",
                    "p99 µs",
                    "ratio of pairs: median (min–max)",
                    "leaves out",
                ]
                .map(str::to_owned),
            ];
            lines.extend(self.rows.iter().filter(|row| row.case == case).map(cells));
            let _ = write!(text, "### {case}\n\n{}\n", columns(&lines));
        }
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text
    }

    /// Writes `RESULTS.md`.
    pub(crate) fn write(&self, setting: &Setting, musts: &[Must]) -> anyhow::Result<()> {
        let mut text = String::from(
            "# Results\n\nWritten by `make bench`; [docs/BENCHMARKS.md](../docs/BENCHMARKS.md) says what the rows mean.\n\n",
        );
        text += &machine::described(setting);
        let _ = write!(text, "\n## Budgets\n\n{}", musts::table(musts));
        let _ = write!(text, "\n## Rows\n\n{}", self.table());
        text += "\n![throughput and latency by connections](throughput.svg)\n\n![cost against growth](growth.svg)\n";
        fs::create_dir_all(&setting.out)?;
        fs::write(setting.out.join("RESULTS.md"), text).context("RESULTS.md")
    }
}

fn cells(row: &Row) -> [String; 10] {
    let latency = |samples: &Option<Samples>| samples.as_ref().map(|s| number(s.median())).unwrap_or_default();
    let over = row
        .over
        .iter()
        .map(|(other, ratios)| format!("{:.2} × {other} ({:.2}–{:.2})", ratios.median(), ratios.min(), ratios.max()));
    let Samples(figures) = &row.figures;
    let (min, max) =
        if figures.len() > 1 { (number(row.figures.min()), number(row.figures.max())) } else { Default::default() };
    [
        row.what.clone(),
        row.load.clone(),
        min,
        number(row.figures.median()),
        max,
        row.unit.to_owned(),
        latency(&row.p50_us),
        latency(&row.p99_us),
        over.collect::<Vec<_>>().join("; "),
        row.without.clone(),
    ]
}

/// A Markdown table; the first line is its head.
pub(crate) fn columns<const N: usize>(lines: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0).max(3));
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text += "|\n";
        if index == 0 {
            for width in widths {
                let _ = write!(text, "|{:-<1$}", "", width + 2);
            }
            text += "|\n";
        }
    }
    text
}
