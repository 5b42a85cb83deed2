//! Opening: `/decrypt-value`, `/decrypt-all`, `/decrypt-dek`.

use std::sync::Arc;

use origan_codec_host::crypto::{EncryptedDek, EncryptedValue, Plaintext};
use zeroize::Zeroizing;

use super::authorise::Subject;
use super::external::external_note;
use super::opening::{Deks, OpeningDeks, names_of_secrets, open_each};
use super::{
    Answered, Cause, Context, DecryptAll, DecryptValue, DecryptedVariable, PresentedDek, Refusal, ReleasedDek, Service,
    StoredVariable,
};
use crate::audit::record::DekNote;
use crate::audit::{Pending, Withheld};
use crate::caller::Action;
use crate::config::DekRelease;
use crate::deployments::{Deployment, DeploymentFacts};
use crate::keys::{DekHandle, KeysError, ProjectDek, RawDek};
use crate::names::{DeploymentId, KeyVersion, ProjectId, VariableName};
use crate::policy::Permit;
use crate::policy::query::{Facts, Variable, VariableKind};

impl Service {
    /// Opens one value.
    pub async fn decrypt_value(&self, context: &Context, call: DecryptValue) -> Result<Answered<Plaintext>, Refusal> {
        let mut pending = self.begin(context, Action::DecryptValue);
        let outcome = self.try_decrypt_value(context, &mut pending, call).await;
        self.conclude(pending, outcome).await
    }

    async fn try_decrypt_value(
        &self,
        context: &Context,
        pending: &mut Pending,
        call: DecryptValue,
    ) -> Result<Withheld<Plaintext>, Refusal> {
        pending.record().deployment_id.clone_from(&call.deployment_id);
        pending.record().variables = call.name.iter().cloned().collect();
        self.policies.admit(&context.caller, Action::DecryptValue)?;
        let identified = self.identify(context, pending, call.dek).await?;
        let project_id = pending.record().project_id.clone();
        let named = || call.name.iter().map(|name| to_open(name, &call.value)).collect();
        let subject = Subject {
            action: Action::DecryptValue,
            project_id: project_id.as_ref(),
            deployment_id: call.deployment_id.as_ref(),
            variables: &named,
        };
        let permit = self.authorise(context, pending, &subject).await?;
        let dek = self.identified_dek(&permit, pending, identified).await?;
        Ok(dek.open(&permit, call.value, call.name.as_ref())?)
    }

    /// Opens a deployment's secrets; plain variables pass through.
    pub async fn decrypt_all(
        &self,
        context: &Context,
        call: DecryptAll,
    ) -> Result<Answered<Vec<DecryptedVariable>>, Refusal> {
        let mut pending = self.begin(context, Action::DecryptAll);
        let outcome = self.try_decrypt_all(context, &mut pending, call).await;
        self.conclude(pending, outcome).await
    }

    async fn try_decrypt_all(
        &self,
        context: &Context,
        pending: &mut Pending,
        call: DecryptAll,
    ) -> Result<Withheld<Vec<DecryptedVariable>>, Refusal> {
        pending.record().project_id = Some(call.project_id.clone());
        pending.record().deployment_id = Some(call.deployment_id.clone());
        pending.record().variables = names_of_secrets(&call.variables);
        pending.record().external = call.variables.iter().filter_map(external_note).collect();
        let subject = Subject {
            action: Action::DecryptAll,
            project_id: Some(&call.project_id),
            deployment_id: Some(&call.deployment_id),
            variables: &|| Facts::of_variables(call.variables.iter().map(as_policies_see)),
        };
        let permit = self.authorise(context, pending, &subject).await?;
        if self.settings.deployment_required {
            self.known_deployment(&call.project_id, &call.deployment_id).await?.ok_or(Cause::UnknownDeployment)?;
        }
        let asked = Deks {
            project_id: &call.project_id,
            deployment_id: Some(&call.deployment_id),
            encrypted_dek: call.encrypted_dek.as_ref(),
            variables: &call.variables,
        };
        let deks = self.opening_deks(&permit, pending, &asked).await?;
        let found = match pending.record().external.is_empty() {
            true => Vec::new(),
            // On the heap, or every request would carry the room that a provider takes.
            false => Box::pin(self.external(&permit, context, pending, &call)).await,
        };
        open_each(&permit, pending, &deks, call.variables, found, call.partial)
    }

