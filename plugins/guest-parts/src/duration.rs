//! `duration = number unit` with the units `ms`, `s`, `m`, `h` and `d` (24 hours): `90s`, `15m`, `24h`, `7d`.

use std::fmt;

use serde_json::Value;

use crate::settings::{Problem, Setting};

/// A length of time in milliseconds, the resolution of the host's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration {
    /// How many milliseconds.
    pub ms: u64,
}

/// Largest first, as they are written out.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Duration {
    /// `text` as a duration; none if it is not one, or too long for 64 bits of milliseconds.
    pub fn parse(text: &str) -> Option<Self> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(unit_at);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        Some(Self { ms: number.parse::<u64>().ok()?.checked_mul(*factor)? })
    }
}

impl fmt::Display for Duration {
    /// Exact, in as few units as that takes: `1d 1ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.ms;
        let mut gap = "";
        for (unit, factor) in UNITS {
            let (count, after) = (rest.checked_div(factor).unwrap_or(0), rest.checked_rem(factor).unwrap_or(0));
            if count > 0 || (self.ms == 0 && unit == "s") {
                write!(f, "{gap}{count}{unit}")?;
                gap = " ";
            }
            rest = after;
        }
        Ok(())
    }
}

impl Setting for Duration {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        let text = String::read(value, path)?;
        Self::parse(&text).ok_or_else(|| {
            Problem::new(
                path,
                format!("{text:?} is not a duration: a whole number and ms, s, m, h or d, such as \"24h\""),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_exactly() {
        for (text, ms) in
            [("24h", 86_400_000), ("90s", 90_000), ("15m", 900_000), ("7d", 604_800_000), ("250ms", 250), ("0s", 0)]
        {
            assert_eq!(Duration::parse(text), Some(Duration { ms }), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_a_duration() {
        for text in [
            "",
            "24",
            "h",
            "-1h",
            "+1h",
            "1.5h",
            "1 h",
            " 1h",
            "1h ",
            "1H",
            "1h30m",
            "1w",
            "18446744073709551616ms",
            "213503982335d",
        ] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_written_exactly() {
        for (ms, text) in [
            (0, "0s"),
            (1, "1ms"),
            (86_400_001, "1d 1ms"),
            (5_400_000, "1h 30m"),
            (u64::MAX, "213503982334d 14h 25m 51s 615ms"),
        ] {
            assert_eq!(Duration { ms }.to_string(), text);
        }
    }
}
