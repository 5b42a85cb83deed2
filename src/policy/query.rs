//! What is asked, and what was looked up for it.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use origan_codec_host::plugin;

use crate::audit::record;
use crate::caller::{Action, Caller};
use crate::deployments::DeploymentFacts;
use crate::names::{DeploymentId, ExternalReference, KeyVersion, ProjectId, RequestId, VariableName};

/// Who wants to do what.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// For what.
    pub action: Action,
    /// In which request.
    pub request_id: &'a RequestId,
    /// When.
    pub time: SystemTime,
    /// From where.
    pub remote: Option<IpAddr>,
    /// Whose secrets; none where a raw DEK is nobody's that is known.
    pub project_id: Option<&'a ProjectId>,
    /// For which deployment.
    pub deployment_id: Option<&'a DeploymentId>,
}

/// A variable that an operation touches.
#[derive(Debug, Clone, Copy)]
pub struct Variable<'a> {
    /// Its name.
    pub name: &'a VariableName,
    /// What it is.
    pub kind: VariableKind<'a>,
    /// Bytes of the value as the call carries it.
    pub size_bytes: usize,
}

/// What a variable is.
#[derive(Debug, Clone, Copy)]
pub enum VariableKind<'a> {
    /// Sealed, or about to be; under a version of the project's DEK, if it names one.
    Secret(Option<KeyVersion>),
    /// As the caller sent it.
    Plain,
    /// Somewhere else. The call does not carry its value.
    External(&'a ExternalReference),
}

/// What was looked up or listed, because a policy that applies asked for it.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    /// The deployment.
    pub deployment: Looked<'a>,
    /// Secrets in the order given, then plain variables, then external ones.
    pub variables: Option<Vec<Variable<'a>>>,
}

/// What is known of a deployment.
#[derive(Debug, Default)]
pub enum Looked<'a> {
    /// Nobody asked, or the operation names none.
    #[default]
    Not,
    /// The platform does not know it.
    Unknown(&'a DeploymentId),
    /// It does.
    Known(&'a DeploymentId, &'a DeploymentFacts),
    /// It could not be told. Only policies in monitor mode asked, which change nothing.
    Failed,
}

impl<'a> Facts<'a> {
    /// Variables in the order in which policies see them.
    pub fn of_variables(variables: impl Iterator<Item = Variable<'a>>) -> Vec<Variable<'a>> {
        let mut variables: Vec<_> = variables.collect();
        // Stable: within a kind they stay in their order.
        variables.sort_by_key(|variable| match variable.kind {
            VariableKind::Secret(_) => 0,
            VariableKind::Plain => 1,
            VariableKind::External(_) => 2,
        });
        variables
    }

    /// What the record says of them, so that a decision can be made again; none if no policy was told of anything.
    pub fn note(&self) -> Option<Box<record::Facts>> {
        let mut note = record::Facts {
            deployment: match &self.deployment {
                Looked::Not | Looked::Failed => None,
                Looked::Unknown(_) => Some(record::DeploymentNote::Unknown { known: false }),
                Looked::Known(_, facts) => Some(record::DeploymentNote::Known { created: facts.created }),
            },
            ..record::Facts::default()
        };
        for variable in self.variables.iter().flatten() {
            note.sizes.push(size(variable));
            match variable.kind {
                VariableKind::Secret(version) => note.versions.push(version.map_or(0, KeyVersion::number)),
                VariableKind::Plain => note.plain_variables.push(variable.name.clone()),
                // The record names them, with where they are.
                VariableKind::External(_) => {}
            }
        }
        (note != record::Facts::default()).then(|| Box::new(note))
    }

    /// As the WIT has them.
    pub(super) fn deployment(&self) -> plugin::DeploymentFact<'_> {
        match &self.deployment {
            Looked::Not | Looked::Failed => plugin::DeploymentFact::None,
            Looked::Unknown(id) => plugin::DeploymentFact::Unknown(id.as_str()),
            Looked::Known(id, facts) => plugin::DeploymentFact::Known(plugin::KnownDeployment {
                id: id.as_str(),
                project_id: facts.project_id.as_str(),
                created: unix_ms(facts.created),
                attributes: &[],
            }),
        }
    }

    pub(super) fn variables(&self) -> Vec<plugin::Variable<'_>> {
        let variables = self.variables.iter().flatten().map(|variable| {
            let (kind, key_version, external) = match variable.kind {
                VariableKind::Secret(version) => ("secret", version.map(KeyVersion::number), None),
                VariableKind::Plain => ("plain", None, None),
                VariableKind::External(external) => ("external", None, Some(external)),
            };
            plugin::Variable {
                name: variable.name.as_str(),
                kind,
                key_version,
                size_bytes: size(variable),
                provider: external.map(ExternalReference::provider),
                reference: external.map(ExternalReference::reference),
            }
        });
        variables.collect()
    }
}

/// Milliseconds since 1970, whole ones, as the record has them too.
pub(super) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn size(variable: &Variable<'_>) -> u32 {
    u32::try_from(variable.size_bytes).unwrap_or(u32::MAX)
}
