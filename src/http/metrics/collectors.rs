//! Figures that others count: read when they are asked for.

pub(super) mod debt;

use std::fmt::Error;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::UNIX_EPOCH;

use origan_codec_host::plugin::outside::Credential;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::audit::Journal;
use crate::audit::delivery::{Breaker, Progress};
use crate::plugins::{KeyWrapping, PluginStatus, Plugins, WrapBytes};
use crate::providers::{BreakerState, Provider};
use crate::service::Service;
use crate::store::Replica;

#[derive(Debug)]
pub(super) struct JournalFigures(pub(super) Weak<Journal>);

impl Collector for JournalFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Some(journal) = self.0.upgrade() else { return Ok(()) };
        let gauges = journal.gauges();
        let counters = [
            ("journal_records", "Records made durable", &gauges.records),
            ("journal_commits", "Writes that made them so", &gauges.commits),
            ("journal_failures", "Writes that failed", &gauges.failures),
        ];
        for (name, help, value) in counters {
            let metric = ConstCounter::new(value.load(Ordering::Relaxed));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let seq = ConstGauge::new(i64::try_from(journal.committed().borrow().seq).unwrap_or(i64::MAX));
        let help = "The last durable record, by its number in the chain";
        seq.encode(encoder.encode_descriptor("journal_seq", help, None, seq.metric_type())?)?;
        let seconds = ConstCounter::new(gauges.commit_time_us.load(Ordering::Relaxed) as f64 / 1e6);
        let unit = Unit::Seconds;
        let help = "Time spent in write and sync";
        seconds.encode(encoder.encode_descriptor("journal_commit", help, Some(&unit), seconds.metric_type())?)?;
        let failing = ConstGauge::new(i64::from(gauges.is_failing.load(Ordering::Relaxed)));
        let help = "1 while no record is taken";
        failing.encode(encoder.encode_descriptor("journal_failing", help, None, failing.metric_type())?)
    }
}

pub(super) struct KekFigures(pub(super) Weak<Service>);

impl std::fmt::Debug for KekFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KekFigures")
    }
}

impl Collector for KekFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Some(service) = self.0.upgrade() else { return Ok(()) };
        let figures = service.keys.ring_figures();
        let help = "Rings of KEKs that the folder of KEKs came to hold, by whether they took over";
        let mut rings = encoder.encode_descriptor("kek_rings", help, None, MetricType::Counter)?;
        for (outcome, count) in [("taken", &figures.taken), ("refused", &figures.refused)] {
            ConstCounter::new(count.load(Ordering::Relaxed)).encode(rings.encode_family(&[("outcome", outcome)])?)?;
        }
        let failing = ConstGauge::new(i64::from(figures.failure().is_some()));
        let help = "1 while the KEKs in use are not those of the folder";
        failing.encode(encoder.encode_descriptor("kek_ring_failing", help, None, failing.metric_type())?)?;
        // One in memory always does.
        let ring = service.keys.ring();
        let Some(kek) = ring.outside() else { return Ok(()) };
        let answers = ConstGauge::new(i64::from(kek.last_failure().is_none()));
        let help = "0 while the KEK, which is outside, gives no answer";
        answers.encode(encoder.encode_descriptor("kek_answers", help, None, answers.metric_type())?)
    }
}

#[derive(Debug)]
pub(super) struct ReplicaFigures(pub(super) Arc<Replica>);

impl Collector for ReplicaFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        if let Some(listens) = self.0.listens() {
            let listens = ConstGauge::new(i64::from(listens));
            let help = "0 while other replicas' changes are not heard of, and what is cached counts until it expires";
            listens.encode(encoder.encode_descriptor("store_listening", help, None, listens.metric_type())?)?;
        }
        let leads = ConstGauge::new(i64::from(self.0.leads()));
        let help = "1 on the one replica that does what is to be done once for all";
        leads.encode(encoder.encode_descriptor("leader", help, None, leads.metric_type())?)
    }
}

pub(super) struct PluginFigures(pub(super) Weak<Plugins>);

impl std::fmt::Debug for PluginFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PluginFigures")
    }
}

impl Collector for PluginFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Some(plugins) = self.0.upgrade() else { return Ok(()) };
        let status = plugins.status();
        let all = || {
            let policies = status.policies.iter().map(|policy| ("policy", policy));
            let policies = policies.chain(status.sinks.iter().map(|sink| ("sink", sink)));
            let policies = policies.chain(status.providers.iter().map(|provider| ("provider", provider)));
            policies.chain(status.key_provider.iter().map(|provider| ("key-provider", provider)))
        };
        type Read = fn(&PluginStatus) -> i64;
        let gauges: [(&str, &str, Read); 3] = [
            ("plugin_live", "1 while the plugin runs", |plugin| i64::from(plugin.is_live())),
            ("plugin_not_admitted", "1 while what the configuration names is not what runs", |plugin| {
                i64::from(plugin.error.is_some())
            }),
            ("policy_slow", "1 while a policy decides one at a time, for it has missed its deadline", |plugin| {
                i64::from(plugin.is_slow)
            }),
        ];
        for (name, help, read) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (kind, plugin) in all() {
                let labels = [("kind", kind), ("plugin", plugin.name.as_str())];
                ConstGauge::new(read(plugin)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "What each policy that was asked has decided; beyond allow, deny and abstain: why it gave no answer";
        let mut decisions = encoder.encode_descriptor("policy_decisions", help, None, MetricType::Counter)?;
        for policy in &status.policies {
            for (decision, count) in policy.policy.iter().flat_map(|(_, figures)| figures.counts()) {
                let labels = [("policy", policy.name.as_str()), ("decision", decision)];
                ConstCounter::new(count).encode(decisions.encode_family(&labels)?)?;
            }
        }
        encode_sinks(&mut encoder, &status.sinks)?;
        encode_credentials(&mut encoder, &status.credentials)?;
        encode_providers(&mut encoder, &status.providers)?;
        match status.key_provider.as_ref().and_then(|plugin| plugin.key_provider.as_deref()) {
            Some(place) => encode_key_provider(&mut encoder, place),
            None => Ok(()),
        }
    }
}

