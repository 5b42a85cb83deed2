//! A record of the journal, and the query that it was made of.

use std::collections::BTreeMap;

use origan_codec_host::plugin::{Attribute, Caller, DeploymentFact, KnownDeployment, Lookups, Query, Variable};
use serde::Deserialize;

/// Operations that policies are asked about.
pub(super) const JUDGED: [&str; 13] = [
    "encrypt",
    "encrypt-all",
    "decrypt-value",
    "decrypt-all",
    "decrypt-dek",
    "generate-dek",
    "re-encrypt",
    "rotate-dek",
    "rewrap-dek",
    "rewrap-all",
    "disable-dek",
    "enable-dek",
    "destroy-dek",
];

/// Kinds of records that are written in the course of an operation, beside its own.
const IN_THE_COURSE: [&str; 4] = ["DEK_CREATE", "DEK_IMPORT", "DEK_WRAP", "DEK_CHANGE"];

/// What is read of a record. Not every kind has all of it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Record {
    pub(super) seq: u64,
    pub(super) time: String,
    pub(super) action: String,
    pub(super) operation: String,
    pub(super) project_id: Option<String>,
    pub(super) deployment_id: Option<String>,
    pub(super) caller: RecordedCaller,
    pub(super) variables: Vec<String>,
    pub(super) external: Vec<External>,
    pub(super) facts: Facts,
    pub(super) decisions: BTreeMap<String, String>,
    pub(super) policy: Option<DecidedBy>,
    pub(super) outcome: String,
    pub(super) reason: Option<String>,
    pub(super) request_id: String,
    pub(super) remote: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RecordedCaller {
    pub(super) name: String,
    pub(super) method: String,
}

/// A variable whose value lives elsewhere.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct External {
    name: String,
    provider: String,
    reference: String,
}

/// What policies were told of, beyond the rest of the record.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Facts {
    deployment: Option<Deployment>,
    plain_variables: Vec<String>,
    /// Of the secrets, then of the plain variables, then 0 for each external one.
    sizes: Vec<u32>,
    /// Of the secrets; 0 for one that names none.
    versions: Vec<u32>,
}

/// A known deployment has its time; `{"known":false}` has none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Deployment {
    created: Option<String>,
}

/// The policy that refused.
#[derive(Debug, Default, Deserialize)]
pub(super) struct DecidedBy {
    pub(super) name: String,
    pub(super) code: String,
}

/// What the policy wants to know, and the record does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Missing {
    /// The deployment was not looked up then.
    Deployment,
    /// The variables were not listed then.
    Variables,
    /// When it was.
    Time,
}

impl Record {
    /// Whether it is of an operation that policies are asked about.
    pub(super) fn is_judged(&self) -> bool {
        JUDGED.contains(&&*self.operation)
            && !IN_THE_COURSE.contains(&&*self.action)
            && self.caller.method != "command-line"
    }

    /// Asks `ask` with the query as the service made it, for a policy that needs `needs`.
    pub(super) async fn with_query<T>(
        &self,
        needs: Lookups,
        ask: impl AsyncFnOnce(&Query<'_>) -> T,
    ) -> Result<T, Missing> {
        let attributes = self.remote.as_deref().map(|value| Attribute { name: "remote", value });
        let deployment = if needs.contains(Lookups::DEPLOYMENT) { self.deployment()? } else { DeploymentFact::None };
        let variables = if needs.contains(Lookups::VARIABLES) { self.variables()? } else { Vec::new() };
        let query = Query {
            request_id: &self.request_id,
            action: &self.operation,
            time: unix_ms(&self.time).ok_or(Missing::Time)?,
            caller: Caller { name: &self.caller.name, method: &self.caller.method, attributes: &[] },
            project_id: self.project_id.as_deref(),
            deployment,
            variables: &variables,
            attributes: attributes.as_slice(),
        };
        Ok(ask(&query).await)
    }

    fn deployment(&self) -> Result<DeploymentFact<'_>, Missing> {
        let Some(id) = self.deployment_id.as_deref() else { return Ok(DeploymentFact::None) };
        let found = self.facts.deployment.as_ref().ok_or(Missing::Deployment)?;
        let Some(created) = found.created.as_deref() else { return Ok(DeploymentFact::Unknown(id)) };
        // Another project's is refused before any policy is asked, so it is this one's; if no project is known, it is anybody's.
        let project_id = self.project_id.as_deref().ok_or(Missing::Deployment)?;
        let created = unix_ms(created).ok_or(Missing::Deployment)?;
        Ok(DeploymentFact::Known(KnownDeployment { id, project_id, created, attributes: &[] }))
    }

    /// Secrets in the order given, then plain variables in the order given, then external ones.
    fn variables(&self) -> Result<Vec<Variable<'_>>, Missing> {
        let Facts { plain_variables, sizes, versions, .. } = &self.facts;
        let count = self.variables.len() + plain_variables.len() + self.external.len();
        // No sizes: nothing was listed, or there was nothing to list. Only these operations touch no variable that is not named.
        let lists_all = !matches!(&*self.operation, "encrypt-all" | "decrypt-all");
        if sizes.len() != count || versions.len() != self.variables.len() || (count == 0 && !lists_all) {
            return Err(Missing::Variables);
        }
        let secrets = self.variables.iter().zip(versions).map(|(name, version)| (name, "secret", *version, None));
        let plain = plain_variables.iter().map(|name| (name, "plain", 0, None));
        let external = self.external.iter().map(|external| (&external.name, "external", 0, Some(external)));
        let variables = secrets.chain(plain).chain(external).zip(sizes);
        let variables = variables.map(|((name, kind, version, external), size_bytes)| Variable {
            name,
            kind,
            key_version: Some(version).filter(|version| *version > 0),
            size_bytes: *size_bytes,
            provider: external.map(|external| &*external.provider),
            reference: external.map(|external| &*external.reference),
        });
        Ok(variables.collect())
    }
}

impl Missing {
    /// In words.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Deployment => "the policy asks for the deployment, which no policy asked for then",
            Self::Variables => "the policy asks for the variables, which no policy asked for then",
            Self::Time => "the record has no time",
        }
    }
}

fn unix_ms(text: &str) -> Option<u64> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(time.timestamp_millis()).ok()
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
