//! Key providers: bytes go to a key that lives elsewhere to be wrapped, and come back. A fresh instance for each call, configured first,
//! gone afterwards, as with secret providers.
//!
//! Such a plugin sees what it wraps; that is what it is for. What it answers is not believed where it can be checked: sizes, characters,
//! and that nothing it hands back in the open, or writes to its log, holds what it was given to wrap.

use std::iter::once;
use std::time::Duration;

use zeroize::Zeroizing;

use super::bindings::key_provider as wit;
use super::bindings::key_provider::exports::origan::codec::{key_provider as exported, settings as exported_settings};
use super::bindings::sink::origan::codec::facts;
use super::fault::{Fault, printable};
use super::imports::PluginLog;
use super::reach::{self, ConfigureError, LEAK_LEN, Pieces, Recipe};

/// Longest ciphertext, in bytes: that of AWS KMS is 6,144 at the most.
pub const CIPHERTEXT_BYTES_MAX: usize = 8 << 10;
/// Longest name of an outside key's version, in bytes.
pub const OUTSIDE_VERSION_LEN_MAX: usize = 256;

/// A key provider that may go live.
pub struct KeyProvider {
    recipe: Recipe<wit::KeyProviderPlugin>,
    /// Whether the plugin's words are kept back where they could tell a key that only it knows.
    is_discreet: bool,
}

/// Bytes as the outside key wrapped them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// Opaque, 1 to [`CIPHERTEXT_BYTES_MAX`] bytes.
    pub ciphertext: Vec<u8>,
    /// Which version of the outside key it is under: printable, at most [`OUTSIDE_VERSION_LEN_MAX`] bytes; empty where it has none.
    pub key_version: String,
}

/// What is bound to the result: names and values, in the order in which the plugin is given them.
pub type KeyContext = Vec<(String, String)>;

/// Why nothing is wrapped or unwrapped. The texts are for operators: cut and escaped, and still a plugin's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// The backend refuses.
    Denied(String),
    /// The backend has no such key, or not this version of it.
    UnknownKey(String),
    /// It does not open: altered, or with another context.
    Corrupt,
    /// Not now; again after so many milliseconds, if it says so.
    Retry(Option<u32>),
    /// The backend does not answer as it should.
    Unavailable(String),
}

impl KeyProvider {
    /// Once it has taken its settings.
    pub(super) async fn new(recipe: Recipe<wit::KeyProviderPlugin>) -> Result<Self, ConfigureError> {
        recipe.fresh().await?;
        Ok(Self { recipe, is_discreet: true })
    }

    /// One whose words are all heard: for cases, whose keys are made up.
    pub(super) fn outspoken(self) -> Self {
        Self { is_discreet: false, ..self }
    }

    /// Its lines in the log.
    pub fn log(&self) -> &PluginLog {
        &self.recipe.log
    }

    /// How long one call may take.
    pub fn deadline(&self) -> Duration {
        self.recipe.limits.call_deadline
    }

    /// Has `plaintext` wrapped, bound to `context`.
    pub async fn wrap(&self, plaintext: &[u8], context: &KeyContext) -> Result<Result<Wrapped, KeyError>, Fault> {
        let attributes = attributes(context);
        let (answer, mut store) = self
            .recipe
            .call(async |plugin, store| {
                plugin.origan_codec_key_provider().call_wrap(store, plaintext, &attributes).await
            })
            .await;
        let key = pieces(plaintext);
        store.data_mut().let_lines_go("key", |text| key.stand_in(text.as_bytes()));
        let answer =
            answer?.map(|wrapped| Wrapped { ciphertext: wrapped.ciphertext, key_version: wrapped.key_version });
        checked(answer.map_err(KeyError::from), &key)
    }

    /// What [`KeyProvider::wrap`] was given, under the same context.
    pub async fn unwrap(
        &self,
        wrapped: &Wrapped,
        context: &KeyContext,
    ) -> Result<Result<Zeroizing<Vec<u8>>, KeyError>, Fault> {
        let attributes = attributes(context);
        let wrapped =
            exported::Wrapped { ciphertext: wrapped.ciphertext.clone(), key_version: wrapped.key_version.clone() };
        let (answer, mut store) = self
            .recipe
            .call(async |plugin, store| {
                plugin.origan_codec_key_provider().call_unwrap(store, &wrapped, &attributes).await
            })
            .await;
        let state = store.data_mut();
        // Where it failed, it may have had the key before, and then nobody here knows what its words must not tell.
        let could_tell = state.was_answered() && self.is_discreet;
        match &answer {
            Ok(Ok(plaintext)) => {
                let key = pieces(plaintext);
                state.let_lines_go("key", |text| key.stand_in(text.as_bytes()));
            }
            _ => state.let_lines_go("key", |_| could_tell),
        }
        let answer = answer?.map(Zeroizing::new).map_err(KeyError::from);
        Ok(answer.map_err(|error| if could_tell { error.without_words() } else { error }))
    }
}

