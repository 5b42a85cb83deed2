//! The DEKs that one `/decrypt-all` needs, and the opening of its values under them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use origan_codec_host::crypto::{EncryptedDek, EncryptedValue, Plaintext};

use super::{Cause, DecryptedVariable, Refusal, StoredVariable};
use crate::audit::{Pending, Withheld};
use crate::keys::ProjectDek;
use crate::names::{DeploymentId, KeyVersion, ProjectId, VariableName};
use crate::policy::Permit;

/// What a call brings of values that are to be opened.
pub(super) struct Deks<'a> {
    pub(super) project_id: &'a ProjectId,
    /// Whose metadata may name a DEK, where nothing else does.
    pub(super) deployment_id: Option<&'a DeploymentId>,
    pub(super) encrypted_dek: Option<&'a EncryptedDek>,
    pub(super) variables: &'a [(VariableName, StoredVariable)],
}

/// The DEKs of one `/decrypt-all`.
#[derive(Default)]
pub(super) struct OpeningDeks {
    /// The one that came with the request or the deployment.
    pub(super) named: Option<Arc<ProjectDek>>,
    /// Those from the store; none where the project has no such version.
    pub(super) versions: BTreeMap<KeyVersion, Option<Arc<ProjectDek>>>,
    /// The highest version of the project, once it was asked for: what lies beyond needs no look-up.
    pub(super) newest: Option<KeyVersion>,
    /// Versions that nothing is to open under.
    pub(super) unusable: BTreeMap<KeyVersion, Cause>,
}

impl OpeningDeks {
    pub(super) fn is_looked_up(&self, version: Option<KeyVersion>) -> bool {
        let is_named =
            self.named.as_ref().is_some_and(|named| version.is_none_or(|version| version == named.version()));
        let version = version.unwrap_or(KeyVersion::FIRST);
        let is_known = self.versions.contains_key(&version) || self.unusable.contains_key(&version);
        is_named || self.newest.is_some_and(|newest| version > newest) || is_known
    }

    /// Opens one value under the DEK of its version. One that names no version is of the named DEK, or of version 1.
    ///
    /// What does not open under its version may still be the named DEK's: a platform that kept its own DEKs counts its versions by
    /// itself. The tag decides, so nothing is guessed, and both are the project's own.
    pub(super) fn open(
        &self,
        permit: &Permit,
        name: &VariableName,
        value: EncryptedValue,
        version: Option<KeyVersion>,
    ) -> Result<Opened, Refusal> {
        let stored_version = version.unwrap_or(KeyVersion::FIRST);
        if let Some(cause) = self.unusable.get(&stored_version) {
            return Err((*cause).into());
        }
        // Borrowed: whoever counts an `Arc` for each value waits for the processors that count it too.
        match (&self.named, self.versions.get(&stored_version).and_then(Option::as_ref)) {
            (Some(named), _) if version.is_none_or(|version| version == named.version()) => {
                Opened::under(named, permit, name, value)
            }
            (Some(named), None) => Opened::under(named, permit, name, value)
                .map_err(|refusal| refusal.or_if_it_does_not_open(Cause::UnknownKeyVersion)),
            (Some(named), Some(stored)) => match Opened::under(stored, permit, name, value.clone()) {
                Err(refusal) if refusal.cause == Cause::DecryptFailed => Opened::under(named, permit, name, value),
                outcome => outcome,
            },
            (None, Some(stored)) => Opened::under(stored, permit, name, value),
            (None, None) => Err(Cause::UnknownKeyVersion.into()),
        }
    }
}

/// A value and the version that opened it.
pub(super) struct Opened {
    pub(super) text: Withheld<Plaintext>,
    pub(super) version: KeyVersion,
}

impl Opened {
    fn under(dek: &ProjectDek, permit: &Permit, name: &VariableName, value: EncryptedValue) -> Result<Self, Refusal> {
        Ok(Self { text: dek.open(permit, value, Some(name))?, version: dek.version() })
    }
}

/// Opens every secret; `found` has those that live elsewhere. The first bad one ends it, naming the variable; in a partial answer it stands in its place.
pub(super) fn open_each(
    permit: &Permit,
    pending: &mut Pending,
    deks: &OpeningDeks,
    variables: Vec<(VariableName, StoredVariable)>,
    found: Vec<Result<Withheld<Plaintext>, Refusal>>,
    partial: bool,
) -> Result<Withheld<Vec<DecryptedVariable>>, Refusal> {
    let mut opened = Withheld::new(Vec::with_capacity(variables.len()));
    let (mut versions, mut found) = (BTreeSet::new(), found.into_iter());
    for (name, variable) in variables {
        let value = match variable {
            StoredVariable::Plain(text) => Ok(Withheld::new(text)),
            // One for each, in order.
            StoredVariable::External(_) => found.next().unwrap_or(Err(Cause::ProviderAnswerInvalid.into())),
            StoredVariable::Secret(value, version) => {
                let value = value.map_err(Refusal::from).and_then(|value| deks.open(permit, &name, value, version));
                value.map(|value| {
                    versions.insert(value.version);
                    value.text
                })
            }
        };
        let value = match value {
            Ok(text) => text.map(Ok),
            Err(refusal) if partial => {
                pending.record().failed_variables.push(name.clone());
                Withheld::new(Err(refusal.cause))
            }
            Err(refusal) => return Err(refusal.at(&name)),
        };
        opened = opened.and(value, |opened, value| opened.push(DecryptedVariable { name, value }));
    }
    pending.record().key_versions = versions.into_iter().collect();
    Ok(opened)
}

pub(super) fn names_of_secrets(variables: &[(VariableName, StoredVariable)]) -> Vec<VariableName> {
    let secrets = variables.iter().filter(|(_, variable)| matches!(variable, StoredVariable::Secret(..)));
    secrets.map(|(name, _)| name.clone()).collect()
}
