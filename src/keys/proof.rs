//! Is this the KEK that the store was made with? A wrong one must never write a DEK.

use origan_codec_host::crypto::{Kek, KekId, KekUnavailable, KeyRing, RandomnessUnavailable, RingError, WrapError};

use crate::store::{Canary, DekStore, StoreError};

/// The KEK is not proven.
#[derive(Debug, thiserror::Error)]
pub enum KekProofError {
    /// The store was made with another one: it knows none of them.
    #[error("{ours} is not the KEK that this store was made with ({theirs}); give the right one")]
    WrongKek {
        /// Those at hand.
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
        "{rows} DEKs are under KEK {kek_id}, which is not configured any more; give it too, as one that only unwraps"
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

/// No row is left behind: a store that has seen several KEKs may hold rows of each. Every KEK has a canary before anything is under it.
pub(super) async fn refuse_orphans(
    store: &dyn DekStore,
    canaries: &[Canary],
    in_ring: impl Iterator<Item = KekId>,
) -> Result<(), KekProofError> {
    let in_ring: Vec<KekId> = in_ring.collect();
    if canaries.iter().all(|canary| in_ring.contains(&canary.kek_id)) {
        return Ok(());
    }
    let in_ring: Vec<String> = in_ring.iter().map(KekId::to_string).collect();
    let orphans = store.rows_by_kek().await?.into_iter().find(|(kek_id, _)| !in_ring.contains(kek_id));
    orphans.map_or(Ok(()), |(kek_id, rows)| Err(KekProofError::Orphans { kek_id, rows }))
}

/// Whether the store has the canary of `kek`. One that does not open is an error.
pub(super) fn is_known(kek: &Kek, canaries: &[Canary]) -> Result<bool, KekProofError> {
    let id = kek.id();
    let Some(canary) = canaries.iter().find(|canary| canary.kek_id == id) else { return Ok(false) };
    let ring = KeyRing::new(kek, &[])?;
    if ring.canary_opens(id, canary.sealed.clone()) { Ok(true) } else { Err(KekProofError::CanaryDoesNotOpen(id)) }
}

/// The KEKs that the store knows, for operators.
pub(super) fn ids_of(canaries: &[Canary]) -> String {
    canaries.iter().map(|canary| canary.kek_id.to_string()).collect::<Vec<_>>().join(", ")
}
