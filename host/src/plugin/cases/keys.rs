//! Cases of key providers: bytes → ciphertext, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};

use super::script::Script;
use super::{Case, Cases, Example, Expectation, ExpectedRetry, RetryAfter, Word};
use crate::plugin::admission::{AdmissionError, Candidate, KeyProviderPre};
use crate::plugin::engine::Engines;
use crate::plugin::key_provider::{KeyContext, KeyError, KeyProvider, Wrapped};

/// What is to be wrapped: base64 in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CaseBytes(Vec<u8>);

impl<'de> Deserialize<'de> for CaseBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(&text).map(Self).map_err(|_| serde::de::Error::custom(format!("`{text}` is not base64")))
    }
}

/// A ciphertext: as it must come, or as it is given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseWrapped {
    /// Where it is text.
    ciphertext: Option<String>,
    /// Where it is not.
    ciphertext_base64: Option<CaseBytes>,
    key_version: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedKey {
    dek: CaseBytes,
}

/// Why nothing comes of it, each with a part of its text.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ExpectedRefusal {
    Denied(String),
    UnknownKey(String),
    Unavailable(String),
}

impl Cases {
    pub(super) async fn run_on_key_provider(
        &self,
        case: &Case,
        engines: &Engines,
        candidate: &Candidate,
        pre: &KeyProviderPre,
    ) -> Result<Vec<String>, AdmissionError> {
        let script = Arc::new(Script::of(case));
        let recipe = engines.recipe(candidate, pre.clone(), script.clone(), &self.settings_of(case));
        let plugin = match KeyProvider::new(recipe).await.map_err(AdmissionError::from) {
            Ok(plugin) => plugin.outspoken(),
            Err(AdmissionError::Settings(problems)) => return Ok(case.complaints_of_problems(&problems)),
            Err(error) => return Err(error),
        };
        if matches!(case.expect, Expectation::Problem(_)) {
            return Ok(vec!["`configure` should refuse these settings, and took them".into()]);
        }
        let context = context_of(&case.context);
        let mut complaints = match (&case.wrap, &case.unwrap) {
            (Some(CaseBytes(plaintext)), None) => match plugin.wrap(plaintext, &context).await {
                Ok(answer) => case.complaint(case.expects_wrapped(&answer), &told(&answer)),
                Err(fault) => vec![format!("it {fault}")],
            },
            (None, Some(wrapped)) => match plugin.unwrap(&wrapped.given(), &context).await {
                Ok(answer) => {
                    let answer = answer.map(|plaintext| plaintext.to_vec());
                    case.complaint(case.expects_plaintext(&answer), &told(&answer))
                }
                Err(fault) => vec![format!("it {fault}")],
            },
            _ => return Ok(vec!["a case of a key provider needs `wrap` or `unwrap`".into()]),
        };
        complaints.extend(script.complaints());
        Ok(complaints)
    }
}

impl Cases {
    /// The first case in which something is wrapped, and the first in which something is unwrapped.
    pub fn key_examples(&self) -> impl Iterator<Item = Example<'_>> {
        let wraps = |case: &&Case| case.wrap.is_some() && matches!(case.expect, Expectation::Wrapped(_));
        let unwraps = |case: &&Case| case.unwrap.is_some() && matches!(case.expect, Expectation::Key(_));
        let found = [self.cases.iter().find(wraps), self.cases.iter().find(unwraps)];
        found.into_iter().flatten().map(|case| Example { cases: self, case })
    }
}

impl Example<'_> {
    /// What it wraps or unwraps, and in which context; none where it does neither.
    pub fn key_call(&self) -> Option<(Result<Vec<u8>, Wrapped>, KeyContext)> {
        let case = self.case;
        let call = match (&case.wrap, &case.unwrap) {
            (Some(CaseBytes(plaintext)), _) => Ok(plaintext.clone()),
            (None, Some(wrapped)) => Err(wrapped.given()),
            (None, None) => return None,
        };
        Some((call, context_of(&case.context)))
    }
}

impl Case {
    fn expects_wrapped(&self, answer: &Result<Wrapped, KeyError>) -> bool {
        match (&self.expect, answer) {
            (Expectation::Wrapped(expected), Ok(found)) => expected.is_met_by(found),
            (_, Err(error)) => self.expects_key_error(error),
            _ => false,
        }
    }

    fn expects_plaintext(&self, answer: &Result<Vec<u8>, KeyError>) -> bool {
        match (&self.expect, answer) {
            (Expectation::Key(expected), Ok(found)) => expected.dek.0 == *found,
            (_, Err(error)) => self.expects_key_error(error),
            _ => false,
        }
    }

    fn expects_key_error(&self, error: &KeyError) -> bool {
        match (&self.expect, error) {
            (Expectation::Word(Word::Corrupt), KeyError::Corrupt) => true,
            (Expectation::Refusal(ExpectedRefusal::Denied(part)), KeyError::Denied(why))
            | (Expectation::Refusal(ExpectedRefusal::UnknownKey(part)), KeyError::UnknownKey(why))
            | (Expectation::Refusal(ExpectedRefusal::Unavailable(part)), KeyError::Unavailable(why)) => {
                why.contains(&**part)
            }
            (Expectation::Retry(ExpectedRetry { retry }), KeyError::Retry(found)) => match retry {
                RetryAfter::Any(true) => true,
                RetryAfter::Any(false) => found.is_none(),
                RetryAfter::Ms(ms) => *found == Some(*ms),
            },
            _ => false,
        }
    }
}

impl CaseWrapped {
    fn bytes(&self) -> Option<Vec<u8>> {
        let text = self.ciphertext.as_ref().map(|text| text.clone().into_bytes());
        text.or_else(|| self.ciphertext_base64.as_ref().map(|bytes| bytes.0.clone()))
    }

    fn given(&self) -> Wrapped {
        Wrapped {
            ciphertext: self.bytes().unwrap_or_default(),
            key_version: self.key_version.clone().unwrap_or_default(),
        }
    }

    /// What is left out may be anything.
    fn is_met_by(&self, found: &Wrapped) -> bool {
        self.bytes().is_none_or(|bytes| bytes == found.ciphertext)
            && self.key_version.as_ref().is_none_or(|version| *version == found.key_version)
    }
}

fn context_of(context: &BTreeMap<String, String>) -> KeyContext {
    context.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A case's keys are made up: whoever wrote them may read them.
fn told<T: std::fmt::Debug>(answer: &Result<T, KeyError>) -> String {
    match answer {
        Ok(found) => format!("{found:?}"),
        Err(error) => format!("{error:?}"),
    }
}
