//! The benchmark runs, and its table has all its rows. What they say of a debug build means nothing, and nothing here looks at it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::root;

/// Every server that answers `/decrypt-value`.
const SERVERS: [&str; 12] = [
    "codec, fsync",
    "codec, fsync, 2 policies",
    "codec, os",
    "codec, os, 1 policy",
    "codec, os, 2 policies",
    "codec, os, 5 policies",
    "codec, os, optional sink",
    "codec, os, required sink",
    "Node service",
    "Node cluster of 2",
    "axum echo",
    "axum echo and one fsync",
];
/// Those that answer the other calls.
const FEW: [&str; 5] = ["codec, fsync", "codec, os", "Node service", "Node cluster of 2", "axum echo"];

/// Heading, and then what stands in the first two columns of each row.
fn expected() -> Vec<(&'static str, Vec<(String, String)>)> {
    let each = |names: &[&str], at: &[&str]| {
        at.iter().flat_map(|at| names.iter().map(|name| ((*name).to_owned(), (*at).to_owned()))).collect::<Vec<_>>()
    };
    let kinds = [
        "fresh, from the snapshot",
        "fresh, configured for each decision",
        "warm, one instance kept (the service never does)",
    ];
    let loads = ["1 connection", "8 connections", "32 connections", "256 connections"];
    let batches = [FEW.as_slice(), &["AES-256-GCM + base64 in a loop"]].concat();
    let sizes =
        ["1 secret", "20 secrets", "200 secrets", "1,000 secrets"].map(|size| format!("{size}, 32 connections"));
    let sizes: Vec<&str> = sizes.iter().map(String::as_str).collect();
    let stores = ["10 projects", "100 projects", "1,000 projects"].map(|size| format!("{size}, 32 connections"));
    let stores: Vec<&str> = stores.iter().map(String::as_str).collect();
    let memory = ["resident (VmRSS)", "of that anonymous (RssAnon)"];
    let mut process = each(&["start to ready", "start to every plugin live"], &["the first start", "started again"]);
    process.extend(each(&memory, &["after 100 requests", "after 1,000 requests"]));
    vec![
        ("One decision, in process", each(&["policy-recency", "policy-access", "policy-window"], &kinds)),
        ("One commit, by itself", each(&["fdatasync"], &["one at a time"])),
        ("/decrypt-value, one value", each(&SERVERS, &loads)),
        ("/encrypt", each(&FEW, &["32 connections"])),
        ("/decrypt-dek", each(&FEW, &["32 connections"])),
        ("/decrypt-all", each(&batches, &sizes)),
        (
            "/decrypt-value under a wrapped DEK",
            each(&["codec, os, every DEK cached", "codec, os, no DEK cached"], &["500 projects, 32 connections"]),
        ),
        ("/decrypt-value that must ask the store", each(&["codec, os, SQLite", "codec, os, PostgreSQL"], &stores)),
        (
            "codec rewrap",
            each(
                &["DEKs a second", "resident (VmRSS), most in the first fifth", "the same, most in the last fifth"],
                &["1,000 projects, SQLite", "1,000 projects, PostgreSQL"],
            ),
        ),
        ("The process, with five plugins", process),
        (
            "/decrypt-value, paced: calls begin when they are due",
            each(&["codec, fsync, 2 policies", "axum echo and one fsync", "axum echo"], &["half of the maximal rate"]),
        ),
        (
            "/decrypt-value, paced, beside neighbours",
            each(&["alone", "beside a slow sink", "beside reloads", "beside a hostile policy"], &["200 calls/s"]),
        ),
    ]
}

/// The rows below `heading`: what and at, and whether there is a figure.
fn rows(results: &str, heading: &str) -> Vec<(String, String, bool)> {
    let section = results.split("\n### ").find(|section| section.starts_with(heading)).unwrap_or_default();
    let lines = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells = lines.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| (cells[1].to_owned(), cells[2].to_owned(), !["", "—"].contains(&cells[4]))).collect()
}

#[test]
fn the_benchmark_runs_and_its_table_has_all_its_rows() {
    let bin = Path::new(env!("CARGO_BIN_EXE_codec")).parent().expect("a folder");
    let compare = bin.join("examples/compare");
    assert!(compare.exists() && bin.join("codec-plugin").exists(), "run the tests with `make test`");
    let out = tempfile::TempDir::new().expect("a folder");
    let mut command = Command::new(compare);
    command.arg("--quick").arg("--bin").arg(bin).arg("--out").arg(out.path()).current_dir(root()).stdin(Stdio::null());
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let results = std::fs::read_to_string(out.path().join("RESULTS.md")).expect("RESULTS.md");
    for (heading, rows_expected) in expected() {
        let found = rows(&results, heading);
        assert!(found.iter().all(|(what, at, has_figure)| *has_figure || panic!("{heading}: {what}, {at}: no figure")));
        let mut found: Vec<(String, String)> = found.into_iter().map(|(what, at, _)| (what, at)).collect();
        let mut rows_expected = rows_expected;
        found.sort();
        rows_expected.sort();
        assert_eq!(found, rows_expected, "{heading}");
    }
    let budgets = results.split("## Budgets").nth(1).and_then(|rest| rest.split("## Rows").next()).expect("budgets");
    // No guest is written in these yet.
    let unmeasured: Vec<&str> = budgets.lines().filter(|line| line.contains("not measured")).collect();
    assert_eq!(unmeasured.len(), 2, "{unmeasured:?}");
    for plot in ["throughput.svg", "growth.svg"] {
        let text = std::fs::read_to_string(out.path().join(plot)).expect(plot);
        assert!(text.contains("polyline") && text.contains("codec, os"), "{plot}");
        assert!(!text.contains("not measured"), "{plot}");
    }
}
