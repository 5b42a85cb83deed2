//! The secrets that the process begins with: the KEK, and the tokens of its callers.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use origan_codec_host::crypto::{Kek, ServiceToken};
use tracing::warn;
use zeroize::Zeroizing;

use super::compiler::CompilerProcess;
use super::kek_dir::KekDir;
use crate::caller::{Action, Caller, Callers, Method, SHARED_CALLER, TokenDigest, TokenTaken};
use crate::config::{CallerConfig, Config, ConfigError, Environment, KekPlace, Pkcs11Config};
use crate::keys::{KekSource, MemoryKeks};
use crate::plugins::Plugins;

/// A shared token shorter than this gets a warning: 32 base64 characters are 192 bits.
const TOKEN_LEN_ADVISED: usize = 32;

/// What a build without the feature says to a configuration that needs it.
#[cfg(not(feature = "pkcs11"))]
const NO_PKCS11: &str =
    "this codec was built without PKCS#11; build it with `cargo build --profile dist --features pkcs11`";

/// What a serving process holds.
pub struct Secrets {
    /// Where the KEK is.
    pub kek: KekSource,
    /// Where they are read again, if that is a folder.
    pub kek_dir: Option<KekDir>,
    /// Who may come in.
    pub doors: Doors,
}

/// Where callers' tokens come from. Files can change; they are read again.
pub struct Doors {
    shared: Option<TokenDigest>,
    callers: Vec<CallerConfig>,
}

impl Secrets {
    /// From the environment and the files that the configuration names.
    pub fn load(config: &Config, environment: Environment) -> Result<Self, ConfigError> {
        let kek = Self::kek(config, &environment)?;
        let shared = environment.service_token.as_ref().map(shared_token).transpose()?;
        let doors = Doors { shared, callers: config.callers.clone() };
        doors.open()?;
        Ok(Self { kek, kek_dir: config.keys.kek_dir.as_deref().map(KekDir::at), doors })
    }

    /// The KEK alone.
    fn kek(config: &Config, environment: &Environment) -> Result<KekSource, ConfigError> {
        let outside = match (&config.keys.pkcs11, &config.keys.provider) {
            (Some(pkcs11), _) => Some(in_a_token(pkcs11, environment)?),
            (None, Some(provider)) => Some(KekSource::behind(provider)),
            (None, None) => None,
        };
        match (outside, in_memory(config, environment)?) {
            (None, None) => {
                let message = "is not set, nor keys.kek_file, nor keys.kek_dir, nor keys.pkcs11, nor keys.provider; `codec keys generate` makes one";
                Err(ConfigError::Variable { name: "KEK_SECRET", message: message.into() })
            }
            (Some(outside), None) => Ok(outside),
            (Some(outside), Some(keks)) => Ok(outside.beside(keks, config.keys.primary == Some(KekPlace::Memory))),
            (None, Some(keks)) => Ok(KekSource::in_memory(keks)),
        }
    }
}

/// The KEKs in memory, if any are given.
fn in_memory(config: &Config, environment: &Environment) -> Result<Option<MemoryKeks>, ConfigError> {
    if let Some(dir) = &config.keys.kek_dir {
        return KekDir::at(dir).read().map(|(keks, _)| Some(keks));
    }
    if let Some(path) = &config.keys.kek_file {
        let key = format!("keys.kek_file {}", path.display());
        return parse_kek(key, &read_secret(path)?).map(|kek| Some(kek.into()));
    }
    let Some(text) = &environment.kek_secret else { return Ok(None) };
    let mut keks = MemoryKeks::from(parse_kek("KEK_SECRET".to_owned(), text)?);
    let retained = environment.kek_secret_retained.as_ref();
    for (index, text) in retained.iter().flat_map(|texts| texts.split_whitespace()).enumerate() {
        let key = format!("KEK_SECRET_RETAINED, number {}", index + 1);
        let kek = parse_kek(key.clone(), text)?;
        if keks.unwrapping().any(|known| known.id() == kek.id()) {
            return Err(ConfigError::value(key, "is given twice"));
        }
        keks.retained.push(kek);
    }
    Ok(Some(keks))
}

