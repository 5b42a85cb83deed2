//! Secret providers: a fresh instance for each call, configured first, gone afterwards. What one call has seen no other can find.
//!
//! `configure` runs each time, within the call: it takes microseconds where the network takes milliseconds, so a snapshot would save
//! nothing that anybody could measure.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Engine, Store};
use zeroize::Zeroizing;

use super::bindings::secret_provider as wit;
use super::bindings::secret_provider::exports::origan::codec::secret_provider as exported;
use super::engine::Clock;
use super::fault::{Fault, printable};
use super::imports::PluginLog;
use super::limits::Limits;
use super::outside::Outside;
use super::reach::{self, ConfigureError, Reaching, problems};

pub use wit::exports::origan::codec::secret_provider::Reference as SecretReference;

/// Largest secret, in bytes: what a call of the service with one value may bring.
pub const SECRET_BYTES_MAX: usize = 1 << 20;
/// Longest version of a secret, in bytes.
pub const SECRET_VERSION_LEN_MAX: usize = 128;

/// A secret provider that may go live.
pub struct SecretProvider {
    pre: wit::SecretProviderPluginPre<Reaching>,
    clock: Arc<Clock>,
    limits: Limits,
    log: Arc<PluginLog>,
    outside: Arc<dyn Outside>,
    settings: String,
}

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
    /// Once it has taken `settings`.
    pub(super) async fn new(
        pre: wit::SecretProviderPluginPre<Reaching>,
        clock: Arc<Clock>,
        limits: Limits,
        log: Arc<PluginLog>,
        outside: Arc<dyn Outside>,
        settings: String,
    ) -> Result<Self, ConfigureError> {
        let plugin = Self { pre, clock, limits, log, outside, settings };
        let _at_work = plugin.clock.begin();
        let mut store = plugin.store();
        let outcome = tokio::time::timeout(plugin.limits.configure_deadline, plugin.configured(&mut store)).await;
        outcome.unwrap_or_else(|_| Err(ConfigureError::Fault(Fault::Timeout(" in `configure`".into()))))?;
        Ok(plugin)
    }

    /// Its lines in the log.
    pub fn log(&self) -> &PluginLog {
        &self.log
    }

    /// How long one call may take.
    pub fn deadline(&self) -> Duration {
        self.limits.call_deadline
    }

    /// One result for each reference, in order. Anything else that comes of it is a fault, and then none of them is answered.
    pub async fn resolve(
        &self,
        references: &[SecretReference],
    ) -> Result<Vec<Result<ResolvedSecret, ResolveError>>, Fault> {
        let _at_work = self.clock.begin();
        let mut store = self.store();
        let calling = async {
            let instance = self.configured(&mut store).await.map_err(|error| match error {
                ConfigureError::Fault(fault) => fault,
                ConfigureError::Refused(_) => Fault::BadAnswer("`configure` refused settings that it had taken".into()),
            })?;
            reach::begin(&mut store);
            let provider = instance.origan_codec_secret_provider();
            let called = provider.call_resolve(&mut store, references).await;
            called.map_err(|error| store.data().fault(&error))
        };
        let outcome = tokio::time::timeout(self.limits.call_deadline, calling).await;
        let answers = outcome.unwrap_or_else(|_| Err(Fault::Timeout(", waiting in an import".into())))?;
        // Whatever becomes of the rest, these bytes are wiped.
        let answers: Vec<_> = answers.into_iter().map(held).collect();
        checked(answers, references.len())
    }

    fn store(&self) -> Store<Reaching> {
        reach::store(self.pre.engine(), &self.limits, self.log.clone(), self.outside.clone())
    }

    async fn configured(&self, store: &mut Store<Reaching>) -> Result<wit::SecretProviderPlugin, ConfigureError> {
        let calling = async {
            let instance = self.pre.instantiate_async(&mut *store).await?;
            let outcome = instance.origan_codec_settings().call_configure(&mut *store, &self.settings).await?;
            Ok((instance, outcome))
        };
        let called: wasmtime::Result<_> = calling.await;
        match called {
            Ok((instance, Ok(()))) => {
                store.data_mut().is_configured();
                Ok(instance)
            }
            Ok((_, Err(found))) => {
                Err(ConfigureError::Refused(problems(found.into_iter().map(|p| (p.path, p.message)))))
            }
            Err(error) => Err(ConfigureError::Fault(store.data().fault(&error))),
        }
    }
}

/// A linker with the imports of the world, and WASI if it is granted.
pub(super) fn linker(engine: &Engine, wasi: bool) -> wasmtime::Result<Linker<Reaching>> {
    let mut linker = Linker::new(engine);
    wit::SecretProviderPlugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut Reaching| state)?;
    if wasi {
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    }
    Ok(linker)
}

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
