//! The sinks that run, each on its own way through the journal, all on a thread of their own: what they do never holds up a request
//! that does not require it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use origan_codec_host::plugin::outside::{Egress, Granted};
use origan_codec_host::plugin::{Engines, Entry, Limits, SinkPlugin, WriteOutcome};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, info};

use super::Checked;
use super::component::{Found, Key, LoadError};
use super::credentials::Credentials;
use super::outside::{Outputs, granted_to_sink, sink_reach};
use super::status::PluginStatus;
use super::threads::Threads;
use crate::audit::Journal;
use crate::audit::cursor::Cursor;
use crate::audit::delivery::{
    CarrierFigures, Carry, CarryError, Delivery, DeliverySettings, KeptPlace, Order, Orders, Progress,
};
use crate::audit::required::Required;
use crate::config::{Config, SinkConfig, SinkFrom};

/// Replacements of one sink that may wait for the end of its batch.
const ORDERS_WAITING: usize = 4;

/// The sinks that run.
#[derive(Default)]
pub(super) struct RunningSinks {
    running: Vec<Running>,
    /// What was got ready for the start of the process, by name.
    at_start: HashMap<String, AtStart>,
}

#[derive(Default)]
struct AtStart {
    /// Required: it is being admitted since before there is a journal.
    prepared: Option<Prepared>,
    /// Not required: where it begins, as of before the first record.
    begins: Option<Cursor>,
}

/// Which sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meant {
    /// Those that answers wait for.
    Required,
    /// Those too that nobody waits for.
    All,
}

/// A sink that is admitted while nothing can be carried away yet.
struct Prepared {
    key: Key,
    reach: String,
    admission: JoinHandle<Result<LiveSink, LoadError>>,
}

/// What sinks may be granted.
#[derive(Clone, Copy)]
pub(super) struct Reached<'a> {
    pub(super) outputs: &'a Outputs,
    pub(super) credentials: &'a Credentials,
}

struct Running {
    config: SinkConfig,
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
    /// Begins to admit those that answers wait for: at a start, beside the policies, so that they are at hand when the journal is.
    pub(super) fn prepare(&mut self, engines: &Arc<Engines>, config: &Config, reached: Reached<'_>) {
        for sink in config.sinks.iter().filter(|sink| sink.required) {
            // What fails here is told when it is to go live.
            let Ok(found) = Found::read(&config.plugins_dir(), &sink.component(), &Limits::sink()) else { continue };
            let key = found.key.clone();
            let Ok(admission) = admit(engines, sink, reached, found) else { continue };
            let prepared = Prepared { key, reach: sink_reach(config, sink), admission: tokio::spawn(admission) };
            self.at_start.entry(sink.name.clone()).or_default().prepared = Some(prepared);
        }
    }

    /// Keeps where those begin that go live when there are records already.
    pub(super) fn keep_places(&mut self, config: &Config, journal: &Journal) {
        for sink in config.sinks.iter().filter(|sink| !sink.required) {
            // What fails here is told when it is to go live.
            self.at_start.entry(sink.name.clone()).or_default().begins = beginning(sink, journal).ok();
        }
    }

