//! One provider, and asking it: what is known already is not asked again, what somebody asks at this moment is waited for, the rest goes
//! in as few calls as its bounds allow.
//!
//! A call goes on when the request that began it has gone: others may wait for the same.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use origan_codec_host::plugin::{Fault, ResolveError, ResolvedSecret, SecretReference};
use tokio::sync::{Semaphore, watch};
use tracing::warn;
use zeroize::{Zeroize, Zeroizing};

use super::breaker::{Breaker, Called};
use super::kept::{Entry, Kept, Key, Landing, Outcome, Secret};
use super::{Answers, Bounds, BreakerState, FOUND_BYTES_MAX, ProviderError, ProviderFigures, Resolve};
use crate::caller::Caller;
use crate::names::{ExternalReference, ProjectId};

/// A provider as it runs. Another version is another one, with nothing kept.
pub struct Provider {
    name: String,
    /// None if it was never admitted.
    resolver: Option<Arc<dyn Resolve>>,
    bounds: Bounds,
    calls: Semaphore,
    breaker: Breaker,
    kept: Mutex<Kept>,
    figures: Arc<ProviderFigures>,
}

enum Waiting {
    For(Landing),
    Done(Outcome),
}

/// One reference on its way. Lands when it is dropped, whatever became of the call.
struct Flight {
    provider: Arc<Provider>,
    key: Key,
    tell: watch::Sender<Option<Outcome>>,
}

/// A request that was let in has to say what came of it.
struct Attempt {
    provider: Arc<Provider>,
    called: Called,
}

impl Provider {
    /// Of what runs under `name`; without a resolver it refuses whatever needs it.
    pub fn new(name: &str, resolver: Option<Arc<dyn Resolve>>, bounds: Bounds, figures: Arc<ProviderFigures>) -> Self {
        Self {
            name: name.to_owned(),
            resolver,
            calls: Semaphore::new(bounds.calls_max),
            breaker: Breaker::new(bounds.breaker_failures, bounds.breaker_open),
            bounds,
            kept: Mutex::default(),
            figures,
        }
    }

    /// Its figures.
    pub fn figures(&self) -> &ProviderFigures {
        &self.figures
    }

    /// Whether it is asked.
    pub fn breaker(&self) -> BreakerState {
        self.breaker.state(Instant::now())
    }

    /// Secrets that are kept.
    pub fn cached(&self) -> usize {
        self.kept().held()
    }

    /// Requests of it that no grant covered.
    pub fn requests_refused(&self) -> u64 {
        self.resolver.as_ref().map_or(0, |resolver| resolver.requests_refused())
    }

    pub(super) fn wipe_expired(&self) {
        self.kept().wipe_expired(Instant::now());
    }

    /// What each of `wanted` stands for, in order.
    pub(super) async fn resolve(
        self: &Arc<Self>,
        caller: &Caller,
        project_id: &ProjectId,
        wanted: &[&ExternalReference],
    ) -> Vec<Outcome> {
        let Some(resolver) = &self.resolver else {
            let never = ProviderError::Unavailable { why: "the provider was never admitted".into(), after: None };
            return wanted.iter().map(|_| Err(never.clone())).collect();
        };
        let key = |reference: &&ExternalReference| Key {
            caller: caller.name.clone(),
            project_id: project_id.clone(),
            reference: (*reference).clone(),
        };
        let (waiting, flights) = self.board(wanted.iter().map(key));
        for batch in batches(flights, &self.bounds) {
            let attempt = Attempt { provider: self.clone(), called: Called::Failed };
            tokio::spawn(self.clone().call(resolver.clone(), batch, attempt));
        }
        landed(waiting).await
    }

    /// What to wait for, and what nobody is asking yet.
    fn board(self: &Arc<Self>, keys: impl Iterator<Item = Key>) -> (Vec<Waiting>, Vec<Flight>) {
        let now = Instant::now();
        let (mut waiting, mut flights, mut admitted) = (Vec::new(), Vec::new(), None);
        let mut kept = self.kept();
        for key in keys {
            waiting.push(match kept.find(&key, now) {
                Some(Entry::Held(secret, _)) => {
                    self.figures.from_cache.fetch_add(1, Ordering::Relaxed);
                    Waiting::Done(Ok(secret.clone()))
                }
                Some(Entry::Flying(landing)) => {
                    self.figures.joined.fetch_add(1, Ordering::Relaxed);
                    Waiting::For(landing.clone())
                }
                None => match *admitted.get_or_insert_with(|| self.breaker.admit(now)) {
                    Ok(()) => {
                        let (tell, landing) = watch::channel(None);
                        kept.takes_off(key.clone(), landing.clone());
                        flights.push(Flight { provider: self.clone(), key, tell });
                        Waiting::For(landing)
                    }
                    Err(after) => {
                        self.figures.left_alone.fetch_add(1, Ordering::Relaxed);
                        let why = "the provider has failed too often, and is left alone for a while".into();
                        Waiting::Done(Err(ProviderError::Unavailable { why, after: Some(after) }))
                    }
                },
            });
        }
        (waiting, flights)
    }