/// The KEK that a file holds.
pub fn kek_in(path: &Path) -> Result<Kek, ConfigError> {
    parse_kek(path.display().to_string(), &read_secret(path)?)
}

fn parse_kek(key: String, text: &str) -> Result<Kek, ConfigError> {
    Kek::parse_base64(text).map_err(|error| ConfigError::value(key, error.to_string()))
}

/// The KEK for a command that has no callers: where it is behind a key service, with the plugin that asks for it.
pub async fn kek_for_command(config: &Config, environment: &Environment) -> anyhow::Result<KekSource> {
    let kek = Secrets::kek(config, environment)?;
    if let Some(place) = kek.key_provider() {
        Plugins::open_key_provider(config, Arc::new(CompilerProcess::on_this_runtime()), place).await?;
    }
    Ok(kek)
}

impl Doors {
    /// Everybody who may come in, as the files are now; none of them may be bad.
    pub fn open(&self) -> Result<Opened, ConfigError> {
        let mut opened = self.open_after(&Opened::default());
        opened.fault.take().map_or(Ok(opened), Err)
    }

    /// Everybody who may come in, as the files are now; of a caller whose file is bad, the tokens that let it in `before`. The others are not held up by it.
    pub fn open_after(&self, before: &Opened) -> Opened {
        let had = |index: usize| before.tokens.get(index).map_or(&[][..], Vec::as_slice);
        let mut faults: Vec<Option<ConfigError>> = Vec::with_capacity(self.callers.len());
        let mut tokens: Vec<Vec<TokenDigest>> = Vec::with_capacity(self.callers.len());
        for (index, caller) in self.callers.iter().enumerate() {
            let (read, fault) = match tokens_of(caller, index) {
                Ok(read) => (read, None),
                Err(fault) => (had(index).to_vec(), Some(fault)),
            };
            tokens.push(read);
            faults.push(fault);
        }
        // A token of two lets in whoever had it before, or else the first: nobody takes another's name by a line in a file.
        for index in 0..self.callers.len() {
            if let Some(other) = self.whose_too(index, &tokens, had) {
                let message = TokenTaken { other }.to_string();
                faults[index].get_or_insert(ConfigError::value(format!("callers[{index}].tokens"), message));
                tokens[index] = had(index).to_vec();
            }
        }
        let mut opened = Opened { fault: faults.into_iter().flatten().next(), ..Opened::default() };
        let shared = self.shared.iter().map(|token| (shared_caller(), vec![token.clone()]));
        let named = self.callers.iter().zip(&tokens).map(|(caller, tokens)| {
            let actions = caller.actions.clone();
            (Caller { name: caller.name.clone(), method: Method::Token, actions }, tokens.clone())
        });
        for (caller, tokens) in shared.chain(named) {
            if let Err(taken) = opened.callers.admit(caller, tokens) {
                opened.fault.get_or_insert(ConfigError::value("callers", taken.to_string()));
            }
        }
        opened.tokens = tokens;
        if opened.callers.is_empty() && opened.fault.is_none() {
            opened.fault = Some(ConfigError::Variable {
                name: "INTERNAL_SERVICE_TOKEN",
                message: "is not set and codec.toml names no callers: nobody could ask for anything".into(),
            });
        }
        opened
    }

    /// Whose a token of this caller is too, who had it sooner.
    fn whose_too<'t>(
        &self,
        index: usize,
        tokens: &[Vec<TokenDigest>],
        had: impl Fn(usize) -> &'t [TokenDigest],
    ) -> Option<String> {
        let holds = |tokens: &[TokenDigest], token: &TokenDigest| tokens.iter().any(|other| other.is_same(token));
        let new = |token: &&TokenDigest| !holds(had(index), token);
        for token in tokens.get(index)?.iter().filter(new) {
            if self.shared.as_ref().is_some_and(|shared| shared.is_same(token)) {
                return Some(SHARED_CALLER.to_owned());
            }
            let is_theirs = |&other: &usize| {
                // What another had is the other's until the next look, even if it is given up just now.
                self.callers[other].name != self.callers[index].name
                    && (holds(had(other), token) || other < index && holds(&tokens[other], token))
            };
            if let Some(other) = (0..tokens.len()).find(is_theirs) {
                return Some(self.callers[other].name.clone());
            }
        }
        None
    }

    /// Whether there is a file that can change.
    pub fn can_change(&self) -> bool {
        self.callers.iter().any(|caller| caller.token_file.is_some())
    }
}