fn encode_key_provider(encoder: &mut DescriptorEncoder<'_>, place: &KeyWrapping) -> Result<(), Error> {
    let figures = place.figures();
    let help = "What the key provider was asked (wraps, unwraps), and what came of it where no answer did";
    let mut family = encoder.encode_descriptor("key_provider_outcomes", help, None, MetricType::Counter)?;
    let refused = [("requestsRefused", place.requests_refused())];
    for (outcome, count) in figures.counts().into_iter().chain(refused) {
        ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
    }
    let calls = ConstCounter::new(figures.calls.load(Ordering::Relaxed));
    calls.encode(encoder.encode_descriptor(
        "key_provider_calls",
        "Calls of the key provider",
        None,
        MetricType::Counter,
    )?)?;
    let seconds = ConstCounter::new(figures.call_time_us.load(Ordering::Relaxed) as f64 / 1e6);
    let help = "Time spent in calls of the key provider";
    seconds.encode(encoder.encode_descriptor(
        "key_provider_call",
        help,
        Some(&Unit::Seconds),
        MetricType::Counter,
    )?)?;
    let open = ConstGauge::new(i64::from(place.breaker().is_some_and(|state| state != BreakerState::Closed)));
    let help = "1 while the key provider is not asked, or asked by one request only";
    open.encode(encoder.encode_descriptor("key_provider_breaker_open", help, None, MetricType::Gauge)?)
}