    /// Nothing that was got ready for the start is of use any more.
    pub(super) fn have_started(&mut self) {
        self.at_start.clear();
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
        let following = config.sinks.iter().map(|sink| {
            let mut running = before.remove(&sink.name).unwrap_or_else(|| Running::new(sink));
            running.config = sink.clone();
            let is_meant = meant == Meant::All || sink.required;
            let at_start = is_meant.then(|| self.at_start.remove(&sink.name).unwrap_or_default());
            async move {
                let Some(at_start) = at_start else { return running };
                let outcome = running.follow(engines, runtime, config, reached, at_start, journal).await;
                running.error = outcome.err().map(|why| {
                    let (code, text) = (why.code(), why.to_string());
                    let stays = if running.live.is_some() { "the last good one stays" } else { "nothing is delivered" };
                    error!(sink = sink.name, code, cause = text, stays, "a sink was not admitted");
                    (code, text)
                });
                running
            }
        });
        self.running = join_all(following).await;
        // Before those that are gone end: nobody waits for them any more.
        let required = self.running.iter().filter(|running| running.config.required);
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
            sink: Some((running.config.required, running.progress.clone())),
            provider: None,
            key_provider: None,
        });
        status.collect()
    }

    /// Waits for those that still carry the end of a closed journal.
    pub(super) async fn finish(&mut self, deadline: Duration) {
        let ending = self.running.drain(..).filter_map(|running| running.delivery);
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

/// Grants what `sink` asks for; the rest of its admission holds on to nothing here.
fn admit(
    engines: &Arc<Engines>,
    sink: &SinkConfig,
    reached: Reached<'_>,
    found: Found,
) -> Result<impl Future<Output = Result<LiveSink, LoadError>> + Send + use<>, LoadError> {
    let outside = Arc::new(granted_to_sink(sink, reached.outputs, reached.credentials)?);
    let (http, lines) = (outside.has_http(), outside.has_lines());
    let engines = engines.clone();
    Ok(async move {
        let plugin = engines.admit_sink(found.candidate, outside.clone(), http, lines).await?;
        Ok(LiveSink { plugin, outside })
    })
}

impl Prepared {
    /// What was admitted; none if it is not what is wanted now, or failed: what was wrong then may have passed.
    async fn into_wanted(self, wanted: &Live) -> Option<LiveSink> {
        if (&self.key, &self.reach) != (&wanted.key, &wanted.reach) {
            return None;
        }
        self.admission.await.ok()?.ok()
    }
}

impl Running {
    fn new(config: &SinkConfig) -> Self {
        let progress = Arc::default();
        Self { config: config.clone(), live: None, progress, delivery: None, error: None }
    }

    async fn follow(
        &mut self,
        engines: &Arc<Engines>,
        runtime: &Threads,
        config: &Config,
        reached: Reached<'_>,
        at_start: AtStart,
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
        let prepared = match at_start.prepared {
            Some(prepared) => prepared.into_wanted(&wanted).await,
            None => None,
        };
        let plugin = match prepared {
            Some(plugin) => plugin,
            None => admit(engines, &self.config, reached, found)?.await?,
        };
        if self.delivery.is_none() {
            self.delivery = Some(self.begin(runtime, config, at_start.begins, journal)?);
        }
        if let Some((orders, _)) = &self.delivery {
            // Full: it is still at a batch, and policies do not wait for that. It is tried again.
            if orders.try_send(Order::Replace(Box::new(plugin), batches)).is_err() {
                return Err(LoadError::Grant("its delivery is still at work on what came before".into()));
            }
        }
        info!(sink = self.config.name, sha256 = %wanted.key.digest, required = self.config.required, "a sink goes live");
        self.live = Some(wanted);
        Ok(())
    }

    fn begin(
        &self,
        runtime: &Threads,
        config: &Config,
        begins: Option<Cursor>,
        journal: &Arc<Journal>,
    ) -> Result<(Orders, JoinHandle<()>), LoadError> {
        let wrong = |error: &dyn std::fmt::Display| LoadError::Grant(format!("its place in the journal: {error}"));
        let begin = begins.map_or_else(|| beginning(&self.config, journal), Ok).map_err(|error| wrong(&error))?;
        let kept = KeptPlace::of(&config.cursors_dir(), &self.config.name);
        let (orders, waiting) = mpsc::channel(ORDERS_WAITING);
        let delivery = Delivery::new(&self.config.name, journal.clone(), kept, begin, self.progress.clone(), waiting);
        let delivery = delivery.map_err(|error| wrong(&error))?;
        let task = runtime.spawn(delivery.run()).ok_or_else(|| wrong(&"the process ends"))?;
        Ok((orders, task))
    }

    fn as_required(&self) -> Required {
        match &self.live {
            Some(_) => Required::Running(self.progress.clone()),
            None => Required::Missing,
        }
    }
}

/// Where a sink begins that has no place yet.
fn beginning(sink: &SinkConfig, journal: &Journal) -> std::io::Result<Cursor> {
    match sink.from {
        SinkFrom::Start => Cursor::at_start(journal.dir()),
        SinkFrom::Now => Cursor::before_last(journal.dir(), 0),
    }
}

struct LiveSink {
    plugin: SinkPlugin,
    outside: Arc<Granted>,
}

#[async_trait]
impl Carry for LiveSink {
    async fn write(&mut self, batch: &[Entry]) -> Result<WriteOutcome, CarryError> {
        let outcome = self.plugin.write(batch).await;
        outcome.map_err(|fault| CarryError { code: fault.code(), text: fault.to_string() })
    }

    fn complaint(&self) -> Option<String> {
        self.plugin.log().take_complaint()
    }

    fn figures(&self) -> CarrierFigures {
        CarrierFigures {
            memory_bytes: self.plugin.memory_bytes(),
            replaced: self.plugin.replaced(),
            log_dropped: self.plugin.log().dropped(),
            requests_refused: self.outside.http.as_ref().map_or(0, Egress::refused),
        }
    }
}
