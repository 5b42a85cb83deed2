//! The clock on a wall in some time zone, and what operators write of it.
//!
//! What a window compares is what that clock shows. So an hour that the clock skips is in no window, and an hour that it shows twice is
//! in a window both times.

use guest_parts::settings::{Problem, Setting};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use serde_json::Value;

/// A time of day in minutes after midnight; 1440 is the midnight at the day's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

/// Days of the week, Monday first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days([bool; 7]);

/// An IANA time zone.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

/// What the clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Days since Monday, 0 to 6.
    weekday: usize,
    /// Whole minutes since midnight: as exact as windows are.
    minute: u16,
}

const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Days {
    /// All of them.
    pub const EVERY: Self = Self([true; 7]);

    /// Whether the clock's date is one of them.
    pub fn hold_today(self, shown: Shown) -> bool {
        self.0.get(shown.weekday).is_some_and(|held| *held)
    }

    /// Whether the date before is.
    pub fn hold_yesterday(self, shown: Shown) -> bool {
        let yesterday = shown.weekday.checked_sub(1).unwrap_or(6);
        self.0.get(yesterday).is_some_and(|held| *held)
    }

    /// `fri`, `mon-fri`, `sat-mon`, several of them with commas.
    fn parse(text: &str) -> Option<Self> {
        let mut days = [false; 7];
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first)?, day(last)?);
            for (index, held) in days.iter_mut().enumerate() {
                let within = index >= first && index <= last;
                let around = first > last && (index >= first || index <= last);
                *held |= within || around;
            }
        }
        Some(Self(days))
    }
}

impl TimeOfDay {
    /// `09:00`; `24:00` too.
    fn parse(text: &str) -> Option<Self> {
        let (hour, minute) = text.split_once(':')?;
        let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        if !two_digits(hour) || !two_digits(minute) {
            return None;
        }
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        let minutes = hour.checked_mul(60)?.checked_add(minute)?;
        (minute < 60 && minutes <= 1_440).then_some(Self(minutes))
    }

    /// Whether it is `24:00`.
    pub fn is_end_of_day(self) -> bool {
        self.0 == 1_440
    }

    /// Whether the clock shows this or later.
    pub fn reached(self, shown: Shown) -> bool {
        shown.minute >= self.0
    }
}

impl Zone {
    /// What a clock there shows at `time`.
    pub fn show(&self, time: Timestamp) -> Shown {
        let local = self.0.to_datetime(time);
        let weekday = usize::try_from(local.weekday().to_monday_zero_offset()).unwrap_or_default();
        let (hour, minute) =
            (u16::try_from(local.hour()).unwrap_or_default(), u16::try_from(local.minute()).unwrap_or_default());
        Shown { weekday, minute: hour.saturating_mul(60).saturating_add(minute) }
    }

    /// The moment that `text` names: with an offset by itself, without one by this zone's clock, which must show it exactly once.
    pub fn moment(&self, text: &str) -> Result<Timestamp, String> {
        let wrong = || format!("{text:?} is not a date and time such as \"2026-12-20T00:00\", or with an offset");
        // The parser takes the name of a zone in brackets as well, which could be another than this one.
        if text.contains('[') {
            return Err(wrong());
        }
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Ok(moment);
        }
        let local: DateTime = text.parse().map_err(|_| wrong())?;
        let moment = self.0.to_ambiguous_timestamp(local);
        let how_often = match moment.offset() {
            AmbiguousOffset::Unambiguous { .. } => return moment.unambiguous().map_err(|error| error.to_string()),
            AmbiguousOffset::Gap { .. } => "never",
            AmbiguousOffset::Fold { .. } => "twice",
        };
        Err(format!("clocks in the zone show {text} {how_often}: write an offset, such as \"{text}+01:00\""))
    }
}

impl Setting for Days {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        let text =
            if value.is_array() { Vec::<String>::read(value, path)?.join(",") } else { String::read(value, path)? };
        Self::parse(&text).ok_or_else(|| {
            Problem::new(
                path,
                format!("{text:?} are not days: mon, tue, wed, thu, fri, sat, sun, or ranges such as mon-fri"),
            )
        })
    }
}

