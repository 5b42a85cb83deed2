//! What is asked of AWS Secrets Manager.
//!
//! `BatchGetSecretValue` answers the current version (`AWSCURRENT`) of at most 20 secrets by name or ARN, in pages, with an error for each that
//! it has none for. Another version is a `GetSecretValue` of its own. A version of 32 characters or more is a `VersionId`, a shorter one a
//! stage: ids are never shorter (`ClientRequestToken`, 32 to 64).
//!
//! As the service's model of 2017-10-17 has it (AWS publishes it with its SDKs): `SecretIdList` 1 to 20, `NextToken` also where a page holds
//! no values, `Errors` with the ARN or the name of each secret that could not be had.

use guest_parts::json::parse;
use guest_parts::secret::{Backend, Reference, Request, ResolveError, Secret, grouped};
use serde_json::{Value, json};

use crate::answer::{Found, error_of, failure};
use crate::settings::Settings;

/// Secrets in one request.
const BATCH_MAX: usize = 20;
/// Pages of one request's answer: each has a secret at the least.
const PAGES_MAX: usize = 20;
/// The shortest `VersionId`.
const VERSION_ID_LEN_MIN: usize = 32;

/// What was found of each secret that was asked for.
type Outcome = Result<Found, ResolveError>;

/// One result for each of `references`, in order.
pub fn resolve(
    settings: &Settings,
    manager: &mut impl Backend,
    references: &[Reference],
) -> Vec<Result<Secret, ResolveError>> {
    let mut results: Vec<_> = references.iter().map(|_| Err(ResolveError::NotFound)).collect();
    let mut fill = |places: &[usize], outcome: &Outcome| {
        for place in places {
            let (Some(reference), Some(slot)) = (references.get(*place), results.get_mut(*place)) else { continue };
            *slot = outcome
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|found| found.secret(reference.field.as_deref(), settings.keep.ms));
        }
    };
    let mut current = Vec::new();
    for ((id, version), places) in grouped(references, |reference| (reference.path.clone(), reference.version.clone()))
    {
        match (is_id(&id), version) {
            (false, _) => {
                fill(&places, &Err(ResolveError::InvalidReference("not a name or an ARN of a secret".to_owned())))
            }
            (true, None) => current.push((id, places)),
            (true, Some(version)) => fill(&places, &one(settings, manager, &id, &version)),
        }
    }
    for batch in current.chunks(BATCH_MAX) {
        let ids: Vec<&str> = batch.iter().map(|(id, _)| id.as_str()).collect();
        for ((_, places), outcome) in batch.iter().zip(many(settings, manager, &ids)) {
            fill(places, &outcome);
        }
    }
    results
}

/// The current version of each of `ids`.
fn many(settings: &Settings, manager: &mut impl Backend, ids: &[&str]) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = ids.iter().map(|_| None).collect();
    let mut body = json!({ "SecretIdList": ids });
    let mut trouble = None;
    for _ in 0..PAGES_MAX {
        let answer = match call(settings, manager, "BatchGetSecretValue", &body) {
            Ok(answer) => answer,
            Err(error) => {
                trouble = Some(error);
                break;
            }
        };
        let list = |key: &str| answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        for secret in list("SecretValues") {
            let found = Found::of(&secret);
            for (id, outcome) in ids.iter().zip(&mut outcomes) {
                if is_of(&secret, id) {
                    *outcome = Some(found.clone());
                }
            }
        }
        for error in list("Errors") {
            let of = error.get("SecretId").and_then(Value::as_str).unwrap_or_default();
            for (id, outcome) in ids.iter().zip(&mut outcomes) {
                if is_error_of(of, id) {
                    *outcome = Some(Err(error_of(&error, "ErrorCode")));
                }
            }
        }
        match answer.get("NextToken").and_then(Value::as_str) {
            Some(next) => body = json!({ "SecretIdList": ids, "NextToken": next }),
            None => break,
        }
    }
    let missing =
        trouble.unwrap_or_else(|| ResolveError::Unavailable("the answer says nothing of the secret".to_owned()));
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(missing.clone()))).collect()
}

fn one(settings: &Settings, manager: &mut impl Backend, id: &str, version: &str) -> Outcome {
    let key = if version.len() < VERSION_ID_LEN_MIN { "VersionStage" } else { "VersionId" };
    let answer = call(settings, manager, "GetSecretValue", &json!({ "SecretId": id, key: version }))?;
    if is_of(&answer, id) {
        Found::of(&answer)
    } else {
        Err(ResolveError::Unavailable("the answer is of another secret".to_owned()))
    }
}

