//! What an answer means for the records that were sent.

use guest_parts::http::wait_ms;
use guest_parts::json::parse;
use serde_json::Value;

use crate::bulk;
use crate::mapping::Mapping;

/// What the collector answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `retry-after`.
    pub retry_after: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// What becomes of the records of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The collector has them.
    Taken,
    /// The collector has them but for those at these places, which it never takes, and why.
    TakenExcept(Vec<(usize, String)>),
    /// One of them at least is bad, or they are too many, and why.
    Refused(String),
    /// Again, after so many milliseconds where the collector said so. It passes by itself.
    Later(Option<u32>, String),
    /// Again, but only the operator can make it pass.
    Misconfigured(String),
}

/// How much of an answer is told to the operator.
const TOLD_CHARS: usize = 200;

/// The fate of `count` records that were answered `answer`, at `now_ms`.
pub fn fate(mapping: &Mapping, count: usize, answer: &Answer, now_ms: u64) -> Fate {
    let said = || format!("HTTP {}: {}", answer.status, told(&answer.body));
    match (answer.status, mapping) {
        (200..=299, Mapping::ElasticsearchBulk { .. }) => bulk::fate(count, &answer.body),
        (200..=299, _) => Fate::Taken,
        (408 | 425 | 429 | 500..=599, _) => Fate::Later(wait_ms(answer.retry_after.as_deref(), now_ms), said()),
        (413, _) => Fate::Refused(said()),
        // A bad document is one item's status; what is answered for the whole is the request's fault, not the records'.
        (400 | 422, Mapping::ElasticsearchBulk { .. }) => Fate::Misconfigured(said()),
        (400, Mapping::SplunkHec { .. }) if !blames_an_event(&answer.body) => Fate::Misconfigured(said()),
        (400 | 422, _) => Fate::Refused(said()),
        (300..=399, _) => {
            Fate::Misconfigured(format!("{} (redirects are not followed: set url to the final one)", said()))
        }
        _ => Fate::Misconfigured(said()),
    }
}

/// `text` for people, in one short line.
pub fn told(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let short: String = text.trim().chars().take(TOLD_CHARS).collect();
    short.escape_debug().collect()
}

/// Whether Splunk's code is of the event: 6 invalid data format, 12 event field required, 13 event field blank, 15 indexed fields; or
/// there is none. The others (7 incorrect index, 10 and 11 data channel, 14 and 16 options of the token) are the configuration's.
fn blames_an_event(body: &[u8]) -> bool {
    let code = parse(body).ok().and_then(|answer| answer.get("code").and_then(Value::as_u64));
    code.is_none_or(|code| matches!(code, 6 | 12 | 13 | 15))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Format;

    const NDJSON: Mapping = Mapping::NdJson(Format::Journal);

    fn of(mapping: &Mapping, status: u16, body: &str) -> &'static str {
        match fate(mapping, 1, &Answer { status, retry_after: None, body: body.as_bytes().to_vec() }, 0) {
            Fate::Taken => "taken",
            Fate::TakenExcept(_) => "except",
            Fate::Refused(_) => "refused",
            Fate::Later(..) => "later",
            Fate::Misconfigured(_) => "misconfigured",
        }
    }

    #[test]
    fn every_status_has_a_fate_and_only_what_is_called_bad_is_refused() {
        for (statuses, expected) in [
            (&[200, 201, 202, 204, 299][..], "taken"),
            (&[408, 425, 429, 500, 502, 503, 504, 599], "later"),
            (&[400, 413, 422], "refused"),
            (&[100, 301, 302, 307, 401, 403, 404, 405, 409, 410, 415, 418, 451, 600, 999], "misconfigured"),
        ] {
            for status in statuses {
                assert_eq!(of(&NDJSON, *status, ""), expected, "{status}");
            }
        }
    }

    #[test]
    fn splunk_says_whose_fault_it_is() {
        let hec = Mapping::splunk_hec(&Default::default());
        for (body, expected) in [
            (r#"{"text":"Invalid data format","code":6,"invalid-event-number":0}"#, "refused"),
            (r#"{"text":"Event field cannot be blank","code":13}"#, "refused"),
            ("<html>", "refused"),
            (r#"{"text":"Incorrect index","code":7}"#, "misconfigured"),
            (r#"{"text":"Data channel is missing","code":10}"#, "misconfigured"),
        ] {
            assert_eq!(of(&hec, 400, body), expected, "{body}");
        }
        assert_eq!(of(&hec, 503, r#"{"text":"Server is busy","code":9}"#), "later");
    }

    #[test]
    fn elasticsearch_is_not_believed_to_have_what_it_does_not_say() {
        let bulk = Mapping::elasticsearch_bulk("audit");
        assert_eq!(of(&bulk, 200, r#"{"errors":false,"items":[{"create":{"status":201}}]}"#), "taken");
        assert_eq!(of(&bulk, 200, "<html>welcome</html>"), "misconfigured");
        assert_eq!(of(&bulk, 400, "illegal_argument_exception"), "misconfigured");
        assert_eq!(of(&bulk, 413, ""), "refused");
    }

    #[test]
    fn what_is_told_is_one_short_line() {
        assert_eq!(told(b" a\n\x1b[31m\xff "), "a\\n\\u{1b}[31m\u{fffd}");
        assert_eq!(told("é".repeat(500).as_bytes()).chars().count(), 200);
    }
}
