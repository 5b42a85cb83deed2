//! Secret providers: a fresh instance for each call, configured first, gone afterwards. What one call has seen no other can find.
//!
//! `configure` runs each time, within the call: it takes microseconds where the network takes milliseconds, so a snapshot would save
//! nothing that anybody could measure.
//!
//! Such a plugin has the secrets that it finds; the record, the log and whoever reads them must not. So what it says in the open, a version,
//! an error, a line of its log, is searched for the values that it answers.

use std::cell::LazyCell;
use std::time::Duration;

use zeroize::Zeroizing;

use super::bindings::secret_provider as wit;
use super::bindings::secret_provider::exports::origan::codec::{
    secret_provider as exported, settings as exported_settings,
};
use super::fault::{Fault, printable};
use super::imports::PluginLog;
use super::reach::{self, ConfigureError, Pieces, Recipe};

pub use wit::exports::origan::codec::secret_provider::Reference as SecretReference;

/// Largest secret, in bytes: what a call of the service with one value may bring.
pub const SECRET_BYTES_MAX: usize = 1 << 20;
/// Longest version of a secret, in bytes.
pub const SECRET_VERSION_LEN_MAX: usize = 128;
/// Shorter values are looked for nowhere: `1`, `yes` and the like are in whatever a plugin says, and nobody's secret.
const VALUE_LEN_MIN: usize = 4;

/// A secret provider that may go live.
pub struct SecretProvider {
    recipe: Recipe<wit::SecretProviderPlugin>,
    /// Whether the plugin's lines are kept back where they could tell a secret that only it knows.
    is_discreet: bool,
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

/// What came of each reference.
type Answers = Vec<Result<ResolvedSecret, ResolveError>>;

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
        Ok(Self { recipe, is_discreet: true })
    }

    /// One that is heard where it fails: for cases, whose secrets are made up.
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

    /// One result for each reference, in order. Anything else that comes of it is a fault, and then none of them is answered.
    pub async fn resolve(&self, references: &[SecretReference]) -> Result<Answers, Fault> {
        self.resolve_and_tell(references).await.map(|(answers, _)| answers)
    }

    /// The same; and whether a request of this call failed at the server or on the way there: no connection, no whole answer in time,
    /// 429, 5xx. If none did, it does not lie in the backend that there is no secret.
    pub async fn resolve_and_tell(&self, references: &[SecretReference]) -> Result<(Answers, bool), Fault> {
        let (answers, mut store) = self
            .recipe
            .call(async |plugin, store| plugin.origan_codec_secret_provider().call_resolve(store, references).await)
            .await;
        // Whatever becomes of the rest, these bytes are wiped.
        let answers = answers.map(|answers| answers.into_iter().map(held).collect::<Answers>());
        let state = store.data_mut();
        let failed_outside = state.failed_outside();
        let answers = match answers {
            Ok(answers) => answers,
            Err(fault) => {
                // It may have had secrets before, and then nobody here knows what a line must not tell.
                let could_tell = state.was_answered() && self.is_discreet;
                state.let_lines_go("secret", |_| could_tell);
                return Err(fault);
            }
        };
        let tell = {
            // Most calls say nothing that is searched for them.
            let found = LazyCell::new(|| pieces(&answers));
            state.let_lines_go("secret", |text| found.stand_in(text.as_bytes()));
            told(&answers, references.len(), |text| text.len() >= VALUE_LEN_MIN && found.stand_in(text.as_bytes()))?
        };
        Ok((hushed(answers, tell), failed_outside))
    }
}

impl ResolveError {
    /// What the plugin says of it.
    fn words(&self) -> &str {
        match self {
            Self::Denied(why) | Self::InvalidReference(why) | Self::Unavailable(why) => why,
            Self::NotFound | Self::Retry(_) => "",
        }
    }

