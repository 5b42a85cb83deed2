//! Bad bodies, paths and headers: what each gets.

use reqwest::Method;
use serde_json::json;

use crate::support::{Codec, Launch};

#[tokio::test]
async fn bodies_that_are_not_one_json_object() {
    let codec = Codec::start().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_inside = format!(r#"{{"projectId":"p","value":"v","x":{deep}}}"#);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", b"".to_vec(), "invalid_json"),
        ("null", b"null".to_vec(), "invalid_request"),
        ("a list", b"[]".to_vec(), "invalid_request"),
        ("a string", b"\"x\"".to_vec(), "invalid_request"),
        ("trailing garbage", br#"{"projectId":"p","value":"v"} x"#.to_vec(), "invalid_json"),
        ("two objects", br#"{"projectId":"p","value":"v"}{}"#.to_vec(), "invalid_json"),
        ("truncated", br#"{"projectId":"p","value":"v"#.to_vec(), "invalid_json"),
        ("10,000 levels", deep.into_bytes(), "invalid_request"),
        ("10,000 levels inside", deep_inside.into_bytes(), "invalid_json"),
        ("a lone surrogate", br#"{"projectId":"p","value":"\ud800"}"#.to_vec(), "invalid_json"),
        ("a reversed pair", br#"{"projectId":"p","value":"\udc00\ud800"}"#.to_vec(), "invalid_json"),
        ("invalid UTF-8", b"{\"projectId\":\"p\",\"value\":\"\xff\"}".to_vec(), "invalid_json"),
        ("UTF-16", b"\xff\xfe{\0}\0".to_vec(), "invalid_json"),
        ("a raw control character", b"{\"projectId\":\"p\",\"value\":\"\x01\"}".to_vec(), "invalid_json"),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec(), "invalid_json"),
        ("single quotes", b"{'projectId':'p'}".to_vec(), "invalid_json"),
        ("a comment", br#"{"projectId":"p"/**/}"#.to_vec(), "invalid_json"),
        ("NaN", br#"{"projectId":"p","value":"v","x":NaN}"#.to_vec(), "invalid_json"),
        (
            "a number out of range, unknown field",
            br#"{"projectId":"p","value":"v","x":1e400}"#.to_vec(),
            "invalid_json",
        ),
    ];
    for (case, body, code) in cases {
        let answer = codec.client.post_text("/encrypt", body).await;
        assert_eq!(answer.problem(), (400, code.into()), "{case}: {}", answer.text);
    }
    let pair = codec.client.post_text("/encrypt", r#"{"projectId":"p","value":"\ud83e\udd80"}"#).await;
    pair.ok();
}

#[tokio::test]
async fn a_key_that_appears_twice() {
    let codec = Codec::start().await;
    for (path, body) in [
        ("/encrypt", r#"{"projectId":"a","value":"v","projectId":"b"}"#),
        ("/encrypt", r#"{"projectId":"a","value":"v","value":"v"}"#),
        ("/encrypt", r#"{"projectId":"a","value":"v","pr\u006fjectId":"b"}"#),
        ("/encrypt", r#"{"projectId":"a","value":"v","unknown":1,"unknown":2}"#),
        ("/encrypt", r#"{"projectId":"a","value":"v","unknown":{"deep":[{"x":1,"x":1}]}}"#),
        ("/decrypt-dek", r#"{"projectId":"a","projectId":"b","encryptedDEK":""}"#),
        ("/decrypt-all", r#"{"projectId":"a","deploymentId":"d","variables":{},"variables":{}}"#),
        (
            "/decrypt-all",
            r#"{"projectId":"a","deploymentId":"d","variables":{"A":{"type":"plain","value":""},"A":{"type":"plain","value":""}}}"#,
        ),
        (
            "/decrypt-all",
            r#"{"projectId":"a","deploymentId":"d","variables":{"A":{"type":"plain","value":"","value":""}}}"#,
        ),
        (
            "/encrypt-all",
            r#"{"projectId":"a","variables":{"A":{"type":"plain","value":""},"\u0041":{"type":"plain","value":""}}}"#,
        ),
    ] {
        let answer = codec.client.post_text(path, body).await;
        assert_eq!(answer.problem(), (400, "duplicate_key".into()), "{body}: {}", answer.text);
    }
}

#[tokio::test]
async fn wrong_types_are_refused_without_being_repeated_and_unknown_fields_ignored() {
    let codec = Codec::start().await;
    for (path, body) in [
        ("/encrypt", r#"{}"#),
        ("/encrypt", r#"{"projectId":"p"}"#),
        ("/encrypt", r#"{"projectId":"p","value":null}"#),
        ("/encrypt", r#"{"projectId":"p","value":314159}"#),
        ("/encrypt", r#"{"projectId":"p","value":["canary-314159"]}"#),
        ("/encrypt", r#"{"projectId":["canary-314159"],"value":""}"#),
        ("/decrypt-value", r#"{"encrypted":"AAAA"}"#),
        ("/decrypt-all", r#"{"projectId":"p","deploymentId":"d"}"#),
        ("/decrypt-all", r#"{"projectId":"p","deploymentId":"d","variables":[]}"#),
        ("/decrypt-all", r#"{"projectId":"p","deploymentId":"d","variables":{"A":"canary-314159"}}"#),
        (
            "/decrypt-all",
            r#"{"projectId":"p","deploymentId":"d","variables":{"A":{"type":"canary-314159","value":""}}}"#,
        ),
        ("/decrypt-all", r#"{"projectId":"p","deploymentId":"d","variables":{"A":{"value":""}}}"#),
        ("/decrypt-all", r#"{"projectId":"p","deploymentId":"d","variables":{"A":{"type":"plain"}}}"#),
        (
            "/decrypt-all",
            r#"{"projectId":"p","deploymentId":"d","variables":{"A":{"type":"plain","encrypted":true,"value":""}}}"#,
        ),
        (
            "/decrypt-all",
            r#"{"projectId":"p","deploymentId":"d","variables":{"A":{"type":"secret","encrypted":"true","value":""}}}"#,
        ),
        ("/decrypt-all", r#"{"projectId":"p","deploymentId":"d","variables":{},"partial":"yes"}"#),
    ] {
        let answer = codec.client.post_text(path, body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        assert!(!answer.text.contains("314159"), "{}", answer.text);
    }
    codec.client.post("/encrypt", json!({"projectId": "p", "value": "v", "x": {"y": [1, 2.5, null, true]}})).await.ok();
}

#[tokio::test]
async fn names_that_could_mean_something_elsewhere() {
    let codec = Codec::start().await;
    let long = "x".repeat(1 << 19);
    for name in ["", ".", "..", "../x", "a/b", "%2f", "a\0", "a\n", "*", "'", "\"", "a b", "é", "' OR 1=1 --", &long] {
        let answer = codec.client.post("/encrypt", json!({"projectId": name, "value": "v"})).await;
        answer.refused(400, "invalid_request");
        assert!(answer.text.len() < 1_000);
        let call = json!({"projectId": "p", "deploymentId": name, "variables": {}});
        codec.client.post("/decrypt-all", call).await.refused(400, "invalid_request");
    }
    let variable = |name: &str| json!({"projectId": "p", "deploymentId": "d", "variables": {name: {"type": "plain", "value": ""}}});
    codec.client.post("/decrypt-all", variable(&"N".repeat(64 << 10))).await.refused(400, "invalid_request");
    codec.client.post("/decrypt-all", variable(&"N".repeat(256))).await.ok();
    // Escape codes in a name reach the answer and the record as JSON escapes, never raw.
    let sealed = codec.client.encrypt("p", "x").await;
    let name = "\u{1b}[31m\u{9b}2J\u{202e}";
    let call = json!({"projectId": "p", "deploymentId": "d", "variables": {name: {"type": "secret", "value": sealed["encrypted"]}}});
    assert_eq!(codec.client.post("/decrypt-all", call).await.ok()[name], "x");
    assert_eq!(codec.last_record()["variables"], json!([name]));
}

#[tokio::test]
async fn sizes_one_over_the_limit() {
    let codec =
        Launch::new().toml("[limits]\nbody_bytes = 1000\nbatch_body_bytes = 5000\nvariables = 10").start().await;
    let body = |length: usize| {
        let frame = json!({"projectId": "p", "value": ""}).to_string().len();
        json!({"projectId": "p", "value": "x".repeat(length - frame)}).to_string()
    };
    codec.client.post_text("/encrypt", body(1_000)).await.ok();
    codec.client.post_text("/encrypt", body(1_001)).await.refused(413, "payload_too_large");
    let pieces = |text: String| {
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            text.into_bytes().chunks(100).map(|c| Ok(c.to_vec())).collect();
        reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
    };
    codec.client.post_text("/encrypt", pieces(body(1_000))).await.ok();
    codec.client.post_text("/encrypt", pieces(body(1_001))).await.refused(413, "payload_too_large");
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 4_096]));
    let request = codec.client.request("/encrypt", reqwest::Body::wrap_stream(endless));
    // The answer comes before the body ends; whether it can still be read is up to the network.
    if let Ok(answer) = codec.client.send(request).await {
        answer.refused(413, "payload_too_large");
    }
    let many = |count: usize| {
        let variables: serde_json::Map<_, _> =
            (0..count).map(|i| (format!("V{i}"), json!({"type": "plain", "value": ""}))).collect();
        json!({"projectId": "p", "deploymentId": "d", "variables": variables})
    };
    codec.client.post("/decrypt-all", many(10)).await.ok();
    let answer = codec.client.post("/decrypt-all", many(11)).await;
    answer.refused(413, "payload_too_large");
    assert!(answer.json().get("variable").is_none(), "no variable is to blame");
}

#[tokio::test]
async fn a_million_variables_are_refused_before_any_is_opened() {
    let codec = Launch::new().toml("[limits]\nbatch_body_bytes = 100000000").start().await;
    let mut body = String::from(r#"{"projectId":"p","deploymentId":"d","variables":{"#);
    for index in 0..1_000_000 {
        body.push_str(&format!(r#""V{index}":{{"type":"plain","value":""}},"#));
    }
    body.push_str(r#""Z":{"type":"plain","value":""}}}"#);
    codec.client.post_text("/decrypt-all", body).await.refused(413, "payload_too_large");
}

#[tokio::test]
async fn media_types_and_encodings() {
    let codec = Codec::start().await;
    let body = json!({"projectId": "p", "value": "v"}).to_string();
    let send = async |content_type: Option<&str>, encoding: Option<&str>| {
        let mut request = codec.client.bare(Method::POST, "/encrypt").header("X-Service-Auth", &codec.client.token);
        request = content_type.into_iter().fold(request, |request, value| request.header("Content-Type", value));
        request = encoding.into_iter().fold(request, |request, value| request.header("Content-Encoding", value));
        codec.client.send(request.body(body.clone())).await.expect("an answer")
    };
    for content_type in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
        send(Some(content_type), None).await.ok();
    }
    for content_type in [None, Some("text/plain"), Some("application/jsonx"), Some("application/json; charset=latin1")]
    {
        send(content_type, None).await.refused(415, "unsupported_media_type");
    }
    let twice = codec.client.request("/encrypt", body.clone()).header("Content-Type", "text/plain");
    codec.client.send(twice).await.expect("an answer").refused(415, "unsupported_media_type");
    for encoding in ["gzip", "br", "deflate", "identity, gzip"] {
        send(Some("application/json"), Some(encoding)).await.refused(415, "unsupported_media_type");
    }
}

#[tokio::test]
async fn paths_and_methods() {
    let codec = Codec::start().await;
    // With the methods that are allowed, where the path is one.
    for (method, path, allowed) in [
        (Method::GET, "/encrypt", Some("POST")),
        (Method::PUT, "/decrypt-all", Some("POST")),
        (Method::OPTIONS, "/decrypt-all", Some("POST")),
        (Method::POST, "/livez", Some("GET,HEAD")),
        (Method::GET, "/nope", None),
        (Method::POST, "//encrypt", None),
        (Method::POST, "/encrypt/", None),
        (Method::POST, "/Encrypt", None),
        (Method::POST, "/%65ncrypt", None),
        (Method::GET, "/", None),
    ] {
        let request = codec.client.bare(method.clone(), path).header("X-Service-Auth", &codec.client.token);
        let answer = codec.client.send(request).await.expect("an answer");
        let (status, code) = if allowed.is_some() { (405, "method_not_allowed") } else { (404, "not_found") };
        answer.refused(status, code);
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
    }
    let head = codec.client.send(codec.client.bare(Method::HEAD, "/livez")).await.expect("an answer");
    assert_eq!((head.status, head.header("content-length"), &*head.text), (200, Some("3"), ""));
    let head = codec.client.send(codec.client.bare(Method::HEAD, "/encrypt")).await.expect("an answer");
    assert_eq!((head.status, head.header("allow")), (405, Some("POST")));
    for path in ["/livez", "/readyz", "/metrics", "/openapi.json"] {
        let answer = codec.client.send(codec.client.bare(Method::GET, path)).await.expect("an answer");
        assert_eq!(answer.status, 200, "{path} is open to all");
    }
}

#[tokio::test]
async fn request_ids_are_taken_over_when_harmless_and_made_when_not() {
    let codec = Codec::start().await;
    let send = async |id: &str| {
        let body = json!({"projectId": "p", "value": "v"}).to_string();
        let request = codec.client.request("/encrypt", body).header("X-Request-Id", id);
        let answer = codec.client.send(request).await.expect("an answer");
        answer.header("x-request-id").expect("an id").to_owned()
    };
    assert_eq!(send("runner-42").await, "runner-42");
    assert_eq!(codec.last_record()["requestId"], "runner-42");
    for id in ["a b", "a\tb", "é", &"x".repeat(65), "<script>"] {
        let made = send(id).await;
        assert_ne!(made, id);
        assert_eq!(made.len(), 32);
    }
}

#[tokio::test]
async fn sixteen_kilobytes_of_headers() {
    let codec = Codec::start().await;
    let request = codec.client.bare(Method::GET, "/livez").header("X-Long", "x".repeat(17 << 10));
    assert_eq!(codec.client.send(request).await.expect("an answer").status, 431);
}
