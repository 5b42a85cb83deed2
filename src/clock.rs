//! The wall clock, as it is written; and the monotonic one as a number, for what threads tell each other.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Milliseconds since the process first asked, and one: never 0, never backwards.
pub fn monotonic_ms() -> i64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let since = FIRST.get_or_init(Instant::now).elapsed();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(1)
}

/// `2026-11-23T20:39:58.123Z` (RFC 3339). Times before 1970 are written as its beginning.
pub fn rfc3339(time: SystemTime) -> String {
    thread_local! {
        /// The last second that was written, and how: most records of a second share all but its last digits.
        static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    LAST.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() {
            *text = DateTime::<Utc>::from(UNIX_EPOCH + since).to_rfc3339_opts(SecondsFormat::Millis, true);
            *second = since.as_secs();
        }
        let millis = since.subsec_millis();
        let digits = [millis / 100, millis / 10 % 10, millis % 10].map(|digit| char::from(b'0' + digit as u8));
        let mut written = String::with_capacity(text.len());
        written.push_str(&text[..text.len().saturating_sub(4)]);
        written.extend(digits);
        written.push('Z');
        written
    })
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn as_rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_written_as_chrono_writes_them() {
        for ms in [
            0,
            1,
            999,
            1_000,
            1_700_000_000_123,
            1_700_000_000_120,
            1_700_000_000_999,
            1_700_000_001_000,
            253_402_300_799_999,
        ] {
            let time = UNIX_EPOCH + Duration::from_millis(ms);
            let expected = DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Millis, true);
            assert_eq!(rfc3339(time), expected);
        }
    }
}
