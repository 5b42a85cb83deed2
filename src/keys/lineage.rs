//! Which of two copies of a row is the newer, and whether one became of the other; and whether one that is corrupt may be mended by the other.
//!
//! A row counts its changes (`generation`), but that is a number, and two stores can have come to the same one by different ways. What
//! proves that one row became of another is what it remembers of it, under its MAC: the digest of every form that the DEK was wrapped as.

use origan_codec_host::crypto::{Dek, EncryptedDek, KekId, KekUnavailable, KeyRing, Tag, UnwrapError, WrappedDek};

use super::lookup::tags;
use super::row::{dek_context, hangs_together, rewrapped, with_state};
use crate::store::{DekRow, DekState, KeptRow, Remains, Replacement};

/// What a row of a backup is to the one that stands in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The same.
    Same,
    /// The same, and fewer uses of it are counted in the store.
    SameWithFewerUses,
    /// The store's became the backup's.
    Older,
    /// The store's has changed more often.
    Newer,
    /// Neither became of the other.
    OfAnotherHistory,
}

/// Whether a row of a backup may take the place of a corrupt one.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It may: nothing is lost by it.
    Mend,
    /// It may, in the form in which the corrupt one has its DEK: callers may have kept that.
    MendAs(Box<DekRow>),
    /// It may if the DEK with one of these fingerprints has a row in the end: it opens in the corrupt one, and is not the backup's.
    MendIfKept(Vec<Tag>),
    /// It may not.
    Leave(String),
}

/// What stands `there`, to one who holds `kept`.
pub(super) fn stands(there: &KeptRow, kept: &KeptRow) -> Standing {
    let (theirs, ours) = (&there.row, &kept.row);
    if theirs.generation > ours.generation {
        return Standing::Newer;
    }
    if theirs.generation == ours.generation {
        return match is_same(theirs, ours) {
            false => Standing::OfAnotherHistory,
            true if there.encryptions < kept.encryptions || theirs.last_used_at_ms < ours.last_used_at_ms => {
                Standing::SameWithFewerUses
            }
            true => Standing::Same,
        };
    }
    if became(theirs, ours) { Standing::Older } else { Standing::OfAnotherHistory }
}

/// What is wrong with what stands `there` so, to one who holds `kept`, which is sound; none: nothing is, or nobody can tell, for its KEK is not
/// in the ring.
pub(super) fn fault(ring: &KeyRing, standing: Standing, there: &KeptRow, kept: &KeptRow) -> Option<&'static str> {
    let (theirs, ours) = (&there.row, &kept.row);
    match standing {
        Standing::Same | Standing::SameWithFewerUses => None,
        // No MAC has the fingerprint. Which of the two is the DEK's own, opening it tells.
        Standing::OfAnotherHistory if is_tied_alike(theirs, ours) && theirs.fingerprint != ours.fingerprint => {
            Some("its fingerprint is another DEK's")
        }
        Standing::Older | Standing::Newer | Standing::OfAnotherHistory => {
            (hangs_together(ring, theirs) == Ok(false)).then_some("its MAC does not verify")
        }
    }
}

