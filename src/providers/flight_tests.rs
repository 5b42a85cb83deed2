use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;

use super::*;
use crate::caller::{Action, Method};

/// Answers each reference with its own text, after a while, and keeps what it was asked.
#[derive(Default)]
struct Fake {
    asked: Mutex<Vec<Vec<String>>>,
    panics: AtomicUsize,
}

#[async_trait]
impl Resolve for Fake {
    async fn resolve(&self, references: Vec<SecretReference>) -> Result<Answers, Fault> {
        let texts: Vec<String> =
            references.iter().map(|r| format!("{}#{}", r.path, r.field.as_deref().unwrap_or(""))).collect();
        self.asked.lock().expect("unharmed").push(texts.clone());
        tokio::time::sleep(Duration::from_millis(50)).await;
        if self.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            std::panic::resume_unwind(Box::new("as the test says"));
        }
        let found = texts.into_iter().map(|text| {
            let value = if text.contains("binary") { vec![0xff] } else { text.into_bytes() };
            Ok(ResolvedSecret {
                value: Zeroizing::new(value),
                version: "1".into(),
                keep: Some(Duration::from_secs(60)),
            })
        });
        Ok(Answers { results: found.collect(), failed_outside: false })
    }

    fn requests_refused(&self) -> u64 {
        0
    }
}

/// Comes to the same for every reference.
struct Always(Result<ResolveError, Fault>, bool);

#[async_trait]
impl Resolve for Always {
    async fn resolve(&self, references: Vec<SecretReference>) -> Result<Answers, Fault> {
        let Self(outcome, failed_outside) = self;
        let error = outcome.clone()?;
        let results = references.iter().map(|_| Err(error.clone())).collect();
        Ok(Answers { results, failed_outside: *failed_outside })
    }

    fn requests_refused(&self) -> u64 {
        0
    }
}

fn bounds(batch_max: usize, parallel: usize) -> Bounds {
    Bounds {
        batch_max,
        parallel,
        calls_max: 16,
        deadline: Duration::from_secs(5),
        cache_max: Duration::from_secs(60),
        breaker_failures: 5,
        breaker_open: Duration::from_secs(5),
    }
}

fn provider(fake: &Arc<Fake>, bounds: Bounds) -> Arc<Provider> {
    Arc::new(Provider::new("fake", Some(fake.clone()), bounds, Arc::default()))
}

async fn ask(provider: &Arc<Provider>, references: &[&str]) -> Vec<Outcome> {
    let caller = Caller { name: "runner".into(), method: Method::Token, actions: vec![Action::DecryptAll] };
    let project = "shop".parse().expect("an id");
    let references: Vec<_> =
        references.iter().map(|text| ExternalReference::parse("fake", text, None).expect("a reference")).collect();
    provider.resolve(&caller, &project, &references.iter().collect::<Vec<_>>()).await
}

#[tokio::test]
async fn paths_are_spread_over_calls_and_fields_of_one_path_stay_together() {
    let six = ["a#1", "b#1", "a#2", "c#1", "b#2", "a#3"];
    for (batch_max, parallel, expected) in [
        (20, 1, vec![vec!["a#1", "a#2", "a#3", "b#1", "b#2", "c#1"]]),
        (4, 1, vec![vec!["a#1", "a#2", "a#3"], vec!["b#1", "b#2", "c#1"]]),
        (20, 8, vec![vec!["a#1", "a#2", "a#3"], vec!["b#1", "b#2"], vec!["c#1"]]),
        (2, 1, vec![vec!["a#1", "a#2"], vec!["a#3"], vec!["b#1", "b#2"], vec!["c#1"]]),
    ] {
        let fake = Arc::new(Fake::default());
        let outcomes = ask(&provider(&fake, bounds(batch_max, parallel)), &six).await;
        for (outcome, text) in outcomes.iter().zip(six) {
            assert_eq!(outcome.as_ref().map(|secret| &**secret.text).map_err(Clone::clone), Ok(text));
        }
        let mut asked = fake.asked.lock().expect("unharmed").clone();
        asked.sort();
        assert_eq!(asked, expected, "{batch_max} {parallel}");
    }
}

