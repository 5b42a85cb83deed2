//! `codec serve`.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::Setting;
use crate::app::{self, DevFiles, Secrets};
use crate::config::Config;

pub(super) async fn serve(setting: Setting) -> anyhow::Result<ExitCode> {
    let Setting { config, environment, dev } = setting;
    let is_locked = app::lock_memory();
    let secrets = Secrets::load(&config, environment)?;
    if !is_locked {
        info!("memory may be swapped out (RLIMIT_MEMLOCK): run without swap, or with encrypted swap");
    }
    if dev {
        explain_dev(&config);
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    app::serve(config, secrets, stop).await?;
    Ok(ExitCode::SUCCESS)
}

fn explain_dev(config: &Config) {
    let token = DevFiles::under(&config.data_dir).token;
    let (listen, token) = (config.server.listen, token.display());
    println!("codec --dev: data, KEK and token are kept in {}; the token is in {token}\n", config.data_dir.display());
    println!("Try it from another terminal in this folder:\n");
    println!("  curl -sS http://{listen}/encrypt \\");
    println!("    -H \"X-Service-Auth: $(cat {token})\" -H 'Content-Type: application/json' \\");
    println!("    -d '{{\"projectId\":\"shop\",\"value\":\"postgres://shop:hunter2@db/shop\"}}'\n");
}
