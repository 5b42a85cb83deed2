//! In process: what one decision costs, and what the disk takes for a record.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::figures::{Samples, percentile};
use crate::report::{Report, Row};
use crate::setting::Setting;

/// The case of decisions.
pub(crate) const DECISIONS: &str = "One decision, in process";
/// Policies that ship.
pub(crate) const POLICIES: [&str; 3] = ["policy-recency", "policy-access", "policy-window"];
/// Of policy-recency: the same in other languages, on the same cases. What they are compiled to takes seconds, so each is measured once.
pub(crate) const IN_OTHER_LANGUAGES: [&str; 3] = ["policy-recency-c", "policy-recency-js", "policy-recency-py"];
/// The kind that the service makes.
pub(crate) const FRESH: &str = "fresh, from the snapshot";

/// The case of the disk.
pub(crate) const DISK: &str = "One commit, by itself";
/// Its row.
pub(crate) const FDATASYNC: &str = "fdatasync";

/// As much as one record takes.
const RECORD_BYTES: usize = 512;
/// The file is as long beforehand as the journal makes it.
const FILE_BYTES: usize = 4 << 20;

/// `codec-plugin bench`, once for each pair.
pub(crate) fn decisions(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let mut found: Vec<(&str, String, Samples)> = Vec::new();
    for _ in 0..setting.pairs {
        // All at once only where no figure counts.
        let at_once = if setting.quick { POLICIES.len() } else { 1 };
        for policies in POLICIES.chunks(at_once) {
            let running: Vec<Child> = policies.iter().map(|policy| begin(setting, policy)).collect::<Result<_, _>>()?;
            for (policy, child) in policies.iter().zip(running) {
                for row in measured(child)? {
                    let what = row["what"].as_str().unwrap_or_default();
                    let p50 = row["p50_us"].as_f64().unwrap_or(f64::NAN);
                    match found.iter_mut().find(|(of, kind, _)| of == policy && kind == what) {
                        Some((.., samples)) => samples.0.push(p50),
                        None => found.push((policy, what.to_owned(), Samples(vec![p50]))),
                    }
                }
            }
        }
    }
    // A debug build would compile them for minutes.
    for policy in IN_OTHER_LANGUAGES.into_iter().filter(|_| !setting.quick) {
        for row in measured(begin(setting, policy)?)? {
            let p50 = row["p50_us"].as_f64().unwrap_or(f64::NAN);
            found.push((policy, row["what"].as_str().unwrap_or_default().to_owned(), Samples(vec![p50])));
        }
    }
    for (policy, kind, samples) in found.into_iter().filter(|(_, kind, _)| !kind.starts_with("cold")) {
        report.rows.push(Row::new(DECISIONS, policy, &kind, "µs, median", samples).without("HTTP, audit, look-ups"));
    }
    Ok(())
}

fn begin(setting: &Setting, policy: &str) -> anyhow::Result<Child> {
    let mut command = Command::new(setting.bin.join("codec-plugin"));
    command.args(["bench", "--no-build", "--json", "-n", "2000", "--cases"]);
    let cases = if IN_OTHER_LANGUAGES.contains(&policy) { "policy-recency" } else { policy };
    command.arg(setting.root.join("plugins").join(cases).join("cases.toml"));
    command.arg(setting.plugins.join(policy).with_extension("wasm"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("codec-plugin")
}

fn measured(child: Child) -> anyhow::Result<Vec<Value>> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "codec-plugin: {}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).context("codec-plugin bench --json")?;
    Ok(said["rows"].as_array().cloned().unwrap_or_default())
}

/// A record's bytes into blocks that exist, then `fdatasync`, on the disk that the journals are on.
pub(crate) fn disk(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let file = File::create(setting.scratch.path().join("one-commit"))?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let (mut p50, mut p99) = (Samples::default(), Samples::default());
    for _ in 0..setting.pairs {
        let (begun, mut times, mut at) = (Instant::now(), Vec::new(), 0);
        while begun.elapsed() < setting.each {
            let start = Instant::now();
            file.write_all_at(&[b'x'; RECORD_BYTES], at)?;
            file.sync_data()?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
            at = (at + RECORD_BYTES as u64) % FILE_BYTES as u64;
        }
        times.sort_by(f64::total_cmp);
        p50.0.push(percentile(&times, 50));
        p99.0.push(percentile(&times, 99));
    }
    let mut row =
        Row::new(DISK, FDATASYNC, "one at a time", "µs, median", p50.clone()).without("everything but the disk");
    (row.p50_us, row.p99_us) = (Some(p50), Some(p99));
    report.rows.push(row);
    Ok(())
}
