//! What HTTP asks of a plugin that speaks it: URLs that the host sends to, parts of them escaped, waits that a server asks for.

use serde_json::Value;

use crate::settings::{Problem, Setting, Table};
use crate::time::http_date;

/// An absolute URL, `http` or `https`, without userinfo or fragment: what the host's interface takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(pub String);

/// Who asks for more is asked again all the same.
const LONGEST_WAIT_MS: u64 = 3_600_000;

impl Setting for Url {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        let text = String::read(value, path)?;
        match wrong_with_url(&text) {
            None => Ok(Self(text)),
            Some(what) => Err(Problem::new(path, what.to_owned())),
        }
    }
}

/// The milliseconds that the header `retry-after` asks for at `now_ms`, RFC 9110 section 10.2.3: seconds, or a date. None where it says "now": then the host's back-off is kinder.
pub fn wait_ms(retry_after: Option<&str>, now_ms: u64) -> Option<u32> {
    let text = retry_after?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => seconds.saturating_mul(1_000),
        Err(_) => http_date(text)?.saturating_sub(now_ms),
    };
    u32::try_from(wait.min(LONGEST_WAIT_MS)).ok().filter(|wait| *wait > 0)
}

/// `text` as one segment of a path or one value of a query: all but RFC 3986's unreserved characters as %XX.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// The setting `credential`: the name of one that the host adds to each request.
pub fn credential(settings: &mut Table) -> Option<String> {
    let credential = settings.optional::<String>("credential");
    if credential.as_ref().is_some_and(String::is_empty) {
        settings.problem("credential", "is empty".to_owned());
    }
    credential
}

/// The setting `url`, below which a plugin asks: without a query, and without a slash at its end.
pub fn base_url(settings: &mut Table) -> Option<String> {
    let url = settings.required::<Url>("url")?;
    if url.0.contains('?') {
        settings.problem("url", "must not have a query".to_owned());
    }
    Some(url.0.trim_end_matches('/').to_owned())
}

fn wrong_with_url(text: &str) -> Option<&'static str> {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return Some("must begin with http:// or https://");
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.starts_with(':') {
        return Some("has no host");
    }
    if authority.contains('@') {
        return Some("must not hold a user or password: bind a credential instead");
    }
    if text.contains('#') {
        return Some("must not have a fragment");
    }
    (!text.bytes().all(|b| b.is_ascii_graphic())).then_some("must be printable ASCII without a space")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_is_one_part_of_a_url() {
        assert_eq!(escaped("a-b.c_d~9"), "a-b.c_d~9");
        assert_eq!(escaped("a/b?c#d%e f\u{e9}"), "a%2Fb%3Fc%23d%25e%20f%C3%A9");
    }

    #[test]
    fn urls_are_what_the_host_sends_to() {
        for text in [
            "http://c.test",
            "https://c.test:8088/services/collector/event?x=1",
            "http://[::1]:3100/",
            "https://c.test/a@b",
        ] {
            assert!(Url::read(&Value::from(text), "/url").is_ok(), "{text}");
        }
        for text in [
            "",
            "c.test",
            "ftp://c.test",
            "HTTP://c.test",
            "http://",
            "http:///x",
            "http://:80/",
            "http://u:p@c.test/",
            "http://u@c.test?x",
            "http://c.test/#x",
            "http://c.test/a b",
            "http://c.test/\n",
            "http://ü.test/",
        ] {
            assert!(Url::read(&Value::from(text), "/url").is_err(), "{text:?}");
        }
    }

    #[test]
    fn waits_are_seconds_or_dates_and_bounded() {
        let now_ms = 784_111_770_000;
        for (text, wait) in [
            ("5", Some(5_000)),
            (" 120 ", Some(120_000)),
            ("0", None),
            ("-1", None),
            ("soon", None),
            ("18446744073709551615", Some(3_600_000)),
            ("99999999999999999999", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7_000)),
            ("Sun, 06 Nov 1994 08:49:30 GMT", None),
            ("Sun, 06 Nov 2094 08:49:37 GMT", Some(3_600_000)),
        ] {
            assert_eq!(wait_ms(Some(text), now_ms), wait, "{text}");
        }
        assert_eq!(wait_ms(None, now_ms), None);
    }
}
