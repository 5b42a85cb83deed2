//! Variables whose values live elsewhere: noted in the record with where they are, and found at their providers.

use origan_codec_host::crypto::Plaintext;

use super::{Context, DecryptAll, EncryptVariable, Refusal, Service, StoredVariable};
use crate::audit::record::ExternalNote;
use crate::audit::{Pending, Withheld};
use crate::names::{ExternalReference, VariableName};
use crate::policy::Permit;

impl Service {
    /// The values of `call`'s external variables, in order. The record learns which versions they are.
    pub(super) async fn external(
        &self,
        permit: &Permit,
        context: &Context,
        pending: &mut Pending,
        call: &DecryptAll,
    ) -> Vec<Result<Withheld<Plaintext>, Refusal>> {
        let references: Vec<ExternalReference> =
            pending.record().external.iter().map(|note| note.reference.clone()).collect();
        let found = self.providers.resolve(permit, &context.caller, &call.project_id, &references).await;
        let mut values = Vec::with_capacity(found.len());
        for (note, found) in pending.record().external.iter_mut().zip(found) {
            values.push(match found {
                Ok(external) => {
                    note.version = Some(external.version).filter(|version| !version.is_empty());
                    Ok(external.value)
                }
                Err(error) => Err(Refusal::from(error)),
            });
        }
        values
    }
}

pub(super) fn external_note((name, variable): &(VariableName, StoredVariable)) -> Option<ExternalNote> {
    match variable {
        StoredVariable::External(reference) => Some(note(name, reference)),
        StoredVariable::Plain(_) | StoredVariable::Secret(..) => None,
    }
}

/// Of a variable that passes through: nobody asks its provider.
pub(super) fn passing_note((name, variable): &(VariableName, EncryptVariable)) -> Option<ExternalNote> {
    match variable {
        EncryptVariable::External(reference) => Some(note(name, reference)),
        EncryptVariable::Secret(_) | EncryptVariable::Plain(_) | EncryptVariable::Sealed(..) => None,
    }
}

fn note(name: &VariableName, reference: &ExternalReference) -> ExternalNote {
    ExternalNote { name: name.clone(), reference: reference.clone(), version: None }
}
