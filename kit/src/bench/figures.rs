//! Times, and what they come to.

use std::time::{Duration, Instant};

use serde::Serialize;

/// An admission takes milliseconds, not microseconds.
pub(super) const ADMISSIONS: usize = 5;

/// One thing that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// What.
    pub(super) what: String,
    /// How often.
    pub(super) runs: usize,
    /// The median.
    pub(super) p50_us: f64,
    /// What 99 of 100 take at the most.
    pub(super) p99_us: f64,
    /// The shortest.
    pub(super) min_us: f64,
}

impl Row {
    /// Of `times`, in any order; none if there is no time.
    pub(super) fn of(what: &str, mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).map(micros);
        Some(Self {
            what: what.to_owned(),
            runs: times.len(),
            p50_us: at(50)?,
            p99_us: at(99)?,
            min_us: times.first().map(micros)?,
        })
    }
}

/// Runs `once` a tenth of `runs` times unwatched, then `runs` times by the clock.
pub(super) async fn clocked<E>(runs: u64, mut once: impl AsyncFnMut() -> Result<(), E>) -> Result<Vec<Duration>, E> {
    for _ in 0..runs.div_ceil(10) {
        once().await?;
    }
    let mut times = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        once().await?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// The rows under a heading, in columns.
pub(super) fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!("{:<width$}  {:>10}  {:>10}  {:>10}  {:>7}\n", "µs", "p50", "p99", "min", "runs");
    for row in rows {
        let Row { what, runs, p50_us, p99_us, min_us } = row;
        text += &format!("{what:<width$}  {p50_us:>10.1}  {p99_us:>10.1}  {min_us:>10.1}  {runs:>7}\n");
    }
    text
}

fn micros(time: &Duration) -> f64 {
    // Nanoseconds are beyond what the clock tells apart.
    (time.as_secs_f64() * 1e9).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_micros).collect();
        let row = Row::of("r", times).expect("times");
        assert_eq!((row.p50_us, row.p99_us, row.min_us, row.runs), (100.0, 198.0, 1.0, 200));
        let one = Row::of("r", vec![Duration::from_nanos(1_500)]).expect("a time");
        assert_eq!((one.p50_us, one.p99_us, one.min_us), (1.5, 1.5, 1.5));
        assert!(Row::of("r", Vec::new()).is_none());
    }

    #[tokio::test]
    async fn the_warm_up_is_not_measured_and_an_error_ends_it() {
        let mut count = 0;
        let times = clocked(2_000, async || {
            count += 1;
            Ok::<(), ()>(())
        });
        assert_eq!(times.await.expect("times").len(), 2_000);
        assert_eq!(count, 2_200);
        assert_eq!(clocked(10, async || Err("no")).await, Err("no"));
    }

    #[test]
    fn columns_stand_below_each_other() {
        let row = |what: &str| Row { what: what.into(), runs: 2_000, p50_us: 5.25, p99_us: 1_000.0, min_us: 0.5 };
        let text = table(&[row("a"), row("a longer one")]);
        let ends: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert!(ends.iter().all(|end| *end == ends[0]), "{text}");
    }
}
