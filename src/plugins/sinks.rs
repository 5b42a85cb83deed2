//! The sinks that run, each on its own way through the journal, all on a thread of their own: what they do never holds up a request
//! that does not require it.

mod admission;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use origan_codec_host::plugin::{Engines, Limits};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tracing::{error, info};

use super::Checked;
use super::component::{Found, Key, LoadError};
use super::credentials::Credentials;
use super::outside::{Outputs, sink_reach};
use super::status::PluginStatus;
use super::threads::Threads;
use crate::audit::Journal;
use crate::audit::cursor::Cursor;
use crate::audit::delivery::{Delivery, DeliverySettings, KeptPlace, Order, Orders, Progress};
use crate::audit::required::Required;
use crate::config::{Config, SinkConfig, SinkFrom};
use admission::{Prepared, admit};

/// Replacements of one sink that may wait for the end of its batch.
const ORDERS_WAITING: usize = 4;

/// The sinks that run.
#[derive(Default)]
pub(super) struct RunningSinks {
    running: Vec<Running>,
    /// What is being admitted while something else is done, by name.
    prepared: HashMap<String, Prepared>,
}

/// Which sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meant {
    /// Those that answers wait for.
    Required,
    /// Of the others, those that were prepared and are admitted now.
    Admitted,
    /// Each; but of the others none that is still being admitted.
    All,
}

/// What sinks may be granted.
#[derive(Clone, Copy)]
pub(super) struct Reached<'a> {
    pub(super) outputs: &'a Outputs,
    pub(super) credentials: &'a Credentials,
}

struct Running {
    config: SinkConfig,
    /// Where it begins, from when that was first looked for until its place is kept.
    begins: Option<Cursor>,
    live: Option<Live>,
    progress: Arc<Progress>,
    delivery: Option<(Orders, JoinHandle<()>)>,
    error: Option<(&'static str, String)>,
}

#[derive(Clone, PartialEq)]
struct Live {
    key: Key,
    reach: String,
    batches: DeliverySettings,
}

impl RunningSinks {
    /// Gives each sink its place in the journal, before there is a record that it could miss. It goes live when it has been admitted.
    pub(super) fn begin(&mut self, runtime: &Threads, config: &Config, journal: &Arc<Journal>) {
        let begun = config.sinks.iter().map(|sink| {
            let mut running = Running::new(sink);
            let outcome = running.begin(runtime, config, journal).map(|delivery| running.delivery = Some(delivery));
            running.note(outcome);
            running
        });
        self.running = begun.collect();
    }

    /// Begins to admit sinks, those that are required or the others; `told` when one has been.
    pub(super) fn prepare(
        &mut self,
        required: bool,
        engines: &Arc<Engines>,
        config: &Config,
        reached: Reached<'_>,
        told: &Arc<Notify>,
    ) {
        for sink in config.sinks.iter().filter(|sink| sink.is_required() == required) {
            let prepared = Prepared::begin(engines, config, sink, reached, told);
            self.prepared.insert(sink.name.clone(), prepared);
        }
    }

    /// Starts, replaces and ends what `config` says, of those that are `meant`.
    pub(super) async fn follow(
        &mut self,
        meant: Meant,
        engines: &Arc<Engines>,
        runtime: &Threads,
        config: &Config,
        reached: Reached<'_>,
        journal: &Arc<Journal>,
    ) {
        let mut before: HashMap<String, Running> =
            self.running.drain(..).map(|running| (running.config.name.clone(), running)).collect();
        let mut prepared_before = std::mem::take(&mut self.prepared);
        let following = config.sinks.iter().map(|sink| {
            let mut running = before.remove(&sink.name).unwrap_or_else(|| Running::new(sink));
            running.config = sink.clone();
            let prepared = prepared_before.remove(&sink.name).filter(|prepared| prepared.is_of(sink));
            let is_under_way = prepared.as_ref().is_some_and(Prepared::is_under_way) && !sink.is_required();
            let is_meant = match meant {
                Meant::Required => sink.is_required(),
                Meant::Admitted => prepared.is_some() && !is_under_way,
                Meant::All => !is_under_way,
            };
            let prepared = match prepared {
                Some(prepared) if !is_meant => {
                    self.prepared.insert(sink.name.clone(), prepared);
                    None
                }
                prepared => prepared,
            };
            async move {
                if is_meant {
                    let outcome = running.follow(engines, runtime, config, reached, prepared, journal).await;
                    running.note(outcome);
                }
                running
            }
        });
        let following: Vec<_> = following.collect();
        self.running = join_all(following).await;
        // Before those that are gone end: nobody waits for them any more.
        let required = self.running.iter().filter(|running| running.config.is_required());
        journal.required().replace(required.map(Running::as_required).collect());
        for (_, task) in before.into_values().filter_map(|gone| gone.delivery) {
            // In the middle of a batch too: whoever comes under the same name begins with it again.
            task.abort();
            let _ = task.await;
        }
    }

    pub(super) fn status(&self) -> Vec<PluginStatus> {
        let status = self.running.iter().map(|running| PluginStatus {
            name: running.config.name.clone(),
            sha256: running.live.as_ref().map(|live| live.key.digest.to_string()),
            error: running.error.clone(),
            policy: None,
            is_snapshotted: None,
            is_slow: false,
            log_dropped: running.progress.figures().log_dropped.load(Ordering::Relaxed),
            sink: Some((running.config.is_required(), running.progress.clone())),
            provider: None,
            key_provider: None,
        });
        status.collect()
    }

