//! How long answers take, counted without a lock: every request on every thread comes by here, and one whose thread loses its processor in the
//! middle must keep nobody waiting.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The shortest that is told apart.
const FIRST: Duration = Duration::from_micros(50);
/// Each bucket is twice as long as the one before: up to 1.6 s, and one for all that is longer.
const BUCKETS: usize = 16;

/// A histogram of times.
#[derive(Debug, Clone, Default)]
pub(super) struct Durations(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    buckets: [AtomicU64; BUCKETS + 1],
    sum_ns: AtomicU64,
}

impl Durations {
    pub(super) fn observe(&self, duration: Duration) {
        let Self(counts) = self;
        let bucket = (0..BUCKETS).position(|index| duration <= FIRST * (1 << index)).unwrap_or(BUCKETS);
        counts.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        counts.sum_ns.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        let Self(counts) = self;
        let upper = |index: usize| {
            if index < BUCKETS { FIRST.as_secs_f64() * f64::from(1_u32 << index) } else { f64::INFINITY }
        };
        let loaded =
            counts.buckets.iter().enumerate().map(|(index, count)| (upper(index), count.load(Ordering::Relaxed)));
        let buckets: Vec<(f64, u64)> = loaded.collect();
        // Of the very buckets that are shown beside it.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(counts.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    #[test]
    fn each_time_is_in_its_bucket_and_in_all_above() {
        let durations = Durations::default();
        let mut registry = Registry::default();
        registry.register_with_unit("took", "Time", Unit::Seconds, durations.clone());
        for duration_us in [0, 50, 51, 100, 1_000, 1_638_400, 1_638_401, 60_000_000] {
            durations.observe(Duration::from_micros(duration_us));
        }
        let mut text = String::new();
        encode(&mut text, &registry).expect("written");
        for line in [
            "took_seconds_bucket{le=\"0.00005\"} 2\n",
            "took_seconds_bucket{le=\"0.0001\"} 4\n",
            "took_seconds_bucket{le=\"0.0008\"} 4\n",
            "took_seconds_bucket{le=\"0.0016\"} 5\n",
            "took_seconds_bucket{le=\"1.6384\"} 6\n",
            "took_seconds_bucket{le=\"+Inf\"} 8\n",
            "took_seconds_count 8\n",
            "took_seconds_sum 63.278002\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
