//! A KEK in a token, reached over PKCS #11: `wrapped = iv(16) ‖ CKM_AES_GCM(KEK, iv, aad = "", plaintext) ‖ tag(16)`.
//!
//! Those are the bytes that a KEK in memory makes too: a key that was imported into a token opens what it wrapped before. The key is
//! not extractable, which is checked; wrapping and unwrapping happen in the token.
//!
//! A module is C code that blocks: each session has a thread of its own, calls wait for a session in a queue, and none is waited for
//! beyond the deadline. A call that never returns costs its thread and nothing else.

mod fault;
mod generate;
mod key;
mod pin;
mod token;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use origan_codec_host::crypto::{CannotOpen, KekUnavailable, OutsideKek, OutsideUnwrapError, WrapContext, WrapError};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::standing::Standing;
use crate::config::{ConfigError, Pkcs11Config};
use fault::Fault;
pub use generate::generate_key;
use token::{Ask, Token};

/// Calls that may wait, for each session.
const WAITING_PER_SESSION: usize = 64;
/// How often a token that gives no answer is asked whether it is there again, when nobody else asks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The KEK in a token.
pub struct Pkcs11Kek {
    /// Until it is dropped.
    calls: Option<mpsc::Sender<Call>>,
    /// Disconnected when the last session's thread has ended.
    at_work: Mutex<std::sync::mpsc::Receiver<()>>,
    deadline: Duration,
    standing: Arc<Standing>,
    name: String,
}

struct Call {
    ask: Ask,
    /// Nobody waits for an answer to who only looks.
    reply: Option<oneshot::Sender<Answer>>,
}

type Answer = Result<Zeroizing<Vec<u8>>, Fault>;

impl Pkcs11Kek {
    /// Loads the module. The token is asked for nothing yet, and may be away.
    pub fn new(config: &Pkcs11Config, pin: Option<Zeroizing<String>>) -> Result<Self, ConfigError> {
        let token = Arc::new(Token::load(config, pin)?);
        let standing = Arc::new(Standing::of("the token that holds the KEK"));
        let (calls, queue) = mpsc::channel(config.sessions * WAITING_PER_SESSION);
        let queue = Arc::new(Mutex::new(queue));
        let (works, at_work) = std::sync::mpsc::channel();
        for index in 0..config.sessions {
            let (token, queue, standing, works) = (token.clone(), queue.clone(), standing.clone(), works.clone());
            spawn(format!("pkcs11-{index}"), move || {
                serve(&token, &queue, &standing);
                // The last one takes leave of the module.
                drop(token);
                drop(works);
            })?;
        }
        let (weak, watched) = (calls.downgrade(), standing.clone());
        spawn("pkcs11-watch".into(), move || look_again(&weak, &watched))?;
        let deadline = Duration::from_millis(config.deadline_ms);
        Ok(Self { calls: Some(calls), at_work: Mutex::new(at_work), deadline, standing, name: token.name() })
    }

    async fn ask(&self, ask: Ask) -> Answer {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            let call = Call { ask, reply: Some(reply) };
            self.calls.as_ref()?.send(call).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(self.deadline, asking).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(Fault::NotNow("the threads of its sessions are gone".into())),
            Err(_) => {
                let late = Fault::NotNow(format!("no answer in {} ms", self.deadline.as_millis()));
                self.standing.note(Some(late.to_string()));
                Err(late)
            }
        }
    }

    fn unavailable(&self, fault: Fault) -> KekUnavailable {
        match fault {
            Fault::Never(why) => KekUnavailable::Never(format!("{}: {why}", self.name)),
            Fault::NotNow(why) | Fault::Lost(why) => KekUnavailable::NotNow(format!("{}: {why}", self.name)),
            Fault::CannotOpen => KekUnavailable::NotNow(format!("{}: it does not open what it wrapped", self.name)),
        }
    }
}

impl Drop for Pkcs11Kek {
    /// Waits until no thread is in the module any more: at the end of the process its C code tidies up, and who is inside then crashes.
    fn drop(&mut self) {
        self.calls = None;
        // Nothing is ever sent; a call that never returns is not waited for.
        let at_work = self.at_work.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = at_work.recv_timeout(self.deadline);
    }
}

#[async_trait]
impl OutsideKek for Pkcs11Kek {
    async fn wrap(&self, plaintext: &[u8], _: WrapContext<'_>) -> Result<Vec<u8>, WrapError> {
        let ask = Ask::Wrap(Zeroizing::new(plaintext.to_vec()));
        match self.ask(ask).await {
            Ok(wrapped) => Ok(wrapped.to_vec()),
            Err(fault) => Err(self.unavailable(fault).into()),
        }
    }

    async fn unwrap(&self, wrapped: &[u8], _: WrapContext<'_>) -> Result<Zeroizing<Vec<u8>>, OutsideUnwrapError> {
        self.ask(Ask::Unwrap(wrapped.to_vec())).await.map_err(|fault| match fault {
            Fault::CannotOpen => CannotOpen.into(),
            other => self.unavailable(other).into(),
        })
    }

    fn kind(&self) -> &'static str {
        "pkcs11"
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn last_failure(&self) -> Option<String> {
        self.standing.failure()
    }
}

/// One session's thread, until nobody can call any more.
fn serve(token: &Token, queue: &Mutex<mpsc::Receiver<Call>>, standing: &Standing) {
    let mut opened = None;
    loop {
        // Whoever holds the lock waits for the next call; the others wait for the lock.
        let call = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(Call { ask, reply }) = call else { break };
        if reply.as_ref().is_some_and(oneshot::Sender::is_closed) {
            continue;
        }
        let answer = token.answer(&mut opened, &ask);
        let failure = answer.as_ref().err().filter(|fault| !matches!(fault, Fault::CannotOpen));
        standing.note(failure.map(ToString::to_string));
        if let Some(reply) = reply {
            // Who asked may have given up meanwhile.
            let _ = reply.send(answer);
        }
    }
    token.close(opened);
}

/// Logs in again when the token is back, before somebody needs it.
fn look_again(calls: &mpsc::WeakSender<Call>, standing: &Standing) {
    loop {
        thread::sleep(LOOK_AGAIN);
        let Some(calls) = calls.upgrade() else { return };
        if standing.failure().is_some() {
            // A queue that is full asks often enough.
            let _ = calls.try_send(Call { ask: Ask::Look, reply: None });
        }
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<(), ConfigError> {
    let spawned = thread::Builder::new().name(name).spawn(run);
    spawned.map(drop).map_err(|error| ConfigError::value("keys.pkcs11.sessions", format!("no thread for it: {error}")))
}
