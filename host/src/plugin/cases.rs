//! Cases that a plugin must answer: query → decision, batch → what was sent, references → secrets, bytes → ciphertext. `codec-plugin test` runs them, and so does the host before
//! it relies on a plugin whose operator names their file.
//!
//! The form of the file is in `docs/plugins/cases.md`.

mod keys;
mod run;
mod script;
mod secrets;

use std::collections::BTreeMap;

use serde::Deserialize;

use keys::{CaseBytes, CaseWrapped, ExpectedKey, ExpectedRefusal};
use script::{CaseExchange, CaseLines};
use secrets::{CaseReference, ExpectedSecret};

pub(super) use run::Linked;
pub use run::{CaseOutcome, CasesFailed, made_up};

/// Where the time of a case stands that names none: 2026-01-01T12:00:00Z.
pub(super) const CASE_TIME_MS: u64 = 1_767_268_800_000;
/// The chain of records that a case makes up.
const CASE_CHAIN: &str = "00000000000000aa";

/// A file of cases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// Settings of every case that brings none of its own.
    #[serde(default = "no_settings")]
    settings: toml::Table,
    #[serde(default, rename = "case")]
    cases: Vec<Case>,
}

/// The file is not one of cases.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a file of cases: {0}")]
pub struct ParseCasesError(String);

/// A case to be looked at, not judged.
#[derive(Debug, Clone, Copy)]
pub struct Example<'c> {
    cases: &'c Cases,
    case: &'c Case,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    settings: Option<toml::Table>,
    query: Option<CaseQuery>,
    batch: Option<CaseBatch>,
    references: Option<Vec<CaseReference>>,
    wrap: Option<CaseBytes>,
    unwrap: Option<CaseWrapped>,
    #[serde(default)]
    context: BTreeMap<String, String>,
    #[serde(default)]
    http: Vec<CaseExchange>,
    #[serde(default)]
    lines: Vec<CaseLines>,
    #[serde(deserialize_with = "expectation")]
    expect: Expectation,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseQuery {
    action: String,
    time: Option<String>,
    caller: Option<CaseCaller>,
    project: Option<String>,
    deployment: Option<CaseDeployment>,
    #[serde(default)]
    variables: Vec<CaseVariable>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum CaseCaller {
    Name(String),
    Full(CaseFullCaller),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFullCaller {
    name: String,
    method: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseDeployment {
    id: String,
    /// None: the platform does not know it.
    created: Option<String>,
    project: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum CaseVariable {
    Name(String),
    Full(CaseFullVariable),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFullVariable {
    name: String,
    kind: Option<String>,
    key_version: Option<u32>,
    size_bytes: Option<u32>,
    provider: Option<String>,
    reference: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum CaseBatch {
    MadeUp(u64),
    Given(Vec<CaseEntry>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseEntry {
    seq: Option<u64>,
    line: String,
    time: Option<String>,
    chain: Option<String>,
    hash: Option<String>,
}

/// What a case must come to.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Expectation {
    Secrets(Vec<ExpectedSecret>),
    Word(Word),
    Problem(ExpectedProblem),
    Deny(ExpectedDenial),
    Retry(ExpectedRetry),
    Rejected(ExpectedRejection),
    Key(ExpectedKey),
    Refusal(ExpectedRefusal),
    /// The last: all that it asks for may be left out, but something must be said.
    Wrapped(CaseWrapped),
}

/// A list is of secrets: serde would take one of a single word for a table of a single field, too.
fn expectation<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Expectation, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let found = match value.is_array() {
        true => Vec::<ExpectedSecret>::deserialize(value).map(Expectation::Secrets),
        false => Expectation::deserialize(value),
    };
    found.map_err(serde::de::Error::custom)
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedProblem {
    problem: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedDenial {
    deny: String,
    reason: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedRetry {
    retry: RetryAfter,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedRejection {
    rejected: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Allow,
    Abstain,
    Ok,
    Corrupt,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum RetryAfter {
    /// `true`: after whatever time.
    Any(bool),
    Ms(u32),
}

impl Cases {
    /// Parses a file's text.
    pub fn parse(text: &str) -> Result<Self, ParseCasesError> {
        toml::from_str(text).map_err(|error| ParseCasesError(error.to_string()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Leaves out the cases whose names do not pass `keep`.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.cases.retain(|case| keep(&case.name));
    }

    /// The first case in which the settings are good, for whoever wants to see the plugin at work.
    pub fn example(&self) -> Option<Example<'_>> {
        let case = self.cases.iter().find(|case| !matches!(case.expect, Expectation::Problem { .. }))?;
        Some(Example { cases: self, case })
    }

    fn settings_of(&self, case: &Case) -> String {
        let settings = case.settings.as_ref().unwrap_or(&self.settings);
        serde_json::to_string(settings).unwrap_or_else(|_| "{}".to_owned())
    }
}

fn no_settings() -> toml::Table {
    toml::Table::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_known_is_an_error_wherever_it_stands() {
        let case = |text: &str| Cases::parse(&format!("[[case]]\nname = \"n\"\n{text}")).map(|cases| cases.len());
        assert_eq!(case("expect = \"allow\""), Ok(1));
        assert_eq!(
            case("expect = [\"not-found\", { value = \"a\" }]\nreferences = [\"a#b\", { path = \"c\" }]"),
            Ok(1)
        );
        assert_eq!(case("expect = { deny = \"x\", reason = \"y\" }"), Ok(1));
        for text in [
            "expect = { dek = \"QUJD\" }\nunwrap = { ciphertext = \"x\", key_version = \"1\" }\ncontext = { project = \"a\" }",
            "expect = { ciphertext_base64 = \"QUJD\" }\nwrap = \"QUJD\"",
            "expect = { unknown_key = \"none\" }\nwrap = \"QUJD\"",
            "expect = \"corrupt\"\nunwrap = { ciphertext_base64 = \"QUJD\" }",
        ] {
            assert_eq!(case(text), Ok(1), "{text}");
        }
        for text in [
            "expect = \"maybe\"",
            "expect = { deny = \"x\", reasn = \"y\" }",
            "expect = { deny = \"x\", problem = \"/y\" }",
            "expect = \"allow\"\nexpected = 1",
            "expect = \"allow\"\nquery.action = \"encrypt\"\nquery.tim = \"x\"",
            "expect = [\"gone\"]\nreferences = [\"a#b\"]",
            "expect = [{ value = \"a\", versoin = \"1\" }]\nreferences = [\"a\"]",
            "expect = [\"not-found\"]\nreferences = [{ path = \"a\", feild = \"b\" }]",
            "expect = \"ok\"\nlines = [{ output = \"o\", lines = [], anser = \"ok\" }]",
            "expect = { dek = \"not base64\" }\nwrap = \"QQ==\"",
            "expect = { ciphertxt = \"x\" }\nwrap = \"QQ==\"",
            "expect = \"corrupt\"\nunwrap = { ciphertext = \"x\", version = \"1\" }",
            "expect = { denid = \"x\" }\nwrap = \"QQ==\"",
            "expect = \"ok\"\nhttp = [{ metod = \"GET\", answer = \"timeout\" }]",
        ] {
            assert!(case(text).is_err(), "{text}");
        }
    }
}
