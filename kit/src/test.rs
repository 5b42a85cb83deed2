//! `codec-plugin test`: a plugin's cases, each on an instance of its own.

use anyhow::{Context as _, bail, ensure};
use origan_codec_host::plugin::LogLine;
use origan_codec_host::plugin::cases::CaseOutcome;

use crate::host::with_engines;
use crate::plugin::{PluginArgs, limits_of, printable};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    plugin: PluginArgs,
    /// Only cases with this in their name.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// Runs them; an error if one fails, or there is none.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut plugin = args.plugin.open()?;
    let (file, mut cases) = plugin.cases()?;
    let total = cases.len();
    if let Some(part) = &args.filter {
        cases.retain(|name| name.contains(&**part));
    }
    match (total, cases.len()) {
        (0, _) => bail!("{} has no case: write one [[case]] at least", file.display()),
        (_, 0) => bail!("none of the {total} cases in {} has that in its name", file.display()),
        _ => {}
    }
    // Each case brings settings of its own, or the file's.
    let candidate = plugin.candidate(limits_of(plugin.kind()?), "{}".into());
    let outcomes = with_engines(async |engines| {
        let running = cases.run(engines, &candidate, |outcome| print_case(outcome, &candidate.log.take()));
        running.await.with_context(|| plugin.path.display().to_string())
    })?;
    let failed = outcomes.iter().filter(|outcome| !outcome.complaints.is_empty()).count();
    println!("{} passed, {failed} failed", outcomes.len() - failed);
    ensure!(failed == 0, "{failed} of the cases in {} fail: what each complains of is above", file.display());
    Ok(())
}

/// What the plugin said is of use where it went wrong.
fn print_case(outcome: &CaseOutcome, log: &[LogLine]) {
    if outcome.complaints.is_empty() {
        println!("ok      {}", printable(&outcome.name));
        return;
    }
    println!("FAILED  {}", printable(&outcome.name));
    for line in outcome.complaints.iter().flat_map(|complaint| complaint.lines()) {
        println!("        {}", printable(line));
    }
    for line in log {
        println!("        it logged: {}", log_text(line));
    }
}

fn log_text(line: &LogLine) -> String {
    let fields: String = line.fields.iter().map(|(name, value)| format!(" {name}={value:?}")).collect();
    printable(&format!("{:?}: {}{fields}", line.level, line.message).replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use origan_codec_host::plugin::LogLevel;

    #[test]
    fn a_logged_line_is_one_line() {
        let fields = vec![("at".to_string(), "a\nb".to_string())];
        let line = LogLine { level: LogLevel::Warn, message: "one\ntwo \u{7}".into(), fields };
        assert_eq!(log_text(&line), r#"Warn: one two \u{7} at="a\nb""#);
    }
}
