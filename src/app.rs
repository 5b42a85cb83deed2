//! The only place that builds things: from configuration and secrets to a service that answers.

mod hardening;
mod secrets;
mod startup;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

use crate::config::{Config, ConfigError};
use crate::deployments::{Deployments, DeploymentsSettings};
use crate::http::{Edge, router};
use crate::server;
use crate::service::Service;

pub use hardening::harden_process;
pub use secrets::{DevFiles, Secrets};
pub use startup::{journal_settings, open_store};

/// How often a failing journal is tried again when nobody asks.
const JOURNAL_RETRY: Duration = Duration::from_millis(500);

/// Serves until `stop` resolves, then drains and closes.
pub async fn serve(config: Config, secrets: Secrets, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    // Before anything is touched: a port that is taken is a mistake in the configuration.
    let listen = config.server.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| ConfigError::value("server.listen (CODEC_LISTEN)", format!("{listen}: {error}")))?;
    let address = listener.local_addr().context("the listener has no address")?;
    let deployments = Deployments::open(&deployments_settings(&config), &config.data_dir)
        .map_err(|error| ConfigError::value("deployments.url", error.to_string()))?;
    startup::prepare_folders(&config)?;

    let (tell, not_ready) = watch::channel(String::from("starting"));
    let draining = Arc::new(AtomicBool::new(false));
    let edge = Arc::new(Edge {
        callers: secrets.callers,
        limits: config.limits.clone(),
        body_timeout: Duration::from_millis(config.server.body_timeout_ms),
        requests_max: config.server.requests_max,
        service: Arc::new(OnceLock::new()),
        not_ready,
        draining: draining.clone(),
        started: Instant::now(),
        metrics: Default::default(),
        wrong_tokens: Default::default(),
        in_flight: Default::default(),
    });
    let ready = edge.service.clone();
    let mut startup = startup::Startup::new(config.clone(), secrets.ring, deployments, tell);
    // The first attempt decides whether there is any point; what may pass is waited for while /livez answers.
    let first = startup.attempt().await?;
    let waits = first.is_none();
    if let Some(service) = first {
        announce(&edge, &ready, service);
    }
    info!(listen = %address, ready = !waits, "codec serves");

    let (failed, failure) = tokio::sync::oneshot::channel();
    let background = tokio::spawn({
        let (edge, ready) = (edge.clone(), ready.clone());
        async move {
            if waits {
                match startup.until_ready().await {
                    Ok(service) => announce(&edge, &ready, service),
                    Err(error) => return drop(failed.send(error)),
                }
            }
            // Held so that nothing is sent while all is well.
            let _failed = failed;
            loop {
                tokio::time::sleep(JOURNAL_RETRY).await;
                if let Some(service) = ready.get() {
                    service.journal.retry_if_failing();
                }
            }
        }
    });
    let failure = async {
        match failure.await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    };
    let (tell_failure, mut heard) = tokio::sync::oneshot::channel();
    let stop = async move {
        tokio::select! {
            () = stop => {}
            error = failure => drop(tell_failure.send(error)),
        }
    };
    server::serve(listener, router(edge), &config.server, &draining, stop).await;
    background.abort();
    if let Some(service) = ready.get() {
        service.journal.close().await;
    }
    info!("codec ended");
    match heard.try_recv() {
        Ok(error) => Err(error),
        Err(_) => Ok(()),
    }
}

fn announce(edge: &Edge, ready: &OnceLock<Arc<Service>>, service: Arc<Service>) {
    edge.metrics.watch_journal(Arc::downgrade(&service.journal));
    // Set once: only the startup makes a service.
    let _ = ready.set(service);
}

fn deployments_settings(config: &Config) -> DeploymentsSettings {
    DeploymentsSettings {
        url: config.deployments.url.clone(),
        cache_ttl: Duration::from_secs(config.deployments.cache_s),
        object_bytes: config.deployments.object_bytes,
        deadline: Duration::from_millis(config.deployments.deadline_ms),
    }
}
