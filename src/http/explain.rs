//! `POST /explain`: what would be decided, and why.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::de::MapAccess;

use super::answer::Json;
use super::auth::Authenticated;
use super::code::Code;
use super::json::{self, Object, Text, Trace, Variable, required};
use super::problem::Problem;
use super::variable::VariableFields;
use super::{Edge, body, long};
use crate::caller::Action;
use crate::config::Mode;
use crate::names::{DeploymentId, ProjectId, VariableName};
use crate::policy::chain::Decided;
use crate::service::{Explain, ExplainedVariable, Explanation};

pub(super) async fn explain(
    State(edge): State<Arc<Edge>>,
    Authenticated(context): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(&edge, &context, Action::Explain, request, edge.limits.batch_body_bytes).await?;
    let place = long::place_for(&body, &edge);
    let work = async move {
        let call = parse_explain(&edge, &body)?;
        let answered = edge.ready()?.explain(&context, call).await?;
        let mut json = Json::object(512);
        write_explanation(&mut json, &answered.value);
        Ok(json.into_audited_response(answered.receipt))
    };
    long::at(place, work).await
}

fn write_explanation(json: &mut Json, explanation: &Explanation) {
    json.text("decision", if explanation.denial.is_some() { "deny" } else { "allow" });
    if let Some(denial) = &explanation.denial {
        json.text("code", denial.code.as_str());
        json.text("reason", &denial.reason);
        if let Some(policy) = &denial.policy {
            json.text("policy", policy);
        }
    }
    json.boolean("byDefault", explanation.by_default);
    if let Some(known) = explanation.deployment_known {
        json.boolean("deploymentKnown", known);
    }
    json.list("policies", &explanation.trail, write_decided);
}

fn write_decided(json: &mut Json, decided: &Decided) {
    json.text("policy", &decided.policy);
    json.text("mode", if decided.mode == Mode::Enforce { "enforce" } else { "monitor" });
    json.text("decision", decided.decision);
    if let Some(code) = &decided.code {
        json.text("code", code.as_str());
        json.text("reason", &decided.reason);
    }
}

fn parse_explain(edge: &Edge, body: &[u8]) -> Result<Explain, Problem> {
    let fields: ExplainFields<'_> = json::parse(body, edge.limits.variables)?;
    let action = required(fields.action, "action")?;
    let action = Action::ALL.into_iter().find(|known| known.name() == action);
    let caller =
        match fields.caller {
            None => None,
            Some(name) => {
                let found = edge.callers.load().named(&name).cloned();
                Some(found.ok_or_else(|| {
                    Problem::detailed(Code::InvalidRequest, "`caller`: there is no caller of this name")
                })?)
            }
        };
    Ok(Explain {
        caller,
        action: action.ok_or_else(|| Problem::detailed(Code::InvalidRequest, "`action`: there is no such action"))?,
        project_id: fields.project_id,
        deployment_id: fields.deployment_id,
        variables: fields.variables.unwrap_or_default(),
    })
}

#[derive(Default)]
struct ExplainFields<'de> {
    action: Option<Cow<'de, str>>,
    caller: Option<Cow<'de, str>>,
    project_id: Option<ProjectId>,
    deployment_id: Option<DeploymentId>,
    variables: Option<Vec<(VariableName, ExplainedVariable)>>,
}

impl<'de> Object<'de> for ExplainFields<'de> {
    const FIELDS: &'static [&'static str] = &["action", "caller", "projectId", "deploymentId", "variables"];

    fn take<A: MapAccess<'de>>(&mut self, field: usize, map: &mut A, trace: &Trace) -> Result<(), A::Error> {
        match field {
            0 => self.action = map.next_value::<Option<Text<'de>>>()?.map(|text| text.0),
            1 => self.caller = map.next_value::<Option<Text<'de>>>()?.map(|text| text.0),
            2 => self.project_id = json::optional_name(map, trace)?,
            3 => self.deployment_id = json::optional_name(map, trace)?,
            _ => self.variables = Some(json::variables(map, trace)?),
        }
        Ok(())
    }
}

impl<'de> Variable<'de> for ExplainedVariable {
    type Fields = VariableFields<'de>;

    fn from_fields(fields: VariableFields<'de>) -> Result<Self, (Code, &'static str)> {
        if let Some(reference) = fields.external()? {
            return Ok(Self::External(reference));
        }
        let size_bytes = fields.value.as_ref().map_or(0, |value| value.len());
        match fields.kind.as_deref() {
            None | Some("secret") => Ok(Self::Secret(fields.key_version, size_bytes)),
            Some("plain") => Ok(Self::Plain(size_bytes)),
            Some(_) => Err((Code::InvalidRequest, super::variable::UNKNOWN_TYPE)),
        }
    }
}
