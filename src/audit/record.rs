//! What a record says. It cannot hold a secret: its type has no field for one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::caller::{Action, Caller, ITSELF, OPERATOR};
use crate::clock::as_rfc3339;
use crate::names::{DeploymentId, ExternalReference, KeyVersion, ProjectId, RequestId, VariableName};

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Carried out, and answered.
    Allowed,
    /// Refused: the caller may not.
    Denied,
    /// Not possible: the `reason` says why.
    Failed,
}

/// One operation. `seq`, `chain`, `prev` and `hash` join it in the journal.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    #[serde(serialize_with = "as_rfc3339")]
    time: SystemTime,
    /// The kind of thing that happened, in the platform's words: `SECRET_DECRYPT`.
    action: &'static str,
    /// The call, or the command.
    operation: &'static str,
    /// Whose secrets. None where the call names no project and its DEK is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<ProjectId>,
    /// For which deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<DeploymentId>,
    caller: RecordedCaller,
    /// The variables' names, in the order given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<VariableName>,
    /// Those whose values live elsewhere, in the order given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub external: Vec<ExternalNote>,
    /// Those of both that did not open, where the rest was answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed_variables: Vec<VariableName>,
    /// The DEK versions that were used, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_versions: Vec<KeyVersion>,
    /// What became of the DEK, beyond being used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dek: Option<DekNote>,
    /// What is older than it should be, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reminders: Vec<String>,
    /// Of an explanation: the action and the caller that it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explained: Option<(&'static str, String)>,
    /// Of a backup, made or restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<Box<BackupNote>>,
    /// What the policies were told of, beyond the rest of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Box<Facts>>,
    /// What each policy that was asked has decided.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    pub decisions: Vec<(Arc<str>, &'static str)>,
    /// The policy that refused, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Box<DecidedBy>>,
    outcome: Outcome,
    /// The error's code, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    request_id: RequestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<IpAddr>,
}

/// The policy that refused.
#[derive(Debug, Clone, Serialize)]
pub struct DecidedBy {
    /// As `codec.toml` names it; `default` where none allowed.
    #[serde(serialize_with = "as_text")]
    pub name: Arc<str>,
    /// What the caller was told.
    pub code: String,
    /// What the policy says to operators.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What policies were told of, as far as the record does not say it already: with it, a decision can be made again.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The deployment, where a policy asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentNote>,
    /// Names of the plain variables, where a policy asked for variables; the record's `variables` are the secret ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plain_variables: Vec<VariableName>,
    /// Sizes of the secrets, then of the plain variables, in bytes; then 0 for each that lives elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<u32>,
    /// Key versions of the secrets; 0 for one that names none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<u32>,
}

/// A variable whose value lives elsewhere: where, and which version was answered. Never the value.
#[derive(Debug, Clone, Serialize)]
pub struct ExternalNote {
    /// The variable.
    pub name: VariableName,
    /// Where, and which version was asked for.
    #[serde(flatten, serialize_with = "as_fields")]
    pub reference: ExternalReference,
    /// The version that was found, as the provider calls it; none before, and where the backend has none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_text")]
    pub version: Option<Arc<str>>,
}

/// What is known of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DeploymentNote {
    /// When the platform wrote it.
    Known {
        /// The object store's time.
        #[serde(serialize_with = "as_rfc3339")]
        created: SystemTime,
    },
    /// The platform does not know it.
    Unknown {
        /// Always false.
        known: bool,
    },
}

/// A backup: which, and how much of the store is in it, or goes into the store.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupNote {
    /// When it was made, as it says itself (RFC 3339).
    pub created: String,
    /// Of all its lines but the last, in hexadecimal; none while it is being made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Its rows.
    pub rows: u64,
    /// Those that are about to be added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added: Option<u64>,
    /// Those that are about to take the place of older ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brought_forward: Option<u64>,
    /// Those that are about to take the place of corrupt ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mended: Option<u64>,
}

/// What is worth saying of a DEK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DekNote {
    /// About to be made.
    Created,
    /// Seen for the first time, and this project's from now on.
    Imported,
    /// Given raw, and no project's as far as the store knows.
    Unknown,
    /// Answered as it is.
    Raw,
    /// Answered as a handle.
    Sealed,
    /// About to be wrapped by the primary KEK.
    Rewrapped,
    /// About to be disabled: nothing opens under it.
    Disabled,
    /// About to be enabled again.
    Enabled,
    /// About to be destroyed.
    Destroyed,
}

#[derive(Debug, Clone, Serialize)]
struct RecordedCaller {
    name: String,
    method: &'static str,
}

