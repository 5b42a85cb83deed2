//! What a login gives, kept: had by one at a time, renewed before it ends, had anew when it is refused, left alone for a while when it
//! cannot be had.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::info;

use super::CredentialState;
use super::failure::CredentialError;
use super::health::{Health, lock};
use super::login::LoginError;

/// Part of its life after which it is renewed.
const RENEW_AFTER: f64 = 2.0 / 3.0;
/// It is taken for ended so long before it does: a request takes a while.
const ENDS_EARLY: Duration = Duration::from_secs(5);
/// Between two attempts after a failure: at first, and at the most.
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// So long after a fresh one was refused like the one before it, a refusal is not taken for the credential's fault.
const DISTRUST: Duration = Duration::from_secs(60);
/// A renewal that leaves less than this part of what the login gave is followed by a login: the token nears the end of all renewals.
const WORTH_KEEPING: u32 = 2;
/// Whatever a server says: beyond this nobody can reckon with times.
const LASTS_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// What logs in.
pub(super) trait Grantor: Send + Sync + 'static {
    /// What is given. Wiped when dropped.
    type Token: Send + Sync + 'static;

    /// Asks for a new one.
    fn log_in(&self) -> impl Future<Output = Result<Lease<Self::Token>, LoginError>> + Send;

    /// Asks for more of the same; none where there is no such thing.
    fn renew(&self, token: &Self::Token) -> impl Future<Output = Result<Option<Life>, LoginError>> + Send;

    /// What it reads to log in: when one of them is another, a login that failed is tried again at once.
    fn files(&self) -> Vec<PathBuf>;
}

/// What a login gave.
pub(super) struct Lease<T> {
    pub(super) token: T,
    pub(super) life: Life,
}

/// How long it is good for.
#[derive(Clone, Copy)]
pub(super) struct Life {
    /// For ever, if it is none.
    pub(super) lasts: Option<Duration>,
    pub(super) is_renewable: bool,
}

/// What is held.
pub(super) struct Held<T> {
    pub(super) token: Arc<T>,
    /// Another one for each login.
    pub(super) generation: u64,
    life: Life,
    since: Instant,
    expires: Option<SystemTime>,
    /// What the login gave, before any renewal.
    at_first: Option<Duration>,
}

/// A credential that is had by a login.
pub(super) struct Session<G: Grantor>(Arc<Inner<G>>);

struct Inner<G: Grantor> {
    name: String,
    grantor: G,
    /// One login or renewal at a time.
    turn: tokio::sync::Mutex<()>,
    now: Mutex<Now<G::Token>>,
    health: Health,
    /// Told when there is another time at which to renew.
    changed: Arc<Notify>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

struct Now<T> {
    held: Option<Arc<Held<T>>>,
    generation: u64,
    failures: u32,
    waiting: Option<Waiting>,
    distrusts_refusals_until: Option<Instant>,
}

/// After a failure.
struct Waiting {
    /// Nothing is tried before.
    until: Instant,
    /// What is answered meanwhile.
    error: CredentialError,
    /// What the files were.
    files: Vec<Stamp>,
}

/// What changes when a file does; none where it is not there.
type Stamp = Option<(SystemTime, u64)>;

impl<G: Grantor> Session<G> {
    pub(super) fn new(name: &str, grantor: G) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            grantor,
            turn: tokio::sync::Mutex::default(),
            now: Mutex::new(Now {
                held: None,
                generation: 0,
                failures: 0,
                waiting: None,
                distrusts_refusals_until: None,
            }),
            health: Health::default(),
            changed: Arc::default(),
            keeper: Mutex::default(),
        }))
    }

    pub(super) fn grantor(&self) -> &G {
        &self.0.grantor
    }

    pub(super) fn state(&self) -> CredentialState {
        let expires = lock(&self.0.now).held.as_ref().and_then(|held| held.expires);
        self.0.health.state(expires)
    }

    /// What is held; a login, if nothing is.
    pub(super) async fn current(&self) -> Result<Arc<Held<G::Token>>, CredentialError> {
        match self.0.valid() {
            Some(held) => Ok(held),
            None => self.fetch(None).await,
        }
    }

    /// After a refusal of what was held as `generation`: whether there is another one now. Logs in at most once for it, and for all who
    /// were refused together.
    pub(super) async fn has_another_than(&self, generation: u64) -> bool {
        if let Some(held) = self.0.valid().filter(|held| held.generation != generation) {
            // Somebody was faster.
            return held.generation > generation;
        }
        if lock(&self.0.now).distrusts_refusals_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        self.fetch(Some(generation)).await.is_ok()
    }

    /// A request that was repeated with a fresh one: refused again, it is not for the credential.
    pub(super) fn repeated(&self, is_refused: bool) {
        lock(&self.0.now).distrusts_refusals_until = is_refused.then(|| Instant::now() + DISTRUST);
    }

    /// On a task of its own: a guest whose time is over does not end a login that others wait for.
    async fn fetch(&self, refused: Option<u64>) -> Result<Arc<Held<G::Token>>, CredentialError> {
        let inner = self.0.clone();
        let fetching = tokio::spawn(async move { inner.fetch(refused).await });
        fetching.await.unwrap_or_else(|_| Err(CredentialError::new(&self.0.name, "its login was ended")))
    }
}

impl<G: Grantor> Inner<G> {
    fn valid(&self) -> Option<Arc<Held<G::Token>>> {
        lock(&self.now).held.clone().filter(|held| held.is_valid())
    }

