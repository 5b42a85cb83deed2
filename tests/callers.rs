//! Who may come in, and for what.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::{Codec, Launch};

fn digest(token: &str) -> String {
    let digits: String = Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

#[tokio::test]
async fn doors_that_stay_closed() {
    let codec = Codec::start().await;
    let token = codec.client.token.clone();
    let body = json!({"projectId": "p", "value": "v"}).to_string();
    let send = async |headers: &[(&str, &str)], path: &str| {
        let request = codec.client.bare(Method::POST, path).header("Content-Type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        codec.client.send(request.body(body.clone())).await.expect("an answer")
    };
    send(&[("X-Service-Auth", &token)], "/encrypt").await.ok();
    send(&[("Authorization", &format!("Bearer {token}"))], "/encrypt").await.ok();
    send(&[("Authorization", &format!("bearer {token}"))], "/encrypt").await.ok();
    let cases: Vec<(&str, Vec<(&str, String)>)> = vec![
        ("no token", vec![]),
        ("an empty token", vec![("X-Service-Auth", String::new())]),
        ("a wrong token", vec![("X-Service-Auth", "wrong".into())]),
        ("its beginning", vec![("X-Service-Auth", token[..token.len() - 1].into())]),
        ("one character more", vec![("X-Service-Auth", format!("{token}x"))]),
        ("two headers", vec![("X-Service-Auth", token.clone()), ("X-Service-Auth", token.clone())]),
        ("both kinds", vec![("X-Service-Auth", token.clone()), ("Authorization", format!("Bearer {token}"))]),
        ("another scheme", vec![("Authorization", format!("Basic {token}"))]),
        ("no scheme", vec![("Authorization", token.clone())]),
    ];
    for (case, headers) in cases {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = send(&headers, "/encrypt").await;
        assert_eq!(answer.problem(), (401, "unauthenticated".into()), "{case}");
    }
    send(&[], &format!("/encrypt?token={token}")).await.refused(401, "unauthenticated");
    send(&[], "/status").await.refused(405, "method_not_allowed");
    codec
        .client
        .send(codec.client.bare(Method::GET, "/status"))
        .await
        .expect("an answer")
        .refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_wrong_token_is_refused_before_the_body_is_read() {
    let codec = Codec::start().await;
    let body = reqwest::Body::wrap_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let answer = codec.client.with_token("wrong").post_text("/encrypt", body).await;
    answer.refused(401, "unauthenticated");
}

#[tokio::test]
async fn named_callers_have_tokens_and_actions_of_their_own_and_the_record_says_who_asked() {
    let launch = Launch::new();
    let file = launch.dir.path().join("runner-tokens");
    std::fs::write(&file, "runner-token-from-a-file-1\n\nrunner-token-from-a-file-2\n").expect("written");
    let toml = format!(
        "[[callers]]\nname = \"control-api\"\ntokens = [\"{}\", \"{}\"]\nactions = [\"encrypt\", \"generate-dek\", \"status\"]\n\
         [[callers]]\nname = \"runner\"\ntoken_file = \"{}\"\nactions = [\"decrypt-all\"]",
        digest("api-token-old"),
        digest("api-token-new"),
        file.display()
    );
    let codec = launch.toml(&toml).start().await;
    let api = codec.client.with_token("api-token-old");
    let sealed = api.encrypt("shop", "v").await;
    assert_eq!(codec.last_record()["caller"], json!({"name": "control-api", "method": "token"}));
    codec.client.with_token("api-token-new").encrypt("shop", "v").await;
    let all = json!({"projectId": "shop", "deploymentId": "d", "variables": {"A": {"type": "secret", "value": sealed["encrypted"]}}});
    for token in ["runner-token-from-a-file-1", "runner-token-from-a-file-2"] {
        let runner = codec.client.with_token(token);
        assert_eq!(runner.post("/decrypt-all", all.clone()).await.ok(), json!({"A": "v"}));
        assert_eq!(codec.last_record()["caller"]["name"], "runner");
        let denied = runner.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await;
        denied.refused(403, "denied");
        assert_eq!(denied.json()["policyCode"], "action-not-allowed");
        let record = codec.last_record();
        assert_eq!((&record["outcome"], &record["projectId"]), (&json!("denied"), &json!("shop")));
        codec.verify(&[denied.receipt()]);
        runner.get("/status").await.refused(403, "denied");
    }
    let denied = api.post("/decrypt-all", all).await;
    denied.refused(403, "denied");
    assert_eq!(api.get("/status").await.ok()["ready"], true);
}

#[tokio::test]
async fn a_file_of_tokens_that_changes_is_followed_and_a_bad_one_is_not() {
    let launch = Launch::new();
    let file = launch.dir.path().join("tokens");
    let others = launch.dir.path().join("others");
    std::fs::write(&file, "the-first-token").expect("written");
    std::fs::write(&others, "the-others-token").expect("written");
    let toml = "[[callers]]\nname = \"runner\"\ntoken_file = \"tokens\"\nactions = [\"status\"]\n\
                [[callers]]\nname = \"others\"\ntoken_file = \"others\"\nactions = [\"status\"]";
    let codec = launch.toml(toml).start().await;
    let status = async |token: &str| codec.client.with_token(token).get("/status").await.status;
    let until = async |token: &str, expected: u16| {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while status(token).await != expected {
            assert!(std::time::Instant::now() < deadline, "{token} is not {expected}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert_eq!(status("the-first-token").await, 200);
    // As Kubernetes does it: a new file in its place.
    std::fs::write(file.with_extension("new"), "the-first-token\nthe-second-token\n").expect("written");
    std::fs::rename(file.with_extension("new"), &file).expect("renamed");
    until("the-second-token", 200).await;
    assert_eq!(status("the-first-token").await, 200);
    std::fs::write(&file, "the-second-token").expect("written");
    until("the-first-token", 401).await;
    for (bad, why) in [("\n", "holds no token"), ("# rotated\nthe-third-token", "is no token")] {
        std::fs::write(&file, bad).expect("written");
        codec.until_logged(why).await;
        assert_eq!(status("the-second-token").await, 200);
        assert_eq!(codec.client.figure("codec_token_file_failing").await, 1.0);
        let failure = codec.client.get("/status").await.ok()["tokenFileFailure"].clone();
        assert!(failure.as_str().is_some_and(|text| text.contains(why)), "{failure}");
        // It holds up nobody else.
        std::fs::write(&others, "another-token").expect("written");
        until("another-token", 200).await;
        std::fs::write(&others, "the-others-token").expect("written");
        until("another-token", 401).await;
    }
    std::fs::write(&file, "the-third-token").expect("written");
    until("the-third-token", 200).await;
    assert_eq!(status("the-second-token").await, 401);
    assert!(codec.client.get("/status").await.ok().get("tokenFileFailure").is_none());
}

#[tokio::test]
async fn a_flood_of_wrong_tokens_is_stopped_and_right_ones_go_on() {
    let codec = Codec::start().await;
    let wrong = codec.client.with_token("wrong");
    // All at once: one after the other they may be few in each second.
    let flood = futures_util::future::join_all((0..200).map(|_| wrong.post("/encrypt", json!({}))));
    let right = futures_util::future::join_all((0..20).map(|_| codec.client.encrypt("shop", "v")));
    let (flood, _) = tokio::join!(flood, right);
    let mut stopped = 0;
    for answer in flood {
        assert!(matches!(answer.status, 401 | 429));
        if answer.status == 429 {
            answer.refused(429, "too_many_wrong_tokens");
            assert_eq!(answer.header("retry-after"), Some("1"));
            stopped += 1;
        }
    }
    assert!(stopped >= 10, "{stopped} of 200");
    codec.client.encrypt("shop", "v").await;
    assert!(codec.client.figure("codec_wrong_tokens_total").await >= 200.0);
}

#[tokio::test]
async fn nobody_who_could_ask_is_no_start() {
    let output = Launch::new().variable("INTERNAL_SERVICE_TOKEN", "").run(&["serve"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("INTERNAL_SERVICE_TOKEN"));
}

#[tokio::test]
async fn who_may_not_ask_for_it_takes_no_room_and_holds_up_nobody() {
    let toml = format!(
        "[[callers]]\nname = \"watcher\"\ntokens = [\"{}\"]\nactions = [\"status\"]\n\
         [limits]\nbody_bytes = 100000\nbatch_body_bytes = 100000\nbodies_bytes = 100000",
        digest("a-watchers-token")
    );
    let codec = Launch::new().toml(&toml).start().await;
    let address = codec.client.url.strip_prefix("http://").expect("http");
    let mut silent: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("connects");
            let head = "POST /decrypt-all HTTP/1.1\r\nHost: x\r\nX-Service-Auth: a-watchers-token\r\n\
                        Content-Type: application/json\r\nContent-Length: 90000\r\n\r\n";
            let sent = [head.as_bytes(), &[b' '; 30_000]].concat();
            stream.write_all(&sent).expect("written");
            stream
        })
        .collect();
    for stream in &mut silent {
        // Long before their bodies would have to be whole.
        stream.set_read_timeout(Some(Duration::from_secs(8))).expect("set");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("action-not-allowed"), "{answer}");
    }
    codec.client.until_figure("codec_bodies_bytes", |bytes| bytes == 0.0).await;
    let record = codec.last_record();
    assert_eq!((&record["outcome"], &record["operation"]), (&json!("denied"), &json!("decrypt-all")));
    assert!(record.get("projectId").is_none(), "{record}");
    codec.client.encrypt("shop", "v").await;
}

#[tokio::test]
async fn a_token_that_stands_in_a_second_file_too_stays_whose_it_was() {
    let launch = Launch::new();
    let file = |name: &str| launch.dir.path().join(name);
    std::fs::write(file("first"), "the-first-token").expect("written");
    std::fs::write(file("second"), "the-second-token").expect("written");
    let caller = |name: &str, actions: &str| {
        format!("[[callers]]\nname = \"{name}\"\ntoken_file = \"{name}\"\nactions = [{actions}]\n")
    };
    let toml = caller("first", "\"status\", \"generate-dek\"") + &caller("second", "\"status\"");
    let codec = launch.clone().toml(&toml).start().await;
    let second = codec.client.with_token("the-second-token");
    assert_eq!(second.get("/status").await.status, 200);
    // Mounted in the wrong place: the holder would have the other's name, and may more.
    std::fs::write(file("first"), "the-first-token\nthe-second-token").expect("written");
    codec.until_logged("is also a token of caller `second`").await;
    assert_eq!(second.get("/status").await.status, 200);
    second.post("/generate-dek", json!({"projectId": "shop"})).await.refused(403, "denied");
    assert_eq!(codec.last_record()["caller"]["name"], "second");
    assert_eq!(codec.client.with_token("the-first-token").get("/status").await.status, 200);
    // It moves: then it is the other's.
    std::fs::write(file("second"), "a-new-second-token").expect("written");
    codec
        .client
        .with_token("a-new-second-token")
        .until_status(403, "/generate-dek", json!({"projectId": "shop"}))
        .await;
    second.until_status(200, "/generate-dek", json!({"projectId": "shop"})).await;
    assert_eq!(codec.last_record()["caller"]["name"], "first");
}
