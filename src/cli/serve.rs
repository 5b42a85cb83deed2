//! `codec serve`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing::info;

use super::Setting;
use crate::app::{self, DevFiles, Secrets};
use crate::config::Config;
use crate::plugins::ConfigFile;

pub(super) async fn serve(setting: Setting) -> anyhow::Result<ExitCode> {
    let Setting { config, config_path, environment, dev } = setting;
    let is_locked = app::lock_memory();
    let secrets = Secrets::load(&config, environment)?;
    if !is_locked {
        info!("memory may be swapped out (RLIMIT_MEMLOCK): run without swap, or with encrypted swap");
    }
    if dev {
        explain_dev(&config, &config_path);
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let hurry = Arc::new(Notify::new());
    let told = hurry.clone();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            told.notify_one();
        }
    });
    let file = ConfigFile::new(config_path, &config);
    app::serve(config, file, secrets, hurry, stop).await?;
    Ok(ExitCode::SUCCESS)
}

fn explain_dev(config: &Config, config_path: &Path) {
    let token = DevFiles::under(&config.data_dir).token;
    let (listen, token) = (config.server.listen, token.display());
    println!("codec --dev: data, KEK and token are kept in {}; the token is in {token}", config.data_dir.display());
    let (path, plugins) = (config_path.display(), config.plugins_dir());
    println!("Plugins are named in {path} and kept in {}; change either, and it counts at once.\n", plugins.display());
    println!("Try it from another terminal in this folder:\n");
    println!("  curl -sS http://{listen}/encrypt \\");
    println!("    -H \"X-Service-Auth: $(cat {token})\" -H 'Content-Type: application/json' \\");
    println!("    -d '{{\"projectId\":\"shop\",\"value\":\"postgres://shop:hunter2@db/shop\"}}'\n");
}
