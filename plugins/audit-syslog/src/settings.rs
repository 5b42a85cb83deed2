//! What the operator wrote.

use guest_parts::settings::{Problem, Setting, Table, read};
use serde_json::Value;

use crate::field::{NIL, is_header};

/// The sink, as configured.
#[derive(Debug, PartialEq, Eq)]
pub struct Sink {
    /// The output's name among those that the operator granted.
    pub output: String,
    /// 0 to 23.
    pub facility: u8,
    /// By the record's outcome.
    pub severity: Severities,
    /// `HOSTNAME`.
    pub hostname: String,
    /// `APP-NAME`.
    pub app_name: String,
    /// The private enterprise number behind the `@` of the structured data's name.
    pub enterprise: u32,
    /// Whether a byte order mark comes before the record.
    pub bom: bool,
}

/// Severities 0 to 7, by the record's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Severities {
    /// Carried out.
    pub allowed: u8,
    /// Refused.
    pub denied: u8,
    /// Not possible.
    pub failed: u8,
    /// Records of the journal itself, which have no outcome.
    pub other: u8,
}

/// RFC 5424 table 1; the index is the code.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// RFC 5424 table 2; the index is the code.
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

const AUTHPRIV: u8 = 10;
const DEFAULT_SEVERITIES: Severities = Severities { allowed: 6, denied: 4, failed: 3, other: 5 };
/// RFC 5424 sections 6.2.4 and 6.2.5.
const HOSTNAME_MAX: usize = 255;
const APP_NAME_MAX: usize = 48;
/// Reserved for documentation (RFC 5612): right wherever nobody else's `codec@32473` is read.
const DEFAULT_ENTERPRISE: u32 = 32_473;

/// `json` as the sink that it describes.
pub fn parse(json: &str) -> Result<Sink, Vec<Problem>> {
    read(json, |table| {
        let output = table.required::<String>("output");
        if output.as_ref().is_some_and(String::is_empty) {
            table.problem("output", "is empty".to_owned());
        }
        let facility = table.or("facility", Facility(AUTHPRIV)).0;
        let severity = table.table("severity", severities).unwrap_or(DEFAULT_SEVERITIES);
        let hostname = header(table, "hostname", NIL, HOSTNAME_MAX);
        let app_name = header(table, "app_name", "codec", APP_NAME_MAX);
        let enterprise =
            u32::try_from(table.or("enterprise", u64::from(DEFAULT_ENTERPRISE))).ok().filter(|number| *number > 0);
        if enterprise.is_none() {
            table.problem("enterprise", "is not a private enterprise number from 1 to 4294967295".to_owned());
        }
        let bom = table.or("bom", false);
        Some(Sink { output: output?, facility, severity, hostname, app_name, enterprise: enterprise?, bom })
    })
}

fn severities(table: &mut Table) -> Option<Severities> {
    let mut severity = |key, default| table.or(key, Severity(default)).0;
    Some(Severities {
        allowed: severity("allowed", DEFAULT_SEVERITIES.allowed),
        denied: severity("denied", DEFAULT_SEVERITIES.denied),
        failed: severity("failed", DEFAULT_SEVERITIES.failed),
        other: severity("other", DEFAULT_SEVERITIES.other),
    })
}

fn header(table: &mut Table, key: &str, default: &str, max_len: usize) -> String {
    let text = table.or(key, default.to_owned());
    if !is_header(&text, max_len) {
        table.problem(key, format!("{text:?} is not 1 to {max_len} printable ASCII characters without a space"));
    }
    text
}

struct Facility(u8);

struct Severity(u8);

impl Setting for Facility {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        code(value, path, "facility", &FACILITIES).map(Self)
    }
}

impl Setting for Severity {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        code(value, path, "severity", &SEVERITIES).map(Self)
    }
}

/// A name of `names`, or its number.
fn code(value: &Value, path: &str, what: &str, names: &[&str]) -> Result<u8, Problem> {
    let index = match value {
        Value::String(name) => names.iter().position(|known| known == name),
        other => other.as_u64().and_then(|number| usize::try_from(number).ok()).filter(|number| *number < names.len()),
    };
    index.and_then(|index| u8::try_from(index).ok()).ok_or_else(|| {
        let last = names.len().saturating_sub(1);
        Problem::new(path, format!("{value} is not a {what}: 0 to {last}, or one of {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_the_same() {
        let named =
            parse(r#"{"output": "s", "facility": "local7", "severity": {"allowed": "debug", "other": "emerg"}}"#)
                .unwrap();
        assert_eq!(
            Ok(&named),
            parse(r#"{"output": "s", "facility": 23, "severity": {"allowed": 7, "other": 0}}"#).as_ref()
        );
        assert_eq!(named.severity, Severities { allowed: 7, denied: 4, failed: 3, other: 0 });
    }

    #[test]
    fn every_fault_is_named() {
        for (json, path) in [
            ("{}", "/output"),
            (r#"{"output": ""}"#, "/output"),
            (r#"{"output": "s", "facility": "authprivate"}"#, "/facility"),
            (r#"{"output": "s", "facility": 24}"#, "/facility"),
            (r#"{"output": "s", "facility": -1}"#, "/facility"),
            (r#"{"output": "s", "severity": "info"}"#, "/severity"),
            (r#"{"output": "s", "severity": {"denied": 8}}"#, "/severity/denied"),
            (r#"{"output": "s", "severity": {"refused": 4}}"#, "/severity/refused"),
            (r#"{"output": "s", "hostname": "my host"}"#, "/hostname"),
            (r#"{"output": "s", "app_name": ""}"#, "/app_name"),
            (r#"{"output": "s", "app_name": "0123456789012345678901234567890123456789012345678"}"#, "/app_name"),
            (r#"{"output": "s", "enterprise": 0}"#, "/enterprise"),
            (r#"{"output": "s", "enterprise": 4294967296}"#, "/enterprise"),
            (r#"{"output": "s", "bom": "yes"}"#, "/bom"),
            (r#"{"output": "s", "port": 514}"#, "/port"),
        ] {
            let problems = parse(json).expect_err("is refused");
            assert_eq!(problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>(), [path], "{json}");
        }
    }
}
