//! Secrets that live elsewhere: which provider is asked, how many at once, how long its answers are kept.
//!
//! Nothing is asked, and nothing that is kept is given, without a [`Permit`]: the policies have seen the reference, this time too. What
//! is found is withheld until its record is durable, like everything that is opened.

mod breaker;
mod figures;
mod flight;
mod kept;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures_util::future::join_all;
use origan_codec_host::crypto::Plaintext;
use origan_codec_host::plugin::{Fault, ResolveError, ResolvedSecret, SecretReference};

use crate::audit::Withheld;
use crate::caller::Caller;
use crate::names::{ExternalReference, ProjectId};
use crate::policy::Permit;

/// Values of all external variables of one call together, in bytes: it may name one secret many times.
const FOUND_BYTES_MAX: usize = 16 << 20;

pub use breaker::BreakerState;
pub(crate) use breaker::{Breaker, Called};
pub use figures::ProviderFigures;
pub use flight::Provider;

/// What came of a call.
pub struct Answers {
    /// One for each reference, in order.
    pub results: Vec<Result<ResolvedSecret, ResolveError>>,
    /// Whether a request of the call failed at the backend or on the way there: no connection, no whole answer in time, 429, 5xx.
    pub failed_outside: bool,
}

/// Who finds secrets, behind the boundary.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All of `references`, or none.
    async fn resolve(&self, references: Vec<SecretReference>) -> Result<Answers, Fault>;

    /// Requests of it that no grant covered.
    fn requests_refused(&self) -> u64;
}

/// How much one provider may be asked, and how long its answers are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// References in one call.
    pub batch_max: usize,
    /// Calls over which the references of one request are spread.
    pub parallel: usize,
    /// Calls at once, for all requests.
    pub calls_max: usize,
    /// How long a call waits for its place.
    pub deadline: Duration,
    /// How long a secret is kept at the most.
    pub cache_max: Duration,
    /// Failures in a row after which it is left alone.
    pub breaker_failures: u32,
    /// For how long.
    pub breaker_open: Duration,
}

/// The providers that the configuration names.
#[derive(Default)]
pub struct Providers(ArcSwap<HashMap<String, Arc<Provider>>>);

/// A secret from elsewhere.
pub struct External {
    /// Its value.
    pub value: Withheld<Plaintext>,
    /// Which version it is; empty where the backend has none.
    pub version: Arc<str>,
}

/// Why there is none. The texts are for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// No provider of this name is configured.
    #[error("no provider of this name is configured")]
    Unknown,
    /// The backend has no such secret.
    #[error("the backend has no such secret")]
    NotFound,
    /// The backend refuses.
    #[error("the backend refuses: {0}")]
    Denied(String),
    /// The provider does not know references of this form.
    #[error("not a reference of this provider: {0}")]
    InvalidReference(String),
    /// It opens, to bytes that are not UTF-8.
    #[error("the secret is not text")]
    NotText,
    /// The provider answered what is no answer.
    #[error("the provider {0}")]
    BadAnswer(Fault),
    /// What was found for the call before it leaves no room for it.
    #[error("the values of all external variables of a call may be {FOUND_BYTES_MAX} bytes long together")]
    TooLong,
    /// Not now; again after so long, where anybody knows.
    #[error("{why}")]
    Unavailable {
        /// Why not.
        why: String,
        /// When it may pass.
        after: Option<Duration>,
    },
}

impl Providers {
    /// Replaces them all. Who is being answered is answered by those before, to the end.
    pub fn publish(&self, providers: HashMap<String, Arc<Provider>>) {
        self.0.store(Arc::new(providers));
    }

    /// What each reference stands for, in order; all providers at once.
    pub async fn resolve(
        &self,
        _permit: &Permit,
        caller: &Caller,
        project_id: &ProjectId,
        references: &[ExternalReference],
    ) -> Vec<Result<External, ProviderError>> {
        let providers = self.0.load_full();
        let mut by_provider: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, reference) in references.iter().enumerate() {
            by_provider.entry(reference.provider()).or_default().push(place);
        }
        let asking = by_provider.into_iter().map(|(name, places)| {
            let provider = providers.get(name);
            async move {
                let Some(provider) = provider else {
                    return places.into_iter().map(|place| (place, Err(ProviderError::Unknown))).collect();
                };
                let wanted: Vec<&ExternalReference> =
                    places.iter().filter_map(|place| references.get(*place)).collect();
                let found = provider.resolve(caller, project_id, &wanted).await;
                places.into_iter().zip(found).collect::<Vec<_>>()
            }
        });
        let mut found: Vec<_> = join_all(asking).await.into_iter().flatten().collect();
        found.sort_unstable_by_key(|(place, _)| *place);
        let mut room = FOUND_BYTES_MAX;
        let given = |outcome: kept::Outcome| {
            let secret = outcome?;
            // Each variable gets a copy, however many name the same.
            room = room.checked_sub(secret.text.len()).ok_or(ProviderError::TooLong)?;
            Ok(secret.given())
        };
        found.into_iter().map(|(_, outcome)| outcome).map(given).collect()
    }

    /// What has expired is wiped, though nobody asks for it any more.
    pub fn wipe_expired(&self) {
        for provider in self.0.load().values() {
            provider.wipe_expired();
        }
    }
}
