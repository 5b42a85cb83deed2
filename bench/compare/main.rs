//! `make bench`: codec beside what people would use instead, in one run on one machine.
//!
//! Servers run on loopback and take turns (A B A B …); ratios are made pair by pair, and their medians count. `docs/BENCHMARKS.md` says
//! what each row means.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command that prints a table")]

mod alternate;
mod cases;
mod client;
mod figures;
mod launches;
mod machine;
mod musts;
mod paced;
mod plots;
#[expect(unreachable_pub, clippy::expect_used, reason = "the tests' own")]
#[path = "../../tests/support/ports.rs"]
mod ports;
mod report;
mod server;
mod setting;
mod wrk;

use std::time::Instant;

use anyhow::Context as _;
use clap::Parser as _;

use report::Report;
use setting::{Args, Setting};

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let setting = Setting::new(&args)?;
    let mut report = Report::default();
    for (name, run) in cases::ALL {
        if args.only.is_empty() || args.only.iter().any(|only| only == name) {
            let begun = Instant::now();
            run(&setting, &mut report).with_context(|| format!("case {name}"))?;
            eprintln!("compare: {name} took {:.1} s", begun.elapsed().as_secs_f64());
        }
    }
    let musts = musts::of(&report, &setting);
    println!("{}", report.table());
    println!("{}", musts::table(&musts));
    report.write(&setting, &musts)?;
    plots::write(&report, &setting)?;
    eprintln!("compare: RESULTS.md, throughput.svg and growth.svg are written");
    Ok(())
}
