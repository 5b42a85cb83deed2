//! What the service asks to wrap and to unwrap: the key provider that is live, if its backend is not left alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use origan_codec_host::plugin::{Fault, KeyContext, KeyError, Wrapped};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::config::KeyProviderConfig;
use crate::providers::{Breaker, BreakerState, Called};

/// Wraps bytes under a key that lives elsewhere, behind the boundary.
#[async_trait]
pub trait WrapBytes: Send + Sync {
    /// Wraps `plaintext`, bound to `context`.
    async fn wrap(&self, plaintext: Zeroizing<Vec<u8>>, context: KeyContext) -> Result<Wrapped, KeyCallError>;

    /// What was wrapped, in the same context.
    async fn unwrap(&self, wrapped: Wrapped, context: KeyContext) -> Result<Zeroizing<Vec<u8>>, KeyCallError>;

    /// Requests of it that no grant covered.
    fn requests_refused(&self) -> u64;
}

/// Why nothing comes of a call. The texts are for operators and hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyCallError {
    /// The outside key was asked, and this does not open under it, or not in this context.
    #[error("it does not open")]
    Corrupt,
    /// No answer.
    #[error("{why}")]
    Unavailable {
        /// Why.
        why: String,
        /// For how long it asks to be left alone.
        pause: Option<Duration>,
    },
    /// Nobody was asked: it is left alone, or asked by too many already. Says nothing of whether it would answer.
    #[error("{0}")]
    NotAsked(String),
    /// No answer by the plugin's own fault.
    #[error("the key provider {0}")]
    Fault(Fault),
}

/// Whether what is to take the place of the live one opens what that opens.
pub(crate) type Proof = Box<dyn Fn(Arc<dyn WrapBytes>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The place of the key provider: who asks keeps this, and whichever version is live answers.
pub struct KeyWrapping {
    name: String,
    live: ArcSwapOption<Live>,
    proof: OnceLock<Proof>,
    /// One change at a time, and none while it is being found out what the next one must open.
    changes: tokio::sync::Mutex<()>,
    figures: Arc<KeyFigures>,
    /// Why none is live.
    missing: Mutex<String>,
}

struct Live {
    wraps: Arc<dyn WrapBytes>,
    breaker: Breaker,
    calls: Semaphore,
    bounds: Bounds,
}

/// How much it may be asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bounds {
    calls_max: usize,
    deadline: Duration,
    breaker_failures: u32,
    breaker_open: Duration,
}

/// Figures of the key provider, kept from one version to the next.
#[derive(Debug, Default)]
pub struct KeyFigures {
    wraps: AtomicU64,
    unwraps: AtomicU64,
    corrupt: AtomicU64,
    unavailable: AtomicU64,
    left_alone: AtomicU64,
    traps: AtomicU64,
    timeouts: AtomicU64,
    faults: AtomicU64,
    /// Calls of the plugin; who was left alone made none.
    pub calls: AtomicU64,
    /// Their time together, in microseconds.
    pub call_time_us: AtomicU64,
}

impl Bounds {
    pub(super) fn of(config: &KeyProviderConfig) -> Self {
        Self {
            calls_max: config.calls_max,
            deadline: Duration::from_millis(config.deadline_ms),
            breaker_failures: config.breaker_failures,
            breaker_open: Duration::from_millis(config.breaker_ms),
        }
    }
}

impl KeyWrapping {
    /// Of this name, with nothing live yet.
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            live: ArcSwapOption::empty(),
            proof: OnceLock::new(),
            changes: tokio::sync::Mutex::default(),
            figures: Arc::default(),
            missing: Mutex::new("its plugin is not loaded yet".into()),
        })
    }

    /// As operators call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What there is to count of it.
    pub fn figures(&self) -> &KeyFigures {
        &self.figures
    }

    /// Whether it is asked; none while none is live.
    pub fn breaker(&self) -> Option<BreakerState> {
        Some(self.live.load().as_ref()?.breaker.state(Instant::now()))
    }

    /// From now on, nothing goes live that `proof` refuses.
    pub fn proven_by(&self, proof: Proof) {
        // Set once, by whoever relies on it.
        let _ = self.proof.set(proof);
    }

    /// While this is held, nothing takes the place of what is live.
    pub(crate) async fn hold_still(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changes.lock().await
    }

    /// Puts `wraps` in the place of what is live, if it opens the same.
    pub(super) async fn replace(&self, wraps: Arc<dyn WrapBytes>, bounds: Bounds) -> Result<(), String> {
        let _one_at_a_time = self.changes.lock().await;
        if let Some(proof) = self.proof.get() {
            proof(wraps.clone()).await?;
        }
        let (breaker, calls) =
            (Breaker::new(bounds.breaker_failures, bounds.breaker_open), Semaphore::new(bounds.calls_max));
        self.live.store(Some(Arc::new(Live { wraps, breaker, calls, bounds })));
        Ok(())
    }

    /// Says why nothing is live.
    pub(super) fn is_missing(&self, why: String) {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Goes on to its end, whatever becomes of who asked: a caller who goes away says nothing of the backend, and makes no room.
    async fn call<T: Send + 'static>(&self, ask: impl Ask<T>) -> Result<T, KeyCallError> {
        let Some(live) = self.live.load_full() else {
            let why = self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return Err(KeyCallError::Unavailable { why, pause: None });
        };
        if live.breaker.admit(Instant::now()).is_err() {
            self.figures.left_alone.fetch_add(1, Ordering::Relaxed);
            return Err(left_alone());
        }
        let attempt = Attempt { live, called: Called::NotAtAll };
        let calling = tokio::spawn(attempt.call(self.figures.clone(), ask));
        calling.await.unwrap_or_else(|_| {
            Err(KeyCallError::Unavailable { why: "the call ended with the process".into(), pause: None })
        })
    }
}

