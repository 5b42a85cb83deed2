//! `codec config`.

use std::process::ExitCode;

use clap::Subcommand;

use super::Setting;
use crate::app::Secrets;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Read the configuration and the secrets as `serve` would, and say whether they are good. Touches nothing.
    Check,
}

pub(super) fn run(command: Command, setting: Setting) -> anyhow::Result<ExitCode> {
    let Command::Check = command;
    let Setting { config, environment, .. } = setting;
    let secrets = Secrets::load(&config, environment)?;
    println!("the configuration is good");
    println!("  listens on {}", config.server.listen);
    println!("  data in {}, journal in {}", config.data_dir.display(), config.journal_dir().display());
    println!("  KEK {}", secrets.ring.primary_id());
    println!("  callers: {}", config.callers.len());
    Ok(ExitCode::SUCCESS)
}
