//! How a credential fares, for `/status`, the figures and the log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tracing::{info, warn};

use super::failure::CredentialError;
use super::{CredentialCounts, CredentialState};

/// How a credential fares, and since when.
#[derive(Default)]
pub(super) struct Health(Mutex<CredentialState>);

impl Health {
    pub(super) fn state(&self, expires: Option<SystemTime>) -> CredentialState {
        CredentialState { expires, ..lock(&self.0).clone() }
    }

    /// Notes how reading one went, for those that are read each time.
    pub(super) fn had<T>(&self, outcome: Result<T, CredentialError>) -> Result<T, CredentialError> {
        let mut state = lock(&self.0);
        match &outcome {
            Ok(_) => (state.was_had, state.failing) = (true, None),
            Err(error) => fail(&mut state, error),
        }
        drop(state);
        outcome
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut CredentialCounts)) {
        count(&mut lock(&self.0).counts);
    }

    pub(super) fn is_well(&self, name: &str) {
        let mut state = lock(&self.0);
        state.was_had = true;
        if state.failing.take().is_some() {
            info!(credential = name, "a credential is had again");
        }
    }

    pub(super) fn is_ill(&self, name: &str, error: &CredentialError) {
        let mut state = lock(&self.0);
        let is_news = state.failing.as_ref().is_none_or(|(_, why)| *why != error.to_string());
        fail(&mut state, error);
        if is_news {
            warn!(credential = name, why = %error, "a credential cannot be had");
        }
    }
}

fn fail(state: &mut CredentialState, error: &CredentialError) {
    let since = state.failing.as_ref().map_or_else(SystemTime::now, |(since, _)| *since);
    state.failing = Some((since, error.to_string()));
}

/// Nothing that holds one of these locks can panic half-way.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
