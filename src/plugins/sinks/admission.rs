//! A sink on its way in: its grants, its admission, and what carries records once it is there.

use std::sync::Arc;

use async_trait::async_trait;
use origan_codec_host::plugin::outside::{Egress, Granted};
use origan_codec_host::plugin::{Engines, Entry, Limits, SinkPlugin, WriteOutcome};
use tokio::sync::{Notify, oneshot};

use super::{Live, Reached};
use crate::audit::delivery::{CarrierFigures, Carry, CarryError};
use crate::config::{Config, SinkConfig};
use crate::plugins::component::{Found, Key, LoadError};
use crate::plugins::outside::{granted_to_sink, sink_reach};

/// A sink that is being admitted, and as what it was configured then.
pub(super) struct Prepared {
    config: SinkConfig,
    /// None: it has failed before there was one.
    key: Option<Key>,
    reach: String,
    admitted: oneshot::Receiver<Result<LiveSink, LoadError>>,
}

impl Prepared {
    /// Begins to admit `sink`, as `config` names it; `told` when that has ended.
    pub(super) fn begin(
        engines: &Arc<Engines>,
        config: &Config,
        sink: &SinkConfig,
        reached: Reached<'_>,
        told: &Arc<Notify>,
    ) -> Self {
        let (tell, admitted) = oneshot::channel();
        let begun = Found::read(&config.plugins_dir(), &sink.component(), &Limits::sink())
            .and_then(|found| Ok((found.key.clone(), admit(engines, sink, reached, found)?)));
        let key = match begun {
            Ok((key, admission)) => {
                let told = told.clone();
                tokio::spawn(async move {
                    let panicked = |_| Err(LoadError::Grant("its admission has panicked".into()));
                    let _ = tell.send(tokio::spawn(admission).await.unwrap_or_else(panicked));
                    told.notify_one();
                });
                Some(key)
            }
            Err(why) => {
                let _ = tell.send(Err(why));
                told.notify_one();
                None
            }
        };
        Self { config: sink.clone(), key, reach: sink_reach(config, sink), admitted }
    }

    /// Whether it is what `sink` says now.
    pub(super) fn is_of(&self, sink: &SinkConfig) -> bool {
        self.config == *sink
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.admitted.is_empty()
    }

    /// What came of it; none if it is not what is wanted now.
    pub(super) async fn into_wanted(self, wanted: &Live) -> Option<Result<LiveSink, LoadError>> {
        if (self.key.as_ref(), &self.reach) != (Some(&wanted.key), &wanted.reach) {
            return None;
        }
        self.admitted.await.ok()
    }
}

/// Grants what `sink` asks for; the rest of its admission holds on to nothing here.
pub(super) fn admit(
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

pub(super) struct LiveSink {
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
