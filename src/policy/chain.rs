//! The policies in their order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use origan_codec_host::plugin::{self, Fault, Lookups};

use super::query::{Facts, Looked, Query, unix_ms};
use super::{Denial, PolicyCode};
use crate::caller::Action;
use crate::config::{DefaultDecision, Mode};
use crate::names::{ProjectId, ProjectPattern};

/// Who decides, behind the boundary.
#[async_trait]
pub trait Evaluate: Send + Sync {
    /// What must be looked up for it.
    fn needs(&self) -> Lookups;

    /// Decides, for a call that waits. What does not count is waited for less.
    async fn evaluate(&self, query: &plugin::Query<'_>, mode: Mode) -> Result<plugin::Decision, Fault>;
}

/// The policies in the order in which they are asked.
pub struct Chain {
    policies: Vec<Policy>,
    default: DefaultDecision,
}

/// What must be looked up for a call.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// All that any policy asks for.
    pub lookups: Lookups,
    /// Whether a policy that counts is among those that ask for the deployment.
    pub deployment_counts: bool,
}

/// A policy's place in the chain.
pub struct Policy {
    /// As the operator calls it.
    pub name: Arc<str>,
    /// Whether its decision counts.
    pub mode: Mode,
    /// What it is asked about; empty: everything.
    pub actions: Vec<Action>,
    /// Whose projects it is asked about; empty: everybody's.
    pub projects: Vec<ProjectPattern>,
    /// Who decides; none if it could not be loaded: it denies.
    pub evaluator: Option<Arc<dyn Evaluate>>,
    /// Its figures, kept from one version to the next.
    pub figures: Arc<PolicyFigures>,
}

/// How often a policy has decided what.
#[derive(Debug, Default)]
pub struct PolicyFigures([AtomicU64; DECISIONS.len()]);

/// Everything that can come of asking, by its stable name.
pub const DECISIONS: [&str; 11] = [
    "allow",
    "deny",
    "abstain",
    "trap",
    "timeout",
    "out-of-memory",
    "host-limit",
    "bad-answer",
    "busy",
    "not-loaded",
    "not-looked-up",
];

/// What a chain has come to.
#[derive(Debug, Default)]
pub struct Ruling {
    /// Why not; none: let pass.
    pub(super) denial: Option<Denial>,
    /// What each policy that was asked has decided, in order.
    pub trail: Vec<Decided>,
    /// Whether nobody allowed and nobody denied.
    pub by_default: bool,
}

/// What one policy has decided.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Which.
    pub policy: Arc<str>,
    /// Whether it counts.
    pub mode: Mode,
    /// One of [`DECISIONS`].
    pub decision: &'static str,
    /// What the caller is told, where it denies.
    pub code: Option<PolicyCode>,
    /// What the operator is told.
    pub reason: String,
}

impl Default for Chain {
    /// Of no policy: the caller's own actions decide alone.
    fn default() -> Self {
        Self::new(Vec::new(), None)
    }
}

impl Chain {
    /// Of `policies`; without `default`, deny, unless none of them counts: a first one in monitor mode changes nothing.
    pub fn new(policies: Vec<Policy>, default: Option<DefaultDecision>) -> Self {
        let counts = policies.iter().any(|policy| policy.mode == Mode::Enforce);
        let unsaid = if counts { DefaultDecision::Deny } else { DefaultDecision::Allow };
        Self { policies, default: default.unwrap_or(unsaid) }
    }

    /// What must be looked up for the policies that apply.
    pub fn needs(&self, action: Action, project: Option<&ProjectId>) -> Needs {
        let mut needs = Needs { lookups: Lookups::empty(), deployment_counts: false };
        for policy in self.applying(action, project) {
            let wanted = policy.evaluator.as_ref().map_or(Lookups::empty(), |evaluator| evaluator.needs());
            needs.deployment_counts |= policy.mode == Mode::Enforce && wanted.contains(Lookups::DEPLOYMENT);
            needs.lookups |= wanted;
        }
        needs
    }

    /// The policies, for figures.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// What the policies that apply decide. A ruling is not a permit.
    pub async fn judge(&self, query: &Query<'_>, facts: &Facts<'_>) -> Ruling {
        let mut ruling = Ruling::default();
        let mut applying = self.applying(query.action, query.project_id).peekable();
        if applying.peek().is_some() {
            let remote = query.remote.map(|remote| remote.to_string());
            let attributes = remote.as_deref().map(|value| plugin::Attribute { name: "remote", value });
            let variables = facts.variables();
            let everything = plugin::Query {
                request_id: query.request_id.as_str(),
                action: query.action.name(),
                time: unix_ms(query.time),
                caller: plugin::Caller {
                    name: &query.caller.name,
                    method: query.caller.method.name(),
                    attributes: &[],
                },
                project_id: query.project_id.map(ProjectId::as_str),
                deployment: facts.deployment(),
                variables: &variables,
                attributes: attributes.as_slice(),
            };
            for policy in applying {
                ruling.trail.push(policy.decide(&everything, facts).await);
            }
        }
        self.conclude(&mut ruling);
        ruling
    }

