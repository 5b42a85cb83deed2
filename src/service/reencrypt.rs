//! `/re-encrypt`: values under old versions of the DEK, or in another format, become values under the primary one. Nobody sees them on the
//! way, the caller neither.

use std::collections::BTreeSet;

use origan_codec_host::crypto::{EncryptedValue, ValueFormat};

use super::authorise::Subject;
use super::decrypt::as_policies_see;
use super::external::external_note;
use super::opening::{Deks, OpeningDeks, names_of_secrets};
use super::sealing::SealsUnder;
use super::{Answered, Context, Encrypted, EncryptedVariable, ReEncrypt, Refusal, Service, StoredVariable};
use crate::audit::{Pending, Withheld};
use crate::caller::Action;
use crate::keys::Sealing;
use crate::names::{KeyVersion, VariableName};
use crate::policy::Permit;
use crate::policy::query::Facts;

impl Service {
    /// Opens every secret and seals it anew where it is not yet as it should be; the rest passes through as it is.
    pub async fn re_encrypt(
        &self,
        context: &Context,
        call: ReEncrypt,
    ) -> Result<Answered<Encrypted<Vec<(VariableName, EncryptedVariable)>>>, Refusal> {
        let mut pending = self.begin(context, Action::ReEncrypt);
        let outcome = self.try_re_encrypt(context, &mut pending, call).await;
        self.conclude(pending, outcome).await
    }

    async fn try_re_encrypt(
        &self,
        context: &Context,
        pending: &mut Pending,
        call: ReEncrypt,
    ) -> Result<Withheld<Encrypted<Vec<(VariableName, EncryptedVariable)>>>, Refusal> {
        pending.record().project_id = Some(call.project_id.clone());
        let secrets = names_of_secrets(&call.variables);
        let count = secrets.len();
        pending.record().variables = secrets;
        pending.record().external = call.variables.iter().filter_map(external_note).collect();
        let listed = || Facts::of_variables(call.variables.iter().map(as_policies_see));
        let subject = Subject { variables: &listed, ..Subject::of_project(Action::ReEncrypt, &call.project_id) };
        let permit = self.authorise(context, pending, &subject).await?;
        let asked = Deks {
            project_id: &call.project_id,
            deployment_id: None,
            encrypted_dek: call.encrypted_dek.as_ref(),
            variables: &call.variables,
        };
        let deks = self.opening_deks(&permit, pending, &asked).await?;
        // Never makes one: whoever has something to open has a DEK.
        let sealing = self.sealing(&permit, pending, &call.project_id, SealsUnder::Primary, count).await?;
        // None: each as it is, unless the project's are to be of another.
        let format = call.format.or_else(|| self.chosen_format(&call.project_id));
        let mut anew = Anew { permit: &permit, deks, sealing, format };
        let mut versions = BTreeSet::from([anew.sealing.dek().version()]);
        let mut variables = Withheld::new(Vec::with_capacity(call.variables.len()));
        for (name, variable) in call.variables {
            let stored = match variable {
                StoredVariable::Plain(text) => Withheld::new(EncryptedVariable::Plain(text)),
                StoredVariable::External(reference) => Withheld::new(EncryptedVariable::External(reference)),
                StoredVariable::Secret(value, version) => {
                    let value = value.map_err(|error| Refusal::from(error).at(&name))?;
                    let (stored, opened_by) = anew.seal(&name, value, version).map_err(|refusal| refusal.at(&name))?;
                    versions.insert(opened_by);
                    stored
                }
            };
            variables = variables.and(stored, |variables, stored| variables.push((name, stored)));
        }
        pending.record().key_versions = versions.into_iter().collect();
        let primary = anew.sealing.dek();
        let (key_version, encrypted_dek) = (primary.version(), primary.encrypted_dek().clone());
        Ok(variables.map(|sealed| Encrypted { sealed, key_version, encrypted_dek }))
    }
}

/// What seals one value anew.
struct Anew<'a> {
    permit: &'a Permit,
    deks: OpeningDeks,
    sealing: Sealing,
    /// None: as each is.
    format: Option<ValueFormat>,
}

impl Anew<'_> {
    /// The value as it should be, and the version that opened it. One that is so already stays byte for byte: but it must open, or a value that
    /// was pasted in from elsewhere would pass.
    fn seal(
        &mut self,
        name: &VariableName,
        value: EncryptedValue,
        version: Option<KeyVersion>,
    ) -> Result<(Withheld<EncryptedVariable>, KeyVersion), Refusal> {
        let format = self.format.unwrap_or(value.format());
        let primary = self.sealing.dek().version();
        let opened = self.deks.open(self.permit, name, value.clone(), version)?;
        let stored = if opened.version == primary && value.format() == format {
            opened.text.map(|_| Ok(value))
        } else {
            let bound_to = (format == ValueFormat::V2).then_some(name);
            opened.text.map(|text| self.sealing.seal(bound_to, &text))
        };
        let stored = stored.transpose()?;
        Ok((stored.map(|value| EncryptedVariable::Secret(value, Some(primary))), opened.version))
    }
}