/// Who may come in, and what was wrong with the rest.
#[derive(Default)]
pub struct Opened {
    /// They.
    pub callers: Callers,
    /// The first mistake, if there was one.
    pub fault: Option<ConfigError>,
    /// By caller.
    tokens: Vec<Vec<TokenDigest>>,
}

/// Makes a KEK in the token that the configuration names, and says where.
pub fn generate_in_a_token(config: &Config, environment: &Environment) -> Result<String, ConfigError> {
    let missing = || ConfigError::value("keys.pkcs11", "is not there: it names the token and the key to make");
    generated(config.keys.pkcs11.as_ref().ok_or_else(missing)?, environment)
}

#[cfg(feature = "pkcs11")]
fn generated(pkcs11: &Pkcs11Config, environment: &Environment) -> Result<String, ConfigError> {
    crate::keys::generate_key(pkcs11, environment.pkcs11_pin.clone())
}

#[cfg(not(feature = "pkcs11"))]
fn generated(_pkcs11: &Pkcs11Config, _environment: &Environment) -> Result<String, ConfigError> {
    Err(ConfigError::value("keys.pkcs11", NO_PKCS11))
}

#[cfg(feature = "pkcs11")]
fn in_a_token(pkcs11: &Pkcs11Config, environment: &Environment) -> Result<KekSource, ConfigError> {
    let kek = crate::keys::Pkcs11Kek::new(pkcs11, environment.pkcs11_pin.clone())?;
    Ok(KekSource::in_a_token(Arc::new(kek)))
}

#[cfg(not(feature = "pkcs11"))]
fn in_a_token(_pkcs11: &Pkcs11Config, _environment: &Environment) -> Result<KekSource, ConfigError> {
    Err(ConfigError::value("keys.pkcs11", NO_PKCS11))
}

pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    Ok(Zeroizing::new(text))
}

fn shared_caller() -> Caller {
    Caller { name: SHARED_CALLER.into(), method: Method::SharedToken, actions: Action::ALL.to_vec() }
}

fn shared_token(token: &ServiceToken) -> Result<TokenDigest, ConfigError> {
    let text = token.expose_secret();
    if text.bytes().any(|b| !b.is_ascii_graphic()) {
        let message = "holds a space, a control or a non-ASCII character; it could not be sent in a header";
        return Err(ConfigError::Variable { name: "INTERNAL_SERVICE_TOKEN", message: message.into() });
    }
    if text.len() < TOKEN_LEN_ADVISED {
        warn!(advised = TOKEN_LEN_ADVISED, "INTERNAL_SERVICE_TOKEN is short: use as many random characters as advised");
    }
    Ok(TokenDigest::of(token))
}

fn tokens_of(caller: &CallerConfig, index: usize) -> Result<Vec<TokenDigest>, ConfigError> {
    let mut digests = Vec::new();
    for token in &caller.tokens {
        let key = || format!("callers[{index}].tokens");
        digests.push(TokenDigest::parse(token).map_err(|error| ConfigError::value(key(), error.to_string()))?);
    }
    if let Some(path) = &caller.token_file {
        let text = read_secret(path)?;
        let wrong = |message: &str| Err(ConfigError::value(format!("callers[{index}].token_file"), message));
        let before = digests.len();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            // A remark would be a token that many know.
            if line.starts_with('#') || !line.bytes().all(|b| b.is_ascii_graphic()) {
                return wrong(
                    "has a line that is no token: it begins with #, or holds a space, a control or a non-ASCII character",
                );
            }
            digests.push(TokenDigest::of(&ServiceToken::new(line.to_owned())));
        }
        if digests.len() == before {
            return wrong("holds no token");
        }
    }
    Ok(digests)
}
