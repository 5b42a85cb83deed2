//! AWS's own test suite.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Suite {
    access_key_id: String,
    secret_access_key: String,
    region: String,
    service: String,
    time: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    token: Option<String>,
    #[serde(default)]
    payload_header: bool,
    signature: String,
}

#[test]
fn the_published_suite_is_signed_as_published() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/aws_sigv4.json");
    let suite: Suite = serde_json::from_str(&std::fs::read_to_string(file).expect("readable")).expect("the suite");
    assert!(suite.cases.len() >= 25, "{}", suite.cases.len());
    let time: DateTime<Utc> = suite.time.parse().expect("a time");
    let secret = |text: &str| Zeroizing::new(text.to_owned());
    let scope = Scope { region: &suite.region, service: &suite.service, time };
    for case in &suite.cases {
        let mut headers = HeaderMap::new();
        let mut host = None;
        for (name, value) in &case.headers {
            if name.eq_ignore_ascii_case("host") {
                host = Some(value);
            } else {
                let name: http::HeaderName = name.parse().expect("a name");
                headers.append(name, value.parse().expect("a value"));
            }
        }
        let payload = payload_hash(case.body.as_bytes());
        headers.insert("x-amz-date", scope.stamp().parse().expect("a value"));
        if case.payload_header {
            headers.insert("x-amz-content-sha256", payload.parse().expect("a value"));
        }
        if let Some(token) = &case.token {
            headers.insert("x-amz-security-token", token.parse().expect("a value"));
        }
        let url = format!("https://{}{}", host.expect("a host"), case.target);
        let url = Url::parse(&url).expect("a URL");
        let method = case.method.parse().expect("a method");
        let mut outgoing = Outgoing { method, url, headers, body: case.body.clone().into() };
        let keys = Keys {
            access_key_id: secret(&suite.access_key_id),
            secret_access_key: secret(&suite.secret_access_key),
            session_token: case.token.as_deref().map(secret),
        };
        // The suite's paths are not escaped yet, as ours always are: of these two, what AWS escapes is what stands there.
        let signed = if matches!(&*case.name, "get-space-normalized" | "get-utf8") {
            let headers = headers_of(&outgoing.headers, &host_of(&outgoing.url));
            let path = path_of(&case.target, &scope);
            sign_parts(&case.method, &path, Vec::new(), &headers, &payload, &keys, &scope)
        } else {
            sign(&mut outgoing, &keys, &scope, &payload)
        };
        assert_eq!(*signed.signature, case.signature, "{}", case.name);
        assert!(signed.authorization.ends_with(&format!("Signature={}", case.signature)));
    }
}

#[test]
fn s3_takes_a_path_as_it_is_and_others_take_it_escaped_once_more() {
    let scope = |service| Scope { region: "r", service, time: DateTime::default() };
    for (path, s3, others) in [
        ("/a%20b", "/a%20b", "/a%2520b"),
        ("/a(b)", "/a%28b%29", "/a%28b%29"),
        ("/a//b/", "/a//b/", "/a/b/"),
        ("/%C3%A9~-._", "/%C3%A9~-._", "/%25C3%25A9~-._"),
        ("/", "/", "/"),
    ] {
        assert_eq!((&*path_of(path, &scope("s3")), &*path_of(path, &scope("kms"))), (s3, others), "{path}");
    }
}

#[test]
fn a_query_is_sent_as_it_is_signed() {
    let keys = || Zeroizing::new("k".repeat(20));
    let keys = Keys { access_key_id: keys(), secret_access_key: keys(), session_token: None };
    let url = Url::parse("https://a.example/?b=1+2&a=%7e'&b=0&c").expect("a URL");
    let mut outgoing = Outgoing { method: http::Method::GET, url, headers: HeaderMap::new(), body: Default::default() };
    let scope = Scope { region: "r", service: "s", time: DateTime::default() };
    sign(&mut outgoing, &keys, &scope, &payload_hash(b""));
    // In the order in which it came: what comes twice may mean something by it.
    assert_eq!(outgoing.url.query(), Some("b=1%202&a=~%27&b=0&c="));
}