/// What is to be asked.
trait Ask<T>: FnOnce(Arc<dyn WrapBytes>) -> BoxFuture<'static, Result<T, KeyCallError>> + Send + 'static {}

impl<T, F> Ask<T> for F where
    F: FnOnce(Arc<dyn WrapBytes>) -> BoxFuture<'static, Result<T, KeyCallError>> + Send + 'static
{
}

fn left_alone() -> KeyCallError {
    KeyCallError::NotAsked("it has failed too often, and is left alone for a while".into())
}

#[async_trait]
impl WrapBytes for KeyWrapping {
    async fn wrap(&self, plaintext: Zeroizing<Vec<u8>>, context: KeyContext) -> Result<Wrapped, KeyCallError> {
        self.figures.wraps.fetch_add(1, Ordering::Relaxed);
        self.call(|live| async move { live.wrap(plaintext, context).await }.boxed()).await
    }

    async fn unwrap(&self, wrapped: Wrapped, context: KeyContext) -> Result<Zeroizing<Vec<u8>>, KeyCallError> {
        self.figures.unwraps.fetch_add(1, Ordering::Relaxed);
        self.call(|live| async move { live.unwrap(wrapped, context).await }.boxed()).await
    }

    fn requests_refused(&self) -> u64 {
        self.live.load().as_ref().map_or(0, |live| live.wraps.requests_refused())
    }
}

/// One call, as the breaker sees it, however it ends.
struct Attempt {
    live: Arc<Live>,
    called: Called,
}

impl Attempt {
    async fn call<T>(mut self, figures: Arc<KeyFigures>, ask: impl Ask<T>) -> Result<T, KeyCallError> {
        let live = self.live.clone();
        let Ok(Ok(_place)) = tokio::time::timeout(live.bounds.deadline, live.calls.acquire()).await else {
            return Err(KeyCallError::NotAsked(format!("more than {} calls of it at once", live.bounds.calls_max)));
        };
        // Those before may have failed meanwhile.
        if live.breaker.state(Instant::now()) == BreakerState::Open {
            figures.left_alone.fetch_add(1, Ordering::Relaxed);
            return Err(left_alone());
        }
        self.called = Called::Failed;
        let started = Instant::now();
        let outcome = ask(live.wraps.clone()).await;
        self.called = match &outcome {
            Ok(_) | Err(KeyCallError::Corrupt) => Called::Answered,
            Err(KeyCallError::Unavailable { pause: Some(pause), .. }) => Called::Pause(*pause),
            Err(KeyCallError::Unavailable { pause: None, .. } | KeyCallError::Fault(_)) => Called::Failed,
            Err(KeyCallError::NotAsked(_)) => Called::NotAtAll,
        };
        figures.count(outcome.as_ref().err(), started.elapsed());
        outcome
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.live.breaker.told(self.called, Instant::now());
    }
}

impl From<KeyError> for KeyCallError {
    fn from(error: KeyError) -> Self {
        let unavailable = |why: String| Self::Unavailable { why, pause: None };
        match error {
            KeyError::Corrupt => Self::Corrupt,
            KeyError::Denied(why) => unavailable(format!("denied: {why}")),
            KeyError::UnknownKey(why) => unavailable(format!("unknown key: {why}")),
            KeyError::Unavailable(why) => unavailable(why),
            KeyError::Retry(after_ms) => Self::Unavailable {
                why: "the backend asks to be asked again later".into(),
                pause: after_ms.map(|ms| Duration::from_millis(ms.into())),
            },
        }
    }
}

impl KeyFigures {
    /// What came of what it was asked, by name: `wraps` and `unwraps` are what was asked.
    pub fn counts(&self) -> [(&'static str, u64); 8] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("wraps", of(&self.wraps)),
            ("unwraps", of(&self.unwraps)),
            ("corrupt", of(&self.corrupt)),
            ("unavailable", of(&self.unavailable)),
            ("leftAlone", of(&self.left_alone)),
            ("traps", of(&self.traps)),
            ("timeouts", of(&self.timeouts)),
            ("faults", of(&self.faults)),
        ]
    }

    fn count(&self, error: Option<&KeyCallError>, took: Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.call_time_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let counter = match error {
            None => return,
            Some(KeyCallError::Corrupt) => &self.corrupt,
            Some(KeyCallError::Unavailable { .. } | KeyCallError::NotAsked(_)) => &self.unavailable,
            Some(KeyCallError::Fault(Fault::Trap(_))) => &self.traps,
            Some(KeyCallError::Fault(Fault::Timeout(_))) => &self.timeouts,
            Some(KeyCallError::Fault(_)) => &self.faults,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
