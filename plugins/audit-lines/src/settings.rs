//! What the operator wrote.

use guest_parts::settings::{Problem, read};

use crate::line::Format;

/// The sink, as configured.
#[derive(Debug, PartialEq, Eq)]
pub struct Sink {
    /// The output's name among those that the operator granted.
    pub output: String,
    /// How a record is written.
    pub format: Format,
}

/// Where `output` is not set.
const DEFAULT_OUTPUT: &str = "stdout";

/// `json` as the sink that it describes.
pub fn parse(json: &str) -> Result<Sink, Vec<Problem>> {
    read(json, |table| {
        let output = table.or("output", DEFAULT_OUTPUT.to_owned());
        let format =
            table.choice("format", &[("journal", Format::Journal), ("wrapped", Format::Wrapped)], Format::Journal);
        if output.is_empty() {
            table.problem("output", "is empty".to_owned());
        }
        Some(Sink { output, format })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_as_documented() {
        assert_eq!(parse("{}"), Ok(Sink { output: "stdout".to_owned(), format: Format::Journal }));
    }

    #[test]
    fn every_fault_is_named() {
        for (json, path) in [
            (r#"{"output": ""}"#, "/output"),
            (r#"{"output": ["stdout"]}"#, "/output"),
            (r#"{"format": "json"}"#, "/format"),
            (r#"{"outputs": "stdout"}"#, "/outputs"),
        ] {
            let problems = parse(json).expect_err("is refused");
            assert_eq!(problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>(), [path], "{json}");
        }
    }
}
