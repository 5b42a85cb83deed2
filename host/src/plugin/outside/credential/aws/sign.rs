//! `AWS4-HMAC-SHA256` (AWS, "Signature Version 4 signing process"; its test suite is run against it below).
//!
//! ```text
//! canonical  = method ⏎ path ⏎ query ⏎ headers ⏎⏎ names ⏎ hex(SHA-256(body))
//! to sign    = AWS4-HMAC-SHA256 ⏎ time ⏎ date/region/service/aws4_request ⏎ hex(SHA-256(canonical))
//! key        = HMAC(HMAC(HMAC(HMAC("AWS4" ‖ secret, date), region), service), "aws4_request")
//! signature  = hex(HMAC(key, to sign))
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use url::Url;
use zeroize::Zeroizing;

use super::super::super::egress::Outgoing;

/// RFC 3986's unreserved characters stay as they are, and no other.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const ESCAPED_IN_PATH: &AsciiSet = &ESCAPED.remove(b'/');
/// Headers that who carries a request may change on its way.
const UNSIGNED: [&str; 2] = ["user-agent", "x-amzn-trace-id"];

/// What signs. Has no `Debug`; wiped when dropped.
pub(super) struct Keys {
    pub(super) access_key_id: Zeroizing<String>,
    pub(super) secret_access_key: Zeroizing<String>,
    pub(super) session_token: Option<Zeroizing<String>>,
}

/// What a signature is good for.
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) time: DateTime<Utc>,
}

/// A signature, and the header that states it.
pub(super) struct Signed {
    pub(super) authorization: Zeroizing<String>,
    pub(super) signature: Zeroizing<String>,
}

impl Scope<'_> {
    /// `20150830T123600Z`
    pub(super) fn stamp(&self) -> String {
        self.time.format("%Y%m%dT%H%M%SZ").to_string()
    }

    fn text(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.time.format("%Y%m%d"), self.region, self.service)
    }

    /// S3 takes names of objects as they are: nothing is escaped twice, no slash is one too many.
    fn is_s3(&self) -> bool {
        self.service.starts_with("s3")
    }
}

/// Of a body, as requests state it.
pub(super) fn payload_hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// Signs `outgoing`, and writes its query, for S3 its path too, as they are signed: two readers of `+` or `(` could read them differently.
pub(super) fn sign(outgoing: &mut Outgoing, keys: &Keys, scope: &Scope<'_>, payload: &str) -> Signed {
    let pairs: Vec<(String, String)> = pairs_of(&outgoing.url);
    if !pairs.is_empty() {
        let query = pairs.iter().map(|(name, value)| format!("{name}={value}"));
        outgoing.url.set_query(Some(&query.collect::<Vec<_>>().join("&")));
    }
    let headers = headers_of(&outgoing.headers, &host_of(&outgoing.url));
    let path = path_of(outgoing.url.path(), scope);
    if scope.is_s3() {
        let mut url = outgoing.url.clone();
        url.set_path(&path);
        // Not where it would lead elsewhere: a name with escaped dots and slashes stays as it was.
        if url.path() == path {
            outgoing.url = url;
        }
    }
    sign_parts(outgoing.method.as_str(), &path, pairs, &headers, payload, keys, scope)
}

fn sign_parts(
    method: &str,
    path: &str,
    mut pairs: Vec<(String, String)>,
    headers: &BTreeMap<String, String>,
    payload: &str,
    keys: &Keys,
    scope: &Scope<'_>,
) -> Signed {
    pairs.sort_unstable();
    let query = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let names = headers.keys().map(String::as_str).collect::<Vec<_>>().join(";");
    let mut canonical = Zeroizing::new(format!("{method}\n{path}\n{query}\n"));
    for (name, value) in headers {
        canonical.push_str(&format!("{name}:{value}\n"));
    }
    canonical.push_str(&format!("\n{names}\n{payload}"));
    let (stamp, within) = (scope.stamp(), scope.text());
    let hash = hex(&Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{within}\n{hash}");
    let signature = Zeroizing::new(hex(&*mac(&*key(keys, scope), to_sign.as_bytes())));
    let id = &*keys.access_key_id;
    let authorization = Zeroizing::new(format!(
        "AWS4-HMAC-SHA256 Credential={id}/{within}, SignedHeaders={names}, Signature={}",
        *signature
    ));
    Signed { authorization, signature }
}

fn key(keys: &Keys, scope: &Scope<'_>) -> Zeroizing<[u8; 32]> {
    let first = Zeroizing::new(format!("AWS4{}", *keys.secret_access_key));
    let date = mac(first.as_bytes(), scope.time.format("%Y%m%d").to_string().as_bytes());
    let region = mac(&*date, scope.region.as_bytes());
    let service = mac(&*region, scope.service.as_bytes());
    mac(&*service, b"aws4_request")
}

fn mac(key: &[u8], message: &[u8]) -> Zeroizing<[u8; 32]> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// Names and values, each escaped as AWS does.
fn pairs_of(url: &Url) -> Vec<(String, String)> {
    let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    url.query_pairs().map(|(name, value)| (escape(&name), escape(&value))).collect()
}

/// As it goes over the wire, escaped once more; for S3 escaped once.
fn path_of(path: &str, scope: &Scope<'_>) -> String {
    if scope.is_s3() {
        let name: Vec<u8> = percent_decode_str(path).collect();
        return percent_encoding::percent_encode(&name, ESCAPED_IN_PATH).to_string();
    }
    // Dots are gone: a URL has none.
    let mut once = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !once.ends_with('/') {
            once.push(c);
        }
    }
    utf8_percent_encode(&once, ESCAPED_IN_PATH).to_string()
}

/// By their names in lower case; the values of one name joined, without what only spaces them out.
fn headers_of(headers: &HeaderMap, host: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::from([("host".to_owned(), host.to_owned())]);
    for name in headers.keys().filter(|name| !UNSIGNED.contains(&name.as_str())) {
        let values = headers.get_all(name).iter();
        let values = values.map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
        });
        found.insert(name.as_str().to_owned(), values.collect::<Vec<_>>().join(","));
    }
    found
}

/// As the client writes it: without a port that is the scheme's own.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;