impl Setting for TimeOfDay {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        let text = String::read(value, path)?;
        Self::parse(&text)
            .ok_or_else(|| Problem::new(path, format!("{text:?} is not a time of day from \"00:00\" to \"24:00\"")))
    }
}

impl Setting for Zone {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        let name = String::read(value, path)?;
        match TimeZoneDatabase::bundled().get(&name) {
            Ok(zone) => Ok(Self(zone)),
            Err(_) => Err(Problem::new(path, format!("{name:?} is not an IANA time zone such as \"Europe/Berlin\""))),
        }
    }
}

fn day(name: &str) -> Option<usize> {
    DAY_NAMES.iter().position(|day| *day == name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        Zone::read(&Value::from(name), "/zone").unwrap()
    }

    fn shown(weekday: usize) -> Shown {
        Shown { weekday, minute: 0 }
    }

    #[test]
    fn days_read_with_ranges_around_the_weekend() {
        for (text, days) in [
            ("mon", "1000000"),
            ("mon-fri", "1111100"),
            ("fri-mon", "1000111"),
            ("tue, sat-sun", "0100011"),
            ("mon-sun", "1111111"),
            ("wed-wed", "0010000"),
        ] {
            let read: String = Days::parse(text).unwrap().0.iter().map(|held| if *held { '1' } else { '0' }).collect();
            assert_eq!(read, days, "{text}");
        }
        for text in ["", "monday", "Mon", "mon-", "mon,,tue", "mon-tue-wed"] {
            assert_eq!(Days::parse(text), None, "{text}");
        }
        assert!(Days::parse("sun").unwrap().hold_yesterday(shown(0)));
        assert!(!Days::parse("mon").unwrap().hold_yesterday(shown(0)));
    }

    #[test]
    fn times_of_day_have_one_spelling() {
        for (text, minutes) in [("00:00", 0), ("09:05", 545), ("23:59", 1_439), ("24:00", 1_440)] {
            assert_eq!(TimeOfDay::parse(text), Some(TimeOfDay(minutes)));
        }
        for text in ["", "9:00", "09:60", "24:01", "25:00", "0900", "09:00:00", "+9:00", "ab:cd"] {
            assert_eq!(TimeOfDay::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_clock_follows_summer_time() {
        let berlin = zone("Europe/Berlin");
        for (utc, minute) in [
            ("2026-03-29T00:59:59.999Z", 119),
            ("2026-03-29T01:00:00Z", 180),
            ("2026-10-25T00:30:00Z", 150),
            ("2026-10-25T01:30:00Z", 150),
        ] {
            assert_eq!(berlin.show(utc.parse().unwrap()), Shown { weekday: 6, minute }, "{utc}");
        }
    }

    #[test]
    fn a_local_moment_must_come_exactly_once() {
        let berlin = zone("Europe/Berlin");
        let moment = |text: &str| berlin.moment(text).map(|moment| moment.to_string());
        assert_eq!(moment("2026-12-20T00:00").unwrap(), "2026-12-19T23:00:00Z");
        assert_eq!(moment("2026-12-20T00:00:00Z").unwrap(), "2026-12-20T00:00:00Z");
        assert_eq!(moment("2026-10-25T02:30:00+01:00").unwrap(), "2026-10-25T01:30:00Z");
        assert!(moment("2026-03-29T02:30").unwrap_err().contains("never"));
        assert!(moment("2026-10-25T02:30").unwrap_err().contains("twice"));
        for text in [
            "",
            "tomorrow",
            "2026-13-01T00:00",
            "12:00",
            "2026-12-20T00:00[America/New_York]",
            "2026-12-20T00:00+01:00[Europe/Berlin]",
        ] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn zones_are_iana_names() {
        for name in ["UTC", "America/New_York", "Asia/Kathmandu", "Africa/Casablanca"] {
            zone(name);
        }
        for name in ["", "Europe/Atlantis", "CEST+1", "+01:00"] {
            assert!(Zone::read(&Value::from(name), "/zone").is_err(), "{name}");
        }
    }
}
