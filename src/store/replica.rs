//! This process among the replicas of one PostgreSQL: it hears of what the others change, and one of them leads. Both hang on one connection
//! of its own, so that whoever is cut off knows it, and leads no more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, Error, Executor, Row};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::names::ProjectId;

/// Where changes are told.
const CHANNEL: &str = "codec_dek";
/// The lock of whoever leads on this store: `code`, in ASCII, and the schema.
const LEAD: &str = "SELECT pg_try_advisory_lock(1668244581, hashtext(current_schema()))";
/// A process that hangs, or whose machine is gone, leads no more: the server ends what it does not hear of.
const ENDS_WHEN_IDLE: &str = "SET idle_session_timeout = '15s'";
/// How often a connection on which nothing is heard is asked whether it is there, and whether nobody leads.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// For each answer.
const DEADLINE: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// This process among others.
#[derive(Debug)]
pub struct Replica {
    /// PostgreSQL's. None: nobody shares the store.
    url: Option<String>,
    listens: AtomicBool,
    leads: AtomicBool,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Another replica, or this one, has changed DEKs of a project.
    Changed(ProjectId),
    /// It listens, and did not before: anything may have changed.
    Anything,
}

impl Replica {
    /// On the store at `url`.
    pub fn new(url: Option<&str>) -> Self {
        let url = url.filter(|url| url.starts_with("postgres")).map(str::to_owned);
        Self { listens: AtomicBool::new(false), leads: AtomicBool::new(url.is_none()), url }
    }

    /// Whether it hears of changes as they happen; none where nobody else can make any. What it does not hear of counts until it expires.
    pub fn listens(&self) -> Option<bool> {
        self.url.is_some().then(|| self.listens.load(Ordering::Acquire))
    }

    /// Whether this is the one that does what is to be done once for all.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// Tells what is heard, for as long as the process runs.
    pub async fn follow(&self, tell: mpsc::Sender<Heard>) {
        let Some(url) = &self.url else { return };
        let mut pause = PAUSE_MIN;
        let mut is_first = true;
        loop {
            let lost = match tokio::time::timeout(DEADLINE, listener(url)).await {
                Err(_) => "no answer".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Ok(Ok(mut listener)) => {
                    self.listens.store(true, Ordering::Release);
                    if !is_first {
                        info!("hears of other replicas' changes again");
                    }
                    pause = PAUSE_MIN;
                    is_first = false;
                    // After it listens: nothing falls in between.
                    let _ = tell.send(Heard::Anything).await;
                    let error = self.listen(&mut listener, &tell).await;
                    self.leads.store(false, Ordering::Release);
                    error
                }
            };
            if self.listens.swap(false, Ordering::AcqRel) || is_first {
                warn!(cause = lost, "does not hear of other replicas' changes: what is cached counts until it expires");
                is_first = false;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Until the connection is lost; how it was.
    async fn listen(&self, listener: &mut PgListener, tell: &mpsc::Sender<Heard>) -> String {
        loop {
            if let Err(lost) = self.ask(listener).await {
                return lost;
            }
            let asked_again = tokio::time::sleep(ASK_EVERY);
            let mut asked_again = std::pin::pin!(asked_again);
            loop {
                let heard = tokio::select! {
                    heard = listener.try_recv() => heard,
                    () = &mut asked_again => break,
                };
                match heard {
                    Ok(Some(notification)) => {
                        let heard = notification.payload().parse().map_or(Heard::Anything, Heard::Changed);
                        // Who no longer hears of it is about to end.
                        let _ = tell.send(heard).await;
                    }
                    Ok(None) => return "the connection ended".into(),
                    Err(error) => return error.to_string(),
                }
            }
        }
    }

    /// Whether the connection is there; and leads, if nobody does.
    async fn ask(&self, listener: &mut PgListener) -> Result<(), String> {
        let query = if self.leads() { "SELECT true" } else { LEAD };
        let asking = tokio::time::timeout(DEADLINE, listener.fetch_one(query)).await;
        let row = asking.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())?;
        if row.try_get(0).map_err(|error| error.to_string())? && !self.leads.swap(true, Ordering::AcqRel) {
            info!("leads: does what is to be done once for all replicas");
        }
        Ok(())
    }
}

/// On a connection of its own, which is not replaced behind our back.
async fn listener(url: &str) -> Result<PgListener, Error> {
    let options: PgConnectOptions = url.parse()?;
    let keepalives = [("tcp_keepalives_idle", "10"), ("tcp_keepalives_interval", "5"), ("tcp_keepalives_count", "2")];
    let options = options.application_name("codec-listener").options(keepalives).disable_statement_logging();
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(DEADLINE).connect_with(options).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.ignore_pool_close_event(true);
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    // Servers before version 14 do not know it.
    let _ = listener.execute(ENDS_WHEN_IDLE).await;
    Ok(listener)
}
