//! All windows together: inside a denying one is denied; where allowing ones are about the call, one of them must be open.

use guest_parts::code::Code;
use jiff::Timestamp;

use crate::window::{Effect, Window};

/// The policy, as configured.
#[derive(Debug)]
pub struct Windows {
    /// In the order written: the first that denies is the one told.
    pub all: Vec<Window>,
    /// What a call inside an allowing window is answered.
    pub open: Open,
    /// What callers outside every allowing window are told.
    pub outside_code: Code,
}

/// What a call inside an allowing window is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Allowed.
    Allow,
    /// Left to the other policies.
    Abstain,
}

/// What the policy decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allow.
    Allow,
    /// Abstain.
    Abstain,
    /// Deny.
    Deny {
        /// For the caller.
        code: String,
        /// For the operator.
        reason: String,
    },
}

impl Windows {
    /// Decides on `action` for `project`, begun at `time_ms`.
    pub fn decide(&self, action: &str, project: Option<&str>, time_ms: u64) -> Decision {
        let concerning = || self.all.iter().filter(|window| window.concerns(action, project));
        if concerning().next().is_none() {
            return Decision::Abstain;
        }
        let time = i64::try_from(time_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let Some(time) = time else {
            return deny("time-out-of-range", format!("no calendar has the time {time_ms} ms"));
        };
        let mut allowing = Vec::new();
        let mut open = false;
        for window in concerning() {
            match (&window.effect, window.is_open(time)) {
                (Effect::Deny(code), true) => {
                    return deny(code.as_str(), format!("{action} at {time} is inside the window {:?}", window.name));
                }
                (Effect::Deny(_), false) => {}
                (Effect::Allow, is_open) => {
                    allowing.push(window.name.as_str());
                    open |= is_open;
                }
            }
        }
        match (open, self.open) {
            _ if allowing.is_empty() => Decision::Abstain,
            (true, Open::Allow) => Decision::Allow,
            (true, Open::Abstain) => Decision::Abstain,
            (false, _) => {
                let code = self.outside_code.as_str();
                deny(code, format!("{action} at {time} is outside every window that allows it: {allowing:?}"))
            }
        }
    }
}

fn deny(code: &str, reason: String) -> Decision {
    Decision::Deny { code: code.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::parse;

    fn decide(windows: &str, utc: &str) -> String {
        decide_for(windows, utc, "decrypt-all", Some("shop"))
    }

    fn decide_for(windows: &str, utc: &str, action: &str, project: Option<&str>) -> String {
        let windows = parse(&format!(r#"{{"windows": [{windows}]}}"#)).unwrap();
        let time_ms = u64::try_from(utc.parse::<Timestamp>().unwrap().as_millisecond()).unwrap();
        match windows.decide(action, project, time_ms) {
            Decision::Allow => "allow".to_owned(),
            Decision::Abstain => "abstain".to_owned(),
            Decision::Deny { code, .. } => code,
        }
    }

    const OFFICE: &str = r#"{"name": "office", "effect": "allow", "zone": "Europe/Berlin", "days": "mon-fri", "from": "09:00", "to": "17:00"}"#;
    const NIGHT: &str = r#"{"name": "night", "effect": "deny", "zone": "Europe/Berlin", "days": ["fri"], "from": "22:00", "to": "06:00"}"#;
    const FREEZE: &str = r#"{"name": "freeze", "effect": "deny", "zone": "Europe/Berlin", "code": "change-freeze", "start": "2026-12-20T00:00", "end": "2027-01-02T00:00"}"#;
    const EARLY: &str = r#"{"name": "early", "effect": "allow", "zone": "Europe/Berlin", "days": "sun", "from": "02:00", "to": "03:00"}"#;

    fn check(windows: &str, table: &[(&str, &str)]) {
        for (utc, expected) in table {
            assert_eq!(decide(windows, utc), *expected, "{utc}");
        }
    }

    #[test]
    fn a_window_holds_its_first_moment_and_not_its_last() {
        check(
            OFFICE,
            &[
                ("2026-01-05T07:59:59.999Z", "outside-window"),
                ("2026-01-05T08:00:00Z", "allow"),
                ("2026-01-05T15:59:59.999Z", "allow"),
                ("2026-01-05T16:00:00Z", "outside-window"),
                ("2026-01-10T12:00:00Z", "outside-window"),
                ("2026-07-06T07:00:00Z", "allow"),
                ("2026-07-06T06:59:59Z", "outside-window"),
            ],
        );
    }

    #[test]
    fn a_night_belongs_to_the_day_it_began_on() {
        check(
            NIGHT,
            &[
                ("2026-01-09T20:59:59Z", "abstain"),
                ("2026-01-09T21:00:00Z", "time-window"),
                ("2026-01-10T04:59:59Z", "time-window"),
                ("2026-01-10T05:00:00Z", "abstain"),
                ("2026-01-09T04:00:00Z", "abstain"),
                ("2026-01-10T21:00:00Z", "abstain"),
            ],
        );
    }

    #[test]
    fn a_freeze_is_between_two_moments() {
        check(
            FREEZE,
            &[
                ("2026-12-19T22:59:59.999Z", "abstain"),
                ("2026-12-19T23:00:00Z", "change-freeze"),
                ("2027-01-01T22:59:59.999Z", "change-freeze"),
                ("2027-01-01T23:00:00Z", "abstain"),
            ],
        );
    }

    #[test]
    fn an_hour_that_the_clock_skips_is_in_no_window_and_one_shown_twice_is_in_it_twice() {
        check(
            EARLY,
            &[
                ("2026-03-29T00:59:59.999Z", "outside-window"),
                ("2026-03-29T01:00:00Z", "outside-window"),
                ("2026-10-25T00:00:00Z", "allow"),
                ("2026-10-25T00:59:59Z", "allow"),
                ("2026-10-25T01:00:00Z", "allow"),
                ("2026-10-25T01:59:59.999Z", "allow"),
                ("2026-10-25T02:00:00Z", "outside-window"),
            ],
        );
    }

    #[test]
    fn denying_wins_and_one_open_window_suffices() {
        let both = format!("{OFFICE}, {FREEZE}, {EARLY}");
        check(
            &both,
            &[
                ("2026-12-21T10:00:00Z", "change-freeze"),
                ("2026-12-18T10:00:00Z", "allow"),
                ("2026-12-18T20:00:00Z", "outside-window"),
            ],
        );
    }

    #[test]
    fn windows_are_about_their_actions_and_projects_only() {
        let window = r#"{"name": "w", "effect": "deny", "zone": "UTC", "days": "mon-sun", "actions": ["encrypt*"], "projects": ["shop-*"]}"#;
        let at = "2026-01-05T00:00:00Z";
        assert_eq!(decide_for(window, at, "encrypt-all", Some("shop-1")), "time-window");
        assert_eq!(decide_for(window, at, "decrypt-all", Some("shop-1")), "abstain");
        assert_eq!(decide_for(window, at, "encrypt", Some("other")), "abstain");
        assert_eq!(decide_for(window, at, "encrypt", None), "abstain");
        assert_eq!(decide_for(&window.replace("shop-*", "*"), at, "encrypt", None), "time-window");
        assert_eq!(decide_for(&window.replace(r#", "projects": ["shop-*"]"#, ""), at, "encrypt", None), "time-window");
    }

    #[test]
    fn a_time_beyond_the_calendar_is_denied() {
        let windows = parse(&format!(r#"{{"windows": [{OFFICE}]}}"#)).unwrap();
        for time_ms in [u64::MAX, 253_402_300_800_000] {
            let decision = windows.decide("decrypt-all", None, time_ms);
            assert!(matches!(decision, Decision::Deny { code, .. } if code == "time-out-of-range"), "{time_ms}");
        }
    }
}