/// Whether `kept` may take the place of a corrupt row, of which this much is left. What is newer by its own MAC stays.
pub(super) async fn judge(ring: &KeyRing, there: &Remains, kept: &DekRow) -> Result<Verdict, KekUnavailable> {
    let kek_id = there.kek_id.unwrap_or(kept.kek_id);
    if !ring.kek_ids().any(|ours| ours == kek_id) {
        return Ok(Verdict::Leave(format!("its KEK {kek_id} is not configured")));
    }
    let tied = there.tied.as_ref().ok();
    if tied.is_some_and(|tied| hangs_together(ring, tied) == Ok(true) && !is_tied_alike(tied, kept)) {
        return Ok(Verdict::Leave("its MAC verifies, and it is newer than the backup's, or of another history".into()));
    }
    if let Some(wrapped) = &there.encrypted_dek
        && let Some((kek_id, dek)) = opened(ring, wrapped, kept).await?
    {
        let is_same = ring.fingerprint(kept.kek_id, &dek).is_ok_and(|of| of.0 == kept.fingerprint);
        return Ok(match (is_same, *wrapped == kept.encrypted_dek) {
            (true, true) => Verdict::Mend,
            // An older one, which the backup's row knows, or none that counts.
            (true, false) if kept.state == DekState::Destroyed || kept.former_digests.contains(&wrapped.digest()) => {
                Verdict::Mend
            }
            (true, false) => match rewrapped(ring, kept, WrappedDek { kek_id, encrypted_dek: wrapped.clone() }, &dek) {
                Ok(replacement) => Verdict::MendAs(Box::new(as_stored(replacement))),
                Err(_) => Verdict::Mend,
            },
            (false, true) => Verdict::Leave("it is the backup that has another DEK's fingerprint".into()),
            (false, false) => Verdict::MendIfKept(tags(ring, &dek)),
        });
    }
    // Nothing opens in it, as in one that is destroyed; and what is destroyed stays so.
    if tied.is_some_and(|tied| tied.state == DekState::Destroyed) && kept.state != DekState::Destroyed {
        return Ok(Verdict::Leave("it says that it was destroyed, and nothing opens in it".into()));
    }
    Ok(Verdict::Mend)
}

/// What `wrapped` opens to, and under which KEK: what the row says of that may be what is corrupt.
async fn opened(ring: &KeyRing, wrapped: &EncryptedDek, kept: &DekRow) -> Result<Option<(KekId, Dek)>, KekUnavailable> {
    for kek_id in ring.kek_ids() {
        match ring.unwrap_dek(kek_id, wrapped, dek_context(&kept.project_id, kept.version)).await {
            Ok(dek) => return Ok(Some((kek_id, dek))),
            Err(UnwrapError::Unavailable(why)) => return Err(why),
            Err(UnwrapError::CannotOpen(_) | UnwrapError::WrongLength(_) | UnwrapError::UnknownKek(_)) => {}
        }
    }
    Ok(None)
}

/// The row that comes of it, as the store writes it.
fn as_stored(replacement: Replacement) -> DekRow {
    DekRow { generation: replacement.row.generation + 1, ..replacement.row }
}

/// A primary as a rotation leaves it; none if it is none.
pub(super) fn rotated(ring: &KeyRing, kept: &KeptRow) -> Option<KeptRow> {
    if kept.row.state != DekState::Primary {
        return None;
    }
    let row = as_stored(with_state(ring, &kept.row, DekState::DecryptOnly).ok()?);
    Some(KeptRow { row, encryptions: kept.encryptions })
}

fn is_same(one: &DekRow, other: &DekRow) -> bool {
    became(one, other) && is_tied_alike(one, other) && one.fingerprint == other.fingerprint
}

/// Whether the MACs tie the same together.
fn is_tied_alike(one: &DekRow, other: &DekRow) -> bool {
    one.kek_id == other.kek_id
        && one.encrypted_dek == other.encrypted_dek
        && one.former_digests == other.former_digests
        && one.row_mac == other.row_mac
        && one.state == other.state
}

