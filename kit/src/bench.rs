//! `codec-plugin bench`: what a plugin costs on this machine.

mod backend;
mod figures;
mod key_provider;
mod policy;
mod secret_provider;
mod sink;

use std::path::PathBuf;

use origan_codec_host::plugin::Kind;
use serde::Serialize;

use crate::plugin::{PluginArgs, settings};
use figures::Row;

/// Without them the percentiles say little.
const RUNS_MIN: u64 = 2_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    plugin: PluginArgs,
    /// Its settings, a .json or .toml file; without it those of its first case, or `{}`.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// How often each thing is measured, at least 2,000 times.
    #[arg(short, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(RUNS_MIN..))]
    n: u64,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    plugin: String,
    kind: &'static str,
    /// Figures of a debug build mean nothing.
    debug_build: bool,
    /// What it was asked, or given.
    asked: String,
    rows: Vec<Row>,
    /// Of one instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<usize>,
    /// What could not be measured, and what else there is to know.
    notes: Vec<String>,
}

/// Measures, and prints a table.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let plugin = args.plugin.open()?;
    let settings = match (&args.settings, plugin.cases.as_ref().and_then(|(_, cases)| cases.example())) {
        (None, Some(example)) => example.settings(),
        (file, _) => settings::read(file.as_deref())?,
    };
    if cfg!(debug_assertions) && args.json {
        eprintln!("codec-plugin: {DEBUG_BUILD}");
    }
    eprintln!("codec-plugin: measuring {}, {} runs each", plugin.path.display(), args.n);
    let report = match plugin.kind()? {
        Kind::Policy => policy::measure(&plugin, &settings, args.n)?,
        Kind::AuditSink => sink::measure(&plugin, &settings, args.n)?,
        Kind::SecretProvider => secret_provider::measure(&plugin, &settings, args.n)?,
        Kind::KeyProvider => key_provider::measure(&plugin, &settings, args.n)?,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.text());
    }
    Ok(())
}

impl Report {
    fn text(&self) -> String {
        let mut text = String::new();
        if self.debug_build {
            text += &format!("{DEBUG_BUILD}\n\n");
        }
        text += &format!("{} ({}): {}\n\n", self.plugin, self.kind, self.asked);
        text += &figures::table(&self.rows);
        if let Some(bytes) = self.memory_bytes {
            text += &format!("\nmemory of one instance: {bytes} bytes\n");
        }
        for note in &self.notes {
            text += &format!("note: {note}\n");
        }
        text
    }
}

const DEBUG_BUILD: &str = "THIS IS A DEBUG BUILD of codec-plugin: its figures mean nothing. cargo build --release -p origan-codec-kit makes another";
