//! What the operator wrote.

use guest_parts::action::ActionPattern;
use guest_parts::code::Code;
use guest_parts::pattern::Pattern;
use guest_parts::settings::{Problem, Table, read};
use jiff::Timestamp;

use crate::chain::{Open, Windows};
use crate::clock::{Days, TimeOfDay, Zone};
use crate::window::{Effect, Window};

/// What callers inside a denying window are told where its `code` is not set.
const INSIDE_CODE: &str = "time-window";
/// What callers outside every allowing window are told where `outside_code` is not set.
const OUTSIDE_CODE: &str = "outside-window";

/// `json` as the policy that it describes.
pub fn parse(json: &str) -> Result<Windows, Vec<Problem>> {
    read(json, |settings| {
        let given = settings.has("windows");
        let before = settings.problem_count();
        let all = settings.tables("windows", window);
        if !given || (all.is_empty() && settings.problem_count() == before) {
            settings.problem("windows", "one at least is required: the policy would never apply".to_owned());
        }
        let open = settings.choice("open", &[("allow", Open::Allow), ("abstain", Open::Abstain)], Open::Allow);
        let outside_code = settings.optional::<Code>("outside_code").or_else(|| Code::parse(OUTSIDE_CODE));
        Some(Windows { all, open, outside_code: outside_code? })
    })
}

fn window(table: &mut Table) -> Option<Window> {
    let name = table.required::<String>("name");
    let effect = effect(table);
    let timed = ["days", "from", "to", "start", "end"].iter().any(|key| table.has(key));
    if !timed {
        table.problem("days", "or from and to, or start and end must be set: the window would never change".to_owned());
    }
    let zone = table.required::<Zone>("zone");
    let days = table.or("days", Days::EVERY);
    let hours = hours(table);
    let (start, end) = match &zone {
        Some(zone) => (moment(table, "start", zone), moment(table, "end", zone)),
        // Taken all the same: they are known settings.
        None => (table.optional::<String>("start").and(None), table.optional::<String>("end").and(None)),
    };
    if start.zip(end).is_some_and(|(start, end)| end <= start) {
        table.problem("end", "is not after start: the window would never open".to_owned());
    }
    let actions = non_empty::<ActionPattern>(table, "actions");
    let projects = non_empty::<Pattern>(table, "projects");
    let actions = match actions {
        Some(actions) => actions,
        None => ActionPattern::parse("*").into_iter().collect(),
    };
    Some(Window { name: name?, effect: effect?, zone: zone?, days, hours, start, end, actions, projects })
}

fn effect(table: &mut Table) -> Option<Effect> {
    let coded = table.has("code");
    let code = table.or::<Code>("code", Code::parse(INSIDE_CODE)?);
    if !table.has("effect") {
        table.problem("effect", "is required: \"allow\" or \"deny\"".to_owned());
        return None;
    }
    let denies = table.choice("effect", &[("allow", false), ("deny", true)], true);
    if coded && !denies {
        table.problem(
            "code",
            "contradicts effect = \"allow\": who is inside is not denied (outside_code is for the rest)".to_owned(),
        );
    }
    Some(if denies { Effect::Deny(code) } else { Effect::Allow })
}

fn hours(table: &mut Table) -> Option<(TimeOfDay, TimeOfDay)> {
    for (key, other) in [("from", "to"), ("to", "from")] {
        if table.has(key) && !table.has(other) {
            table.problem(other, format!("is required with {key}"));
        }
    }
    let (from, to) = (table.optional::<TimeOfDay>("from"), table.optional::<TimeOfDay>("to"));
    let (from, to) = from.zip(to)?;
    if from == to {
        table.problem("to", "is the same as from: leave both out for the whole day".to_owned());
    }
    if from.is_end_of_day() {
        table.problem("from", "is the end of the day: the window would begin on the next, at \"00:00\"".to_owned());
    }
    Some((from, to))
}

fn moment(table: &mut Table, key: &str, zone: &Zone) -> Option<Timestamp> {
    let text = table.optional::<String>(key)?;
    zone.moment(&text).map_err(|message| table.problem(key, message)).ok()
}

fn non_empty<T: guest_parts::settings::Setting>(table: &mut Table, key: &str) -> Option<Vec<T>> {
    let patterns = table.optional::<Vec<T>>(key)?;
    if patterns.is_empty() {
        table.problem(key, "is empty: the window would be about no call".to_owned());
    }
    Some(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(json: &str) -> Vec<String> {
        parse(json).expect_err("is refused").into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn every_fault_of_a_window_is_named() {
        let whole = r#""name": "w", "effect": "allow", "zone": "Europe/Berlin""#;
        for (rest, path) in [
            ("", "days"),
            (r#", "from": "09:00""#, "to"),
            (r#", "to": "09:00""#, "from"),
            (r#", "from": "09:00", "to": "09:00""#, "to"),
            (r#", "from": "24:00", "to": "09:00""#, "from"),
            (r#", "from": "9:00", "to": "17:00""#, "from"),
            (r#", "days": "monday""#, "days"),
            (r#", "days": []"#, "days"),
            (r#", "days": "mon", "code": "x""#, "code"),
            (r#", "days": "mon", "actions": ["encript"]"#, "actions/0"),
            (r#", "days": "mon", "projects": []"#, "projects"),
            (r#", "start": "2026-12-20T00:00", "end": "2026-12-20T00:00""#, "end"),
            (r#", "start": "2026-03-29T02:30""#, "start"),
            (r#", "end": "2026-10-25T02:30""#, "end"),
            (r#", "day": "mon", "days": "mon""#, "day"),
        ] {
            let json = format!(r#"{{"windows": [{{{whole}{rest}}}]}}"#);
            assert_eq!(paths(&json), [format!("/windows/0/{path}")], "{json}");
        }
    }

    #[test]
    fn what_a_window_must_have_is_named_at_once() {
        let json = r#"{"windows": [{"days": "mon"}, {"name": "w", "effect": "permit", "zone": "X/Y", "start": 1, "end": "x"}]}"#;
        assert_eq!(
            paths(json),
            [
                "/windows/0/name",
                "/windows/0/effect",
                "/windows/0/zone",
                "/windows/1/effect",
                "/windows/1/zone",
                "/windows/1/start"
            ]
        );
    }

    #[test]
    fn every_fault_of_the_whole_is_named() {
        assert_eq!(paths("{}"), ["/windows"]);
        assert_eq!(paths(r#"{"windows": []}"#), ["/windows"]);
        assert_eq!(
            paths(r#"{"windows": {}, "open": "deny", "outside_code": "A", "x": 1}"#),
            ["/windows", "/open", "/outside_code", "/x"]
        );
    }
}
