//! May they? Looks up what the policies that apply ask for, has them decide, and notes all of it in the record.

use origan_codec_host::plugin::Lookups;

use super::{Context, Refusal, Service};
use crate::audit::Pending;
use crate::audit::record::DecidedBy;
use crate::caller::Action;
use crate::deployments::{Deployment, LookupError};
use crate::names::{DeploymentId, ProjectId};
use crate::policy::Permit;
use crate::policy::chain::Needs;
use crate::policy::query::{Facts, Looked, Query, Variable};
use crate::service::Cause;

/// What an operation is about, as policies see it.
pub(super) struct Subject<'a> {
    pub(super) action: Action,
    pub(super) project_id: Option<&'a ProjectId>,
    pub(super) deployment_id: Option<&'a DeploymentId>,
    /// Listed only where a policy asks for them.
    pub(super) variables: &'a (dyn Fn() -> Vec<Variable<'a>> + Sync),
}

impl<'a> Subject<'a> {
    /// An operation on a project that names no deployment and no variable.
    pub(super) fn of_project(action: Action, project_id: &'a ProjectId) -> Self {
        Self { action, project_id: Some(project_id), deployment_id: None, variables: &Vec::new }
    }
}

impl Service {
    /// The permit, if every policy that applies lets pass.
    pub(super) async fn authorise(
        &self,
        context: &Context,
        pending: &mut Pending,
        subject: &Subject<'_>,
    ) -> Result<Permit, Refusal> {
        // Before anything is looked up.
        self.policies.admit(&context.caller, subject.action)?;
        let chain = self.policies.chain();
        let needs = chain.needs(subject.action, subject.project_id);
        let deployment = self.looked_up(needs, subject).await?;
        let facts = facts(needs, subject, deployment.as_ref());
        let query = Query {
            caller: &context.caller,
            action: subject.action,
            request_id: &context.request_id,
            time: pending.record().time(),
            remote: context.remote,
            project_id: subject.project_id,
            deployment_id: subject.deployment_id,
        };
        let (outcome, ruling) = self.policies.decide(&chain, &query, &facts).await;
        let record = pending.record();
        record.facts = facts.note();
        record.decisions = ruling.trail.iter().map(crate::policy::chain::Decided::note).collect();
        outcome.map_err(|denial| {
            record.policy = denial.policy.as_ref().map(|name| {
                let (code, reason) = (denial.code.to_string(), denial.reason.clone());
                Box::new(DecidedBy { name: name.clone(), code, reason })
            });
            denial.into()
        })
    }

    /// The deployment, where a policy that applies asked for it. What cannot be told is an error where one of those counts.
    pub(super) async fn looked_up(
        &self,
        needs: Needs,
        subject: &Subject<'_>,
    ) -> Result<Option<Result<Deployment, Refusal>>, Refusal> {
        let asks = needs.lookups.contains(Lookups::DEPLOYMENT);
        let Some(id) = subject.deployment_id.filter(|_| asks) else { return Ok(None) };
        match self.deployment(subject.project_id, id).await {
            // Unreadable, unavailable, another project's: never a pass where a policy counts that asked.
            Err(refusal) if needs.deployment_counts => Err(refusal),
            found => Ok(Some(found)),
        }
    }

    /// What is known of a deployment; another project's is an error.
    pub(super) async fn deployment(
        &self,
        project_id: Option<&ProjectId>,
        deployment_id: &DeploymentId,
    ) -> Result<Deployment, Refusal> {
        let found = self.deployments.look_up(deployment_id).await.map_err(|error: LookupError| Refusal::from(error))?;
        match &found {
            Deployment::Known(facts) if project_id.is_some_and(|project| facts.project_id != *project) => {
                Err(Cause::DeploymentInvalid.into())
            }
            _ => Ok(found),
        }
    }
}

/// What the policies are told of.
pub(super) fn facts<'f, 'a: 'f>(
    needs: Needs,
    subject: &'f Subject<'a>,
    deployment: Option<&'f Result<Deployment, Refusal>>,
) -> Facts<'f> {
    Facts {
        deployment: match (subject.deployment_id, deployment) {
            (Some(id), Some(Ok(Deployment::Unknown))) => Looked::Unknown(id),
            (Some(id), Some(Ok(Deployment::Known(facts)))) => Looked::Known(id, facts),
            (_, Some(Err(_))) => Looked::Failed,
            _ => Looked::Not,
        },
        variables: needs.lookups.contains(Lookups::VARIABLES).then(|| (subject.variables)()),
    }
}