    /// The project's DEK itself, or a handle for it, or nothing, as operators chose.
    pub async fn decrypt_dek(
        &self,
        context: &Context,
        project_id: ProjectId,
        encrypted_dek: EncryptedDek,
    ) -> Result<Answered<ReleasedDek>, Refusal> {
        let mut pending = self.begin(context, Action::DecryptDek);
        let outcome = self.try_decrypt_dek(context, &mut pending, &project_id, &encrypted_dek).await;
        self.conclude(pending, outcome).await
    }

    async fn try_decrypt_dek(
        &self,
        context: &Context,
        pending: &mut Pending,
        project_id: &ProjectId,
        encrypted_dek: &EncryptedDek,
    ) -> Result<Withheld<ReleasedDek>, Refusal> {
        pending.record().project_id = Some(project_id.clone());
        let subject = Subject::of_project(Action::DecryptDek, project_id);
        let permit = self.authorise(context, pending, &subject).await?;
        if self.settings.dek_release == DekRelease::Never {
            return Err(Cause::DekReleaseRefused.into());
        }
        let dek = self.keys.by_encrypted_dek(&permit, project_id, encrypted_dek, pending.record()).await?;
        pending.record().key_versions = vec![dek.version()];
        if self.settings.dek_release == DekRelease::Raw {
            pending.record().dek = Some(DekNote::Raw);
            return Ok(dek.release_raw(&permit));
        }
        pending.record().dek = Some(DekNote::Sealed);
        let handle = DekHandle { project_id: project_id.clone(), version: dek.version() };
        let sealed = handle.seal(&self.keys.ring(), &context.caller.name, self.settings.dek_handle_ttl_s);
        Ok(Withheld::new(Zeroizing::new(sealed.map_err(KeysError::from)?)))
    }

    /// Whose DEK a call brings along, in the record: known before anybody is asked whether it may be used.
    async fn identify(
        &self,
        context: &Context,
        pending: &mut Pending,
        presented: PresentedDek,
    ) -> Result<Identified, Refusal> {
        match presented {
            PresentedDek::Raw(dek, claimed) => {
                let found = self.keys.by_raw_dek(&dek).await?;
                match (&found, claimed) {
                    (RawDek::Known(known), claimed) => {
                        pending.record().project_id = Some(known.project_id().clone());
                        refuse_another_project(claimed.as_ref(), known.project_id())?;
                    }
                    // Nobody vouches for the claim, and policies would judge by it.
                    (RawDek::Unknown(_), Some(_)) => return Err(Cause::DekNotRecognised.into()),
                    (RawDek::Unknown(_), None) => {}
                }
                Ok(Identified::Raw(found))
            }
            PresentedDek::Handle(text, claimed) => {
                let handle = DekHandle::open(&text, &self.keys.ring(), &context.caller.name)?;
                pending.record().project_id = Some(handle.project_id.clone());
                refuse_another_project(claimed.as_ref(), &handle.project_id)?;
                Ok(Identified::Version(handle.project_id, handle.version))
            }
            PresentedDek::Wrapped(project_id, encrypted_dek) => {
                pending.record().project_id = Some(project_id.clone());
                Ok(Identified::Wrapped(project_id, encrypted_dek))
            }
        }
    }

    /// The DEK that was identified, ready to open.
    async fn identified_dek(
        &self,
        permit: &Permit,
        pending: &mut Pending,
        identified: Identified,
    ) -> Result<RawDek, Refusal> {
        let dek = match identified {
            Identified::Raw(found) => found,
            Identified::Version(project_id, version) => {
                RawDek::Known(self.keys.version(permit, &project_id, version).await?)
            }
            Identified::Wrapped(project_id, encrypted_dek) => {
                let cause = pending.record();
                RawDek::Known(self.keys.by_encrypted_dek(permit, &project_id, &encrypted_dek, cause).await?)
            }
        };
        match &dek {
            RawDek::Known(known) => pending.record().key_versions = vec![known.version()],
            RawDek::Unknown(_) => pending.record().dek = Some(DekNote::Unknown),
        }
        Ok(dek)
    }

