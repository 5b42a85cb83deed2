//! Secret providers: a fresh instance for each call, configured first, gone afterwards. What one call has seen no other can find.
//!
//! `configure` runs each time, within the call: it takes microseconds where the network takes milliseconds, so a snapshot would save
//! nothing that anybody could measure.

use std::time::Duration;

use zeroize::Zeroizing;

use super::bindings::secret_provider as wit;
use super::bindings::secret_provider::exports::origan::codec::{
    secret_provider as exported, settings as exported_settings,
};
use super::fault::{Fault, printable};
use super::imports::PluginLog;
use super::reach::{self, ConfigureError, Recipe};

pub use wit::exports::origan::codec::secret_provider::Reference as SecretReference;

/// Largest secret, in bytes: what a call of the service with one value may bring.
pub const SECRET_BYTES_MAX: usize = 1 << 20;
/// Longest version of a secret, in bytes.
pub const SECRET_VERSION_LEN_MAX: usize = 128;

/// A secret provider that may go live.
pub struct SecretProvider(Recipe<wit::SecretProviderPlugin>);

/// A secret as it was found. Has no `Debug` and no `Clone`; wiped when dropped.
pub struct ResolvedSecret {
    /// The bytes, which need not be text.
    pub value: Zeroizing<Vec<u8>>,
    /// Which version this is, printable; empty where the backend has none.
    pub version: String,
    /// How long it may be kept; none: not at all.
    pub keep: Option<Duration>,
}

/// Why there is no secret. The texts are for operators: cut and escaped, and still a plugin's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError {
    /// There is none.
    NotFound,
    /// The backend refuses.
    Denied(String),
    /// The reference is not one of this provider's.
    InvalidReference(String),
    /// Not now; again after so many milliseconds, if it says so.
    Retry(Option<u32>),
    /// The backend does not answer as it should.
    Unavailable(String),
}

impl SecretReference {
    /// Of a variable's `ref`: a path, and behind the first `#` the field.
    pub fn parse(text: &str, version: Option<&str>) -> Self {
        let (path, field) = text.split_once('#').map_or((text, None), |(path, field)| (path, Some(field.to_owned())));
        Self { path: path.to_owned(), field, version: version.map(str::to_owned) }
    }
}

impl SecretProvider {
    /// Once it has taken its settings.
    pub(super) async fn new(recipe: Recipe<wit::SecretProviderPlugin>) -> Result<Self, ConfigureError> {
        recipe.fresh().await?;
        Ok(Self(recipe))
    }

    /// Its lines in the log.
    pub fn log(&self) -> &PluginLog {
        &self.0.log
    }

    /// How long one call may take.
    pub fn deadline(&self) -> Duration {
        self.0.limits.call_deadline
    }

    /// One result for each reference, in order. Anything else that comes of it is a fault, and then none of them is answered.
    pub async fn resolve(
        &self,
        references: &[SecretReference],
    ) -> Result<Vec<Result<ResolvedSecret, ResolveError>>, Fault> {
        let _at_work = self.0.clock.begin();
        let mut store = self.0.store();
        let calling = async {
            let instance = self.0.configured(&mut store).await?;
            reach::begin(&mut store);
            let provider = instance.origan_codec_secret_provider();
            let called = provider.call_resolve(&mut store, references).await;
            called.map_err(|error| store.data().fault(&error))
        };
        let outcome = tokio::time::timeout(self.0.limits.call_deadline, calling).await;
        let answers = outcome.unwrap_or_else(|_| Err(Fault::Timeout(", waiting in an import".into())))?;
        // Whatever becomes of the rest, these bytes are wiped.
        let answers: Vec<_> = answers.into_iter().map(held).collect();
        checked(answers, references.len())
    }
}

reach::world!(wit::SecretProviderPlugin, wit::SecretProviderPluginPre, exported_settings::Problem);

fn held(answer: Result<exported::Secret, exported::ResolveError>) -> Result<ResolvedSecret, ResolveError> {
    match answer {
        Ok(secret) => Ok(ResolvedSecret {
            value: Zeroizing::new(secret.value),
            version: secret.version,
            keep: secret.keep_ms.map(Duration::from_millis),
        }),
        Err(exported::ResolveError::NotFound) => Err(ResolveError::NotFound),
        Err(exported::ResolveError::Denied(why)) => Err(ResolveError::Denied(printable(&why))),
        Err(exported::ResolveError::InvalidReference(why)) => Err(ResolveError::InvalidReference(printable(&why))),
        Err(exported::ResolveError::Retry(after_ms)) => Err(ResolveError::Retry(after_ms)),
        Err(exported::ResolveError::Unavailable(why)) => Err(ResolveError::Unavailable(printable(&why))),
    }
}

/// One bad answer spoils all of them: who miscounts once has the others in the wrong places too.
fn checked(
    answers: Vec<Result<ResolvedSecret, ResolveError>>,
    asked: usize,
) -> Result<Vec<Result<ResolvedSecret, ResolveError>>, Fault> {
    if answers.len() != asked {
        return Err(Fault::BadAnswer(format!("{} results to {asked} references", answers.len())));
    }
    for secret in answers.iter().flatten() {
        if secret.value.len() > SECRET_BYTES_MAX {
            let message = format!("a secret of {} bytes; at most {SECRET_BYTES_MAX} are taken", secret.value.len());
            return Err(Fault::BadAnswer(message));
        }
        if secret.version.len() > SECRET_VERSION_LEN_MAX || !secret.version.bytes().all(|b| b.is_ascii_graphic()) {
            let message = format!("a version that is not at most {SECRET_VERSION_LEN_MAX} printable characters");
            return Err(Fault::BadAnswer(message));
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(len: usize, version: &str) -> Result<ResolvedSecret, ResolveError> {
        Ok(ResolvedSecret { value: Zeroizing::new(vec![b'x'; len]), version: version.into(), keep: None })
    }

    #[test]
    fn one_bad_answer_spoils_the_call() {
        let good = || vec![secret(0, ""), Err(ResolveError::NotFound), secret(SECRET_BYTES_MAX, "v-1.2/3")];
        assert!(checked(good(), 3).is_ok());
        assert!(checked(Vec::new(), 0).is_ok());
        let long = "1".repeat(SECRET_VERSION_LEN_MAX + 1);
        for (what, answers, asked) in [
            ("fewer", good(), 4),
            ("more", good(), 2),
            ("none", Vec::new(), 1),
            ("too large", vec![secret(SECRET_BYTES_MAX + 1, "")], 1),
            ("a long version", vec![secret(1, &long)], 1),
            ("a version with a line feed", vec![secret(1, "1\n2")], 1),
            ("a version with a space", vec![secret(1, "1 2")], 1),
            ("a version that is not ASCII", vec![secret(1, "é")], 1),
        ] {
            assert!(matches!(checked(answers, asked), Err(Fault::BadAnswer(_))), "{what}");
        }
    }
}
