//! A query that outlives what it was asked about, for a thread of its own.

use super::policy::{Attribute, Caller, DeploymentFact, KnownDeployment, Query, Variable};

/// A [`Query`] that owns all that it says.
#[derive(Debug)]
pub struct HeldQuery {
    request_id: String,
    action: String,
    time: u64,
    caller_name: String,
    caller_method: String,
    caller_attributes: Vec<HeldAttribute>,
    project_id: Option<String>,
    deployment: HeldDeployment,
    variables: Vec<HeldVariable>,
    attributes: Vec<HeldAttribute>,
}

#[derive(Debug)]
struct HeldAttribute {
    name: String,
    value: String,
}

#[derive(Debug)]
enum HeldDeployment {
    None,
    Unknown(String),
    Known { id: String, project_id: String, created: u64, attributes: Vec<HeldAttribute> },
}

#[derive(Debug)]
struct HeldVariable {
    name: String,
    kind: String,
    key_version: Option<u32>,
    size_bytes: u32,
    provider: Option<String>,
    reference: Option<String>,
}

impl From<&Query<'_>> for HeldQuery {
    fn from(query: &Query<'_>) -> Self {
        Self {
            request_id: query.request_id.into(),
            action: query.action.into(),
            time: query.time,
            caller_name: query.caller.name.into(),
            caller_method: query.caller.method.into(),
            caller_attributes: held(query.caller.attributes),
            project_id: query.project_id.map(Into::into),
            deployment: match &query.deployment {
                DeploymentFact::None => HeldDeployment::None,
                DeploymentFact::Unknown(id) => HeldDeployment::Unknown((*id).into()),
                DeploymentFact::Known(known) => HeldDeployment::Known {
                    id: known.id.into(),
                    project_id: known.project_id.into(),
                    created: known.created,
                    attributes: held(known.attributes),
                },
            },
            variables: query.variables.iter().map(HeldVariable::from).collect(),
            attributes: held(query.attributes),
        }
    }
}

impl From<&Variable<'_>> for HeldVariable {
    fn from(variable: &Variable<'_>) -> Self {
        Self {
            name: variable.name.into(),
            kind: variable.kind.into(),
            key_version: variable.key_version,
            size_bytes: variable.size_bytes,
            provider: variable.provider.map(Into::into),
            reference: variable.reference.map(Into::into),
        }
    }
}

impl HeldQuery {
    /// Asks `ask` what was asked.
    pub fn with<T>(&self, ask: impl FnOnce(&Query<'_>) -> T) -> T {
        let (caller_attributes, attributes) = (lent(&self.caller_attributes), lent(&self.attributes));
        let known_attributes = match &self.deployment {
            HeldDeployment::Known { attributes, .. } => lent(attributes),
            HeldDeployment::None | HeldDeployment::Unknown(_) => Vec::new(),
        };
        let variables: Vec<_> = self.variables.iter().map(HeldVariable::lent).collect();
        ask(&Query {
            request_id: &self.request_id,
            action: &self.action,
            time: self.time,
            caller: Caller { name: &self.caller_name, method: &self.caller_method, attributes: &caller_attributes },
            project_id: self.project_id.as_deref(),
            deployment: match &self.deployment {
                HeldDeployment::None => DeploymentFact::None,
                HeldDeployment::Unknown(id) => DeploymentFact::Unknown(id),
                HeldDeployment::Known { id, project_id, created, .. } => DeploymentFact::Known(KnownDeployment {
                    id,
                    project_id,
                    created: *created,
                    attributes: &known_attributes,
                }),
            },
            variables: &variables,
            attributes: &attributes,
        })
    }
}

impl HeldVariable {
    fn lent(&self) -> Variable<'_> {
        Variable {
            name: &self.name,
            kind: &self.kind,
            key_version: self.key_version,
            size_bytes: self.size_bytes,
            provider: self.provider.as_deref(),
            reference: self.reference.as_deref(),
        }
    }
}

fn held(attributes: &[Attribute<'_>]) -> Vec<HeldAttribute> {
    let held = |attribute: &Attribute<'_>| HeldAttribute { name: attribute.name.into(), value: attribute.value.into() };
    attributes.iter().map(held).collect()
}

fn lent(attributes: &[HeldAttribute]) -> Vec<Attribute<'_>> {
    attributes.iter().map(|attribute| Attribute { name: &attribute.name, value: &attribute.value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_asks_the_same() {
        let attributes = [Attribute { name: "remote", value: "127.0.0.1" }];
        let plain =
            Variable { name: "A", kind: "plain", key_version: None, size_bytes: 7, provider: None, reference: None };
        let secret = Variable { name: "B", kind: "secret", key_version: Some(3), ..plain.clone() };
        let external =
            Variable { name: "C", kind: "external", provider: Some("vault"), reference: Some("a/b"), ..plain.clone() };
        let variables = [plain, secret, external];
        let known = KnownDeployment { id: "d-1", project_id: "shop", created: 5, attributes: &attributes };
        for deployment in [DeploymentFact::None, DeploymentFact::Unknown("d-1"), DeploymentFact::Known(known)] {
            for project_id in [None, Some("shop")] {
                let query = Query {
                    request_id: "r-1",
                    action: "decrypt-all",
                    time: 1_700_000_000_123,
                    caller: Caller { name: "runner", method: "token", attributes: &attributes },
                    project_id,
                    deployment: deployment.clone(),
                    variables: &variables,
                    attributes: &attributes,
                };
                let asked = HeldQuery::from(&query).with(|held| format!("{held:?}"));
                assert_eq!(asked, format!("{query:?}"));
            }
        }
    }
}