    /// The same without that.
    fn without_words(self) -> Self {
        let kept_back = || "what the plugin says of it is kept back: it tells a secret of the same answer".to_owned();
        match self {
            Self::Denied(_) => Self::Denied(kept_back()),
            Self::InvalidReference(_) => Self::InvalidReference(kept_back()),
            Self::Unavailable(_) => Self::Unavailable(kept_back()),
            Self::NotFound | Self::Retry(_) => self,
        }
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

/// Of each answer whether its words tell a secret, if all of them can be taken. One bad answer spoils all of them: who miscounts once has the
/// others in the wrong places too. Nobody can say which version it is in place of a plugin whose version tells a secret. Of an error more is known
/// than its words, and a value such as `production` stands in many an honest one.
fn told(
    answers: &[Result<ResolvedSecret, ResolveError>],
    asked: usize,
    tells: impl Fn(&str) -> bool,
) -> Result<Vec<bool>, Fault> {
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
        if tells(&secret.version) {
            return Err(Fault::BadAnswer("a version that tells a secret".to_owned()));
        }
    }
    Ok(answers.iter().map(|answer| answer.as_ref().is_err_and(|error| tells(error.words()))).collect())
}

/// The answers without those words that `tell`.
fn hushed(answers: Answers, tell: Vec<bool>) -> Answers {
    let hushed = |error: ResolveError, tells| if tells { error.without_words() } else { error };
    answers.into_iter().zip(tell).map(|(answer, tells)| answer.map_err(|error| hushed(error, tells))).collect()
}

/// By which the values of all `answers` are known again.
fn pieces(answers: &[Result<ResolvedSecret, ResolveError>]) -> Pieces<'_> {
    Pieces::of(answers.iter().flatten().map(|secret| secret.value.as_slice()), VALUE_LEN_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(answers: Answers, asked: usize) -> Result<Answers, Fault> {
        let tell = {
            let found = pieces(&answers);
            told(&answers, asked, |text| found.stand_in(text.as_bytes()))?
        };
        Ok(hushed(answers, tell))
    }

    fn found(value: &[u8], version: &str) -> Result<ResolvedSecret, ResolveError> {
        Ok(ResolvedSecret { value: Zeroizing::new(value.to_vec()), version: version.into(), keep: None })
    }

    fn secret(len: usize, version: &str) -> Result<ResolvedSecret, ResolveError> {
        found(&vec![b'x'; len], version)
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

    #[test]
    fn a_version_that_tells_any_value_of_the_answer_is_a_bad_answer() {
        for (what, value, version) in [
            ("none at all", "", ""),
            ("what is nobody's secret", "yes", "yes"),
            ("a number", "1", "1"),
            ("a port, by chance in a UUID", "5432", "11111111-5432-4111-8111-115432111111"),
            ("a number of another kind", "1024", "10240"),
            ("the beginning of a short one", "hunter2", "hunter"),
        ] {
            assert!(checked(vec![found(value.as_bytes(), version)], 1).is_ok(), "{what}");
        }
        for (what, value, version) in [
            ("a short one", "1024", "1024"),
            ("a short one in a frame", "hunter2", "v1:hunter2"),
            ("a longer one", "hunter2-and-more", "hunter2-and-more"),
            ("within a word", "hunter2!", "xhunter2!x"),
            ("in base64", "hunter2-and-more", "v1:aHVudGVyMi1hbmQtbW9yZQ"),
            ("in hexadecimal", "hunter2!", "68756E7465723221"),
            ("a part of a long one", "postgres://shop:hunter2@db/shop", "shop:hunter2@db/"),
        ] {
            for answers in [
                vec![found(value.as_bytes(), version), found(b"", "1")],
                vec![found(b"", version), Err(ResolveError::NotFound), found(value.as_bytes(), "1")],
            ] {
                let asked = answers.len();
                let fault = checked(answers, asked).err();
                let is_told = matches!(&fault, Some(Fault::BadAnswer(why)) if why.contains("tells a secret"));
                assert!(is_told, "{what}: {fault:?}");
            }
        }
    }

    #[test]
    fn words_that_tell_a_value_are_kept_back_and_all_others_are_heard() {
        let errors: [fn(String) -> ResolveError; 3] =
            [ResolveError::Denied, ResolveError::InvalidReference, ResolveError::Unavailable];
        for error in errors {
            for (words, are_heard) in [
                ("permission denied", true),
                ("hunter2 is not a field", false),
                ("cannot read {\"password\":\"hunter2\"}", false),
            ] {
                let answers = vec![found(b"hunter2", "1"), Err(error(words.to_owned())), Err(ResolveError::NotFound)];
                let answers = checked(answers, 3).expect("the others are answered");
                assert!(matches!(&answers[0], Ok(secret) if secret.value.as_slice() == b"hunter2"));
                let told = answers[1].as_ref().err().expect("an error");
                assert_eq!(*told == error(words.to_owned()), are_heard, "{told:?}");
                assert!(!told.words().contains("hunter2"), "{told:?}");
                assert_eq!(std::mem::discriminant(told), std::mem::discriminant(&error(String::new())));
                assert_eq!(answers[2].as_ref().err(), Some(&ResolveError::NotFound));
            }
        }
    }
}
