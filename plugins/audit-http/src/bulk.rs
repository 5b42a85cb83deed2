//! Elasticsearch's answer to `_bulk`: `{"errors":…,"items":[{"create":{"status":…,"error":{"type":…,"reason":…}}},…]}`, an item for each
//! document, in order.

use guest_parts::json::parse;
use serde_json::Value;

use crate::answer::{Fate, told};

/// The fate of `count` documents.
pub fn fate(count: usize, body: &[u8]) -> Fate {
    let not_an_answer = || Fate::Misconfigured(format!("not an answer of _bulk to {count} documents: {}", told(body)));
    let Ok(answer) = parse(body) else { return not_an_answer() };
    match answer.get("errors").and_then(Value::as_bool) {
        Some(false) => return Fate::Taken,
        Some(true) => {}
        None => return not_an_answer(),
    }
    let Some(items) = answer.get("items").and_then(Value::as_array).filter(|items| items.len() == count) else {
        return not_an_answer();
    };
    let mut rejected = Vec::new();
    for (place, item) in items.iter().enumerate() {
        // Whatever is to be tried again takes the others along: those that are there already answer 409 then.
        match of_item(item) {
            Fate::Taken => {}
            Fate::Refused(why) => rejected.push((place, why)),
            again => return again,
        }
    }
    if rejected.is_empty() { Fate::Taken } else { Fate::TakenExcept(rejected) }
}

fn of_item(item: &Value) -> Fate {
    let result = item.get("create");
    let said = |key| result.and_then(|result| result.get("error")?.get(key)?.as_str()).unwrap_or_default();
    let status = result.and_then(|result| result.get("status")?.as_u64()).unwrap_or_default();
    let why = || told(format!("HTTP {status}: {}: {}", said("type"), said("reason")).as_bytes());
    match status {
        // 409: a document of this id is there, and it is this one.
        200..=299 | 409 => Fate::Taken,
        408 | 425 | 429 | 500..=599 => Fate::Later(None, why()),
        // No index, no right to write to it, no status: not the document's fault.
        0..=199 | 300..=399 | 401 | 403 | 404 | 600.. => Fate::Misconfigured(why()),
        400..=499 => Fate::Refused(why()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(items: &[(u16, &str)]) -> Fate {
        let items: Vec<Value> = items
            .iter()
            .map(|(status, reason)| serde_json::json!({"create": {"status": status, "error": {"type": "t", "reason": reason}}}))
            .collect();
        fate(items.len(), serde_json::json!({"errors": true, "items": items}).to_string().as_bytes())
    }

    #[test]
    fn what_is_there_already_is_taken() {
        assert_eq!(answer(&[(201, ""), (409, "version conflict")]), Fate::Taken);
    }

    #[test]
    fn a_bad_document_is_rejected_and_the_rest_taken() {
        let expected = vec![(1, "HTTP 400: t: failed to parse".to_owned())];
        assert_eq!(answer(&[(201, ""), (400, "failed to parse"), (201, "")]), Fate::TakenExcept(expected));
    }

    #[test]
    fn one_to_be_tried_again_takes_all_along() {
        assert!(matches!(answer(&[(400, "bad"), (429, "queue full"), (201, "")]), Fate::Later(None, _)));
        assert!(matches!(answer(&[(201, ""), (503, "shard")]), Fate::Later(None, _)));
        for status in [0, 301, 401, 403, 404, 600] {
            assert!(matches!(answer(&[(201, ""), (status, "no index")]), Fate::Misconfigured(_)), "{status}");
        }
    }

    #[test]
    fn what_is_no_answer_takes_nothing() {
        for body in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"errors":"no"}"#,
            r#"{"errors":true}"#,
            r#"{"errors":true,"items":[]}"#,
            r#"{"errors":true,"items":[1,2]}"#,
            r#"{"errors":true,"items":[{"index":{"status":201}}]}"#,
        ] {
            assert!(matches!(fate(1, body.as_bytes()), Fate::Misconfigured(_)), "{body}");
        }
    }
}
