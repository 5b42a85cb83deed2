//! What operators owe, as it was summed up last: a scrape reads no row. On the replica that leads.

use std::fmt::Error;
use std::sync::Weak;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::clock::unix_ms;
use crate::service::Service;
use crate::store::Group;

pub(in crate::http::metrics) struct DebtFigures(pub(in crate::http::metrics) Weak<Service>);

impl std::fmt::Debug for DebtFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DebtFigures")
    }
}

impl Collector for DebtFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Some(service) = self.0.upgrade() else { return Ok(()) };
        let Some(debt) = service.keys.last_debt() else { return Ok(()) };
        let as_gauge = |number: u64| ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
        type Read = fn(u64, u64) -> u64;
        let sums: [(&str, &str, Read); 2] = [
            ("deks", "DEKs by the KEK that they are under, and what they may be used for", |rows, _| rows),
            ("dek_encryptions", "Encryptions leased for them", |_, encryptions| encryptions),
        ];
        for (name, help, read) in sums {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for Group { by, state, rows, encryptions, .. } in &debt.by_kek {
                let labels = [("kek", by.as_str()), ("state", state.name())];
                as_gauge(read(*rows, *encryptions)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "DEKs by their version, as far as versions are told apart";
        let mut family = encoder.encode_descriptor("dek_versions", help, None, MetricType::Gauge)?;
        for group in &debt.by_version {
            let labels = [("version", group.by.to_string()), ("state", group.state.name().to_owned())];
            as_gauge(group.rows).encode(family.encode_family(&labels)?)?;
        }
        let overdue = as_gauge(debt.overdue);
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
