//! On what, with what and how it was measured.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::setting::Setting;

/// As a list in Markdown.
pub(crate) fn described(setting: &Setting) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let values =
        |key: &str| cpu.lines().filter(|line| line.starts_with(key)).filter_map(|line| line.split_once(": ")).count();
    let model = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        memory.lines().next().and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<f64>().ok());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let build = if setting.bin.file_name().is_some_and(|name| name == "release") {
        "release"
    } else {
        "debug: no figure means anything"
    };
    let mut text = String::new();
    let _ = writeln!(
        text,
        "- machine: {} × {}, {:.0} GB of memory; everything on it, over loopback, the load generator too",
        values("processor"),
        model.map_or("unknown processor", |(_, model)| model),
        kib.unwrap_or_default() * 1024.0 / 1e9
    );
    let _ = writeln!(text, "- kernel: Linux {}", kernel.trim());
    let _ = writeln!(text, "- codec: {} ({build})", env!("CARGO_PKG_VERSION"));
    for (name, program, argument) in
        [("rustc", Path::new("rustc"), "-V"), ("Node", &*setting.node(), "--version"), ("wrk", Path::new("wrk"), "-v")]
    {
        let _ = writeln!(text, "- {name}: {}", first_line(program, argument));
    }
    let quick = if setting.quick { " --quick" } else { "" };
    let (pairs, seconds) = (setting.pairs, setting.each.as_secs_f64());
    let _ = writeln!(text, "- command: `make bench`, which runs `compare --pairs {pairs} --seconds {seconds}{quick}`");
    text
}

fn first_line(program: &Path, argument: &str) -> String {
    // wrk says its version and ends with 1.
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").split(" Copyright").next().unwrap_or_default().to_owned()
}
