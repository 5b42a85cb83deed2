//! Runs cases, each on an instance of its own.

use std::sync::Arc;

use super::script::Script;
use super::{
    CASE_CHAIN, CASE_TIME_MS, Case, CaseBatch, CaseCaller, CaseQuery, CaseVariable, Cases, Example, Expectation,
    ExpectedRetry, RetryAfter, Word,
};
use crate::plugin::admission::{
    AdmissionError, Candidate, KeyProviderPre, PolicyPre, Problem, SecretProviderPre, SinkPre,
};
use crate::plugin::engine::Engines;
use crate::plugin::fault::printable;
use crate::plugin::policy::{Attribute, Caller, Decision, DeploymentFact, KnownDeployment, Lookups, Query, Variable};
use crate::plugin::scan::{Kind, Scan};
use crate::plugin::sink::{Entry, SinkPlugin, WriteOutcome};

/// How one case went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseOutcome {
    /// Its name.
    pub name: String,
    /// What is wrong; nothing if it passed.
    pub complaints: Vec<String>,
}

/// Cases that were not answered as they should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failed} of {total} of its cases fail, the first is `{first}`: {why}")]
pub struct CasesFailed {
    /// How many.
    pub failed: usize,
    /// Of how many.
    pub total: usize,
    /// The name of the first.
    pub first: String,
    /// What is wrong with it.
    pub why: String,
}

impl Cases {
    /// Runs all of them on a plugin of whichever kind `candidate` is; each is told to `tell` as it ends.
    pub async fn run(
        &self,
        engines: &Arc<Engines>,
        candidate: &Candidate,
        tell: impl FnMut(&CaseOutcome),
    ) -> Result<Vec<CaseOutcome>, AdmissionError> {
        let linked = match Scan::of(&candidate.bytes, candidate.limits.function_bytes)?.kind {
            Kind::AuditSink => Linked::Sink(engines.link_sink(candidate).await?),
            Kind::SecretProvider => Linked::SecretProvider(engines.link_secret_provider(candidate).await?),
            Kind::KeyProvider => Linked::KeyProvider(engines.link_key_provider(candidate).await?),
            Kind::Policy => Linked::Policy(engines.link_policy(candidate).await?),
        };
        self.run_linked(engines, candidate, &linked, tell).await
    }

