//! The service key of a KEK that is outside. It lies in the store, in the canary's row, so that the database makes both come into being at
//! once or not at all:
//!
//! `sealed = "service-key/v1" ‖ length(wrapped) u16 ‖ wrapped ‖ canary`

use std::sync::Arc;

use origan_codec_host::crypto::{KekId, KekUnavailable, KeyRing, OutsideKek, OutsideUnwrapError, RingKek, ServiceKey};

use super::proof::KekProofError;
use crate::store::{Canary, DekStore};

/// Before what an outside KEK leaves in a canary's row.
const OUTSIDE: &[u8] = b"service-key/v1";

/// A new service key for `kek`, in this place of the store, unless somebody else is there first.
pub(super) async fn add(kek: &Arc<dyn OutsideKek>, store: &dyn DekStore, place: usize) -> Result<(), KekProofError> {
    // The pin says that the store knows it; this one does not.
    refuse_unless_pinned(&**kek, None)?;
    let service_key = ServiceKey::generate()?;
    let wrapped = service_key.wrap(&**kek).await?;
    let ring = KeyRing::of(RingKek::at(kek.clone(), &service_key), [])?;
    let sealed = join(&wrapped, &ring.seal_canary()?)?;
    Ok(store.insert_canary(&Canary { kek_id: ring.primary_id(), sealed }, place).await?)
}

/// The service key that opens under `kek`, with a canary that opens under it. The id of a KEK follows from its service key, so none is
/// expected.
pub(super) async fn find(kek: &dyn OutsideKek, canaries: &[Canary]) -> Result<Option<ServiceKey>, KekProofError> {
    for canary in canaries {
        let Some((wrapped, sealed)) = split(&canary.sealed) else { continue };
        let service_key = match ServiceKey::unwrap(kek, wrapped).await {
            Ok(service_key) => service_key,
            Err(OutsideUnwrapError::CannotOpen(_)) => continue,
            Err(OutsideUnwrapError::Unavailable(why)) => return Err(why.into()),
        };
        // Another row's service key in this one, or another's canary.
        if service_key.kek_id() != canary.kek_id || !service_key.canary_opens(sealed.to_vec()) {
            return Err(KekProofError::CanaryDoesNotOpen(canary.kek_id));
        }
        refuse_unless_pinned(kek, Some(canary.kek_id))?;
        return Ok(Some(service_key));
    }
    Ok(None)
}

fn refuse_unless_pinned(kek: &dyn OutsideKek, found: Option<KekId>) -> Result<(), KekProofError> {
    match kek.pinned_id() {
        Some(pinned) if found != Some(pinned) => {
            let theirs = found.map_or_else(|| "none".to_owned(), |id| id.to_string());
            Err(KekProofError::NotThePinnedKek { ours: kek.name(), theirs, pinned })
        }
        _ => Ok(()),
    }
}

fn join(wrapped: &[u8], canary: &[u8]) -> Result<Vec<u8>, KekUnavailable> {
    let length =
        u16::try_from(wrapped.len()).map_err(|_| KekUnavailable::Never("it wraps in more than 64 KiB".into()))?;
    Ok([OUTSIDE, &length.to_be_bytes(), wrapped, canary].concat())
}

/// The wrapped service key and the canary; none if the row is that of a KEK in memory.
fn split(sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = sealed.strip_prefix(OUTSIDE)?.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
