//! Which of two copies of a row is the newer, and whether one became of the other.
//!
//! A row counts its changes (`generation`), but that is a number, and two stores can have come to the same one by different ways. What
//! proves that one row became of another is what it remembers of it, under its MAC: the digest of every form that the DEK was wrapped as.

use crate::store::{DekRow, DekState, KeptRow};

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

fn is_same(one: &DekRow, other: &DekRow) -> bool {
    became(one, other)
        && one.kek_id == other.kek_id
        && one.encrypted_dek == other.encrypted_dek
        && one.fingerprint == other.fingerprint
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

    /// As the store does it.
    fn replaced(row: &DekRow, replacement: Replacement) -> DekRow {
        DekRow { generation: row.generation + 1, ..replacement.row }
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
            history.push(replaced(row, change(row)));
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
            ways.push(replaced(&root, rewrapped(&ring, &root, wrapped, &dek).expect("a row")));
        }
        let longer = replaced(&ways[1], with_state(&ring, &ways[1], DekState::DecryptOnly).expect("a row"));
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
}
