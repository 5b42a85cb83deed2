//! What would be decided, and why, without doing it.

use std::sync::Arc;

use super::authorise::{Subject, facts};
use super::{Answered, Context, Refusal, Service};
use crate::audit::{Pending, Withheld};
use crate::caller::{Action, Caller};
use crate::deployments::Deployment;
use crate::names::{DeploymentId, ExternalReference, KeyVersion, ProjectId, VariableName};
use crate::policy::Denial;
use crate::policy::chain::Decided;
use crate::policy::query::{Facts, Query, Variable, VariableKind};

/// `POST /explain`.
#[derive(Debug)]
pub struct Explain {
    /// On whose behalf; none: on that of whoever asks.
    pub caller: Option<Arc<Caller>>,
    /// For what.
    pub action: Action,
    /// Whose secrets.
    pub project_id: Option<ProjectId>,
    /// For which deployment.
    pub deployment_id: Option<DeploymentId>,
    /// Which variables.
    pub variables: Vec<(VariableName, ExplainedVariable)>,
}

/// A variable, as far as policies see it.
#[derive(Debug)]
pub enum ExplainedVariable {
    /// Of the version that it names, with the bytes of its value, where that came along.
    Secret(Option<KeyVersion>, usize),
    /// With the bytes of its value, where that came along.
    Plain(usize),
    /// Somewhere else.
    External(Box<ExternalReference>),
}

/// What would be decided.
#[derive(Debug, Default)]
pub struct Explanation {
    /// Why not; none: it would be let pass.
    pub denial: Option<Denial>,
    /// Whether the default decided.
    pub by_default: bool,
    /// What each policy that was asked has decided, in order.
    pub trail: Vec<Decided>,
    /// Whether the deployment is known, where a policy asked for it.
    pub deployment_known: Option<bool>,
}

impl Service {
    /// Asks every policy that applies, and does nothing else.
    pub async fn explain(&self, context: &Context, call: Explain) -> Result<Answered<Explanation>, Refusal> {
        let mut pending = self.begin(context, Action::Explain);
        let outcome = self.try_explain(context, &mut pending, call).await;
        self.conclude(pending, outcome).await
    }

    async fn try_explain(
        &self,
        context: &Context,
        pending: &mut Pending,
        call: Explain,
    ) -> Result<Withheld<Explanation>, Refusal> {
        pending.record().project_id.clone_from(&call.project_id);
        pending.record().deployment_id.clone_from(&call.deployment_id);
        self.policies.admit(&context.caller, Action::Explain)?;
        let caller = call.caller.as_ref().unwrap_or(&context.caller);
        pending.record().explained = Some((call.action.name(), caller.name.clone()));
        if let Err(denial) = self.policies.admit(caller, call.action) {
            return Ok(Withheld::new(Explanation { denial: Some(denial), ..Explanation::default() }));
        }
        // No policy is asked about what touches no secret.
        if !call.action.is_judged() {
            return Ok(Withheld::new(Explanation::default()));
        }
        let listed = || {
            let variables = call.variables.iter().map(|(name, variable)| {
                let (kind, size_bytes) = match variable {
                    ExplainedVariable::Secret(version, size_bytes) => (VariableKind::Secret(*version), *size_bytes),
                    ExplainedVariable::Plain(size_bytes) => (VariableKind::Plain, *size_bytes),
                    ExplainedVariable::External(reference) => (VariableKind::External(reference), 0),
                };
                Variable { name, kind, size_bytes }
            });
            Facts::of_variables(variables)
        };
        let subject = Subject {
            action: call.action,
            project_id: call.project_id.as_ref(),
            deployment_id: call.deployment_id.as_ref(),
            variables: &listed,
        };
        let chain = self.policies.chain();
        let needs = chain.needs(subject.action, subject.project_id);
        let deployment = self.looked_up(needs, &subject).await?;
        let facts = facts(needs, &subject, deployment.as_ref());
        let query = Query {
            caller,
            action: call.action,
            request_id: &context.request_id,
            time: pending.record().time(),
            remote: context.remote,
            project_id: call.project_id.as_ref(),
            deployment_id: call.deployment_id.as_ref(),
        };
        let ruling = chain.judge(&query, &facts).await;
        let known = deployment.iter().flatten().map(|found| matches!(found, Deployment::Known(_))).next();
        Ok(Withheld::new(Explanation {
            denial: ruling.denial().cloned(),
            by_default: ruling.by_default,
            trail: ruling.trail,
            deployment_known: known,
        }))
    }
}
