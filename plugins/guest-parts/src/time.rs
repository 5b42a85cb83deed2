//! Milliseconds since 1970 and the proleptic Gregorian calendar, in UTC, without leap seconds: as the host's clock counts.

const MS_PER_DAY: u64 = 86_400_000;
/// The first moment of the year 10000, which RFC 3339 can no longer write.
const YEAR_10000_MS: u64 = 253_402_300_800_000;

/// RFC 3339 with milliseconds, `2026-01-01T12:00:00.000Z`; none from the year 10000 on.
pub fn rfc3339(ms: u64) -> Option<String> {
    if ms >= YEAR_10000_MS {
        return None;
    }
    let (year, month, day) = date_of(ms / MS_PER_DAY);
    let in_day = ms % MS_PER_DAY;
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1_000 % 60, in_day % 1_000);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"))
}

/// The moment that an HTTP date names, `Sun, 06 Nov 1994 08:49:37 GMT`: the one form of RFC 9110 that servers write. The day of the week
/// is not compared.
pub fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day = number(words.next()?, 2)?;
    let name = words.next()?;
    let month = MONTHS.iter().zip(1_u64..).find(|(month, _)| **month == name)?.1;
    let year = number(words.next()?, 4)?;
    let mut clock = words.next()?.split(':');
    let (hour, minute, second) = (number(clock.next()?, 2)?, number(clock.next()?, 2)?, number(clock.next()?, 2)?);
    let ended = words.next() == Some("GMT") && words.next().is_none() && clock.next().is_none();
    if !ended || year < 1970 || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    ms_of((year, month, day), (hour, minute, second))
}

/// The moment that RFC 3339 names in UTC, `2018-03-22T02:24:06.945319214Z`, to the millisecond: the one form that Go's servers write.
pub fn rfc3339_date(text: &str) -> Option<u64> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let (mut date, mut clock) = (date.split('-'), clock.split(':'));
    let (year, month, day) = (number(date.next()?, 4)?, number(date.next()?, 2)?, number(date.next()?, 2)?);
    let (hour, minute, second) = (number(clock.next()?, 2)?, number(clock.next()?, 2)?, number(clock.next()?, 2)?);
    let ended = date.next().is_none() && clock.next().is_none();
    let is_fraction = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    let is_date = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !ended || !is_fraction || !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let milli = format!("{fraction:0<3}").get(..3)?.parse::<u64>().ok()?;
    ms_of((year, month, day), (hour, minute, second))?.checked_add(milli)
}

/// Milliseconds since 1970 of a date and a time of day.
fn ms_of((year, month, day): (u64, u64, u64), (hour, minute, second): (u64, u64, u64)) -> Option<u64> {
    let in_day = hour.checked_mul(3_600)?.checked_add(minute.checked_mul(60)?)?.checked_add(second)?;
    days_to(year, month, day)?.checked_mul(MS_PER_DAY)?.checked_add(in_day.checked_mul(1_000)?)
}

/// Year, month and day of the day that many days after 1970-01-01. Years begin in March here, so that the leap day is their last:
/// 153 days in every five months, 146,097 in every 400 years.
#[expect(clippy::arithmetic_side_effects, reason = "days are below the year 10000")]
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months = (5 * of_year + 2) / 153;
    let day = of_year - (153 * months + 2) / 5 + 1;
    let month = if months < 10 { months + 3 } else { months - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The inverse of [`date_of`], for years of four digits.
#[expect(clippy::arithmetic_side_effects, reason = "four digits of year, a month of 1 to 12, a day of 1 to 31")]
fn days_to(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year - 1 } else { year };
    let months = if month > 2 { month - 3 } else { month + 9 };
    let of_era = 365 * (year % 400) + (year % 400) / 4 - (year % 400) / 100 + (153 * months + 2) / 5 + day - 1;
    (year / 400 * 146_097 + of_era).checked_sub(719_468)
}

fn number(text: &str, digits: usize) -> Option<u64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_has_them() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_268_801_000, "2026-01-01T12:00:01.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(ms).as_deref(), Some(text));
        }
        assert_eq!((rfc3339(253_402_300_800_000), rfc3339(u64::MAX)), (None, None));
    }

    #[test]
    fn http_dates_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for text in [
            "",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "120",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT x",
        ] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }

    #[test]
    fn dates_of_rfc_3339_are_read() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2018-03-22T02:24:06.945319214Z", 1_521_685_446_945),
            ("2000-02-29T00:00:00.5Z", 951_782_400_500),
            ("2026-01-01T12:00:01.000Z", 1_767_268_801_000),
        ] {
            assert_eq!(rfc3339_date(text), Some(ms), "{text}");
        }
        for text in [
            "",
            "2018-03-22",
            "2018-03-22T02:24:06",
            "2018-03-22T02:24:06+01:00",
            "2018-03-22T02:24:06.Z",
            "2018-03-22T02:24:06.1234567890Z",
            "2018-03-22T02:24:06.\u{e9}Z",
            "2018-13-22T02:24:06Z",
            "2018-03-00T02:24:06Z",
            "2018-03-22T24:24:06Z",
            "2018-03-22T02:24:06:00Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(rfc3339_date(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_comes_back() {
        for days in 0..200_000 {
            let (year, month, day) = date_of(days);
            assert_eq!(days_to(year, month, day), Some(days));
        }
    }
}
