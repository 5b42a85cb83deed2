//! Cases of secret providers: references → secrets.

use std::sync::Arc;

use serde::Deserialize;

use super::script::Script;
use super::{Case, Cases, Example, Expectation, RetryAfter};
use crate::plugin::admission::{AdmissionError, Candidate, SecretProviderPre};
use crate::plugin::engine::Engines;
use crate::plugin::outside::Outside;
use crate::plugin::secret_provider::{ResolveError, ResolvedSecret, SecretProvider, SecretReference};

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum CaseReference {
    /// As a variable's `ref` has it.
    Text(String),
    Full(CaseFullReference),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseFullReference {
    path: String,
    field: Option<String>,
    version: Option<String>,
}

/// What must come of one reference.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum ExpectedSecret {
    Error(ExpectedError),
    Retry(ExpectedRetry),
    Secret(ExpectedValue),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ExpectedError {
    NotFound,
    Denied,
    InvalidReference,
    Unavailable,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedRetry {
    retry: RetryAfter,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedValue {
    value: Option<String>,
    /// In place of `value`, for what is no text.
    bytes: Option<Vec<u8>>,
    version: Option<String>,
    keep_ms: Option<u64>,
}

impl Cases {
    pub(super) async fn run_on_secret_provider(
        &self,
        case: &Case,
        engines: &Engines,
        candidate: &Candidate,
        pre: &SecretProviderPre,
    ) -> Result<Vec<String>, AdmissionError> {
        let script = Arc::new(Script::of(case));
        let recipe = engines.recipe(candidate, pre.clone(), script.clone(), &self.settings_of(case));
        let made = SecretProvider::new(recipe).await;
        let plugin = match made.map_err(AdmissionError::from) {
            Ok(plugin) => plugin.outspoken(),
            Err(AdmissionError::Settings(problems)) => return Ok(case.complaints_of_problems(&problems)),
            Err(error) => return Err(error),
        };
        if matches!(case.expect, Expectation::Problem(_)) {
            return Ok(vec!["`configure` should refuse these settings, and took them".into()]);
        }
        let Some(references) = &case.references else {
            return Ok(vec!["a case of a secret provider needs `references`".into()]);
        };
        let references: Vec<_> = references.iter().map(CaseReference::as_reference).collect();
        let mut complaints = match plugin.resolve(&references).await {
            Ok(answers) => case.complaints_of_answers(&references, &answers),
            Err(fault) => vec![format!("it {fault}")],
        };
        complaints.extend(script.complaints());
        Ok(complaints)
    }
}

impl Example<'_> {
    /// Its references; none where it has none, as those of policies and sinks.
    pub fn references(&self) -> Option<Vec<SecretReference>> {
        Some(self.case.references.as_ref()?.iter().map(CaseReference::as_reference).collect())
    }

    /// What its backend answers, in the order in which it is asked, whatever it is asked.
    pub fn outside(&self) -> Arc<dyn Outside> {
        Arc::new(Script::of(self.case))
    }
}

impl CaseReference {
    fn as_reference(&self) -> SecretReference {
        match self {
            Self::Text(text) => SecretReference::parse(text, None),
            Self::Full(full) => {
                SecretReference { path: full.path.clone(), field: full.field.clone(), version: full.version.clone() }
            }
        }
    }
}

impl Case {
    fn complaints_of_answers(
        &self,
        references: &[SecretReference],
        answers: &[Result<ResolvedSecret, ResolveError>],
    ) -> Vec<String> {
        let Expectation::Secrets(expected) = &self.expect else {
            return self.complaint(false, &answers.iter().map(told).collect::<Vec<_>>());
        };
        if expected.len() != references.len() {
            return vec![format!("{} references, and {} are expected", references.len(), expected.len())];
        }
        let pairs = references.iter().zip(expected.iter().zip(answers));
        let wrong = pairs.filter(|(_, (expected, answer))| !expected.is_met_by(answer));
        let complaints = wrong.map(|(reference, (expected, answer))| {
            format!("{reference:?}: expected {expected:?}, and it answered {}", told(answer))
        });
        complaints.collect()
    }
}

impl ExpectedSecret {
    fn is_met_by(&self, answer: &Result<ResolvedSecret, ResolveError>) -> bool {
        match (self, answer) {
            (Self::Error(ExpectedError::NotFound), Err(ResolveError::NotFound))
            | (Self::Error(ExpectedError::Denied), Err(ResolveError::Denied(_)))
            | (Self::Error(ExpectedError::InvalidReference), Err(ResolveError::InvalidReference(_)))
            | (Self::Error(ExpectedError::Unavailable), Err(ResolveError::Unavailable(_)))
            | (Self::Retry(ExpectedRetry { retry: RetryAfter::Any(true) }), Err(ResolveError::Retry(_)))
            | (Self::Retry(ExpectedRetry { retry: RetryAfter::Any(false) }), Err(ResolveError::Retry(None))) => true,
            (Self::Retry(ExpectedRetry { retry: RetryAfter::Ms(ms) }), Err(ResolveError::Retry(found))) => {
                Some(*ms) == *found
            }
            (Self::Secret(expected), Ok(found)) => expected.is_met_by(found),
            _ => false,
        }
    }
}

impl ExpectedValue {
    /// What is left out may be anything, but for the time to keep it: left out, it must be none.
    fn is_met_by(&self, found: &ResolvedSecret) -> bool {
        let keep_ms = found.keep.map(|keep| u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
        self.value.as_ref().is_none_or(|value| value.as_bytes() == found.value.as_slice())
            && self.bytes.as_ref().is_none_or(|bytes| bytes == &*found.value)
            && self.version.as_ref().is_none_or(|version| *version == found.version)
            && self.keep_ms == keep_ms
    }
}

/// A case's secrets are made up: whoever wrote them may read them.
fn told(answer: &Result<ResolvedSecret, ResolveError>) -> String {
    match answer {
        Ok(found) => {
            let value = String::from_utf8_lossy(&found.value);
            format!("{value:?}, version {:?}, keep {:?}", found.version, found.keep)
        }
        Err(error) => format!("{error:?}"),
    }
}