    /// Every DEK that the call's secrets need, each looked up once.
    pub(super) async fn opening_deks(
        &self,
        permit: &Permit,
        pending: &mut Pending,
        asked: &Deks<'_>,
    ) -> Result<OpeningDeks, Refusal> {
        let mut deks = OpeningDeks::default();
        if let Some(encrypted_dek) = asked.encrypted_dek {
            let cause = pending.record();
            deks.named = Some(self.keys.by_encrypted_dek(permit, asked.project_id, encrypted_dek, cause).await?);
        }
        for (name, variable) in asked.variables {
            let StoredVariable::Secret(Ok(_), version) = variable else { continue };
            if deks.is_looked_up(*version) {
                continue;
            }
            let version = version.unwrap_or(KeyVersion::FIRST);
            match self.keys.version(permit, asked.project_id, version).await {
                Ok(dek) => drop(deks.versions.insert(version, Some(dek))),
                Err(KeysError::UnknownProject) if deks.named.is_none() => {
                    deks.named = Some(self.deployed_dek(permit, pending, asked).await.map_err(|r| r.at(name))?);
                    deks.versions.insert(version, None);
                }
                Err(KeysError::UnknownProject) => drop(deks.versions.insert(version, None)),
                Err(KeysError::UnknownVersion { newest, .. }) => {
                    deks.newest = Some(newest);
                    deks.versions.insert(version, None);
                }
                // Of this version alone: the others open.
                Err(unusable @ (KeysError::Disabled | KeysError::Destroyed)) => {
                    deks.unusable.insert(version, Refusal::from(unusable).cause);
                }
                Err(other) => return Err(Refusal::from(other).at(name)),
            }
        }
        Ok(deks)
    }

    /// The DEK in the deployment's metadata, where neither the request nor the store has one.
    async fn deployed_dek(
        &self,
        permit: &Permit,
        pending: &mut Pending,
        asked: &Deks<'_>,
    ) -> Result<Arc<ProjectDek>, Refusal> {
        let deployment_id = asked.deployment_id.ok_or(Cause::UnknownProject)?;
        let facts = self.known_deployment(asked.project_id, deployment_id).await?;
        let encrypted_dek =
            facts.as_ref().and_then(|facts| facts.encrypted_dek.as_ref()).ok_or(Cause::UnknownProject)?;
        Ok(self.keys.by_encrypted_dek(permit, asked.project_id, encrypted_dek, pending.record()).await?)
    }

    /// The deployment, if it is known; another project's is an error.
    async fn known_deployment(
        &self,
        project_id: &ProjectId,
        deployment_id: &DeploymentId,
    ) -> Result<Option<Arc<DeploymentFacts>>, Refusal> {
        match self.deployment(Some(project_id), deployment_id).await? {
            Deployment::Unknown => Ok(None),
            Deployment::Known(facts) => Ok(Some(facts)),
        }
    }
}

/// A DEK that a call brings along, once it is known whose.
enum Identified {
    Raw(RawDek),
    Version(ProjectId, KeyVersion),
    Wrapped(ProjectId, EncryptedDek),
}

fn refuse_another_project(claimed: Option<&ProjectId>, found: &ProjectId) -> Result<(), Refusal> {
    match claimed {
        Some(claimed) if claimed != found => Err(Cause::DekNotRecognised.into()),
        _ => Ok(()),
    }
}

fn to_open<'a>(name: &'a VariableName, value: &EncryptedValue) -> Variable<'a> {
    let key_version = value.key_version().and_then(|version| KeyVersion::try_from(u64::from(version)).ok());
    Variable { name, kind: VariableKind::Secret(key_version), size_bytes: value.encoded_len() }
}

pub(super) fn as_policies_see((name, variable): &(VariableName, StoredVariable)) -> Variable<'_> {
    let (kind, size_bytes) = match variable {
        StoredVariable::Plain(text) => (VariableKind::Plain, text.expose_secret().len()),
        StoredVariable::Secret(value, key_version) => {
            (VariableKind::Secret(*key_version), value.as_ref().map_or(0, EncryptedValue::encoded_len))
        }
        StoredVariable::External(reference) => (VariableKind::External(reference), 0),
    };
    Variable { name, kind, size_bytes }
}
