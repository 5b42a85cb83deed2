//! The only place that builds things: from configuration and secrets to a service that answers.

mod code;
mod compiler;
mod dev;
mod hardening;
mod kek_dir;
mod ring;
mod secrets;
mod startup;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tracing::{info, warn};

use crate::config::{Config, ConfigError};
use crate::deployments::{Deployments, DeploymentsSettings};
use crate::http::{Contract, Edge};
use crate::plugins::{ConfigFile, Plugins};
use crate::server;
use crate::service::Service;
use crate::store::{Heard, Replica};

use code::VouchedCode;
pub use compiler::{CompilerProcess, compile_stdin};
pub use dev::DevFiles;
pub use hardening::{harden_process, lock_memory};
pub use kek_dir::{KekDir, KekUse};
pub use secrets::{Doors, Opened, Secrets, generate_in_a_token, kek_for_command, kek_in};
pub use startup::{
    journal_settings, open_store, open_store_to_read, open_store_to_read_if_made, prepare_folders, ring_for_the_journal,
};

/// How long the first attempt to become ready may keep `/livez` from answering.
const FIRST_ATTEMPT: Duration = Duration::from_secs(5);
/// How often a failing journal is tried again, and expired DEKs are wiped, when nobody asks.
const UPKEEP: Duration = Duration::from_millis(500);
/// How long the end of the process waits for sinks that still carry records away; what they do not have then, they get after the next start.
const SINKS_DEADLINE: Duration = Duration::from_secs(2);
/// How long it waits for calls that are given up.
const THREADS_DEADLINE: Duration = Duration::from_secs(1);
/// Changes that were heard of and do not count yet.
const HEARD_MAX: usize = 1_024;
/// How often every row is read to see what is due.
const LOOK_FOR_DUE: Duration = Duration::from_secs(60);
/// How often the files of tokens are read again.
const TOKEN_FILES: Duration = Duration::from_secs(1);

/// Serves until `stop` resolves, then drains and closes.
///
/// `file` is followed for the plugins that it names, at once when `hurry` is told.
pub async fn serve(
    config: Config,
    file: ConfigFile,
    secrets: Secrets,
    hurry: Arc<Notify>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    // Before anything is touched: a port that is taken is a mistake in the configuration.
    let listen = config.server.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| ConfigError::value("server.listen (CODEC_LISTEN)", format!("{listen}: {error}")))?;
    let address = listener.local_addr().context("the listener has no address")?;
    let threads = server::ServingThreads::start().context("the threads that serve cannot be started")?;
    let open_deployments = || {
        Deployments::open(&deployments_settings(&config), &config.data_dir)
            .map_err(|error| ConfigError::value("deployments.url", error.to_string()))
    };
    // A mistake in the URL is told first; the folder that is the default has to be there first.
    let named = config.deployments.url.as_ref().map(|_| open_deployments()).transpose()?;
    prepare_folders(&config)?;
    let deployments = named.map_or_else(open_deployments, Ok)?;

    let (tell, not_ready) = watch::channel(String::from("starting"));
    let draining = Arc::new(AtomicBool::new(false));
    let code = Arc::new(VouchedCode::new(config.data_dir.join("code")));
    let plugins = Plugins::new(code.clone(), Arc::new(CompilerProcess::on_this_runtime()), secrets.kek.key_provider())?;
    let replica = Arc::new(Replica::new(config.store.url.as_deref()));
    let mut opened = secrets.doors.open()?;
    let edge = Arc::new(Edge {
        callers: ArcSwap::from_pointee(std::mem::take(&mut opened.callers)),
        token_file_failure: Default::default(),
        limits: config.limits.clone(),
        body_timeout: Duration::from_millis(config.server.body_timeout_ms),
        requests_max: config.server.requests_max,
        service: Arc::new(OnceLock::new()),
        plugins: plugins.clone(),
        replica: replica.clone(),
        not_ready,
        draining: draining.clone(),
        started: Instant::now(),
        metrics: Default::default(),
        wrong_tokens: Default::default(),
        bodies_bytes: Default::default(),
        in_flight: Default::default(),
        beside: Handle::current(),
    });
    let ready = edge.service.clone();
    edge.metrics.watch_plugins(Arc::downgrade(&plugins));
    edge.metrics.watch_replica(replica);
    let mut startup =
        startup::Startup::new(config.clone(), secrets.kek.clone(), deployments, &plugins, code.clone(), tell);
    // The first attempt decides whether there is any point; what may pass is waited for while /livez answers.
    let mut stop = std::pin::pin!(stop);
    let until = tokio::time::Instant::now() + FIRST_ATTEMPT;
    // Without it there is no ring, and so no key that could vouch for its compiled code: it is compiled at every start.
    let mut loading_keys = tokio::spawn({
        let (plugins, config) = (plugins.clone(), config.clone());
        async move { plugins.load_key_provider(&config).await }
    });
    let mut loading = tokio::spawn({
        let (plugins, config) = (plugins.clone(), config.clone());
        async move {
            // Where the KEK is outside, the key that vouches for compiled code comes with the ring, and nothing is answered before.
            code.is_vouched_for().await;
            plugins.load(&config).await;
        }
    });
    let attempting = async {
        let _ = (&mut loading_keys).await;
        startup.attempt().await
    };
    let first = tokio::select! {
        () = &mut stop => return Ok(()),
        first = tokio::time::timeout_at(until, attempting) => first.unwrap_or(Ok(None))?,
    };
    let first = match first {
        // Nobody is answered before the policies stand.
        Some(service) if tokio::time::timeout_at(until, &mut loading).await.is_ok() => {
            let announcing = tokio::spawn(announce(edge.clone(), service));
            let _ = tokio::time::timeout_at(until, announcing).await;
            None
        }
        other => Some(other),
    };
    info!(listen = %address, ready = ready.get().is_some(), "codec serves");

    let (failed, failure) = tokio::sync::oneshot::channel();
    let background = tokio::spawn({
        let (edge, ready) = (edge.clone(), ready.clone());
        async move {
            let working = async {
                if let Some(first) = first {
                    let found = match first {
                        Some(service) => Ok(service),
                        None => startup.until_ready().await,
                    };
                    // It ends well, or not at all.
                    let _ = loading.await;
                    match found {
                        Ok(service) => announce(edge.clone(), service).await,
                        Err(error) => return drop(failed.send(error)),
                    }
                }
                // Held so that nothing is sent while all is well.
                let _failed = failed;
                keep_up(&ready).await;
            };
            let following = edge.plugins.follow(file, &hurry);
            let keks = ring::follow(secrets.kek_dir.as_ref(), &secrets.kek, &ready);
            let looking = secrets.kek.keep_looking();
            let hearing = hear_of_others(&edge.replica, &ready);
            let reminding = remind(&edge.replica, &ready, Duration::from_secs(config.keys.reminder_every_s));
            tokio::join!(
                working,
                follow_token_files(&edge, &secrets.doors, opened),
                following,
                looking,
                keks,
                hearing,
                reminding
            );
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
            () = stop.as_mut() => {}
            error = failure => drop(tell_failure.send(error)),
        }
    };
    server::serve(listener, &threads, Contract::new(edge.clone()), &config.server, &draining, stop).await;
    background.abort();
    // Before the journal ends: what is given up in the middle is recorded.
    threads.end(THREADS_DEADLINE).await;
    if let Some(service) = ready.get() {
        service.journal.close().await;
        plugins.finish(SINKS_DEADLINE).await;
    }
    info!("codec ended");
    match heard.try_recv() {
        Ok(error) => Err(error),
        Err(_) => Ok(()),
    }
}

