//! Is this the KEK that the store was made with? A wrong one must never write a DEK.

use origan_codec_host::crypto::{
    KekId, KekUnavailable, KeyRing, RandomnessUnavailable, RingError, UnwrapError, WrapError,
};

use super::row::dek_context;
use crate::store::{Canary, DekStore, StoreError};

/// The KEK is not proven.
#[derive(Debug, thiserror::Error)]
pub enum KekProofError {
    /// The store was made with another one.
    #[error("KEK {ours} is not the one this store was made with ({theirs}); give the right one")]
    WrongKek {
        /// The one at hand.
        ours: KekId,
        /// Those the store knows.
        theirs: String,
    },
    /// The same of a KEK that is outside: no service key of the store's opens under it.
    #[error("{ours} is not the KEK that this store was made with ({theirs}); give the right one")]
    WrongOutsideKek {
        /// The one at hand.
        ours: String,
        /// Those the store knows.
        theirs: String,
    },
    /// The operator has pinned another.
    #[error(
        "{ours} opens KEK {theirs}, and keys.provider.kek_id says {pinned}: the store was changed, or is another one"
    )]
    NotThePinnedKek {
        /// The one at hand.
        ours: String,
        /// What it opens in this store; nothing, where the store is empty.
        theirs: String,
        /// What it should.
        pinned: KekId,
    },
    /// Rows are under a KEK that was taken out of the configuration.
    #[error(
        "{rows} DEKs are under KEK {kek_id}, which is not configured any more; give it too, and say by keys.primary which one wraps"
    )]
    Orphans {
        /// Which.
        kek_id: String,
        /// How many.
        rows: u64,
    },
    /// There are rows, and nothing else.
    #[error("the store has DEKs under KEK {0} and no service key: restore the table kek_canary from a backup")]
    ServiceKeyLost(KekId),
    /// The KEK is outside and gives no answer.
    #[error(transparent)]
    Unavailable(#[from] KekUnavailable),
    /// Of a ring with one KEK twice.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Its id is known, and what it sealed does not open: the store was changed.
    #[error("the canary of KEK {0} does not open: the store was changed, or restored from somewhere else")]
    CanaryDoesNotOpen(KekId),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness for a canary.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
}

impl From<WrapError> for KekProofError {
    fn from(error: WrapError) -> Self {
        match error {
            WrapError::Randomness(none) => none.into(),
            WrapError::Unavailable(why) => why.into(),
        }
    }
}

/// No row is left behind: a store that has seen several KEKs may hold rows of each.
pub(super) async fn refuse_orphans(
    store: &dyn DekStore,
    in_ring: impl Iterator<Item = KekId>,
) -> Result<(), KekProofError> {
    let in_ring: Vec<String> = in_ring.map(|id| id.to_string()).collect();
    let orphans = store.rows_by_kek().await?.into_iter().find(|(kek_id, _)| !in_ring.contains(kek_id));
    orphans.map_or(Ok(()), |(kek_id, rows)| Err(KekProofError::Orphans { kek_id, rows }))
}

/// As [`prove_kek`], without leaving anything: a store that has no canary yet is as good as any.
pub async fn check_kek(store: &dyn DekStore, ring: &KeyRing) -> Result<(), KekProofError> {
    if store.canaries().await?.is_empty() { Ok(()) } else { prove_kek(store, ring).await }
}

/// Opens the primary KEK's canary; leaves one if the store is empty.
pub async fn prove_kek(store: &dyn DekStore, ring: &KeyRing) -> Result<(), KekProofError> {
    let ours = ring.primary_id();
    let known = store.canaries().await?;
    if known.is_empty() {
        // Rows without a canary: somebody took it away. Their KEK ids still tell.
        if let Some(row) = store.any_row().await? {
            match ring.unwrap_dek(row.kek_id, &row.encrypted_dek, dek_context(&row.project_id, row.version)).await {
                Ok(_) => {}
                Err(UnwrapError::Unavailable(why)) => return Err(why.into()),
                Err(_) => return Err(KekProofError::WrongKek { ours, theirs: row.kek_id.to_string() }),
            }
        }
        store.insert_canary(&Canary { kek_id: ours, sealed: ring.seal_canary()? }, 1).await?;
    }
    // Read back: another replica may have been first, with another KEK.
    let known = store.canaries().await?;
    if is_known(ring, &known)? { Ok(()) } else { Err(KekProofError::WrongKek { ours, theirs: ids_of(&known) }) }
}

/// Whether the store has the canary of `ring`'s primary KEK. One that does not open is an error.
pub(super) fn is_known(ring: &KeyRing, canaries: &[Canary]) -> Result<bool, KekProofError> {
    let id = ring.primary_id();
    match canaries.iter().find(|canary| canary.kek_id == id) {
        None => Ok(false),
        Some(canary) if ring.canary_opens(id, canary.sealed.clone()) => Ok(true),
        Some(_) => Err(KekProofError::CanaryDoesNotOpen(id)),
    }
}

/// Each canary of a KEK of `ring`'s opens, and there is one; if there are none at all, any KEK does.
pub(super) fn prove_by(ring: &KeyRing, canaries: &[Canary]) -> Result<(), KekProofError> {
    let mut of_ours = canaries.iter().filter(|canary| ring.kek_ids().any(|id| id == canary.kek_id)).peekable();
    if of_ours.peek().is_none() && !canaries.is_empty() {
        return Err(KekProofError::WrongKek { ours: ring.primary_id(), theirs: ids_of(canaries) });
    }
    let broken = of_ours.find(|canary| !ring.canary_opens(canary.kek_id, canary.sealed.clone()));
    broken.map_or(Ok(()), |canary| Err(KekProofError::CanaryDoesNotOpen(canary.kek_id)))
}

/// The KEKs that the store knows, for operators.
pub(super) fn ids_of(canaries: &[Canary]) -> String {
    canaries.iter().map(|canary| canary.kek_id.to_string()).collect::<Vec<_>>().join(", ")
}
