//! `codec config`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use origan_codec_host::crypto::KekUnavailable;

use super::Setting;
use crate::app::{CompilerProcess, Secrets};
use crate::keys::KekProofError;
use crate::plugins::Plugins;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Read the configuration and the secrets as `serve` would, and say whether they are good. Touches nothing.
    Check,
}

pub(super) async fn run(command: Command, setting: Setting) -> anyhow::Result<ExitCode> {
    let Command::Check = command;
    let Setting { config, environment, .. } = setting;
    let secrets = Secrets::load(&config, environment)?;
    let plugins =
        Plugins::check(&config, Arc::new(CompilerProcess::on_this_runtime()), secrets.kek.key_provider()).await?;
    let refused = plugins.iter().filter(|plugin| plugin.outcome.is_err()).count();
    // A key provider that would not go live is told of with the others.
    if refused == 0 || secrets.kek.key_provider().is_none() {
        match secrets.kek.try_out().await {
            Err(KekProofError::Unavailable(KekUnavailable::Never(why))) => {
                return Err(secrets.kek.misconfigured(why).into());
            }
            tried => tried?,
        }
    }
    match refused {
        0 => println!("the configuration is good"),
        _ => println!("{refused} of its {} plugins would not go live", plugins.len()),
    }
    println!("  listens on {}", config.server.listen);
    println!("  data in {}, journal in {}", config.data_dir.display(), config.journal_dir().display());
    println!("  KEK {}", secrets.kek.name());
    println!("  callers: {}", config.callers.len());
    for plugin in &plugins {
        match &plugin.outcome {
            Ok(sha256) => println!("  {}: sha-256 {sha256}", plugin.what),
            Err(why) => println!("  {}: REFUSED: {why}", plugin.what),
        }
    }
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