#[tokio::test]
async fn a_call_goes_on_when_who_began_it_has_gone() {
    let fake = Arc::new(Fake::default());
    let provider = provider(&fake, bounds(20, 1));
    let gone = tokio::time::timeout(Duration::from_millis(5), ask(&provider, &["a#1"])).await;
    assert!(gone.is_err());
    assert!(ask(&provider, &["a#1"]).await[0].is_ok());
    assert!(ask(&provider, &["a#1"]).await[0].is_ok());
    assert_eq!(fake.asked.lock().expect("unharmed").len(), 1);
}

#[tokio::test]
async fn a_call_that_breaks_off_is_told_to_who_waits_and_asked_again_by_the_next() {
    let fake = Arc::new(Fake { panics: AtomicUsize::new(1), ..Fake::default() });
    let provider = provider(&fake, bounds(20, 1));
    let (first, second) = tokio::join!(ask(&provider, &["a#1"]), ask(&provider, &["a#1"]));
    for outcome in [&first[0], &second[0]] {
        assert!(matches!(outcome, Err(ProviderError::Unavailable { .. })));
    }
    assert!(ask(&provider, &["a#1"]).await[0].is_ok());
}

#[tokio::test]
async fn what_is_not_text_is_refused_and_not_kept() {
    let fake = Arc::new(Fake::default());
    let provider = provider(&fake, bounds(20, 1));
    let outcomes = ask(&provider, &["a#binary", "b#text"]).await;
    assert_eq!(outcomes[0].as_ref().err(), Some(&ProviderError::NotText));
    assert!(outcomes[1].is_ok());
    assert_eq!(provider.cached(), 1);
}

#[test]
fn one_word_from_the_backend_is_an_answer_and_the_shortest_wait_is_kept() {
    let retry = |ms| Err(ResolveError::Retry(ms));
    let down = || Err(ResolveError::Unavailable("x".into()));
    for failed_outside in [true, false] {
        assert_eq!(called(&[down(), Err(ResolveError::NotFound)], failed_outside), Called::Answered);
        assert_eq!(called(&[down(), retry(None)], failed_outside), Called::Failed);
        assert_eq!(called(&[retry(Some(0))], failed_outside), Called::Failed);
        let (short, long) = (retry(Some(2_000)), retry(Some(9_000)));
        assert_eq!(called(&[long, down(), short], failed_outside), Called::Pause(Duration::from_secs(2)));
    }
    assert_eq!(called(&[down(), down()], true), Called::Failed);
    assert_eq!(called(&[down(), down()], false), Called::NotAtAll);
}

/// Callers choose what is asked for: what fails because of that alone must not take the provider from all others.
#[tokio::test]
async fn only_what_fails_outside_or_ends_the_plugin_shuts_it_for_others() {
    let down = || Ok(ResolveError::Unavailable("x".into()));
    for (always, expected) in [
        (Always(down(), false), BreakerState::Closed),
        (Always(down(), true), BreakerState::Open),
        (Always(Ok(ResolveError::InvalidReference("x".into())), false), BreakerState::Closed),
        (Always(Ok(ResolveError::Retry(None)), false), BreakerState::Open),
        (Always(Err(Fault::BadAnswer("x".into())), false), BreakerState::Closed),
        (Always(Err(Fault::Trap("x".into())), false), BreakerState::Open),
        (Always(Err(Fault::Timeout("x".into())), false), BreakerState::Open),
        (Always(Err(Fault::OutOfMemory("x".into())), false), BreakerState::Open),
    ] {
        let what = format!("{:?}, {}", always.0, always.1);
        let bounds = Bounds { breaker_failures: 2, ..bounds(20, 1) };
        let provider = Arc::new(Provider::new("always", Some(Arc::new(always)), bounds, Arc::default()));
        for _ in 0..3 {
            assert!(ask(&provider, &["a#1"]).await[0].is_err(), "{what}");
        }
        assert_eq!(provider.breaker(), expected, "{what}");
    }
}