    async fn run_linked(
        &self,
        engines: &Engines,
        candidate: &Candidate,
        linked: &Linked,
        mut tell: impl FnMut(&CaseOutcome),
    ) -> Result<Vec<CaseOutcome>, AdmissionError> {
        let mut outcomes = Vec::new();
        for case in &self.cases {
            let complaints = match linked {
                Linked::Sink(pre) => self.run_on_sink(case, engines, candidate, pre).await?,
                Linked::SecretProvider(pre) => self.run_on_secret_provider(case, engines, candidate, pre).await?,
                Linked::KeyProvider(pre) => self.run_on_key_provider(case, engines, candidate, pre).await?,
                Linked::Policy(pre) => self.run_on_policy(case, engines, candidate, pre).await?,
            };
            let outcome = CaseOutcome { name: case.name.clone(), complaints };
            tell(&outcome);
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// Runs all of them; one that fails is an error.
    pub(in crate::plugin) async fn must_pass(
        &self,
        engines: &Engines,
        candidate: &Candidate,
        linked: &Linked,
    ) -> Result<(), AdmissionError> {
        Ok(failures(&self.run_linked(engines, candidate, linked, |_| {}).await?)?)
    }

    async fn run_on_policy(
        &self,
        case: &Case,
        engines: &Engines,
        candidate: &Candidate,
        pre: &PolicyPre,
    ) -> Result<Vec<String>, AdmissionError> {
        let candidate = Candidate { settings: self.settings_of(case), ..candidate.clone() };
        let plugin = match engines.configured_afresh(pre, &candidate).await {
            Ok(plugin) => plugin,
            Err(AdmissionError::Settings(problems)) => return Ok(case.complaints_of_problems(&problems)),
            Err(error) => return Err(error),
        };
        if matches!(case.expect, Expectation::Problem(_)) {
            return Ok(vec!["`configure` should refuse these settings, and took them".into()]);
        }
        let Some(asked) = &case.query else { return Ok(vec!["a case of a policy needs a `query`".into()]) };
        let needs = plugin.needs();
        let found = asked.with_query(needs, async |query| match plugin.evaluate(query).await {
            Ok(decision) => case.complaints_of_decision(&decision),
            Err(fault) => vec![format!("it {fault}")],
        });
        Ok(found.await.unwrap_or_else(|complaint| vec![complaint]))
    }

    async fn run_on_sink(
        &self,
        case: &Case,
        engines: &Engines,
        candidate: &Candidate,
        pre: &SinkPre,
    ) -> Result<Vec<String>, AdmissionError> {
        let script = Arc::new(Script::of(case));
        let recipe = engines.recipe(candidate, pre.clone(), script.clone(), &self.settings_of(case));
        let made = SinkPlugin::new(recipe).await;
        let mut plugin = match made.map_err(AdmissionError::from) {
            Ok(plugin) => plugin,
            Err(AdmissionError::Settings(problems)) => return Ok(case.complaints_of_problems(&problems)),
            Err(error) => return Err(error),
        };
        if matches!(case.expect, Expectation::Problem(_)) {
            return Ok(vec!["`configure` should refuse these settings, and took them".into()]);
        }
        let batch = match &case.batch {
            Some(batch) => batch.entries(),
            None => return Ok(vec!["a case of a sink needs a `batch`".into()]),
        };
        let mut complaints = match batch {
            Err(complaint) => return Ok(vec![complaint]),
            Ok(batch) => match plugin.write(&batch).await {
                Ok(outcome) => case.complaints_of_outcome(&outcome),
                Err(fault) => vec![format!("it {fault}")],
            },
        };
        complaints.extend(script.complaints());
        Ok(complaints)
    }
}

/// A component that is compiled and linked, without its settings.
pub(in crate::plugin) enum Linked {
    Policy(PolicyPre),
    Sink(SinkPre),
    SecretProvider(SecretProviderPre),
    KeyProvider(KeyProviderPre),
}

impl Example<'_> {
    /// The case's name.
    pub fn name(&self) -> &str {
        &self.case.name
    }

    /// Its settings, as `configure` takes them.
    pub fn settings(&self) -> String {
        self.cases.settings_of(self.case)
    }

    /// Asks `ask` with its query, as a policy that needs `needs` would see it; none if it has no query, as those of sinks.
    pub async fn with_query<T>(
        &self,
        needs: Lookups,
        ask: impl AsyncFnOnce(&Query<'_>) -> T,
    ) -> Option<Result<T, String>> {
        Some(self.case.query.as_ref()?.with_query(needs, ask).await)
    }
}

impl Case {
    pub(super) fn complaints_of_problems(&self, problems: &[Problem]) -> Vec<String> {
        match &self.expect {
            Expectation::Problem(expected) if problems.iter().any(|found| found.path == expected.problem) => Vec::new(),
            _ => problems
                .iter()
                .map(|found| format!("`configure` refused: {}: {}", printable(&found.path), printable(&found.message)))
                .collect(),
        }
    }

    fn complaints_of_decision(&self, decision: &Decision) -> Vec<String> {
        let is_right = match (&self.expect, decision) {
            (Expectation::Word(Word::Allow), Decision::Allow)
            | (Expectation::Word(Word::Abstain), Decision::Abstain) => true,
            (Expectation::Deny(expected), Decision::Deny(denial)) => {
                expected.deny == denial.code
                    && expected.reason.as_ref().is_none_or(|part| denial.reason.contains(&**part))
            }
            _ => false,
        };
        self.complaint(is_right, decision)
    }

    fn complaints_of_outcome(&self, outcome: &WriteOutcome) -> Vec<String> {
        let is_right = match (&self.expect, outcome) {
            (Expectation::Word(Word::Ok), WriteOutcome::Written) => true,
            (Expectation::Retry(ExpectedRetry { retry: RetryAfter::Any(true) }), WriteOutcome::Retry(_)) => true,
            (Expectation::Retry(ExpectedRetry { retry: RetryAfter::Any(false) }), WriteOutcome::Retry(None)) => true,
            (Expectation::Retry(ExpectedRetry { retry: RetryAfter::Ms(ms) }), WriteOutcome::Retry(Some(found))) => {
                ms == found
            }
            (Expectation::Rejected(expected), WriteOutcome::Rejected(found)) => {
                found.iter().map(|(seq, _)| seq).eq(&expected.rejected)
            }
            _ => false,
        };
        self.complaint(is_right, outcome)
    }

    pub(super) fn complaint(&self, is_right: bool, found: &impl std::fmt::Debug) -> Vec<String> {
        if is_right { Vec::new() } else { vec![format!("expected {:?}, and it answered {found:?}", self.expect)] }
    }
}

impl CaseQuery {
    /// Asks `ask` with this query, which borrows from all over.
    async fn with_query<T>(&self, needs: Lookups, ask: impl AsyncFnOnce(&Query<'_>) -> T) -> Result<T, String> {
        let time = self.time.as_deref().map_or(Ok(CASE_TIME_MS), parse_time)?;
        let project = self.project.as_deref().unwrap_or("shop");
        let caller_attributes;
        let caller = match &self.caller {
            None => Caller { name: "service", method: "shared-token", attributes: &[] },
            Some(CaseCaller::Name(name)) => Caller { name, method: "token", attributes: &[] },
            Some(CaseCaller::Full(full)) => {
                caller_attributes = attributes(&full.attributes);
                let method = full.method.as_deref().unwrap_or("token");
                Caller { name: &full.name, method, attributes: &caller_attributes }
            }
        };
        let deployment_attributes;
        let deployment = match &self.deployment {
            Some(deployment) if needs.contains(Lookups::DEPLOYMENT) => match &deployment.created {
                None => DeploymentFact::Unknown(&deployment.id),
                Some(created) => {
                    deployment_attributes = attributes(&deployment.attributes);
                    DeploymentFact::Known(KnownDeployment {
                        id: &deployment.id,
                        project_id: deployment.project.as_deref().unwrap_or(project),
                        created: parse_time(created)?,
                        attributes: &deployment_attributes,
                    })
                }
            },
            _ => DeploymentFact::None,
        };
        let mut variables = Vec::new();
        if needs.contains(Lookups::VARIABLES) {
            variables.extend(self.variables.iter().map(CaseVariable::as_variable));
        }
        let query_attributes = attributes(&self.attributes);
        let query = Query {
            request_id: "r-1",
            action: &self.action,
            time,
            caller,
            project_id: Some(project).filter(|project| !project.is_empty()),
            deployment,
            variables: &variables,
            attributes: &query_attributes,
        };
        Ok(ask(&query).await)
    }
}

impl CaseVariable {
    fn as_variable(&self) -> Variable<'_> {
        match self {
            Self::Name(name) => {
                Variable { name, kind: "secret", key_version: None, size_bytes: 64, provider: None, reference: None }
            }
            Self::Full(full) => Variable {
                name: &full.name,
                kind: full.kind.as_deref().unwrap_or("secret"),
                key_version: full.key_version,
                size_bytes: full.size_bytes.unwrap_or(64),
                provider: full.provider.as_deref(),
                reference: full.reference.as_deref(),
            },
        }
    }
}

impl CaseBatch {
    fn entries(&self) -> Result<Vec<Entry>, String> {
        match self {
            Self::MadeUp(count) => Ok((1..=*count).map(made_up).collect()),
            Self::Given(entries) => (1..)
                .zip(entries)
                .map(|(place, given)| {
                    let base = made_up(given.seq.unwrap_or(place));
                    Ok(Entry {
                        line: given.line.clone(),
                        time: given.time.as_deref().map_or(Ok(base.time), parse_time)?,
                        chain: given.chain.clone().unwrap_or(base.chain),
                        hash: given.hash.clone().unwrap_or(base.hash),
                        seq: base.seq,
                    })
                })
                .collect(),
        }
    }
}

/// A record that nobody wrote: the one of this number.
pub fn made_up(seq: u64) -> Entry {
    let time = CASE_TIME_MS + 1_000 * seq;
    let written = chrono::DateTime::from_timestamp_millis(time.cast_signed()).unwrap_or_default();
    let written = written.format("%Y-%m-%dT%H:%M:%S%.3fZ");
    let line = format!(
        "{{\"chain\":\"{CASE_CHAIN}\",\"seq\":{seq},\"time\":\"{written}\",\"action\":\"SECRET_DECRYPT\",\
         \"operation\":\"decrypt-all\",\"projectId\":\"shop\",\"deploymentId\":\"d-1\",\
         \"caller\":{{\"name\":\"runner\",\"method\":\"token\"}},\"variables\":[\"DATABASE_URL\"],\
         \"outcome\":\"allowed\",\"requestId\":\"r-{seq}\"}}"
    );
    Entry { chain: CASE_CHAIN.into(), seq, time, line, hash: format!("{seq:064x}") }
}

fn attributes(map: &std::collections::BTreeMap<String, String>) -> Vec<Attribute<'_>> {
    map.iter().map(|(name, value)| Attribute { name, value }).collect()
}

fn parse_time(text: &str) -> Result<u64, String> {
    let parsed = chrono::DateTime::parse_from_rfc3339(text).ok();
    let ms = parsed.and_then(|time| u64::try_from(time.timestamp_millis()).ok());
    ms.ok_or_else(|| format!("`{text}` is no time such as 2026-01-01T12:00:00Z"))
}

fn failures(outcomes: &[CaseOutcome]) -> Result<(), CasesFailed> {
    let failed: Vec<&CaseOutcome> = outcomes.iter().filter(|outcome| !outcome.complaints.is_empty()).collect();
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(CasesFailed {
            failed: failed.len(),
            total: outcomes.len(),
            first: printable(&first.name),
            why: printable(&first.complaints.join("; ")),
        }),
    }
}
