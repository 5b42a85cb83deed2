//! Writes each audit record as a line of JSON to one of the operator's outputs.

use serde_json::{Map, Value};

use crate::exports::origan::codec::audit_sink::{Entry, WriteError};
use crate::exports::origan::codec::settings::Problem;
use crate::origan::codec::lines;

/// What the operator may set.
#[derive(Debug, PartialEq)]
pub struct Settings {
    /// `output`: which of the operator's outputs to write to. It must be granted to this plugin.
    output: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { output: "stdout".into() }
    }
}

impl Settings {
    /// Reads the operator's settings, one JSON object. Names every key that is wrong, and every key that is not known: a misspelt setting
    /// must not be a silent default.
    pub fn parse(json: &str) -> Result<Self, Vec<Problem>> {
        let object: Map<String, Value> =
            serde_json::from_str(json).map_err(|error| vec![problem("", error.to_string())])?;
        let mut settings = Self::default();
        let mut problems = Vec::new();
        for (key, value) in object {
            match (key.as_str(), value) {
                ("output", Value::String(output)) if !output.is_empty() => settings.output = output,
                ("output", _) => problems.push(problem(&key, "wants the name of an output".into())),
                _ => problems.push(problem(&key, "is not a setting of this sink; output is the only one".into())),
            }
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }
}

/// Writes the batch with `write_lines`. A line that the output will never take is left out and reported; the rest still goes, in order.
pub fn write(
    settings: &Settings,
    batch: &[Entry],
    mut write_lines: impl FnMut(&str, &[String]) -> Result<(), lines::WriteError>,
) -> Result<(), WriteError> {
    let mut left: Vec<&Entry> = batch.iter().collect();
    let mut rejected = Vec::new();
    while !left.is_empty() {
        let lines: Vec<String> = left.iter().map(|entry| entry.line.clone()).collect();
        let (index, why) = match write_lines(&settings.output, &lines) {
            Ok(()) => break,
            Err(lines::WriteError::TooLong(index)) => (index, "longer than the output takes"),
            Err(lines::WriteError::Malformed(index)) => (index, "holds a line feed or a NUL"),
            // The host sends the same batch again, later.
            Err(lines::WriteError::NotGranted(_) | lines::WriteError::Unavailable(_)) => {
                return Err(WriteError::Retry(None));
            }
        };
        match usize::try_from(index) {
            Ok(index) if index < left.len() => rejected.push((left.remove(index).seq, why.to_string())),
            _ => return Err(WriteError::Retry(None)),
        }
    }
    if rejected.is_empty() { Ok(()) } else { Err(WriteError::Rejected(rejected)) }
}

/// A problem with one key, or with the whole where `key` is empty.
fn problem(key: &str, message: String) -> Problem {
    let path = if key.is_empty() { String::new() } else { format!("/{}", key.replace('~', "~0").replace('/', "~1")) };
    Problem { path, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Vec<Entry> {
        let entry = |seq: u64| Entry {
            chain: "00000000000000aa".into(),
            seq,
            time: 1_767_268_800_000,
            line: format!(r#"{{"seq":{seq}}}"#),
            hash: format!("{seq:064x}"),
        };
        vec![entry(7), entry(8), entry(9)]
    }

    #[test]
    fn each_record_is_a_line_in_order() {
        let mut written = Vec::new();
        let outcome = write(&Settings::default(), &batch(), |output, lines| {
            written.push((output.to_string(), lines.to_vec()));
            Ok(())
        });
        assert!(outcome.is_ok());
        let lines = vec![r#"{"seq":7}"#.to_string(), r#"{"seq":8}"#.to_string(), r#"{"seq":9}"#.to_string()];
        assert_eq!(written, [("stdout".to_string(), lines)]);
    }

    #[test]
    fn a_line_too_long_is_rejected_and_the_rest_arrives() {
        let outcome = write(&Settings::default(), &batch(), |_, lines| {
            if lines.len() == 3 { Err(lines::WriteError::TooLong(1)) } else { Ok(()) }
        });
        let Err(WriteError::Rejected(rejected)) = outcome else { panic!("one is rejected") };
        assert_eq!(rejected.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn an_output_that_is_away_is_tried_again() {
        let outcome = write(&Settings::default(), &batch(), |_, _| Err(lines::WriteError::Unavailable("away".into())));
        assert!(matches!(outcome, Err(WriteError::Retry(None))));
    }

    #[test]
    fn a_misspelt_or_wrong_setting_is_named() {
        for (json, path) in [(r#"{"outputs": "x"}"#, "/outputs"), (r#"{"output": 1}"#, "/output"), ("[]", "")] {
            let problems = Settings::parse(json).expect_err(json);
            assert_eq!(problems[0].path, path, "{json}");
        }
    }
}
