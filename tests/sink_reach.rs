//! A sink reaches what it is granted and nothing else: origins, addresses, credentials, files, peers.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::collector::{Collector, Kind, Reply};
use crate::support::plugins::{assert_same, lines};
use crate::support::{Launch, secret};

fn http(grant: &str, url: &str) -> String {
    format!(
        "[[sinks]]\nname = \"siem\"\npath = \"audit-http.wasm\"\nhttp = [{{ {grant} }}]\nsettings = {{ url = \"{url}\" }}\n"
    )
}

/// `audit-lines` to an output.
fn output(to: &str, more: &str) -> String {
    format!(
        "[[outputs]]\nname = \"out\"\nto = \"{to}\"\n{more}\n[[sinks]]\nname = \"trail\"\npath = \"audit-lines.wasm\"\n\
         lines = [\"out\"]\nsettings = {{ output = \"out\" }}\n"
    )
}

#[tokio::test]
async fn egress_that_is_not_granted_is_refused_says_which_grant_is_missing_and_keeps_every_record() {
    let server = Collector::start(Kind::NdJson).await;
    let (origin, path) = (server.origin(), server.path());
    let port = server.address.port();
    let url = format!("{origin}{path}");
    let (by_address, by_name) = (format!("origin = \"{origin}\""), format!("origin = \"http://localhost:{port}\""));
    let named = format!("http://localhost:{port}{path}");
    let cases = [
        ("another origin", "origin = \"https://siem.example\"", &*url, origin.clone()),
        ("a private address", &by_address, &url, "`addresses`".to_owned()),
        ("a name at a private address", &by_name, &named, "`addresses`".to_owned()),
        ("another port's", "origin = \"http://127.0.0.1:1\", addresses = [\"127.0.0.1/32\"]", &url, origin.clone()),
    ];
    let mut codec = Launch::new().with_plugins().toml("[plugins]").start().await;
    for (case, grant, url, told) in cases {
        let before = codec.log().len();
        codec.reconfigure(&http(grant, url)).await;
        codec.calls(3).await;
        // Of this one, and not of the one before.
        let deadline = std::time::Instant::now() + Duration::from_secs(40);
        while !codec.log()[before..].lines().any(|line| line.contains("not granted") && line.contains(&told)) {
            assert!(std::time::Instant::now() < deadline, "{case}: {}", &codec.log()[before..]);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let sink = codec
            .until_sink("siem", case, |sink| sink["lastFailure"].is_string() && sink["lagRecords"].as_u64() >= Some(3))
            .await;
        assert_eq!(sink["live"], true, "{case}");
        assert_eq!(server.requests(), 0, "{case}");
    }
    codec.reconfigure(&http(&format!("origin = \"{origin}\", addresses = [\"127.0.0.1/32\"]"), &url)).await;
    codec.until_carried("siem").await;
    assert_eq!(codec.terminate().await, 0);
    assert_same(&server.taken(), &codec.launch.journal_lines());
}

#[tokio::test]
async fn an_output_that_is_not_granted_is_not_written_and_the_log_says_so() {
    let two = "[[outputs]]\nname = \"other\"\nto = \"file:other.jsonl\"\n";
    let toml = format!("{two}{}", output("file:mine.jsonl", "").replace("output = \"out\"", "output = \"other\""));
    let mut codec = Launch::new().with_plugins().toml(&toml).start().await;
    codec.calls(3).await;
    codec.until_logged("not granted").await;
    assert!(!codec.launch.output("other.jsonl").exists());
    codec.reconfigure(&format!("{two}{}", output("file:mine.jsonl", ""))).await;
    assert_eq!(codec.terminate().await, 0);
    assert_same(&lines(&codec.launch.output("mine.jsonl")), &codec.launch.journal_lines());
}

#[tokio::test]
async fn a_credential_is_sent_as_its_file_has_it_now_and_is_in_nothing_that_is_left() {
    let server = Collector::start(Kind::NdJson).await;
    server.echo();
    let (old, new) = (secret("old-token"), secret("new-token"));
    server.ask_for(&format!("Bearer {old}"));
    let launch = Launch::new().with_plugins();
    let file = launch.dir.path().join("token");
    std::fs::write(&file, format!("{old}\n")).expect("written");
    let (origin, path) = (server.origin(), server.path());
    let toml = format!(
        "[log]\nlevel = \"trace\"\n[[sinks]]\nname = \"siem\"\npath = \"audit-http.wasm\"\n\
         http = [{{ origin = \"{origin}\", addresses = [\"127.0.0.1/32\"], credentials = [\"siem\"] }}]\n\
         settings = {{ url = \"{origin}{path}\", credential = \"siem\" }}\n\
         [[credentials]]\nname = \"siem\"\nprefix = \"Bearer \"\nfile = {:?}\n",
        file.display().to_string()
    );
    let mut codec = launch.toml(&toml).start().await;
    codec.calls(5).await;
    codec.until_carried("siem").await;
    let changes = codec.plugins().await["changes"].clone();
    // The collector knows another one now, and repeats in its refusal what it was sent.
    server.ask_for(&format!("Bearer {new}"));
    codec.calls(1).await;
    codec.until_logged("HTTP 401: you sent Bearer ***").await;
    std::fs::write(&file, &new).expect("written");
    codec.until_carried("siem").await;
    // An answer that holds it and fails in another way.
    server.down(Some(Reply::new(503, format!("Bearer {new} is busy"))));
    codec.calls(1).await;
    codec.until_logged(" is busy").await;
    server.down(None);
    codec.until_carried("siem").await;
    assert_eq!(codec.plugins().await["changes"], changes, "nothing was reloaded");
    let mut said = String::new();
    for path in ["/status", "/metrics"] {
        said.push_str(&codec.client.get(path).await.text);
    }
    assert_eq!(codec.terminate().await, 0);
    assert_same(&server.taken(), &codec.launch.journal_lines());
    let seen = server.seen();
    assert_eq!(
        (&*seen[0], seen.last().map(|last| &**last)),
        (&*format!("Bearer {old}"), Some(&*format!("Bearer {new}")))
    );
    said.push_str(&codec.log());
    search(&codec.launch.data_dir(), &mut said);
    assert!(
        said.contains("ackedSeq") && said.contains("\"segment\":") && said.contains("codec_"),
        "nothing was searched"
    );
    for token in [old, new] {
        let found = said.lines().find(|line| line.contains(&token));
        assert!(found.is_none(), "{found:?}");
    }
}

/// All files below a folder.
fn search(dir: &Path, said: &mut String) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            search(&path, said);
        } else {
            said.push_str(&String::from_utf8_lossy(&std::fs::read(path).expect("readable")));
            said.push('\n');
        }
    }
}

