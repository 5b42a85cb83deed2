//! What a provider has answered, as long as it may be kept, and what it is being asked.
//!
//! The key is who asked, for which project, for what: one caller's answers are no other's. Who gives the answers is not in the key, for
//! each version of a provider has a cache of its own, which goes when it goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use origan_codec_host::crypto::Plaintext;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{External, ProviderError};
use crate::audit::Withheld;
use crate::names::{ExternalReference, ProjectId};

/// Secrets that are kept of one provider, and bytes of all of them.
const ENTRIES_MAX: usize = 10_000;
const BYTES_MAX: usize = 16 << 20;

/// By what a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) caller: String,
    pub(super) project_id: ProjectId,
    pub(super) reference: ExternalReference,
}

/// A secret that several may be given. Has no `Debug`; wiped when dropped.
pub(super) struct Secret {
    pub(super) text: Zeroizing<String>,
    pub(super) version: Arc<str>,
}

/// What came of asking.
pub(super) type Outcome = Result<Arc<Secret>, ProviderError>;
/// What will have come of it.
pub(super) type Landing = watch::Receiver<Option<Outcome>>;

pub(super) enum Entry {
    Held(Arc<Secret>, Instant),
    Flying(Landing),
}

/// All of one provider.
#[derive(Default)]
pub(super) struct Kept {
    entries: HashMap<Key, Entry>,
    held: usize,
    bytes: usize,
}

impl Secret {
    /// A copy for one answer.
    pub(super) fn given(&self) -> External {
        External { value: Withheld::new(Plaintext::new(self.text.to_string())), version: self.version.clone() }
    }
}

impl Kept {
    /// What is known under `key`; what has expired is not.
    pub(super) fn find(&mut self, key: &Key, now: Instant) -> Option<&Entry> {
        if matches!(self.entries.get(key), Some(Entry::Held(_, until)) if *until <= now) {
            self.remove(key);
        }
        self.entries.get(key)
    }

    pub(super) fn takes_off(&mut self, key: Key, landing: Landing) {
        self.entries.insert(key, Entry::Flying(landing));
    }

    /// It is asked for no longer; what was found is held until then, if there is room.
    pub(super) fn lands(&mut self, key: Key, found: Option<(Arc<Secret>, Instant)>) {
        self.remove(&key);
        if let Some((secret, until)) = found
            && self.held < ENTRIES_MAX
            && self.bytes + secret.text.len() <= BYTES_MAX
        {
            self.held += 1;
            self.bytes += secret.text.len();
            self.entries.insert(key, Entry::Held(secret, until));
        }
    }

    pub(super) fn wipe_expired(&mut self, now: Instant) {
        let (held, bytes) = (&mut self.held, &mut self.bytes);
        self.entries.retain(|_, entry| match entry {
            Entry::Held(secret, until) if *until <= now => {
                *held -= 1;
                *bytes -= secret.text.len();
                false
            }
            _ => true,
        });
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    fn remove(&mut self, key: &Key) {
        if let Some(Entry::Held(secret, _)) = self.entries.remove(key) {
            self.held -= 1;
            self.bytes -= secret.text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(caller: &str, project: &str, reference: &str) -> Key {
        Key {
            caller: caller.into(),
            project_id: project.parse().expect("an id"),
            reference: ExternalReference::parse("vault", reference, None).expect("a reference"),
        }
    }

    fn secret(len: usize) -> Arc<Secret> {
        Arc::new(Secret { text: Zeroizing::new("x".repeat(len)), version: "1".into() })
    }

    #[test]
    fn what_one_caller_was_given_for_one_project_is_nobody_elses() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        kept.lands(key("a", "shop", "x#y"), Some((secret(1), later)));
        assert!(kept.find(&key("a", "shop", "x#y"), now).is_some());
        for other in [key("b", "shop", "x#y"), key("a", "bank", "x#y"), key("a", "shop", "x#z"), key("a", "shop", "x")]
        {
            assert!(kept.find(&other, now).is_none(), "{other:?}");
        }
        assert!(kept.find(&key("a", "shop", "x#y"), later).is_none());
        assert_eq!((kept.held(), kept.bytes), (0, 0));
    }

    #[test]
    fn it_holds_so_much_and_no_more_and_lets_go_of_what_has_expired() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        let (soon, later) = (now + Duration::from_secs(1), now + Duration::from_secs(2));
        for index in 0..40 {
            kept.lands(key("a", "shop", &index.to_string()), Some((secret(1 << 20), soon)));
        }
        assert_eq!((kept.held(), kept.bytes), (16, BYTES_MAX));
        kept.wipe_expired(soon);
        assert_eq!((kept.held(), kept.bytes), (0, 0));
        for index in 0..ENTRIES_MAX + 5 {
            kept.lands(key("a", "shop", &index.to_string()), Some((secret(1), later)));
        }
        assert_eq!(kept.held(), ENTRIES_MAX);
        kept.lands(key("a", "shop", "0"), None);
        assert_eq!((kept.held(), kept.bytes), (ENTRIES_MAX - 1, ENTRIES_MAX - 1));
    }
}
