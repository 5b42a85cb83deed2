//! The token: found, logged in to, lost, found again.
//!
//! A module that has lost its token may have to be initialised anew before it looks for it, and that ends every session of the process.
//! Each session knows in which generation of the module it was opened, and is neither used nor closed in a later one: its handle may
//! be another session's by then. Calls hold the generation to read; who initialises anew, to write.

use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::RvError;
use cryptoki::mechanism::MechanismType;
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use zeroize::Zeroizing;

use super::fault::{Fault, Refused, code, is_about_the_pin, text};
use super::key;
use super::pin::{Pin, PinSource};
use crate::config::{ConfigError, Pkcs11Config};

/// After a connection failed, no other is tried for so long: a token that is away is not asked by every request.
const PAUSE: Duration = Duration::from_millis(500);
/// Attempts to be alone with the module, and the pauses between them.
const ALONE_ATTEMPTS: u32 = 20;
const ALONE_PAUSE: Duration = Duration::from_millis(5);

const UNINITIALISED: &str = "the module is not initialised yet";

/// What a session is asked for.
pub(super) enum Ask {
    Wrap(Zeroizing<Vec<u8>>),
    Unwrap(Vec<u8>),
    /// Whether it answers.
    Look,
}

pub(super) struct Token {
    module: Pkcs11,
    config: Pkcs11Config,
    pin: PinSource,
    /// How often the module was initialised.
    generation: RwLock<u64>,
    connecting: Mutex<Connecting>,
    /// Wrapped at the start: opens as long as token and key are what they were.
    probe: OnceLock<Probe>,
}

struct Probe {
    plaintext: [u8; 32],
    wrapped: Vec<u8>,
}

/// One thread at a time.
#[derive(Default)]
struct Connecting {
    failed: Option<(Instant, Fault)>,
    /// A PIN that the token has refused. It is not tried again: the token counts, and locks.
    refused: Option<Pin>,
}

/// A session that is logged in, and the key in it.
pub(super) struct Opened {
    generation: u64,
    session: Session,
    key: ObjectHandle,
}

impl Token {
    /// Loads the module.
    pub(super) fn load(config: &Pkcs11Config, pin: Option<Zeroizing<String>>) -> Result<Self, ConfigError> {
        let module = Pkcs11::new(&config.module).map_err(|error| {
            ConfigError::value("keys.pkcs11.module", format!("{}: {error}", config.module.display()))
        })?;
        let pin = match (pin, &config.pin_file) {
            (_, Some(path)) => PinSource::File(path.clone()),
            (Some(pin), None) => PinSource::Given(Pin::new(pin)),
            (None, None) => return Err(ConfigError::value("keys.pkcs11.pin_file", "there is no PIN")),
        };
        pin.read().map_err(|why| ConfigError::value(pin.place(), why))?;
        Ok(Self {
            module,
            config: config.clone(),
            pin,
            generation: RwLock::new(0),
            connecting: Mutex::default(),
            probe: OnceLock::new(),
        })
    }

    /// Which token and which key, in words.
    pub(super) fn name(&self) -> String {
        let token = match (&self.config.token, self.config.slot) {
            (Some(label), _) => format!("token `{label}`"),
            (None, slot) => format!("slot {}", slot.unwrap_or_default()),
        };
        match (&self.config.key_label, &self.config.key_id) {
            (Some(label), _) => format!("{token}, key `{label}`"),
            (None, id) => format!("{token}, key id {}", id.as_deref().unwrap_or("")),
        }
    }