async fn keep_up(ready: &OnceLock<Arc<Service>>) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        if let Some(service) = ready.get() {
            service.journal.retry_if_failing();
            // The caches would wipe what has expired only when it is used again.
            service.keys.wipe_expired().await;
            service.keys.store().keep_up().await;
            service.providers.wipe_expired();
        }
    }
}

/// What other replicas change does not count here any more.
async fn hear_of_others(replica: &Replica, ready: &OnceLock<Arc<Service>>) {
    let (tell, mut heard) = mpsc::channel(HEARD_MAX);
    let counting = async {
        while let Some(heard) = heard.recv().await {
            match (ready.get(), heard) {
                // Nothing is kept yet.
                (None, _) => {}
                (Some(service), Heard::Changed(project_id)) => service.keys.has_changed(&project_id).await,
                (Some(service), Heard::Anything) => service.keys.any_may_have_changed(),
            }
        }
    };
    tokio::join!(replica.follow(tell), counting);
}

/// What is done once for all replicas.
async fn remind(replica: &Replica, ready: &OnceLock<Arc<Service>>, every: Duration) {
    let look_every = LOOK_FOR_DUE.min(every);
    loop {
        tokio::time::sleep(look_every).await;
        let Some(service) = ready.get().filter(|_| replica.leads()) else { continue };
        // For the metrics, too.
        service.keys.debt(look_every).await;
        if let Err(error) = service.keys.remind(every).await {
            warn!(%error, "keys that are older than they should be were not recorded: trying again");
        }
    }
}

/// Lets in whom the files say now; where one of them is bad, whom that one said last.
async fn follow_token_files(edge: &Edge, doors: &Doors, mut opened: Opened) {
    while doors.can_change() {
        tokio::time::sleep(TOKEN_FILES).await;
        let mut next = doors.open_after(&opened);
        edge.callers.store(Arc::new(std::mem::take(&mut next.callers)));
        let fault = next.fault.as_ref().map(|fault| fault.to_string());
        if let Some(fault) = &fault
            && edge.token_file_failure.load().as_deref() != Some(fault)
        {
            warn!(error = fault, "a file of tokens is bad: those it held before stay valid");
        }
        edge.token_file_failure.store(fault.map(Arc::new));
        opened = next;
    }
}

/// The required sinks first: nothing is answered without them.
async fn announce(edge: Arc<Edge>, service: Arc<Service>) {
    edge.metrics.watch_journal(Arc::downgrade(&service.journal));
    edge.metrics.watch_kek(Arc::downgrade(&service), edge.replica.clone());
    edge.plugins.carry(service.journal.clone()).await;
    // Set once: only the startup makes a service.
    let _ = edge.service.set(service);
    edge.plugins.give_way();
}

fn deployments_settings(config: &Config) -> DeploymentsSettings {
    DeploymentsSettings {
        url: config.deployments.url.clone(),
        cache_ttl: Duration::from_secs(config.deployments.cache_s),
        object_bytes: config.deployments.object_bytes,
        deadline: Duration::from_millis(config.deployments.deadline_ms),
    }
}