impl KeyError {
    /// The same without what the plugin says of it.
    fn without_words(self) -> Self {
        let kept_back = || {
            "what the plugin says of it is kept back: the key service had answered, and it could tell the key"
                .to_owned()
        };
        match self {
            Self::Denied(_) => Self::Denied(kept_back()),
            Self::UnknownKey(_) => Self::UnknownKey(kept_back()),
            Self::Unavailable(_) => Self::Unavailable(kept_back()),
            Self::Corrupt | Self::Retry(_) => self,
        }
    }
}

reach::world!(wit::KeyProviderPlugin, wit::KeyProviderPluginPre, exported_settings::Problem);

impl From<exported::KeyError> for KeyError {
    fn from(error: exported::KeyError) -> Self {
        match error {
            exported::KeyError::Denied(why) => Self::Denied(printable(&why)),
            exported::KeyError::UnknownKey(why) => Self::UnknownKey(printable(&why)),
            exported::KeyError::Corrupt => Self::Corrupt,
            exported::KeyError::Retry(after_ms) => Self::Retry(after_ms),
            exported::KeyError::Unavailable(why) => Self::Unavailable(printable(&why)),
        }
    }
}

fn attributes(context: &KeyContext) -> Vec<facts::Attribute> {
    context.iter().map(|(name, value)| facts::Attribute { name: name.clone(), value: value.clone() }).collect()
}

/// What may be stored, and told: nothing of it holds what was to be wrapped.
fn checked(answer: Result<Wrapped, KeyError>, key: &Pieces<'_>) -> Result<Result<Wrapped, KeyError>, Fault> {
    let bad = |message: &str| Err(Fault::BadAnswer(message.to_owned()));
    match &answer {
        Ok(Wrapped { ciphertext, key_version }) => {
            if ciphertext.is_empty() || ciphertext.len() > CIPHERTEXT_BYTES_MAX {
                return bad(&format!(
                    "a ciphertext of {} bytes; 1 to {CIPHERTEXT_BYTES_MAX} are taken",
                    ciphertext.len()
                ));
            }
            if key_version.len() > OUTSIDE_VERSION_LEN_MAX || !key_version.bytes().all(|b| b.is_ascii_graphic()) {
                return bad(&format!(
                    "a key version that is not at most {OUTSIDE_VERSION_LEN_MAX} printable characters"
                ));
            }
            if key.stand_in(ciphertext) || key.stand_in(key_version.as_bytes()) {
                return bad("what was to be wrapped stands in it as it was");
            }
        }
        Err(KeyError::Denied(why) | KeyError::UnknownKey(why) | KeyError::Unavailable(why)) => {
            if key.stand_in(why.as_bytes()) {
                return bad("an error that tells what was to be wrapped");
            }
        }
        Err(KeyError::Corrupt | KeyError::Retry(_)) => {}
    }
    Ok(answer)
}

/// By which a key is known again. A DEK is longer than a piece; what is shorter is none.
fn pieces(plaintext: &[u8]) -> Pieces<'_> {
    Pieces::of(once(plaintext), LEAK_LEN)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;

    use super::*;

    fn wrapped(ciphertext: &[u8], key_version: &str) -> Result<Wrapped, KeyError> {
        Ok(Wrapped { ciphertext: ciphertext.to_vec(), key_version: key_version.into() })
    }

    #[test]
    fn what_could_not_be_kept_or_tells_too_much_is_a_bad_answer() {
        let key: Vec<u8> = (100..132).collect();
        for (what, good) in [
            ("text", wrapped(b"vault:v1:abc", "1")),
            ("no version", wrapped(&[7; CIPHERTEXT_BYTES_MAX], "")),
            ("a long version", wrapped(&[7], &"v".repeat(OUTSIDE_VERSION_LEN_MAX))),
            ("an error", Err(KeyError::Denied("permission denied".into()))),
        ] {
            assert!(checked(good, &pieces(&key)).is_ok(), "{what}");
        }
        let base64 = STANDARD_NO_PAD.encode([b"xy".as_slice(), &key].concat());
        let hexadecimal: String = key.iter().map(|byte| format!("{byte:02X}")).collect();
        for (what, bad) in [
            ("nothing", wrapped(b"", "1")),
            ("too much", wrapped(&[7; CIPHERTEXT_BYTES_MAX + 1], "1")),
            ("a version that is too long", wrapped(&[7], &"v".repeat(OUTSIDE_VERSION_LEN_MAX + 1))),
            ("a version with a line feed", wrapped(&[7], "1\n")),
            ("the key itself", wrapped(&key, "1")),
            ("the key with a frame", wrapped(&[b"vault:".as_slice(), &key, b"!"].concat(), "1")),
            ("half of it", wrapped(&key[16..], "1")),
            ("the key in base64", wrapped(base64.as_bytes(), "1")),
            ("the key in hexadecimal", wrapped(hexadecimal.as_bytes(), "1")),
            ("the key in the version", wrapped(&[7], &base64)),
            ("the key in an error", Err(KeyError::Unavailable(format!("cannot wrap {base64}")))),
        ] {
            assert!(matches!(checked(bad, &pieces(&key)), Err(Fault::BadAnswer(_))), "{what}");
        }
    }
}