    /// Waits for those that still carry the end of a closed journal.
    pub(super) async fn finish(&mut self, deadline: Duration) {
        // What is not live has nothing to carry with.
        let live = self.running.drain(..).filter(|running| running.live.is_some());
        let ending = live.filter_map(|running| running.delivery);
        // Their orders are kept to the end: without them a delivery ends at once.
        let (orders, tasks): (Vec<_>, Vec<_>) = ending.unzip();
        let _ = tokio::time::timeout(deadline, join_all(tasks)).await;
        drop(orders);
    }
}

/// Whether each sink that `config` names would go live.
pub(super) async fn check(engines: &Arc<Engines>, config: &Config, reached: Reached<'_>) -> Vec<Checked> {
    let checking = config.sinks.iter().map(async |sink| {
        let outcome = async {
            let found = Found::read(&config.plugins_dir(), &sink.component(), &Limits::sink())?;
            let digest = found.key.digest;
            admit(engines, sink, reached, found)?.await?;
            Ok::<_, LoadError>(digest.to_string())
        };
        let outcome = outcome.await.map_err(|error| error.to_string());
        Checked { what: format!("sink {}", sink.name), outcome }
    });
    join_all(checking).await
}

impl Running {
    fn new(config: &SinkConfig) -> Self {
        let progress = Arc::default();
        Self { config: config.clone(), begins: None, live: None, progress, delivery: None, error: None }
    }

    async fn follow(
        &mut self,
        engines: &Arc<Engines>,
        runtime: &Threads,
        config: &Config,
        reached: Reached<'_>,
        prepared: Option<Prepared>,
        journal: &Arc<Journal>,
    ) -> Result<(), LoadError> {
        let found = Found::read(&config.plugins_dir(), &self.config.component(), &Limits::sink())?;
        let batches =
            DeliverySettings { portion_lines: self.config.batch_records, portion_bytes: self.config.batch_bytes };
        let wanted = Live { key: found.key.clone(), reach: sink_reach(config, &self.config), batches };
        if self.delivery.as_ref().is_some_and(|(_, task)| task.is_finished()) {
            error!(sink = self.config.name, "a sink's delivery has ended by itself: it begins again");
            (self.delivery, self.live) = (None, None);
        }
        if self.live.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let admitted = match prepared {
            Some(prepared) => prepared.into_wanted(&wanted).await,
            None => None,
        };
        let plugin = match admitted {
            Some(Ok(plugin)) => plugin,
            Some(Err(why)) if !self.config.is_required() => return Err(why),
            // What was wrong when a required one was prepared may have passed: it may be long ago.
            Some(Err(_)) | None => admit(engines, &self.config, reached, found)?.await?,
        };
        if self.delivery.is_none() {
            self.delivery = Some(self.begin(runtime, config, journal)?);
        }
        if let Some((orders, _)) = &self.delivery {
            // Full: it is still at a batch, and policies do not wait for that. It is tried again.
            if orders.try_send(Order::Replace(Box::new(plugin), batches)).is_err() {
                return Err(LoadError::Grant("its delivery is still at work on what came before".into()));
            }
        }
        let required = self.config.is_required();
        info!(sink = self.config.name, sha256 = %wanted.key.digest, required, "a sink goes live");
        self.live = Some(wanted);
        Ok(())
    }

    fn begin(
        &mut self,
        runtime: &Threads,
        config: &Config,
        journal: &Arc<Journal>,
    ) -> Result<(Orders, JoinHandle<()>), LoadError> {
        let wrong = |error: &dyn std::fmt::Display| LoadError::Grant(format!("its place in the journal: {error}"));
        let begin = match (self.config.from, &self.begins) {
            (SinkFrom::Now, Some(begins)) => Ok(begins.clone()),
            (SinkFrom::Now, None) => Cursor::before_last(journal.dir(), 0),
            (SinkFrom::Start, _) => Cursor::at_start(journal.dir()),
        };
        let begin = begin.map_err(|error| wrong(&error))?;
        self.begins = Some(begin.clone());
        let kept = KeptPlace::of(&config.cursors_dir(), &self.config.name);
        let (orders, waiting) = mpsc::channel(ORDERS_WAITING);
        let delivery = Delivery::new(&self.config.name, journal.clone(), kept, begin, self.progress.clone(), waiting);
        let delivery = delivery.map_err(|error| wrong(&error))?;
        let task = runtime.spawn(delivery.run()).ok_or_else(|| wrong(&"the process ends"))?;
        self.begins = None;
        Ok((orders, task))
    }

    fn note(&mut self, outcome: Result<(), LoadError>) {
        self.error = outcome.err().map(|why| {
            let (code, text) = (why.code(), why.to_string());
            let stays = if self.live.is_some() { "the last good one stays" } else { "nothing is delivered" };
            error!(sink = self.config.name, code, cause = text, stays, "a sink was not admitted");
            (code, text)
        });
    }

    fn as_required(&self) -> Required {
        match &self.live {
            Some(_) => Required::Running(self.progress.clone()),
            None => Required::Missing,
        }
    }
}
