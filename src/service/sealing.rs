//! The DEK that values are sealed under, while others rotate it.

use std::sync::Arc;

use origan_codec_host::crypto::EncryptedDek;

use super::{Refusal, Service};
use crate::audit::Pending;
use crate::keys::{KeysError, ProjectDek, Sealing};
use crate::names::ProjectId;
use crate::policy::Permit;

/// Looks for the primary DEK for one that seals, while it keeps being rotated.
const LOOKS_MAX: u32 = 8;

/// Which of a project's DEKs.
#[derive(Clone, Copy)]
pub(super) enum SealsUnder<'a> {
    /// The one that the caller names, if it is the primary one.
    Named(&'a EncryptedDek),
    /// Whichever is primary, for values that were opened.
    Primary,
    /// Whichever is primary; one is made if there is none.
    PrimaryOrNew,
}

impl<'a> SealsUnder<'a> {
    pub(super) fn named_or_primary(named: Option<&'a EncryptedDek>) -> Self {
        named.map_or(Self::PrimaryOrNew, Self::Named)
    }
}

impl Service {
    /// What seals `count` values. One that is rotated between the look for it and its count is no fault of the caller's, unless it is named: the next
    /// one is as good.
    pub(super) async fn sealing(
        &self,
        permit: &Permit,
        pending: &mut Pending,
        project_id: &ProjectId,
        under: SealsUnder<'_>,
        count: usize,
    ) -> Result<Sealing, Refusal> {
        for _ in 0..LOOKS_MAX {
            let dek = self.dek_to_seal_under(permit, pending, project_id, under).await?;
            match (self.keys.sealing(permit, dek, count).await, under) {
                (Err(KeysError::NotPrimary), SealsUnder::Primary | SealsUnder::PrimaryOrNew) => {}
                (outcome, _) => return Ok(outcome?),
            }
        }
        Err(KeysError::Store("the DEK was rotated as often as it was looked for".into()).into())
    }

    /// As it is now. The record says which version, but of values that are opened too: they tell it themselves.
    pub(super) async fn dek_to_seal_under(
        &self,
        permit: &Permit,
        pending: &mut Pending,
        project_id: &ProjectId,
        under: SealsUnder<'_>,
    ) -> Result<Arc<ProjectDek>, Refusal> {
        let dek = match under {
            SealsUnder::Named(named) => self.keys.recorded(permit, project_id, named).await?,
            SealsUnder::Primary => self.keys.primary(permit, project_id).await?,
            SealsUnder::PrimaryOrNew => self.keys.primary_or_create(permit, project_id, pending.record()).await?,
        };
        if !matches!(under, SealsUnder::Primary) {
            pending.record().key_versions = vec![dek.version()];
        }
        Ok(dek)
    }
}