    /// Adds a ruling to the policies' figures.
    pub(super) fn count(&self, ruling: &Ruling) {
        for decided in &ruling.trail {
            if let Some(policy) = self.policies.iter().find(|policy| policy.name == decided.policy) {
                policy.figures.count(decided.decision);
            }
        }
    }

    /// Any deny wins; the first of them is the one that is told.
    fn conclude(&self, ruling: &mut Ruling) {
        let counting = || ruling.trail.iter().filter(|decided| decided.mode == Mode::Enforce);
        // One that will stand is told before one that may pass.
        let mut denials = counting().filter_map(|decided| {
            let policy = Some(decided.policy.clone());
            let (reason, is_busy) = (decided.reason.clone(), decided.decision == "busy");
            decided.code.map(|code| Denial { code, policy, reason, is_busy })
        });
        let first = denials.next();
        let denial = match first {
            Some(first) if first.is_busy => Some(denials.find(|denial| !denial.is_busy).unwrap_or(first)),
            first => first,
        };
        let is_allowed = counting().any(|decided| decided.decision == "allow");
        if denial.is_some() || is_allowed {
            ruling.denial = denial;
            return;
        }
        ruling.by_default = true;
        ruling.denial = (self.default == DefaultDecision::Deny).then(|| Denial {
            code: PolicyCode::of("no-policy-allows"),
            policy: Some("default".into()),
            reason: "no policy allows this, and none denies it".into(),
            is_busy: false,
        });
    }

    fn applying(&self, action: Action, project: Option<&ProjectId>) -> impl Iterator<Item = &Policy> {
        self.policies.iter().filter(move |policy| policy.applies(action, project))
    }
}

impl Policy {
    /// A project that is not known could be any: every pattern takes it for its own.
    fn applies(&self, action: Action, project: Option<&ProjectId>) -> bool {
        let acts = self.actions.is_empty() || self.actions.contains(&action);
        let owns = |project: &ProjectId| self.projects.iter().any(|pattern| pattern.matches(project.as_str()));
        acts && (self.projects.is_empty() || project.is_none_or(owns))
    }

    async fn decide(&self, everything: &plugin::Query<'_>, facts: &Facts<'_>) -> Decided {
        let (decision, code, reason) = self.ask(everything, facts).await;
        let code = code.map(|code| PolicyCode::of(&code));
        Decided { policy: self.name.clone(), mode: self.mode, decision, code, reason }
    }

    /// Whatever is no answer denies.
    async fn ask(&self, everything: &plugin::Query<'_>, facts: &Facts<'_>) -> (&'static str, Option<String>, String) {
        let Some(evaluator) = &self.evaluator else {
            return ("not-loaded", Some("policy-not-loaded".into()), "the policy could not be loaded".into());
        };
        let needs = evaluator.needs();
        let mut query = everything.clone();
        if !needs.contains(Lookups::DEPLOYMENT) {
            query.deployment = plugin::DeploymentFact::None;
        } else if matches!(facts.deployment, Looked::Failed) {
            let reason = "the deployment could not be looked up".to_owned();
            return ("not-looked-up", Some("policy-not-looked-up".into()), reason);
        }
        if !needs.contains(Lookups::VARIABLES) {
            query.variables = &[];
        }
        match evaluator.evaluate(&query, self.mode).await {
            Ok(plugin::Decision::Allow) => ("allow", None, String::new()),
            Ok(plugin::Decision::Abstain) => ("abstain", None, String::new()),
            Ok(plugin::Decision::Deny(denial)) => ("deny", Some(denial.code), denial.reason),
            Err(fault) => (fault.code(), Some(format!("policy-{}", fault.code())), fault.to_string()),
        }
    }
}

impl Ruling {
    /// Why not; none: let pass.
    pub fn denial(&self) -> Option<&Denial> {
        self.denial.as_ref()
    }
}

impl PolicyFigures {
    /// How often each of [`DECISIONS`].
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        DECISIONS.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    fn count(&self, decision: &str) {
        if let Some(place) = DECISIONS.iter().position(|known| *known == decision) {
            self.0[place].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Decided {
    /// As the record has it.
    pub fn note(&self) -> (Arc<str>, &'static str) {
        (self.policy.clone(), recorded(self.mode, self.decision))
    }
}

/// What a policy in monitor mode decides is marked, for it changed nothing.
fn recorded(mode: Mode, decision: &'static str) -> &'static str {
    if mode == Mode::Enforce {
        return decision;
    }
    match decision {
        "allow" => "monitor:allow",
        "deny" => "monitor:deny",
        "abstain" => "monitor:abstain",
        "trap" => "monitor:trap",
        "timeout" => "monitor:timeout",
        "out-of-memory" => "monitor:out-of-memory",
        "host-limit" => "monitor:host-limit",
        "bad-answer" => "monitor:bad-answer",
        "busy" => "monitor:busy",
        "not-loaded" => "monitor:not-loaded",
        _ => "monitor:not-looked-up",
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