/// One request; what it answers with 200, as JSON.
fn call(settings: &Settings, manager: &mut impl Backend, what: &str, body: &Value) -> Result<Value, ResolveError> {
    let headers = vec![
        ("content-type", "application/x-amz-json-1.1".to_owned()),
        ("x-amz-target", format!("secretsmanager.{what}")),
    ];
    let request = Request { method: "POST", url: settings.url.clone(), headers, body: body.to_string().into_bytes() };
    // References are in the body alone: what the host does not send is the operator's to mend.
    let answer = manager.send(request).map_err(|no_answer| ResolveError::Unavailable(no_answer.why()))?;
    if answer.status != 200 {
        return Err(failure(&answer, manager.now_ms()));
    }
    // The parser's own message says where, and repeats nothing.
    parse(&answer.body).map_err(|what| ResolveError::Unavailable(format!("not an answer of Secrets Manager: {what}")))
}

/// Whether a secret of an answer is the one that was asked for as `id`: its name, its ARN, or that without the six characters at its end.
fn is_of(secret: &Value, id: &str) -> bool {
    let text = |key: &str| secret.get(key).and_then(Value::as_str).unwrap_or_default();
    let arn = text("ARN");
    let is_partly = arn.strip_prefix(id).and_then(|rest| rest.strip_prefix('-'));
    id == text("Name") || id == arn || (id.starts_with("arn:") && is_partly.is_some_and(|end| end.len() == 6))
}

/// Whether the `SecretId` of an error names the secret that was asked for as `id`: as it was asked for, or its ARN.
fn is_error_of(of: &str, id: &str) -> bool {
    let name = of.strip_prefix("arn:").and_then(|arn| arn.split_once(":secret:")).map(|(_, name)| name);
    let is_its_arn = name.and_then(|name| name.strip_prefix(id)).and_then(|rest| rest.strip_prefix('-'));
    is_of(&json!({ "ARN": of, "Name": of }), id) || is_its_arn.is_some_and(|end| end.len() == 6)
}

/// Names have 1 to 512 letters, digits and `/_+=.@-`; ARNs have colons too.
fn is_id(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"/_+=.@-:".contains(&b);
    (1..=2_048).contains(&text.len())
        && text.bytes().all(is_allowed)
        && (text.starts_with("arn:") || !text.contains(':'))
}

#[cfg(test)]
mod tests {
    use guest_parts::backend::NoAnswer;
    use guest_parts::secret::Answer;

    use super::*;
    use crate::settings;

    /// A host that sends nothing.
    struct Refusing;

    impl Backend for Refusing {
        fn send(&mut self, _request: Request) -> Result<Answer, NoAnswer> {
            Err(NoAnswer::InvalidRequest("as the test says".to_owned()))
        }

        fn now_ms(&mut self) -> u64 {
            0
        }
    }

    #[test]
    fn what_the_host_does_not_send_is_not_the_references_fault() {
        let settings = settings::parse(r#"{"region": "eu-central-1"}"#).expect("good");
        let reference = |version: Option<&str>| Reference {
            path: "app/db".to_owned(),
            field: None,
            version: version.map(str::to_owned),
        };
        let found = resolve(&settings, &mut Refusing, &[reference(None), reference(Some("AWSPREVIOUS"))]);
        assert!(found.iter().all(|found| matches!(found, Err(ResolveError::Unavailable(_)))));
    }

    #[test]
    fn an_answer_is_of_the_secret_that_was_asked_for_and_no_other() {
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app/db-AbCdEf";
        let secret = json!({"Name": "app/db", "ARN": arn});
        for id in ["app/db", arn, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app/db"] {
            assert!(is_of(&secret, id), "{id}");
        }
        for id in [
            "",
            "app",
            "app/db-AbCdEf",
            "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app",
            &arn[..arn.len() - 1],
        ] {
            assert!(!is_of(&secret, id), "{id}");
        }
    }

    #[test]
    fn an_error_names_a_secret_as_it_was_asked_for_or_by_its_arn() {
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:app/db-AbCdEf";
        for (of, id) in [("app/db", "app/db"), (arn, "app/db"), (arn, arn), (arn, &arn[..arn.len() - 7])] {
            assert!(is_error_of(of, id), "{of} {id}");
        }
        for (of, id) in [("", "app/db"), ("app/db", "app"), (arn, "app"), (arn, "db"), ("app/db-AbCdEf", "app/db")] {
            assert!(!is_error_of(of, id), "{of} {id}");
        }
    }

    #[test]
    fn ids_are_names_or_arns() {
        for id in ["a", "app/db_1+=.@-", "arn:aws:secretsmanager:eu-central-1:1:secret:x-AbCdEf"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", "a b", "a:b", "a\"b", "é", "a?b"] {
            assert!(!is_id(id), "{id}");
        }
    }
}
