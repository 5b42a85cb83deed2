//! `<PRI>1 TIMESTAMP HOSTNAME APP-NAME - MSGID [codec@PEN chain="…" seq="…" hash="…"] MSG` (RFC 5424 section 6).

use std::borrow::Cow;

use guest_parts::time::rfc3339;
use serde::Deserialize;

use crate::field::{NIL, to_header, to_param};
use crate::settings::Sink;

/// RFC 5424 section 6.2.7.
const MSGID_MAX: usize = 32;
/// The byte order mark, by which MSG says that it is UTF-8 (RFC 5424 section 6.4).
const BOM: &str = "\u{feff}";

/// A record of the journal.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Its chain.
    pub chain: &'a str,
    /// Its number there.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The record itself, one object of JSON.
    pub line: &'a str,
    /// Its hash.
    pub hash: &'a str,
}

/// What the message tells of the record beside itself.
#[derive(Deserialize, Default)]
struct Told<'a> {
    #[serde(borrow)]
    action: Option<Cow<'a, str>>,
    #[serde(borrow)]
    outcome: Option<Cow<'a, str>>,
}

/// `entry` as a message, or why it cannot be one.
pub fn message(sink: &Sink, entry: Entry) -> Result<String, &'static str> {
    // JSON escapes them all; what holds one is no line of the journal, and could end the message early.
    if entry.line.chars().any(|c| matches!(c, '\n' | '\r' | '\0')) {
        return Err("holds a line break or a NUL");
    }
    // A record that cannot be read is still a record: it goes out, with the severity of one without an outcome.
    let told: Told = serde_json::from_str(entry.line).unwrap_or_default();
    let severity = match told.outcome.as_deref() {
        Some("allowed") => sink.severity.allowed,
        Some("denied") => sink.severity.denied,
        Some("failed") => sink.severity.failed,
        _ => sink.severity.other,
    };
    let priority = u16::from(sink.facility).saturating_mul(8).saturating_add(u16::from(severity));
    let timestamp = rfc3339(entry.time_ms).unwrap_or_else(|| NIL.to_owned());
    let msgid = to_header(told.action.as_deref().unwrap_or_default(), MSGID_MAX);
    let (hostname, app_name, enterprise) = (&sink.hostname, &sink.app_name, sink.enterprise);
    let (chain, seq, hash) = (to_param(entry.chain), entry.seq, to_param(entry.hash));
    let bom = if sink.bom { BOM } else { "" };
    let line = entry.line;
    Ok(format!(
        r#"<{priority}>1 {timestamp} {hostname} {app_name} - {msgid} [codec@{enterprise} chain="{chain}" seq="{seq}" hash="{hash}"] {bom}{line}"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::parse;

    fn write(json: &str, line: &str) -> Result<String, &'static str> {
        let entry = Entry { chain: "00aa", seq: 7, time_ms: 1_767_268_801_000, line, hash: "ff" };
        message(&parse(json).unwrap(), entry)
    }

    #[test]
    fn a_message_is_as_rfc_5424_has_it() {
        let line = r#"{"action":"SECRET_DECRYPT","outcome":"allowed"}"#;
        assert_eq!(
            write(r#"{"output": "siem"}"#, line).unwrap(),
            format!(
                r#"<86>1 2026-01-01T12:00:01.000Z - codec - SECRET_DECRYPT [codec@32473 chain="00aa" seq="7" hash="ff"] {line}"#
            )
        );
        let json = r#"{"output": "siem", "facility": "local0", "hostname": "codec-0", "app_name": "vault", "enterprise": 4711, "bom": true}"#;
        assert_eq!(
            write(json, line).unwrap(),
            format!(
                "<134>1 2026-01-01T12:00:01.000Z codec-0 vault - SECRET_DECRYPT [codec@4711 chain=\"00aa\" seq=\"7\" hash=\"ff\"] \u{feff}{line}"
            )
        );
    }

    #[test]
    fn the_severity_follows_the_outcome() {
        for (outcome, priority) in
            [(r#""allowed""#, 86), (r#""denied""#, 84), (r#""failed""#, 83), (r#""new""#, 85), ("1", 85)]
        {
            let message = write(r#"{"output": "siem"}"#, &format!(r#"{{"outcome":{outcome}}}"#)).unwrap();
            assert!(message.starts_with(&format!("<{priority}>1 ")), "{message}");
        }
    }

    #[test]
    fn an_action_that_is_no_msgid_is_made_one() {
        let message =
            write(r#"{"output": "siem"}"#, r#"{"action":"é \" 0123456789012345678901234567890123456789"}"#).unwrap();
        assert!(message.contains(r#" - __"_0123456789012345678901234567 ["#), "{message}");
    }

    #[test]
    fn what_could_end_a_message_early_never_becomes_one() {
        for line in ["{}\n<86>1 - - forged", "{}\r", "{\0}"] {
            assert!(write(r#"{"output": "siem"}"#, line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_time_without_a_spelling_is_nil() {
        let entry = Entry { chain: "a\"]", seq: u64::MAX, time_ms: u64::MAX, line: "not json", hash: "" };
        let message = message(&parse(r#"{"output": "siem"}"#).unwrap(), entry).unwrap();
        assert_eq!(
            message,
            r#"<85>1 - - codec - - [codec@32473 chain="a\"\]" seq="18446744073709551615" hash=""] not json"#
        );
    }
}