    async fn fetch(self: Arc<Self>, refused: Option<u64>) -> Result<Arc<Held<G::Token>>, CredentialError> {
        let _turn = self.turn.lock().await;
        // Whoever had the turn before may have had the same in mind.
        if let Some(held) = self.valid().filter(|held| refused.is_none_or(|refused| held.generation > refused)) {
            return Ok(held);
        }
        if let Some(Waiting { until, error, files }) = &lock(&self.now).waiting
            && Instant::now() < *until
            && *files == self.files()
        {
            return Err(error.clone());
        }
        let held = self.log_in().await?;
        self.keep_alive();
        Ok(held)
    }

    /// With the turn.
    async fn log_in(&self) -> Result<Arc<Held<G::Token>>, CredentialError> {
        // Before they are read: what changes meanwhile is another change.
        let files = self.files();
        match self.grantor.log_in().await {
            Ok(lease) => {
                let mut now = lock(&self.now);
                now.generation += 1;
                let held = Held::new(Arc::new(lease.token), now.generation, lease.life, lease.life.lasts);
                let held = Arc::new(held);
                (now.held, now.failures, now.waiting) = (Some(held.clone()), 0, None);
                drop(now);
                self.health.count(|counts| counts.logins += 1);
                self.health.is_well(&self.name);
                self.changed.notify_one();
                let lasts_s = held.life.lasts.map(|lasts| lasts.as_secs());
                info!(credential = self.name, lasts_s, "logged in");
                Ok(held)
            }
            Err(failure) => {
                self.wait_after(&failure, files);
                Err(failure.error)
            }
        }
    }

    /// With the turn: more of what is held, or another one, before it ends.
    async fn renew(&self) {
        let Some(held) = self.valid() else { return drop(self.log_in().await) };
        if held.life.is_renewable {
            let files = self.files();
            match self.grantor.renew(&held.token).await {
                Ok(Some(life)) if life.is_worth_keeping(held.at_first) => {
                    let renewed = Held::new(held.token.clone(), held.generation, life, held.at_first);
                    let mut now = lock(&self.now);
                    (now.held, now.failures, now.waiting) = (Some(Arc::new(renewed)), 0, None);
                    drop(now);
                    self.health.count(|counts| counts.renewals += 1);
                    return self.health.is_well(&self.name);
                }
                // What is held stays good for a while: there is time to try again.
                Err(failure) if !failure.is_refused => return self.wait_after(&failure, files),
                Ok(_) => {}
                Err(failure) => info!(credential = self.name, why = %failure.error, "not renewed: logging in again"),
            }
        }
        let _ = self.log_in().await;
    }

    fn wait_after(&self, failure: &LoginError, files: Vec<Stamp>) {
        let mut now = lock(&self.now);
        let back_off = BACK_OFF.saturating_mul(1 << now.failures.min(6)).min(BACK_OFF_MAX);
        now.failures += 1;
        let wait = back_off.max(failure.retry_after.unwrap_or_default());
        now.waiting = Some(Waiting { until: Instant::now() + wait, error: failure.error.clone(), files });
        drop(now);
        self.health.count(|counts| counts.failures += 1);
        self.health.is_ill(&self.name, &failure.error);
    }

    fn files(&self) -> Vec<Stamp> {
        let files = self.grantor.files().into_iter();
        let stamp = |file: PathBuf| {
            let found = std::fs::metadata(file).ok()?;
            Some((found.modified().ok()?, found.len()))
        };
        files.map(stamp).collect()
    }

    /// Sees to it that somebody renews, as long as this is there.
    fn keep_alive(self: &Arc<Self>) {
        let mut keeper = lock(&self.keeper);
        if keeper.as_ref().is_none_or(JoinHandle::is_finished) {
            *keeper = Some(tokio::spawn(keep(Arc::downgrade(self), self.changed.clone())));
        }
    }

    /// When to renew; none: when there is something else to renew.
    fn renew_at(&self) -> Option<Instant> {
        let now = lock(&self.now);
        let held = now.held.as_ref()?;
        // If it has ended meanwhile: what has been had once is had again as soon as can be, and not only when a guest waits for it.
        let due = held.since + held.life.lasts?.mul_f64(RENEW_AFTER);
        Some(now.waiting.as_ref().map_or(due, |waiting| due.max(waiting.until)))
    }
}

impl<G: Grantor> Drop for Inner<G> {
    fn drop(&mut self) {
        if let Some(keeper) = lock(&self.keeper).take() {
            keeper.abort();
        }
    }
}

async fn keep<G: Grantor>(session: Weak<Inner<G>>, changed: Arc<Notify>) {
    loop {
        let Some(due) = session.upgrade().map(|inner| inner.renew_at()) else { return };
        tokio::select! {
            () = changed.notified() => continue,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        let Some(inner) = session.upgrade() else { return };
        let _turn = inner.turn.lock().await;
        // Somebody who was refused may have logged in meanwhile.
        if inner.renew_at().is_some_and(|due| due <= Instant::now()) {
            inner.renew().await;
        }
    }
}

impl<T> Held<T> {
    fn new(token: Arc<T>, generation: u64, life: Life, at_first: Option<Duration>) -> Self {
        let life = Life { lasts: life.lasts.map(|lasts| lasts.min(LASTS_MAX)), ..life };
        let expires = life.lasts.and_then(|lasts| SystemTime::now().checked_add(lasts));
        Self { token, generation, life, since: Instant::now(), expires, at_first }
    }

    fn is_valid(&self) -> bool {
        let Some(lasts) = self.life.lasts else { return true };
        self.since.elapsed() < lasts.saturating_sub(ENDS_EARLY.min(lasts / 10))
    }
}

impl Life {
    fn is_worth_keeping(self, at_first: Option<Duration>) -> bool {
        match (self.lasts, at_first) {
            (Some(lasts), Some(at_first)) => lasts >= at_first / WORTH_KEEPING,
            // What had an end has none left.
            (None, Some(_)) => false,
            (_, None) => true,
        }
    }
}
