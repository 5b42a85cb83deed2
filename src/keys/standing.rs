//! Whether a KEK that is outside answers, told in the log when that changes.

use std::sync::{Mutex, PoisonError};

use tracing::{error, info};

/// Whether it answers.
pub(super) struct Standing {
    /// `the token that holds the KEK`.
    what: &'static str,
    failure: Mutex<Option<String>>,
}

impl Standing {
    pub(super) fn of(what: &'static str) -> Self {
        Self { what, failure: Mutex::default() }
    }

    /// Why the last call gave no answer; none: it gave one.
    pub(super) fn note(&self, failure: Option<String>) {
        let mut known = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, &failure) {
            (Some(before), Some(now)) if before == now => return,
            (_, Some(cause)) => error!(cause, "{} gives no answer: DEKs in the cache go on", self.what),
            (Some(_), None) => info!("{} answers again", self.what),
            (None, None) => return,
        }
        *known = failure;
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