impl DekNote {
    /// What a record of it says that happened.
    fn action(self) -> &'static str {
        match self {
            Self::Created => "DEK_CREATE",
            Self::Imported => "DEK_IMPORT",
            Self::Unknown | Self::Raw | Self::Sealed => "DEK_DECRYPT",
            Self::Rewrapped => "DEK_WRAP",
            Self::Disabled | Self::Enabled | Self::Destroyed => "DEK_CHANGE",
        }
    }
}

impl Record {
    /// The beginning of a record: who asks for what, now.
    pub fn of(action: Action, caller: &Caller, request_id: &RequestId, remote: Option<IpAddr>) -> Self {
        let method = caller.method.name();
        Self::new(recorded_action(action), action.name(), &caller.name, method, request_id.clone(), remote)
    }

    /// An encrypted DEK becomes a project's by being seen for the first time, in the course of `cause`.
    pub fn of_import(project: &ProjectId, cause: &Self) -> Self {
        let mut record = cause.clone();
        record.action = "DEK_IMPORT";
        record.project_id = Some(project.clone());
        record.variables = Vec::new();
        record.external = Vec::new();
        record.key_versions = Vec::new();
        record.dek = Some(DekNote::Imported);
        record.facts = None;
        record.decisions = Vec::new();
        record
    }

    /// One version of a project's DEK is about to be made, or changed as `note` says, in the course of `cause`.
    pub fn of_dek(project: &ProjectId, version: KeyVersion, note: DekNote, cause: &Self) -> Self {
        let mut record = Self::of_import(project, cause);
        record.action = note.action();
        record.dek = Some(note);
        record.key_versions = vec![version];
        record.end(Outcome::Allowed, None);
        record
    }

    /// Something an operator does with `codec`.
    pub fn of_command(action: &'static str, command: &'static str) -> Self {
        Self::new(action, command, OPERATOR, "command-line", RequestId::fresh(), None)
    }

    /// Keys are older than they should be.
    pub fn of_reminder(reminders: Vec<String>) -> Self {
        let mut record = Self::new("KEY_REMINDER", "reminder", ITSELF, "internal", RequestId::fresh(), None);
        record.reminders = reminders;
        record.end(Outcome::Allowed, None);
        record
    }

    /// When the operation began.
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// Ends the record.
    pub fn end(&mut self, outcome: Outcome, reason: Option<&'static str>) {
        self.outcome = outcome;
        self.reason = reason;
    }

    fn new(
        action: &'static str,
        operation: &'static str,
        caller: &str,
        method: &'static str,
        request_id: RequestId,
        remote: Option<IpAddr>,
    ) -> Self {
        Self {
            time: SystemTime::now(),
            action,
            operation,
            project_id: None,
            deployment_id: None,
            caller: RecordedCaller { name: caller.to_owned(), method },
            variables: Vec::new(),
            external: Vec::new(),
            failed_variables: Vec::new(),
            key_versions: Vec::new(),
            dek: None,
            reminders: Vec::new(),
            explained: None,
            backup: None,
            facts: None,
            decisions: Vec::new(),
            policy: None,
            // What is dropped half-way was not carried out.
            outcome: Outcome::Failed,
            reason: Some("abandoned"),
            request_id,
            remote,
        }
    }
}

fn as_fields<S: Serializer>(reference: &ExternalReference, serializer: S) -> Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_map(None)?;
    fields.serialize_entry("provider", reference.provider())?;
    fields.serialize_entry("reference", reference.reference())?;
    if let Some(version) = reference.version() {
        fields.serialize_entry("askedVersion", version)?;
    }
    fields.end()
}

fn as_optional_text<S: Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}

fn as_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// In the order in which they were asked.
fn as_map<S: Serializer>(decisions: &[(Arc<str>, &'static str)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(decisions.iter().map(|(policy, decision)| (&**policy, decision)))
}

/// The seed's names for what happens to a secret or a DEK.
fn recorded_action(action: Action) -> &'static str {
    match action {
        Action::Encrypt | Action::EncryptAll => "SECRET_ENCRYPT",
        Action::DecryptValue | Action::DecryptAll => "SECRET_DECRYPT",
        Action::DecryptDek => "DEK_DECRYPT",
        Action::GenerateDek => "DEK_GENERATE",
        Action::ReEncrypt => "SECRET_REENCRYPT",
        Action::RotateDek => "DEK_ROTATE",
        Action::RewrapDek | Action::RewrapAll => "DEK_REWRAP",
        Action::DisableDek => "DEK_DISABLE",
        Action::EnableDek => "DEK_ENABLE",
        Action::DestroyDek => "DEK_DESTROY",
        Action::Status => "STATUS_READ",
        Action::Explain => "POLICY_EXPLAIN",
    }
}