    async fn call(self: Arc<Self>, resolver: Arc<dyn Resolve>, flights: Vec<Flight>, mut attempt: Attempt) {
        let waited = tokio::time::timeout(self.bounds.deadline, self.calls.acquire()).await;
        let Ok(Ok(_place)) = waited else {
            // Its own requests are too many: that says nothing of the backend.
            attempt.called = Called::NotAtAll;
            let why = format!("more than {} calls of it at once", self.bounds.calls_max);
            let busy = ProviderError::Unavailable { why, after: None };
            return flights.into_iter().for_each(|flight| flight.lands(Err(busy.clone()), None));
        };
        let started = Instant::now();
        let references = flights.iter().map(|flight| {
            let reference = &flight.key.reference;
            SecretReference::parse(reference.reference(), reference.version())
        });
        let outcome = resolver.resolve(references.collect()).await;
        let (calls, time) = (&self.figures.calls, started.elapsed().as_micros());
        calls.fetch_add(1, Ordering::Relaxed);
        self.figures.call_time_us.fetch_add(u64::try_from(time).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.figures.references.fetch_add(flights.len() as u64, Ordering::Relaxed);
        match outcome {
            Ok(Answers { results, failed_outside }) => {
                attempt.called = called(&results, failed_outside);
                if attempt.called != Called::Answered {
                    self.note_failure(&results);
                }
                for (flight, answer) in flights.into_iter().zip(results) {
                    let keep = answer.as_ref().ok().and_then(|secret| secret.keep).unwrap_or_default();
                    let until = started + keep.min(self.bounds.cache_max);
                    flight.lands(as_outcome(answer), Some(until));
                }
            }
            Err(fault) => {
                if matches!(fault, Fault::BadAnswer(_)) {
                    // It was answered, and wrongly, which may lie in what was asked for: that says nothing of the backend.
                    attempt.called = Called::NotAtAll;
                }
                self.figures.count_fault(&fault);
                self.figures.failed(&fault.to_string());
                warn!(provider = self.name, %fault, "a provider gave no answer");
                let error = match fault {
                    Fault::Timeout(_) | Fault::Busy => {
                        ProviderError::Unavailable { why: format!("the provider {fault}"), after: None }
                    }
                    other => ProviderError::BadAnswer(other),
                };
                flights.into_iter().for_each(|flight| flight.lands(Err(error.clone()), None));
            }
        }
    }

    fn note_failure(&self, answers: &[Result<ResolvedSecret, ResolveError>]) {
        let why = answers.iter().find_map(|answer| match answer {
            Err(ResolveError::Unavailable(why)) => Some(why.clone()),
            _ => None,
        });
        let why = why.unwrap_or_else(|| "the backend asks to be asked again later".into());
        warn!(provider = self.name, cause = why, "a provider's backend does not answer");
        self.figures.failed(&why);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    fn lands(self, outcome: Outcome, until: Option<Instant>) {
        self.provider.figures.count(outcome.as_ref().err());
        let until = until.filter(|until| *until > Instant::now());
        let found = outcome.as_ref().ok().cloned().zip(until);
        // Kept first: who asks from now on finds it.
        self.provider.kept().lands(self.key.clone(), found);
        self.tell.send_replace(Some(outcome));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Nothing told: the call ended in the middle, and whoever asks next must not wait for it.
        if self.tell.borrow().is_none() {
            self.provider.kept().lands(self.key.clone(), None);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.provider.breaker.told(self.called, Instant::now());
    }
}

/// Secrets of one path and version together, in calls of at most `batch_max`, over `parallel` calls if there are as many paths.
fn batches(flights: Vec<Flight>, bounds: &Bounds) -> Vec<Vec<Flight>> {
    let wanted = flights.len().div_ceil(bounds.parallel).min(bounds.batch_max);
    let mut places: HashMap<(String, Option<String>), usize> = HashMap::new();
    let mut groups: Vec<Vec<Flight>> = Vec::new();
    for flight in flights {
        let reference = &flight.key.reference;
        let of = (reference.path().to_owned(), reference.version().map(str::to_owned));
        let place = *places.entry(of).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        if let Some(group) = groups.get_mut(place) {
            group.push(flight);
        }
    }
    let mut batches: Vec<Vec<Flight>> = Vec::new();
    for group in groups {
        let mut group = group.into_iter().peekable();
        while group.peek().is_some() {
            let part: Vec<Flight> = group.by_ref().take(bounds.batch_max).collect();
            match batches.last_mut().filter(|last| last.len() + part.len() <= wanted) {
                Some(last) => last.extend(part),
                None => batches.push(part),
            }
        }
    }
    batches
}

fn as_outcome(answer: Result<ResolvedSecret, ResolveError>) -> Outcome {
    match answer {
        Ok(ResolvedSecret { mut value, version, .. }) => match String::from_utf8(std::mem::take(&mut *value)) {
            Ok(text) => Ok(Arc::new(Secret { text: Zeroizing::new(text), version: version.into() })),
            Err(error) => {
                error.into_bytes().zeroize();
                Err(ProviderError::NotText)
            }
        },
        Err(ResolveError::NotFound) => Err(ProviderError::NotFound),
        Err(ResolveError::Denied(why)) => Err(ProviderError::Denied(why)),
        Err(ResolveError::InvalidReference(why)) => Err(ProviderError::InvalidReference(why)),
        Err(ResolveError::Retry(after_ms)) => {
            let after = after_ms.map(|ms| Duration::from_millis(ms.into()));
            Err(ProviderError::Unavailable { why: "the backend asks to be asked again later".into(), after })
        }
        Err(ResolveError::Unavailable(why)) => Err(ProviderError::Unavailable { why, after: None }),
    }
}

/// What comes of each, in order. What is found once there is too much of it is let go as soon as it is there.
async fn landed(waiting: Vec<Waiting>) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = waiting.iter().map(|_| Err(ProviderError::TooLong)).collect();
    let mut landing: FuturesUnordered<_> = waiting
        .into_iter()
        .enumerate()
        .map(async |(place, one)| match one {
            Waiting::Done(outcome) => (place, outcome),
            Waiting::For(mut landing) => match landing.wait_for(Option::is_some).await {
                Ok(landed) => (place, landed.clone().unwrap_or_else(|| Err(gone()))),
                Err(_) => (place, Err(gone())),
            },
        })
        .collect();
    // Of a secret that several name there is one.
    let (mut held, mut room) = (HashSet::new(), FOUND_BYTES_MAX);
    while let Some((place, outcome)) = landing.next().await {
        if let Ok(secret) = &outcome
            && held.insert(Arc::as_ptr(secret).addr())
        {
            match room.checked_sub(secret.text.len()) {
                Some(left) => room = left,
                None => break,
            }
        }
        outcomes[place] = outcome;
    }
    outcomes
}

/// One word from the backend is an answer. If each reference was put off, it is left alone as long as it asks for at the least. Where a
/// provider has nothing, and nothing failed outside, the backend may be well: it lies in what was asked for, which callers choose, or in
/// what the provider is granted, and shuts it for nobody.
fn called(answers: &[Result<ResolvedSecret, ResolveError>], failed_outside: bool) -> Called {
    let is_put_off = answers.iter().any(|answer| matches!(answer, Err(ResolveError::Retry(_))));
    let mut pause = None;
    for answer in answers {
        match answer {
            Err(ResolveError::Unavailable(_) | ResolveError::Retry(None)) => {}
            Err(ResolveError::Retry(Some(ms))) => pause = Some(pause.map_or(*ms, |least: u32| least.min(*ms))),
            _ => return Called::Answered,
        }
    }
    match pause.filter(|ms| *ms > 0) {
        Some(ms) => Called::Pause(Duration::from_millis(ms.into())),
        None if failed_outside || is_put_off => Called::Failed,
        None => Called::NotAtAll,
    }
}

fn gone() -> ProviderError {
    ProviderError::Unavailable { why: "the call ended in the middle".into(), after: None }
}

#[cfg(test)]
#[path = "flight_tests.rs"]
mod tests;