fn encode_credentials(encoder: &mut DescriptorEncoder<'_>, credentials: &[Arc<Credential>]) -> Result<(), Error> {
    let states: Vec<_> = credentials.iter().map(|credential| (credential, credential.state())).collect();
    let mut failing = encoder.encode_descriptor(
        "credential_failing",
        "1 while the credential cannot be had",
        None,
        MetricType::Gauge,
    )?;
    for (credential, state) in &states {
        let labels = [("credential", credential.name()), ("kind", credential.kind())];
        ConstGauge::new(i64::from(state.failing.is_some())).encode(failing.encode_family(&labels)?)?;
    }
    let help =
        "When what is held of the credential ends, in seconds since 1970; none where it has no end or is not had";
    let mut expires =
        encoder.encode_descriptor("credential_expires_timestamp_seconds", help, None, MetricType::Gauge)?;
    for (credential, state) in &states {
        let Some(Ok(since_1970)) = state.expires.map(|at| at.duration_since(UNIX_EPOCH)) else { continue };
        let labels = [("credential", credential.name()), ("kind", credential.kind())];
        let seconds = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
        ConstGauge::new(seconds).encode(expires.encode_family(&labels)?)?;
    }
    let help = "Logins and renewals for the credential, and those that failed";
    let mut logins = encoder.encode_descriptor("credential_logins", help, None, MetricType::Counter)?;
    for (credential, state) in &states {
        let counts = state.counts;
        for (outcome, count) in [("login", counts.logins), ("renewal", counts.renewals), ("failure", counts.failures)] {
            let labels = [("credential", credential.name()), ("kind", credential.kind()), ("outcome", outcome)];
            ConstCounter::new(count).encode(logins.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_sinks(encoder: &mut DescriptorEncoder<'_>, sinks: &[PluginStatus]) -> Result<(), Error> {
    let figures = || {
        let all =
            sinks.iter().filter_map(|sink| sink.sink.as_ref().map(|(_, progress)| (sink.name.as_str(), progress)));
        all.map(|(name, progress)| (name, &**progress))
    };
    type Read = fn(&Progress) -> u64;
    let counters: [(&str, &str, Read); 6] = [
        ("sink_records", "Records that the sink has taken", |p| p.figures().records.load(Ordering::Relaxed)),
        ("sink_batches", "Batches that the sink has taken", |p| p.figures().batches.load(Ordering::Relaxed)),
        ("sink_retries", "Batches that the sink asked for again", |p| p.figures().retries.load(Ordering::Relaxed)),
        ("sink_instances_replaced", "Instances after a fault", |p| p.figures().replaced.load(Ordering::Relaxed)),
        ("sink_requests_refused", "Requests of the sink that no grant covers", |p| {
            p.figures().requests_refused.load(Ordering::Relaxed)
        }),
        ("sink_rejected", "Records that its backend will never take", |p| p.figures().rejected.load(Ordering::Relaxed)),
    ];
    for (name, help, read) in counters {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (sink, progress) in figures() {
            ConstCounter::new(read(progress)).encode(family.encode_family(&[("sink", sink)])?)?;
        }
    }
    let mut faults = encoder.encode_descriptor("sink_faults", "Calls without an answer", None, MetricType::Counter)?;
    for (sink, progress) in figures() {
        let figures = progress.figures();
        for (kind, count) in [("trap", &figures.traps), ("timeout", &figures.timeouts), ("other", &figures.faults)] {
            let count = ConstCounter::new(count.load(Ordering::Relaxed));
            count.encode(faults.encode_family(&[("sink", sink), ("kind", kind)])?)?;
        }
    }
    let help = "1 while the sink has failed so often that what requires it is refused at once";
    let mut open = encoder.encode_descriptor("sink_breaker_open", help, None, MetricType::Gauge)?;
    for (sink, progress) in figures() {
        let value = ConstGauge::new(i64::from(progress.breaker() == Breaker::Open));
        value.encode(open.encode_family(&[("sink", sink)])?)?;
    }
    let help = "The last record that the sink has, by its number in the chain";
    let mut acked = encoder.encode_descriptor("sink_acked_seq", help, None, MetricType::Gauge)?;
    for (sink, progress) in figures() {
        let value = ConstGauge::new(i64::try_from(progress.last().seq).unwrap_or(i64::MAX));
        value.encode(acked.encode_family(&[("sink", sink)])?)?;
    }
    Ok(())
}

fn encode_providers(encoder: &mut DescriptorEncoder<'_>, providers: &[PluginStatus]) -> Result<(), Error> {
    let all = || providers.iter().filter_map(|plugin| Some((plugin.name.as_str(), plugin.provider.as_deref()?)));
    type Read = fn(&Provider) -> u64;
    let counters: [(&str, &str, Read); 5] = [
        ("provider_calls", "Calls of the provider", |p| p.figures().calls.load(Ordering::Relaxed)),
        ("provider_cache_hits", "Secrets that were kept", |p| p.figures().from_cache.load(Ordering::Relaxed)),
        ("provider_joined", "Secrets that somebody else was asking for", |p| {
            p.figures().joined.load(Ordering::Relaxed)
        }),
        ("provider_left_alone", "Secrets that were not asked for while the breaker was open", |p| {
            p.figures().left_alone.load(Ordering::Relaxed)
        }),
        ("provider_requests_refused", "Requests of the provider that no grant covers", Provider::requests_refused),
    ];
    for (name, help, read) in counters {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (name, provider) in all() {
            ConstCounter::new(read(provider)).encode(family.encode_family(&[("provider", name)])?)?;
        }
    }
    let help = "References that the provider was asked for, by what came of each";
    let mut outcomes = encoder.encode_descriptor("provider_references", help, None, MetricType::Counter)?;
    let mut counted = Vec::new();
    for (name, provider) in all() {
        let figures = provider.figures();
        counted.extend([
            (name, "found", &figures.found),
            (name, "not-found", &figures.not_found),
            (name, "denied", &figures.denied),
            (name, "invalid-reference", &figures.invalid_references),
            (name, "unavailable", &figures.unavailable),
        ]);
    }
    for (name, outcome, count) in counted {
        let count = ConstCounter::new(count.load(Ordering::Relaxed));
        count.encode(outcomes.encode_family(&[("provider", name), ("outcome", outcome)])?)?;
    }
    let mut faults =
        encoder.encode_descriptor("provider_faults", "Calls without an answer", None, MetricType::Counter)?;
    for (name, provider) in all() {
        let figures = provider.figures();
        for (kind, count) in [("trap", &figures.traps), ("timeout", &figures.timeouts), ("other", &figures.faults)] {
            let count = ConstCounter::new(count.load(Ordering::Relaxed));
            count.encode(faults.encode_family(&[("provider", name), ("kind", kind)])?)?;
        }
    }
    let mut time = encoder.encode_descriptor(
        "provider_call",
        "Time spent in calls of the provider",
        Some(&Unit::Seconds),
        MetricType::Counter,
    )?;
    for (name, provider) in all() {
        let seconds = provider.figures().call_time_us.load(Ordering::Relaxed) as f64 / 1e6;
        ConstCounter::new(seconds).encode(time.encode_family(&[("provider", name)])?)?;
    }
    type Gauge = fn(&Provider) -> i64;
    let gauges: [(&str, &str, Gauge); 2] = [
        ("provider_breaker_open", "1 while the provider is not asked, or asked by one request only", |p| {
            i64::from(p.breaker() != BreakerState::Closed)
        }),
        ("provider_cached", "Secrets that are kept", |p| i64::try_from(p.cached()).unwrap_or(i64::MAX)),
    ];
    for (name, help, read) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (name, provider) in all() {
            ConstGauge::new(read(provider)).encode(family.encode_family(&[("provider", name)])?)?;
        }
    }
    Ok(())
}
