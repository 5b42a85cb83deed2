//! The process: comes up with two secrets, ends without losing a call, stays up under bad peers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::callers::Callers;
use crate::support::{Codec, Launch, free_port};

#[tokio::test]
async fn two_secrets_are_enough() {
    // Nothing else: no configuration, no listen address, no data directory.
    let launch = Launch::new();
    let port = free_port();
    let codec = launch.variable("CODEC_LISTEN", &format!("127.0.0.1:{port}")).start().await;
    codec.client.encrypt("shop", "v").await;
    assert!(codec.launch.data_dir().join("codec.db").exists());
    assert!(codec.launch.journal_dir().join("segment-0000000001.jsonl").exists());
}

#[tokio::test]
async fn dev_makes_its_secrets_prints_a_curl_that_works_and_keeps_its_data() {
    let port = free_port();
    let launch = Launch::new().variable("KEK_SECRET", "").variable("INTERNAL_SERVICE_TOKEN", "");
    let launch = launch.variable("CODEC_LISTEN", &format!("127.0.0.1:{port}"));
    let mut answers = Vec::new();
    for _ in 0..2 {
        let mut command = launch.command(&["serve", "--dev"]);
        let mut child =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().expect("starts");
        let deadline = Instant::now() + Duration::from_secs(60);
        let ready = format!("http://127.0.0.1:{port}/readyz");
        while !std::process::Command::new("curl").args(["-sf", &ready]).output().expect("curl").status.success() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut printed = vec![0; 4_096];
        let length = child.stdout.take().expect("piped").read(&mut printed).expect("printed");
        let printed = String::from_utf8_lossy(&printed[..length]).into_owned();
        let curl = &printed[printed.find("  curl").expect("a curl")..];
        let output =
            std::process::Command::new("sh").args(["-c", curl]).current_dir(launch.dir.path()).output().expect("sh");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
        answers.push(answer["encryptedDEK"].clone());
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
        assert!(child.wait().expect("ends").success());
    }
    assert!(answers[0].is_string());
    assert_eq!(answers[0], answers[1], "the second start has the first one's DEK");
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(launch.data_dir().join("dev").join(name)).expect("kept").permissions().mode() & 0o777
    };
    assert_eq!((mode("kek"), mode("token")), (0o600, 0o600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_fails_no_call_and_exits_0() {
    let mut codec = Launch::new().toml("[server]\ndrain_delay_ms = 8000").start().await;
    // A connection for each call: one that is kept may be closed while a request is on its way, as HTTP allows.
    let callers = Callers::sealing(8, || codec.client.clone());
    callers.answers(50).await;
    codec.signal("-TERM");
    let deadline = Instant::now() + Duration::from_secs(20);
    while codec.client.get("/readyz").await.status == 200 {
        assert!(Instant::now() < deadline, "the signal is not heard");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    codec.client.get("/readyz").await.refused(503, "not_ready");
    // Until the balancer has noticed, they are answered; then callers go elsewhere, before the delay is over.
    callers.answers(50).await;
    let served = callers.end().await;
    assert_eq!(codec.exit_code().await, 0);
    assert!(served >= 100);
    codec.verify(&[]);
    let encrypted = codec.records().iter().filter(|record| record["action"] == "SECRET_ENCRYPT").count();
    assert_eq!(encrypted, served as usize);
}

#[tokio::test]
async fn a_caller_that_goes_away_in_the_middle_leaves_its_record() {
    // The deployment is looked up at a store that never answers: the call is in the middle of its work.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let codec = Launch::new()
        .variable("AWS_ENDPOINT_URL", &format!("http://{}", silent.local_addr().expect("an address")))
        .variable("AWS_ALLOW_HTTP", "true")
        .variable("AWS_ACCESS_KEY_ID", "x")
        .variable("AWS_SECRET_ACCESS_KEY", "x")
        .toml("[deployments]\nurl = \"s3://bucket\"\nrequired = true\ndeadline_ms = 20000")
        .start()
        .await;
    let call = json!({"projectId": "shop", "deploymentId": "d-9", "variables": {}}).to_string();
    let request = codec.client.request("/decrypt-all", call).timeout(Duration::from_millis(300));
    assert!(codec.client.send(request).await.is_err());
    let deadline = Instant::now() + Duration::from_secs(5);
    while codec.last_record()["deploymentId"] != "d-9" {
        assert!(Instant::now() < deadline, "no record");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(codec.last_record()["reason"], "abandoned");
}

#[tokio::test]
async fn silent_and_slow_peers_are_closed_at_their_timeouts_and_honest_calls_go_on() {
    let codec = Launch::new().toml("[server]\nheader_timeout_ms = 3000\nbody_timeout_ms = 3000").start().await;
    let address = codec.client.url.strip_prefix("http://").expect("http").to_owned();
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&address).expect("connects")).collect();
    let mut slow_headers = TcpStream::connect(&address).expect("connects");
    slow_headers.write_all(b"POST /encrypt HTTP/1.1\r\nHost: x\r\n").expect("written");
    let mut slow_body = TcpStream::connect(&address).expect("connects");
    let head = format!(
        "POST /encrypt HTTP/1.1\r\nHost: x\r\nX-Service-Auth: {}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        codec.client.token
    );
    slow_body.write_all(head.as_bytes()).expect("written");
    codec.client.encrypt("shop", "v").await;
    for mut stream in silent.into_iter().chain([slow_headers]) {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("closed");
    }
    slow_body.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let mut answer = String::new();
    slow_body.read_to_string(&mut answer).expect("closed");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
    codec.client.encrypt("shop", "v").await;
}

/// A connection on which a body that never ends is being read, as far as it was `sent`.
async fn body_that_never_ends(codec: &Codec, length: usize, sent: &[u8]) -> TcpStream {
    let address = codec.client.url.strip_prefix("http://").expect("http");
    let head = format!(
        "POST /encrypt HTTP/1.1\r\nHost: x\r\nX-Service-Auth: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
        codec.client.token
    );
    let mut endless = TcpStream::connect(address).expect("connects");
    endless.write_all(head.as_bytes()).and_then(|()| endless.write_all(sent)).expect("written");
    codec.client.until_figure("codec_requests_in_flight", |requests| requests == 1.0).await;
    codec.client.until_figure("codec_bodies_bytes", |bytes| bytes >= sent.len() as f64).await;
    endless
}

#[tokio::test]
async fn more_at_once_than_it_may_is_shed_and_passes() {
    let codec = Launch::new().toml("[server]\nrequests_max = 1\nbody_timeout_ms = 60000").start().await;
    let call = json!({"projectId": "shop", "value": "v"});
    let endless = body_that_never_ends(&codec, 100, b"{").await;
    let answer = codec.client.post("/encrypt", call.clone()).await;
    answer.refused(503, "overloaded");
    assert_eq!(answer.header("retry-after"), Some("1"));
    for path in ["/livez", "/readyz", "/metrics", "/status"] {
        assert_eq!(codec.client.get(path).await.status, 200, "{path}");
    }
    drop(endless);
    codec.client.until_status(200, "/encrypt", call).await;
}

#[tokio::test]
async fn bodies_that_are_too_much_together_are_shed() {
    let limits = "[server]\nbody_timeout_ms = 60000\n[limits]\nbody_bytes = 100000\nbatch_body_bytes = 100000\nbodies_bytes = 100000";
    let codec = Launch::new().toml(limits).start().await;
    codec.client.encrypt("shop", &"x".repeat(60_000)).await;
    let much = json!({"projectId": "shop", "value": "x".repeat(60_000)});
    let endless = body_that_never_ends(&codec, 90_000, &[b' '; 80_000]).await;
    codec.client.post("/encrypt", much.clone()).await.refused(503, "overloaded");
    drop(endless);
    codec.client.until_status(200, "/encrypt", much).await;
    codec.client.until_figure("codec_bodies_bytes", |bytes| bytes == 0.0).await;
    codec.client.until_figure("codec_requests_in_flight", |requests| requests == 0.0).await;
}

#[tokio::test]
async fn one_address_does_not_take_everybodys_connections() {
    let codec = Launch::new().toml("[server]\nconnections_per_address_max = 5").start().await;
    let address = codec.client.url.strip_prefix("http://").expect("http").to_owned();
    let mut kept: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(&address).expect("connects")).collect();
    let mut more = TcpStream::connect(&address).expect("connects");
    more.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    assert_eq!(more.read(&mut [0; 16]).unwrap_or(0), 0, "closed at once");
    kept.pop();
    codec.client.until_status(200, "/encrypt", json!({"projectId": "shop", "value": "v"})).await;
}

#[tokio::test]
async fn a_data_directory_may_be_anywhere() {
    let launch = Launch::new().variable("CODEC_DATA_DIR", "below/../data");
    std::fs::create_dir(launch.dir.path().join("below")).expect("a folder");
    launch.start().await.client.encrypt("shop", "v").await;
}

#[tokio::test]
async fn requests_that_are_no_http_are_refused_and_closed() {
    let codec = Codec::start().await;
    let address = codec.client.url.strip_prefix("http://").expect("http").to_owned();
    for (case, request) in [
        ("garbage", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"),
        ("two lengths", "POST /encrypt HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
        ("a NUL in a header", "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n"),
        ("a folded header", "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: a\r\n b\r\n\r\n"),
        ("a space in a name", "GET /livez HTTP/1.1\r\nHost: x\r\nX A: a\r\n\r\n"),
        ("no such version", "GET /livez HTTP/9.9\r\nHost: x\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(&address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{case}: {answer}");
    }
    codec.client.encrypt("shop", "v").await;
}

/// A connection on which an answer of `length` bytes is being sent to somebody with little room for it.
async fn large_answer(codec: &Codec, length: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("set");
    let address = codec.client.url.strip_prefix("http://").expect("http").parse().expect("an address");
    let mut stream = socket.connect(address).await.and_then(|stream| stream.into_std()).expect("connects");
    stream.set_nonblocking(false).expect("set");
    let body = format!(
        "{{\"projectId\":\"shop\",\"variables\":{{\"A\":{{\"type\":\"plain\",\"value\":\"{}\"}}}}}}",
        "x".repeat(length)
    );
    let head = format!(
        "POST /encrypt-all HTTP/1.1\r\nHost: x\r\nX-Service-Auth: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        codec.client.token,
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).expect("written");
    let mut first = [0; 16];
    stream.read_exact(&mut first).expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200 OK\r");
    stream
}

#[tokio::test]
async fn an_answer_counts_until_it_is_taken_and_must_be_taken_in_time() {
    const LENGTH: usize = 8 << 20;
    let codec = Launch::new().toml("[server]\nwrite_timeout_ms = 1000").start().await;
    let mut one_by_one = large_answer(&codec, LENGTH).await;
    codec.client.until_figure("codec_bodies_bytes", |bytes| bytes >= LENGTH as f64).await;
    // Never silent for as long as its patience, and yet much too slow.
    let (mut taken, mut piece) = (0, [0; 1_024]);
    while codec.client.figure("codec_bodies_bytes").await > 0.0 {
        taken += one_by_one.read(&mut piece).expect("more of it");
        assert!(taken < LENGTH / 2, "it goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Who takes it is given all of it.
    let mut steady = large_answer(&codec, LENGTH).await;
    let mut taken = 0;
    let mut piece = vec![0; 1 << 20];
    while taken < LENGTH {
        taken += steady.read(&mut piece).expect("more of it");
    }
    codec.client.until_figure("codec_bodies_bytes", |bytes| bytes == 0.0).await;
}