/// Whether `newer` can be what became of `older`: the same DEK, wrapped anew or not. Each remembers what it was wrapped as, under its MAC.
/// What is destroyed stays so, whatever the generations say.
fn became(older: &DekRow, newer: &DekRow) -> bool {
    let wrapped_then = newer.former_digests.strip_prefix(&older.former_digests[..]);
    let is_same_dek = match wrapped_then {
        None => false,
        Some([]) => newer.encrypted_dek == older.encrypted_dek,
        Some([first, ..]) => *first == older.encrypted_dek.digest(),
    };
    is_same_dek
        && newer.created_at_ms == older.created_at_ms
        && newer.origin == older.origin
        && (older.state != DekState::Destroyed || newer.state == DekState::Destroyed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use origan_codec_host::crypto::{Dek, Kek, KeyRing};

    use super::super::row::{dek_context, destroyed, new_row, retied, rewrapped, with_state};
    use super::*;
    use crate::names::KeyVersion;
    use crate::store::{DekOrigin, Replacement};

    fn ring(primary: &Kek, retained: &[Kek]) -> Arc<KeyRing> {
        Arc::new(KeyRing::new(primary, retained).expect("different KEKs"))
    }

    async fn first(ring: &KeyRing, dek: &Dek) -> DekRow {
        let shop = "shop".parse().expect("an id");
        let wrapped = ring.wrap_dek(dek, dek_context(&shop, KeyVersion::FIRST)).await.expect("random");
        new_row(ring, &shop, KeyVersion::FIRST, &wrapped, dek, DekState::Primary, DekOrigin::Created).expect("a row")
    }

    fn to(there: &DekRow, kept: &DekRow) -> Standing {
        let kept_row = |row: &DekRow| KeptRow { row: row.clone(), encryptions: 64 };
        stands(&kept_row(there), &kept_row(kept))
    }

    #[tokio::test]
    async fn each_state_of_a_row_is_older_than_all_that_became_of_it() {
        let (old, new) = (Kek::generate().expect("random"), Kek::generate().expect("random"));
        let dek = Dek::generate().expect("random");
        let shop = "shop".parse().expect("an id");
        let before = ring(&old, &[]);
        let after = ring(&new, &[old]);
        let mut history = vec![first(&before, &dek).await];
        let mut then = |change: &dyn Fn(&DekRow) -> Replacement| {
            let row = history.last().expect("a row");
            history.push(as_stored(change(row)));
        };
        then(&|row| with_state(&before, row, DekState::DecryptOnly).expect("a row"));
        for _ in 0..2 {
            let wrapped = after.wrap_dek(&dek, dek_context(&shop, KeyVersion::FIRST)).await.expect("random");
            then(&|row| rewrapped(&after, row, wrapped.clone(), &dek).expect("a row"));
        }
        then(&|row| with_state(&after, row, DekState::Disabled).expect("a row"));
        then(&|row| with_state(&after, row, DekState::DecryptOnly).expect("a row"));
        then(&|row| with_state(&after, row, DekState::Disabled).expect("a row"));
        then(&|row| destroyed(&after, row).expect("a row"));
        then(&|row| retied(&after, row).expect("a row"));
        for (there, row) in history.iter().enumerate() {
            for (kept, other) in history.iter().enumerate() {
                let expected = match there.cmp(&kept) {
                    std::cmp::Ordering::Less => Standing::Older,
                    std::cmp::Ordering::Equal => Standing::Same,
                    std::cmp::Ordering::Greater => Standing::Newer,
                };
                assert_eq!(to(row, other), expected, "{there} in the store, {kept} in the backup");
            }
        }
        // What was destroyed stays so, whatever somebody makes of the numbers.
        let lowered = DekRow { generation: 1, ..history[7].clone() };
        for kept in &history[..7] {
            assert_eq!(to(&lowered, kept), Standing::OfAnotherHistory);
        }
    }

    #[tokio::test]
    async fn what_went_another_way_from_the_same_beginning_is_another_history() {
        let kek = Kek::generate().expect("random");
        let ring = ring(&kek, &[]);
        let dek = Dek::generate().expect("random");
        let shop = "shop".parse().expect("an id");
        let root = first(&ring, &dek).await;
        let mut ways = Vec::new();
        for _ in 0..2 {
            let wrapped = ring.wrap_dek(&dek, dek_context(&shop, KeyVersion::FIRST)).await.expect("random");
            ways.push(as_stored(rewrapped(&ring, &root, wrapped, &dek).expect("a row")));
        }
        let longer = as_stored(with_state(&ring, &ways[1], DekState::DecryptOnly).expect("a row"));
        let other_dek = first(&ring, &Dek::generate().expect("random")).await;
        let later = DekRow { generation: 9, ..other_dek.clone() };
        for (there, kept) in [(&ways[0], &ways[1]), (&ways[0], &longer), (&root, &other_dek), (&root, &later)] {
            assert_eq!(to(there, kept), Standing::OfAnotherHistory);
        }
        assert_eq!(to(&longer, &ways[0]), Standing::Newer);
        // Counts are no history.
        let kept =
            |encryptions, last_used_at_ms| KeptRow { row: DekRow { last_used_at_ms, ..root.clone() }, encryptions };
        assert_eq!(stands(&kept(5, 7), &kept(4, 7)), Standing::Same);
        assert_eq!(stands(&kept(5, 7), &kept(5, 6)), Standing::Same);
        assert_eq!(stands(&kept(5, 7), &kept(6, 7)), Standing::SameWithFewerUses);
        assert_eq!(stands(&kept(5, 7), &kept(5, 8)), Standing::SameWithFewerUses);
    }

    #[tokio::test]
    async fn a_corrupt_row_is_mended_unless_something_would_be_lost_by_it() {
        let (kek, elsewhere) = (Kek::generate().expect("random"), Kek::generate().expect("random"));
        let before = Kek::generate().expect("random");
        let old = ring(&before, &[]);
        let ring = ring(&kek, std::slice::from_ref(&before));
        let dek = Dek::generate().expect("random");
        let (root, again) = (first(&ring, &dek).await, first(&ring, &dek).await);
        let other = first(&ring, &Dek::generate().expect("random")).await;
        let older = first(&old, &Dek::generate().expect("random")).await;
        let disabled = as_stored(with_state(&ring, &root, DekState::Disabled).expect("a row"));
        let gone = as_stored(destroyed(&ring, &disabled).expect("a row"));
        let no_mac = |row: &DekRow| DekRow { row_mac: [0; 32], ..row.clone() };
        let cases = [
            ("its fingerprint", DekRow { fingerprint: [0; 32], ..root.clone() }, true, "Mend"),
            ("its MAC", no_mac(&root), true, "Mend"),
            ("its state", DekRow { state: DekState::Disabled, ..root.clone() }, true, "Mend"),
            ("its wrapped DEK", DekRow { encrypted_dek: gone.encrypted_dek.clone(), ..root.clone() }, true, "Mend"),
            ("another KEK", DekRow { kek_id: elsewhere.id(), ..root.clone() }, false, "is not configured"),
            ("newer, and sound", disabled.clone(), false, "its MAC verifies"),
            ("another DEK", no_mac(&other), true, "MendIfKept"),
            ("another DEK, and the wrong KEK", no_mac(&DekRow { kek_id: kek.id(), ..older }), true, "MendIfKept"),
            ("the same DEK, wrapped anew", no_mac(&again), true, "MendAs"),
            ("destroyed", no_mac(&gone), true, "it says that it was destroyed"),
        ];
        let kept = |row: &DekRow| KeptRow { row: row.clone(), encryptions: 64 };
        let fault = |there: &KeptRow| fault(&ring, stands(there, &kept(&root)), there, &kept(&root));
        assert_eq!(fault(&kept(&root)), None);
        for (case, there, is_corrupt, expected) in cases {
            assert_eq!(fault(&kept(&there)).is_some(), is_corrupt, "{case}");
            let remains = Remains {
                kek_id: Some(there.kek_id),
                encrypted_dek: Some(there.encrypted_dek.clone()),
                tied: Ok(there),
                encryptions: 64,
                last_used_at_ms: 0,
            };
            let said = match judge(&ring, &remains, &root).await.expect("in memory") {
                Verdict::Mend => "Mend".to_owned(),
                Verdict::MendAs(row) => {
                    assert_eq!(row.encrypted_dek, again.encrypted_dek);
                    assert_eq!((row.fingerprint, row.former_digests.len()), (root.fingerprint, 1));
                    "MendAs".to_owned()
                }
                Verdict::MendIfKept(fingerprints) => {
                    assert_eq!(fingerprints.len(), 2);
                    "MendIfKept".to_owned()
                }
                Verdict::Leave(why) => why,
            };
            assert!(said.contains(expected) && (expected != "Mend" || said == "Mend"), "{case}: {said}");
        }
        // A backup that was made of a row whose fingerprint had been altered.
        let remains = Remains {
            kek_id: Some(root.kek_id),
            encrypted_dek: Some(root.encrypted_dek.clone()),
            tied: Ok(root.clone()),
            encryptions: 64,
            last_used_at_ms: 0,
        };
        let wrong = DekRow { fingerprint: [0; 32], ..root.clone() };
        let verdict = judge(&ring, &remains, &wrong).await.expect("in memory");
        assert!(matches!(&verdict, Verdict::Leave(why) if why.contains("it is the backup")), "{verdict:?}");
    }
}
