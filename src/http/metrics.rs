//! Figures in OpenMetrics text. No label ever holds what a caller sent.

mod collectors;
mod durations;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::code::Code;
use super::{Edge, ROUTES};
use crate::audit::Journal;
use crate::plugins::Plugins;
use crate::service::Service;
use crate::store::Replica;
use collectors::debt::DebtFigures;
use collectors::{JournalFigures, KekFigures, PluginFigures, ReplicaFigures};
use durations::Durations;

/// The code of a success.
const OK: &str = "ok";

/// Counters and histograms of the edge.
#[derive(Debug)]
pub struct Metrics {
    answers: Family<AnswerLabels, Counter>,
    paths: Vec<PathFigures>,
    wrong_tokens: Counter,
    in_flight: Gauge,
    bodies_bytes: Gauge,
    token_file_failing: Gauge,
    registry: std::sync::Mutex<Registry>,
}

/// What every answer of a path counts in. Held directly: an answer costs no look-up, and takes no lock that others want.
#[derive(Debug)]
struct PathFigures {
    path: &'static str,
    ok: Counter,
    durations: Durations,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    path: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabel {
    path: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("codec");
        let answers = Family::<AnswerLabels, Counter>::default();
        registry.register("answers", "Answers by path and code; code `ok` is a success", answers.clone());
        let family = Family::<PathLabel, Durations>::default();
        let figures = |path| PathFigures {
            path,
            ok: answers.get_or_create(&AnswerLabels { path, code: OK }).clone(),
            durations: family.get_or_create(&PathLabel { path }).clone(),
        };
        let paths = ROUTES.into_iter().map(|(_, path)| path).chain(["other"]).map(figures).collect();
        registry.register_with_unit("answer_duration", "Time from request to answer", Unit::Seconds, family);
        let wrong_tokens = Counter::default();
        registry.register("wrong_tokens", "Requests without a valid token", wrong_tokens.clone());
        let in_flight = Gauge::default();
        registry.register("requests_in_flight", "Calls worked on now", in_flight.clone());
        let bodies_bytes = Gauge::default();
        let help = "Memory that bodies of requests take now, and answers of more than 64 KiB until they are taken";
        registry.register_with_unit("bodies", help, Unit::Bytes, bodies_bytes.clone());
        let token_file_failing = Gauge::default();
        let help = "1 while a file of tokens is bad, and those it held before stay valid";
        registry.register("token_file_failing", help, token_file_failing.clone());
        let registry = std::sync::Mutex::new(registry);
        Self { answers, paths, wrong_tokens, in_flight, bodies_bytes, token_file_failing, registry }
    }
}

impl Metrics {
    pub(super) fn answered(&self, route: Option<usize>, code: Option<Code>, duration: Duration) {
        // The last is that of paths that are no routes.
        let figures = &self.paths[route.unwrap_or(ROUTES.len())];
        figures.durations.observe(duration);
        match code {
            None => figures.ok.inc(),
            Some(code) => self.answers.get_or_create(&AnswerLabels { path: figures.path, code: code.name() }).inc(),
        };
    }

    pub(super) fn wrong_token(&self) {
        self.wrong_tokens.inc();
    }

    /// Shows the journal's figures too, as long as it lives.
    pub fn watch_journal(&self, journal: Weak<Journal>) {
        if let Ok(mut registry) = self.registry.lock() {
            registry.register_collector(Box::new(JournalFigures(journal)));
        }
    }

    /// Shows too whether a KEK that is outside answers, as long as the service lives.
    pub fn watch_kek(&self, service: Weak<Service>, replica: Arc<Replica>) {
        if let Ok(mut registry) = self.registry.lock() {
            registry.register_collector(Box::new(DebtFigures(service.clone(), replica)));
            registry.register_collector(Box::new(KekFigures(service)));
        }
    }

    /// Shows the plugins' figures too, as long as they live.
    pub fn watch_plugins(&self, plugins: Weak<Plugins>) {
        if let Ok(mut registry) = self.registry.lock() {
            registry.register_collector(Box::new(PluginFigures(plugins)));
        }
    }

    /// Shows how it stands among other replicas.
    pub fn watch_replica(&self, replica: Arc<Replica>) {
        if let Ok(mut registry) = self.registry.lock() {
            registry.register_collector(Box::new(ReplicaFigures(replica)));
        }
    }

    /// All of them, those of `edge` as they are now.
    pub(super) fn text(&self, edge: &Edge) -> String {
        let now = |figure: &AtomicUsize| i64::try_from(figure.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        self.in_flight.set(now(&edge.in_flight));
        self.bodies_bytes.set(now(&edge.bodies_bytes));
        self.token_file_failing.set(edge.token_file_failure.load().is_some().into());
        let mut text = String::new();
        if let Ok(registry) = self.registry.lock() {
            // Writing to a String cannot fail.
            let _ = encode(&mut text, &registry);
        }
        text
    }
}