    /// Asks in `opened`, or in a new session where there is none or it has ended.
    pub(super) fn answer(&self, opened: &mut Option<Opened>, ask: &Ask) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let was_open = opened.is_some();
        match self.answer_once(opened, ask) {
            // It may have ended long ago, while nobody asked.
            Err(Fault::Lost(_)) if was_open => self.answer_once(opened, ask),
            outcome => outcome,
        }
    }

    /// Ends a session, unless the module has been initialised anew since.
    pub(super) fn close(&self, opened: Option<Opened>) {
        let generation = self.generation.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = opened.filter(|opened| opened.generation == *generation) {
            let _ = opened.session.close();
        }
    }

    /// The token's slot, with a session in it that is logged in. For whoever makes keys.
    pub(super) fn log_in_to_write(&self) -> Result<Session, Fault> {
        self.initialise_anew()?;
        let slot = self.slot()?;
        let session = self.module.open_rw_session(slot)?;
        let mut connecting = self.connecting.lock().unwrap_or_else(PoisonError::into_inner);
        self.log_in(&session, slot, &mut connecting)?;
        Ok(session)
    }

    fn answer_once(&self, opened: &mut Option<Opened>, ask: &Ask) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let current = match opened.take() {
            Some(opened) => opened,
            None => self.connect()?,
        };
        let generation = self.generation.read().unwrap_or_else(PoisonError::into_inner);
        if current.generation != *generation {
            return Err(Fault::Lost("the module was initialised anew".into()));
        }
        let outcome = self.ask(&current, ask);
        match &outcome {
            Err(Fault::Lost(_)) => drop(current.session.close()),
            _ => *opened = Some(current),
        }
        outcome
    }

    fn ask(&self, Opened { session, key, .. }: &Opened, ask: &Ask) -> Result<Zeroizing<Vec<u8>>, Fault> {
        match ask {
            Ask::Wrap(plaintext) => key::wrap(session, *key, plaintext).map(Zeroizing::new),
            Ask::Unwrap(wrapped) => match key::unwrap(session, *key, wrapped) {
                Ok(plaintext) => Ok(plaintext),
                Err(Refused::Fault(fault)) => Err(fault),
                // While the probe opens the token is well, and it is what it was asked to open that is not.
                Err(Refused::Doubtful(_)) => self.look(session, *key).and(Err(Fault::CannotOpen)),
            },
            Ask::Look => self.look(session, *key).map(|()| Zeroizing::default()),
        }
    }

    /// Whether the probe opens; the first time, makes it.
    fn look(&self, session: &Session, key: ObjectHandle) -> Result<(), Fault> {
        let Some(probe) = self.probe.get() else { return self.make_probe(session, key) };
        match key::unwrap(session, key, &probe.wrapped) {
            Ok(plaintext) if *plaintext == probe.plaintext => Ok(()),
            Ok(_) => Err(Fault::Lost("what it wrapped at the start opens to something else".into())),
            Err(Refused::Doubtful(why)) => {
                Err(Fault::Lost(format!("what it wrapped at the start does not open ({why}): is it another key?")))
            }
            Err(Refused::Fault(fault)) => Err(fault),
        }
    }

    /// The token's examination: what it wraps opens, and altered it does not.
    fn make_probe(&self, session: &Session, key: ObjectHandle) -> Result<(), Fault> {
        let mut plaintext = [0; 32];
        getrandom::fill(&mut plaintext)
            .map_err(|_| Fault::NotNow("the operating system's randomness is unavailable".into()))?;
        let wrapped = key::wrap(session, key, &plaintext)?;
        let mut altered = wrapped.clone();
        altered[20] ^= 1;
        match key::unwrap(session, key, &altered) {
            Err(Refused::Doubtful(_)) => {}
            Err(Refused::Fault(fault)) => return Err(fault),
            Ok(_) => return Err(Fault::Never("it opens what was altered: CKM_AES_GCM is not what it says".into())),
        }
        key::warn_of_its_past(session, key);
        let _ = self.probe.set(Probe { plaintext, wrapped });
        Ok(())
    }

    fn connect(&self) -> Result<Opened, Fault> {
        let mut connecting = self.connecting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, fault)) = &connecting.failed
            && at.elapsed() < PAUSE
        {
            return Err(fault.clone());
        }
        let outcome = match self.open(&mut connecting) {
            Err(Fault::Lost(first)) => {
                let again = self.initialise_anew().and_then(|()| self.open(&mut connecting));
                again.map_err(|second| match second {
                    // Twice: there is no point in a third time now.
                    Fault::Lost(second) if second == first || first == UNINITIALISED => Fault::NotNow(second),
                    Fault::Lost(second) => Fault::NotNow(format!("{first}; and after that {second}")),
                    other => other,
                })
            }
            outcome => outcome,
        };
        connecting.failed = outcome.as_ref().err().map(|fault| (Instant::now(), fault.clone()));
        outcome
    }

    fn open(&self, connecting: &mut Connecting) -> Result<Opened, Fault> {
        let generation = self.generation.read().unwrap_or_else(PoisonError::into_inner);
        if *generation == 0 {
            return Err(Fault::Lost(UNINITIALISED.into()));
        }
        let slot = self.slot()?;
        let session = self.module.open_ro_session_no_drop(slot)?;
        let entered = self.log_in(&session, slot, connecting).and_then(|()| key::find(&session, &self.config));
        match entered.and_then(|key| self.look(&session, key).map(|()| key)) {
            Ok(key) => Ok(Opened { generation: *generation, session, key }),
            Err(fault) => {
                let _ = session.close();
                Err(fault)
            }
        }
    }

    fn slot(&self) -> Result<Slot, Fault> {
        let slots = self.module.get_slots_with_token()?;
        let mut others = Vec::new();
        for slot in slots {
            let Ok(token) = self.module.get_token_info(slot) else { continue };
            let is_meant = match &self.config.token {
                Some(label) => token.label() == label,
                None => Some(slot.id()) == self.config.slot,
            };
            if !is_meant {
                others.push(format!("`{}` in slot {}", token.label().escape_debug(), slot.id()));
                continue;
            }
            if !self.module.get_mechanism_list(slot)?.contains(&MechanismType::AES_GCM) {
                return Err(Fault::Never("the token has no CKM_AES_GCM".into()));
            }
            return Ok(slot);
        }
        let others = if others.is_empty() { "no other".to_owned() } else { others.join(", ") };
        Err(Fault::Lost(format!("the token is not there; the module shows {others}")))
    }

    fn log_in(&self, session: &Session, slot: Slot, connecting: &mut Connecting) -> Result<(), Fault> {
        // One login counts for all sessions of the process.
        if !matches!(session.get_session_info()?.session_state(), SessionState::RoPublic | SessionState::RwPublic) {
            return Ok(());
        }
        let place = self.pin.place();
        let pin = self.pin.read().map_err(|why| Fault::NotNow(format!("{place}: {why}")))?;
        if connecting.refused.as_ref().is_some_and(|refused| refused.is(&pin)) {
            let why =
                format!("{place}: the token has refused this PIN; it is not tried again, so that it does not lock");
            return Err(Fault::Never(why));
        }
        let token = self.module.get_token_info(slot)?;
        if token.user_pin_locked() {
            return Err(Fault::Never("the token has locked its user's PIN".into()));
        }
        if token.user_pin_final_try() {
            let why = "one more wrong PIN would lock the token: log in once with its own tool, then start again";
            return Err(Fault::Never(why.into()));
        }
        match session.login(UserType::User, Some(&pin.for_login())) {
            Ok(()) => Ok(()),
            Err(error) if code(&error) == Some(RvError::UserAlreadyLoggedIn) => Ok(()),
            Err(error) if is_about_the_pin(&error) => {
                connecting.refused = Some(pin);
                Err(Fault::Never(format!("{place}: the token refuses the PIN ({})", text(&error))))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends all sessions, and begins again.
    fn initialise_anew(&self) -> Result<(), Fault> {
        let mut attempts = 0;
        let mut generation = loop {
            match self.generation.try_write() {
                Ok(generation) => break generation,
                // Not waited for: a call that hangs must not keep those from their answers which do not.
                Err(_) if attempts == ALONE_ATTEMPTS => {
                    return Err(Fault::NotNow("the token is lost, and another call to it does not end".into()));
                }
                Err(_) => attempts += 1,
            }
            std::thread::sleep(ALONE_PAUSE);
        };
        if *generation > 0 {
            // Whatever it answers, initialising tells.
            let _ = self.module.clone().finalize();
        }
        match self.module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) => {}
            Err(error) if code(&error) == Some(RvError::CryptokiAlreadyInitialized) => {}
            Err(error) => return Err(error.into()),
        }
        *generation += 1;
        Ok(())
    }
}
