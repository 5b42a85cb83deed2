//! What there is to count of a provider.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use origan_codec_host::plugin::Fault;

use super::ProviderError;

/// Figures of one provider, kept from one version to the next.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "each is documented where it is shown, in docs/plugins")]
pub struct ProviderFigures {
    pub calls: AtomicU64,
    pub call_time_us: AtomicU64,
    pub references: AtomicU64,
    pub found: AtomicU64,
    pub not_found: AtomicU64,
    pub denied: AtomicU64,
    pub invalid_references: AtomicU64,
    pub unavailable: AtomicU64,
    pub from_cache: AtomicU64,
    pub joined: AtomicU64,
    pub left_alone: AtomicU64,
    pub traps: AtomicU64,
    pub timeouts: AtomicU64,
    pub faults: AtomicU64,
    last_failure: Mutex<Option<String>>,
}

impl ProviderFigures {
    /// Why it gave no answer last.
    pub fn last_failure(&self) -> Option<String> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count(&self, error: Option<&ProviderError>) {
        let counter = match error {
            None | Some(ProviderError::NotText | ProviderError::TooLong) => &self.found,
            Some(ProviderError::NotFound) => &self.not_found,
            Some(ProviderError::Denied(_)) => &self.denied,
            Some(ProviderError::InvalidReference(_) | ProviderError::Unknown) => &self.invalid_references,
            Some(ProviderError::BadAnswer(_) | ProviderError::Unavailable { .. }) => &self.unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_fault(&self, fault: &Fault) {
        let counter = match fault {
            Fault::Trap(_) => &self.traps,
            Fault::Timeout(_) => &self.timeouts,
            _ => &self.faults,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, why: &str) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }
}
