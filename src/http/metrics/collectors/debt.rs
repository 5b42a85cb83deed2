//! What operators owe, as it was summed up last: a scrape reads no row. On the replica that leads.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::clock::unix_ms;
use crate::service::Service;
use crate::store::{DekState, Group, Replica};

pub(in crate::http::metrics) struct DebtFigures(
    pub(in crate::http::metrics) Weak<Service>,
    pub(in crate::http::metrics) Arc<Replica>,
);

impl std::fmt::Debug for DebtFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DebtFigures")
    }
}

impl Collector for DebtFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        // One replica tells of what all of them share, or sums would have it several times.
        let Some(service) = self.0.upgrade().filter(|_| self.1.leads()) else { return Ok(()) };
        let Some(debt) = service.keys.last_debt() else { return Ok(()) };
        let as_gauge = |number: u64| ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
        type Labels = Vec<(&'static str, String)>;
        type Read<T> = fn(&Group) -> T;
        let state = |group: &Group| ("state", group.state.map_or("unknown", DekState::name).to_owned());
        let by_kek: &dyn Fn(&Group) -> Labels = &|group| vec![("kek", group.kek_id.clone()), state(group)];
        let by_version: &dyn Fn(&Group) -> Labels = &|group| {
            let version = group.version.map_or_else(|| "others".to_owned(), |version| version.to_string());
            vec![("version", version), state(group)]
        };
        let (rows, encryptions): (Read<u64>, Read<u64>) = (|group| group.rows, |group| group.encryptions);
        for (name, help, labels, read) in [
            ("deks", "DEKs by the KEK that they are under, and what they may be used for", by_kek, rows),
            ("dek_encryptions", "Encryptions leased for them", by_kek, encryptions),
            ("dek_versions", "DEKs by their version, as far as versions are told apart", by_version, rows),
            ("dek_version_encryptions", "Encryptions leased for them", by_version, encryptions),
        ] {
            let mut sums = BTreeMap::<Labels, u64>::new();
            for group in &debt.groups {
                *sums.entry(labels(group)).or_default() += read(group);
            }
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, sum) in sums {
                as_gauge(sum).encode(family.encode_family(&labels)?)?;
            }
        }
        let overdue = as_gauge(debt.overdue());
        let help = "Primary DEKs that are older than keys.dek_max_age_days";
        overdue.encode(encoder.encode_descriptor("deks_overdue", help, None, overdue.metric_type())?)?;
        let age_s = |since_ms: i64| (unix_ms() - since_ms) / 1_000;
        if let Some((.., made_ms)) = debt.oldest.first() {
            let age = ConstGauge::new(age_s(*made_ms));
            let help = "Age of the oldest primary DEK";
            let unit = Some(&Unit::Seconds);
            age.encode(encoder.encode_descriptor("dek_oldest_age", help, unit, age.metric_type())?)?;
        }
        let help = "Since when the store knows each KEK";
        let mut family = encoder.encode_descriptor("kek_age", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (id, made_ms) in &debt.keks {
            ConstGauge::new(age_s(*made_ms)).encode(family.encode_family(&[("kek", id.as_str())])?)?;
        }
        let reminders = as_gauge(service.keys.reminders(&debt).len() as u64);
        let help = "What is older than it should be: /status says what";
        reminders.encode(encoder.encode_descriptor("key_reminders", help, None, reminders.metric_type())?)
    }
}