#[tokio::test]
async fn a_credential_goes_to_its_own_origin_and_no_other() {
    let server = Collector::start(Kind::NdJson).await;
    let launch = Launch::new().with_plugins();
    std::fs::write(launch.dir.path().join("token"), secret("token")).expect("written");
    let (origin, path) = (server.origin(), server.path());
    // Granted to another origin; this one is granted without.
    let toml = format!(
        "[[sinks]]\nname = \"siem\"\npath = \"audit-http.wasm\"\nhttp = [\n\
         {{ origin = \"https://siem.example\", credentials = [\"siem\"] }},\n\
         {{ origin = \"{origin}\", addresses = [\"127.0.0.1/32\"] }} ]\n\
         settings = {{ url = \"{origin}{path}\", credential = \"siem\" }}\n[[credentials]]\nname = \"siem\"\nfile = \"token\"\n"
    );
    let codec = launch.toml(&toml).start().await;
    codec.calls(3).await;
    codec.until_logged("not granted").await;
    let log = codec.log();
    let refusal = log.lines().rfind(|line| line.contains("not granted")).expect("logged");
    assert!(refusal.contains("siem") && refusal.contains(&origin), "{refusal}");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_file_output_stays_in_its_folder_whatever_the_configuration_says() {
    let wrong = [
        "file:../audit.jsonl",
        "file:/etc/cron.d/codec",
        "file:a/b",
        "file:.hidden",
        "file:",
        "file:..",
        "/tmp/x",
        "udp://a:1",
    ];
    for to in wrong {
        let launch = Launch::new().with_plugins().toml(&output(to, ""));
        let ended = launch.run(&["serve"]);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{to}: {said}");
        assert!(said.contains("outputs[0].to"), "{to}: {said}");
        assert!(!launch.data_dir().join("codec.db").exists(), "{to}: before anything is touched");
    }
    // While it runs: an error that names the key, and everything stays.
    let good = output("file:audit.jsonl", "");
    let mut codec = Launch::new().with_plugins().toml(&good).start().await;
    for to in wrong {
        let plugins = codec.reconfigure(&output(to, "")).await;
        assert!(
            plugins["configError"].as_str().is_some_and(|error| error.contains("outputs[0].to")),
            "{to}: {plugins:#}"
        );
        codec.calls(2).await;
        codec.reconfigure(&good).await;
        codec.until_plugins("the file is good again", |plugins| plugins["configError"].is_null()).await;
    }
    assert_eq!(codec.terminate().await, 0);
    assert_same(&lines(&codec.launch.output("audit.jsonl")), &codec.launch.journal_lines());
}

#[tokio::test]
async fn a_link_in_the_outputs_folder_is_not_followed() {
    let launch = Launch::new().with_plugins().toml(&output("file:audit.jsonl", ""));
    let target = launch.dir.path().join("elsewhere");
    std::fs::write(&target, "mine\n").expect("written");
    let link = launch.output("audit.jsonl");
    std::fs::create_dir_all(link.parent().expect("a folder")).expect("a folder");
    let hard = |link: &Path| std::fs::hard_link(&target, link).expect("a link");
    std::os::unix::fs::symlink(&target, &link).expect("a link");
    let mut codec = launch.start().await;
    codec.calls(3).await;
    codec.until_sink("trail", "it is refused", |sink| sink["lastFailure"].is_string()).await;
    codec.until_logged("takes nothing now").await;
    std::fs::remove_file(&link).expect("removed");
    hard(&link);
    codec.calls(3).await;
    codec.until_logged("it has another name").await;
    assert_eq!(std::fs::read_to_string(&target).expect("readable"), "mine\n");
    std::fs::remove_file(&link).expect("removed");
    codec.until_carried("trail").await;
    assert_eq!(codec.terminate().await, 0);
    assert_same(&lines(&link), &codec.launch.journal_lines());
    assert_eq!(std::fs::read_to_string(&target).expect("readable"), "mine\n");
}

#[tokio::test]
async fn a_peer_that_never_shakes_hands_or_never_reads_is_given_up_at_the_deadline_and_holds_up_nobody() {
    // Connections are taken by the kernel, and nobody reads.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let beside = output("file:beside.jsonl", "").replace("\"out\"", "\"beside\"").replace("trail", "beside");
    let toml = |scheme: &str| format!("{}{beside}", output(&format!("{scheme}://{address}"), "deadline_ms = 300"));
    let mut codec = Launch::new().with_plugins().toml(&toml("tls")).start().await;
    codec.calls(3).await;
    codec.until_logged("output `out`: no end in 300 ms").await;
    codec.until_carried("beside").await;

    // Larger together than what the kernel buffers for a connection.
    codec.reconfigure(&toml("tcp")).await;
    let variables: Value = (0..1_000)
        .map(|n| (format!("{n:04}{}", "x".repeat(250)), json!({"type": "secret", "value": ""})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let mut sent = 0;
    while codec.sink("trail").await["lastFailure"].is_null() || sent < 20 {
        codec.client.post("/encrypt-all", json!({"projectId": "shop", "variables": variables})).await.ok();
        sent += 1;
        assert!(sent < 200, "it takes all that is never read");
    }
    codec.until_carried("beside").await;

    // It reads: each connection what was written there, the last one all that was still owed.
    let read = Arc::new(Mutex::new(Vec::new()));
    let reading = std::thread::spawn({
        let read = read.clone();
        move || {
            while let Ok((stream, _)) = silent.accept() {
                let read = read.clone();
                std::thread::spawn(move || keep(stream, &read));
            }
        }
    });
    codec.until_carried("trail").await;
    codec.calls(3).await;
    assert_eq!(codec.terminate().await, 0);
    let journal = codec.launch.journal_lines();
    let last = journal.last().cloned().expect("a record");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let received = loop {
        let received = read.lock().expect("unharmed").clone();
        if received.contains(&last) {
            break received;
        }
        assert!(std::time::Instant::now() < deadline, "{} of {} lines", received.len(), journal.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut missing = journal.clone();
    missing.retain(|line| !received.contains(line));
    assert!(missing.is_empty(), "{} missing", missing.len());
    drop(reading);
}

/// The whole lines of one connection.
fn keep(mut stream: TcpStream, read: &Mutex<Vec<String>>) {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = bytes.drain(..=end).collect();
            read.lock().expect("unharmed").push(String::from_utf8_lossy(&line[..end]).into_owned());
        }
    }
}

#[tokio::test]
async fn a_sink_cannot_be_told_to_write_where_it_is_not_configured() {
    // The configuration is checked before anything runs: names that do not exist are errors that name the key.
    for (toml, key) in [
        (output("file:a.jsonl", "").replace("lines = [\"out\"]", "lines = [\"other\"]"), "sinks[0].lines"),
        (http("origin = \"https://a.example/path\"", "https://a.example/"), "sinks[0].http"),
        (http("origin = \"https://a.example\", credentials = [\"x\"]", "https://a.example/"), "sinks[0].http"),
        (http("origin = \"https://a.example\", addresses = [\"10.0.0.0\"]", "https://a.example/"), "sinks[0].http"),
        (format!("{}[[outputs]]\nname = \"b\"\nto = \"file:a.jsonl\"\n", output("file:a.jsonl", "")), "outputs[1].to"),
        (output("file:a.jsonl", "ca_file = \"ca.pem\""), "outputs[0].ca_file"),
        (output("file:a.jsonl", "") + "[plugins]\ndir = \"data/outputs\"\n", "plugins.dir"),
    ] {
        let launch = Launch::new().with_plugins().toml(&toml);
        let ended = launch.run(&["serve"]);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{key}: {said}");
        assert!(said.contains(key), "{key}: {said}");
    }
}
