//! Sealing: `/encrypt`, `/encrypt-all`, and `/generate-dek`, which makes the DEK they seal under.

use origan_codec_host::crypto::{Plaintext, ValueFormat};

use super::authorise::Subject;
use super::external::passing_note;
use super::sealing::SealsUnder;
use super::{
    Answered, Cause, Context, Encrypt, EncryptAll, EncryptVariable, Encrypted, EncryptedVariable, Refusal, Service,
};
use crate::audit::{Pending, Withheld};
use crate::caller::Action;
use crate::keys::{KeysError, ProjectDek};
use crate::names::{ProjectId, VariableName};
use crate::policy::query::{Facts, Variable, VariableKind};

impl Service {
    /// Seals one value under the project's primary DEK, which is made if there is none.
    pub async fn encrypt(&self, context: &Context, call: Encrypt) -> Result<Answered<Encrypted<String>>, Refusal> {
        let mut pending = self.begin(context, Action::Encrypt);
        let outcome = self.try_encrypt(context, &mut pending, call).await;
        self.conclude(pending, outcome).await
    }

    async fn try_encrypt(
        &self,
        context: &Context,
        pending: &mut Pending,
        call: Encrypt,
    ) -> Result<Withheld<Encrypted<String>>, Refusal> {
        pending.record().project_id = Some(call.project_id.clone());
        pending.record().variables = call.name.iter().cloned().collect();
        let bound_to = match self.format(call.format, &call.project_id) {
            ValueFormat::V1 => None,
            ValueFormat::V2 => Some(call.name.as_ref().ok_or(Cause::NameRequired)?),
        };
        let named = || call.name.iter().map(|name| to_seal(name, &call.value)).collect();
        let subject = Subject { variables: &named, ..Subject::of_project(Action::Encrypt, &call.project_id) };
        let permit = self.authorise(context, pending, &subject).await?;
        let under_dek = SealsUnder::named_or_primary(call.encrypted_dek.as_ref());
        let mut sealing = self.sealing(&permit, pending, &call.project_id, under_dek, 1).await?;
        let sealed = sealing.seal(bound_to, &call.value)?;
        Ok(under(sealing.dek(), sealed.encode()))
    }

    /// Seals every secret that is not sealed yet; the rest passes through, references to secrets elsewhere too.
    pub async fn encrypt_all(
        &self,
        context: &Context,
        call: EncryptAll,
    ) -> Result<Answered<Encrypted<Vec<(VariableName, EncryptedVariable)>>>, Refusal> {
        let mut pending = self.begin(context, Action::EncryptAll);
        let outcome = self.try_encrypt_all(context, &mut pending, call).await;
        self.conclude(pending, outcome).await
    }

    async fn try_encrypt_all(
        &self,
        context: &Context,
        pending: &mut Pending,
        call: EncryptAll,
    ) -> Result<Withheld<Encrypted<Vec<(VariableName, EncryptedVariable)>>>, Refusal> {
        let secrets =
            || call.variables.iter().filter_map(|(name, variable)| secret_of(variable).map(|text| (name, text)));
        pending.record().project_id = Some(call.project_id.clone());
        pending.record().variables = secrets().map(|(name, _)| name.clone()).collect();
        pending.record().external = call.variables.iter().filter_map(passing_note).collect();
        let listed = || Facts::of_variables(call.variables.iter().filter_map(as_policies_see));
        let subject = Subject { variables: &listed, ..Subject::of_project(Action::EncryptAll, &call.project_id) };
        let permit = self.authorise(context, pending, &subject).await?;
        let under_dek = SealsUnder::named_or_primary(call.encrypted_dek.as_ref());
        let mut sealing = self.sealing(&permit, pending, &call.project_id, under_dek, secrets().count()).await?;
        let key_version = sealing.dek().version();
        let is_bound = self.format(call.format, &call.project_id) == ValueFormat::V2;
        let variables = call.variables.into_iter().map(|(name, variable)| {
            let stored = match variable {
                EncryptVariable::Secret(text) => {
                    EncryptedVariable::Secret(sealing.seal(is_bound.then_some(&name), &text)?, Some(key_version))
                }
                EncryptVariable::Sealed(value, version) => EncryptedVariable::Secret(value, version),
                EncryptVariable::Plain(text) => EncryptedVariable::Plain(text),
                EncryptVariable::External(reference) => EncryptedVariable::External(reference),
            };
            Ok((name, stored))
        });
        let variables = variables.collect::<Result<_, KeysError>>()?;
        Ok(under(sealing.dek(), variables))
    }

    /// Makes the project's DEK, or answers the one it has: safe to repeat.
    pub async fn generate_dek(
        &self,
        context: &Context,
        project_id: ProjectId,
    ) -> Result<Answered<Encrypted<()>>, Refusal> {
        let mut pending = self.begin(context, Action::GenerateDek);
        let outcome = self.try_generate_dek(context, &mut pending, &project_id).await;
        self.conclude(pending, outcome).await
    }

    async fn try_generate_dek(
        &self,
        context: &Context,
        pending: &mut Pending,
        project_id: &ProjectId,
    ) -> Result<Withheld<Encrypted<()>>, Refusal> {
        pending.record().project_id = Some(project_id.clone());
        let subject = Subject::of_project(Action::GenerateDek, project_id);
        let permit = self.authorise(context, pending, &subject).await?;
        let dek = self.dek_to_seal_under(&permit, pending, project_id, SealsUnder::PrimaryOrNew).await?;
        Ok(under(&dek, ()))
    }

    /// How values of `project_id` are written: as the call says, else as its operator chose.
    fn format(&self, asked: Option<ValueFormat>, project_id: &ProjectId) -> ValueFormat {
        asked.or_else(|| self.chosen_format(project_id)).unwrap_or(ValueFormat::V1)
    }

    /// What its operator chose for `project_id`, if anything.
    pub(super) fn chosen_format(&self, project_id: &ProjectId) -> Option<ValueFormat> {
        let is_v2 = self.settings.v2_projects.iter().any(|pattern| pattern.matches(project_id.as_str()));
        is_v2.then_some(ValueFormat::V2)
    }
}

fn secret_of(variable: &EncryptVariable) -> Option<&Plaintext> {
    match variable {
        EncryptVariable::Secret(text) => Some(text),
        EncryptVariable::Plain(_) | EncryptVariable::Sealed(..) | EncryptVariable::External(_) => None,
    }
}

fn to_seal<'a>(name: &'a VariableName, text: &Plaintext) -> Variable<'a> {
    Variable { name, kind: VariableKind::Secret(None), size_bytes: text.expose_secret().len() }
}

/// What is sealed already is not touched.
fn as_policies_see((name, variable): &(VariableName, EncryptVariable)) -> Option<Variable<'_>> {
    match variable {
        EncryptVariable::Secret(text) => Some(to_seal(name, text)),
        EncryptVariable::Plain(text) => {
            Some(Variable { name, kind: VariableKind::Plain, size_bytes: text.expose_secret().len() })
        }
        EncryptVariable::External(reference) => {
            Some(Variable { name, kind: VariableKind::External(reference), size_bytes: 0 })
        }
        EncryptVariable::Sealed(..) => None,
    }
}

pub(super) fn under<T>(dek: &ProjectDek, sealed: T) -> Withheld<Encrypted<T>> {
    Withheld::new(Encrypted { sealed, key_version: dek.version(), encrypted_dek: dek.encrypted_dek().clone() })
}
