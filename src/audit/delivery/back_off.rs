//! How long a sink that has failed is left alone.

use std::time::Duration;

/// Back-off after a failure: doubled each time, within these.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
pub(super) const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// Failures in a row, and how long to wait after the next.
#[derive(Debug, Default)]
pub(super) struct Failures {
    pub(super) in_a_row: u32,
}

impl Failures {
    /// With a part of chance, so that what failed together does not come back together.
    pub(super) fn next(&mut self, wanted: Option<Duration>) -> Duration {
        let doubled = BACK_OFF_MIN.saturating_mul(1 << self.in_a_row.min(10)).min(BACK_OFF_MAX);
        self.in_a_row += 1;
        let chance = getrandom::u32().unwrap_or(0) % 256;
        let spread = doubled.mul_f64(0.75 + f64::from(chance) / 1024.0);
        wanted.map_or(spread, |wanted| wanted.max(BACK_OFF_MIN))
    }
}
