//! What ships reaches real backends: ClickHouse behind HAProxy, rsyslogd over TCP and TLS; and, strictly played, Splunk, Loki and
//! Elasticsearch.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::certificates::Certificates;
use crate::support::clickhouse::{self, ClickHouse};
use crate::support::collector::{Collector, Fault, Kind, Reply};
use crate::support::haproxy::HaProxy;
use crate::support::plugins::assert_same;
use crate::support::syslog::{Message, Syslog};
use crate::support::{Client, Codec, Launch, secret};

/// `audit-http` to a collector that is strict.
fn collector(collector: &Collector, more: &str, settings: &str) -> String {
    let (origin, path) = (collector.origin(), collector.path());
    format!(
        "[[sinks]]\nname = \"siem\"\npath = \"audit-http.wasm\"\n{more}\n\
         http = [{{ origin = \"{origin}\", addresses = [\"127.0.0.0/8\"], credentials = [\"siem\"] }}]\n\
         [sinks.settings]\nurl = \"{origin}{path}\"\ncredential = \"siem\"\n{settings}\n\
         [[credentials]]\nname = \"siem\"\nfile = \"token\"\n"
    )
}

/// `audit-http` to ClickHouse, by an origin in front of it.
pub(crate) fn clickhouse(origin: &str, grant: &str, more: &str) -> String {
    format!(
        "[[sinks]]\nname = \"siem\"\npath = \"audit-http.wasm\"\n{more}\n\
         http = [{{ origin = \"{origin}\", addresses = [\"127.0.0.0/8\"], credentials = [\"clickhouse\"], {grant} }}]\n\
         [sinks.settings]\nurl = \"{origin}{}\"\ncredential = \"clickhouse\"\nheaders = {{ X-ClickHouse-User = \"codec\" }}\n\
         [[credentials]]\nname = \"clickhouse\"\nheader = \"X-ClickHouse-Key\"\nfile = \"password\"\n",
        ClickHouse::insert()
    )
}

/// `audit-syslog` to an output.
pub(crate) fn syslog(to: &str, output: &str, more: &str) -> String {
    format!(
        "[[outputs]]\nname = \"syslog\"\nto = \"{to}\"\nframing = \"octet-counted\"\n{output}\n\
         [[sinks]]\nname = \"siem\"\npath = \"audit-syslog.wasm\"\n{more}\nlines = [\"syslog\"]\n\
         settings = {{ output = \"syslog\", facility = \"local0\" }}\n"
    )
}

pub(crate) fn with_secret(launch: Launch, file: &str, value: &str) -> Launch {
    std::fs::write(launch.dir.path().join(file), value).expect("written");
    launch
}

fn hash(line: &str) -> String {
    let record: Value = serde_json::from_str(line).expect("JSON");
    record["hash"].as_str().expect("a hash").to_owned()
}

pub(crate) fn hashes(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| hash(line)).collect()
}

#[tokio::test]
async fn clickhouse_has_every_record_in_order_and_refuses_who_does_not_know_its_password() {
    let server = ClickHouse::start().await;
    let toml = clickhouse(&format!("http://{}", server.address), "", "batch_records = 20");
    // A wrong password first: 401, nothing is given up.
    let launch = with_secret(Launch::new().with_plugins(), "password", "not-the-password");
    let mut codec = launch.toml(&toml).start().await;
    codec.calls(50).await;
    codec.until_logged("HTTP 401").await;
    assert!(server.hashes().await.is_empty());
    // The right one counts without being told.
    std::fs::write(codec.launch.dir.path().join("password"), clickhouse::PASSWORD).expect("written");
    codec.until_carried("siem").await;
    codec.calls(50).await;
    codec.until_carried("siem").await;
    assert_eq!(codec.terminate().await, 0);
    let journal = codec.launch.journal_lines();
    assert_same(&server.hashes().await, &hashes(&journal));
    // By its own count, and each record's `prev` is the hash of the one before.
    let chained = "SELECT count(), max(seq), uniq(chain, seq) FROM audit FORMAT TabSeparated";
    assert_eq!(server.query(chained).await.trim(), format!("{0}\t{0}\t{0}", journal.len()));
    let prevs = server.query("SELECT prev FROM audit FORMAT TabSeparated").await;
    let prevs: Vec<String> = prevs.lines().skip(1).map(String::from).collect();
    assert_same(&prevs, &hashes(&journal)[..prevs.len()]);
}

#[tokio::test]
async fn a_tls_collector_is_believed_under_its_own_authority_and_no_other() {
    let (server, right, wrong) = (ClickHouse::start().await, Certificates::new(), Certificates::new());
    let front = HaProxy::start(&server.address, Some(&right.both())).await;
    let launch = with_secret(Launch::new().with_plugins(), "password", clickhouse::PASSWORD);
    let at = launch.dir.path().join("ca.pem");
    std::fs::copy(wrong.ca(), &at).expect("copied");
    let port = front.address.rsplit_once(':').expect("a port").1;
    let toml = clickhouse(&format!("https://localhost:{port}"), "ca_file = \"ca.pem\"", "");
    let mut codec = launch.toml(&toml).start().await;
    codec.calls(20).await;
    codec.until_logged("invalid peer certificate").await;
    assert!(server.hashes().await.is_empty());
    // The right authority in the same file, as a mount is changed: followed without being told.
    std::fs::copy(right.ca(), &at).expect("copied");
    codec.until_carried("siem").await;
    assert_eq!(codec.terminate().await, 0);
    assert_same(&server.hashes().await, &hashes(&codec.launch.journal_lines()));
}

#[tokio::test]
async fn rsyslogd_over_tcp_has_every_record_with_what_identifies_it() {
    let server = Syslog::start(None).await;
    let toml = syslog(&format!("tcp://{}", server.address), "", "");
    let mut codec = Launch::new().with_plugins().toml(&toml).start().await;
    codec.calls(60).await;
    codec.client.post("/decrypt-dek", json!({"projectId": "shop", "encryptedDEK": "AAAA"})).await;
    codec.until_carried("siem").await;
    assert_eq!(codec.terminate().await, 0);
    assert_received(&server, &codec).await;
}

#[tokio::test]
async fn rsyslogd_over_tls_has_every_record_and_a_stranger_with_its_address_none() {
    let (right, wrong) = (Certificates::new(), Certificates::new());
    let server = Syslog::start(Some(&right)).await;
    let launch = Launch::new().with_plugins();
    std::fs::copy(wrong.ca(), launch.dir.path().join("ca.pem")).expect("copied");
    let port = server.address.rsplit_once(':').expect("a port").1;
    let toml = syslog(&format!("tls://localhost:{port}"), "ca_file = \"ca.pem\"", "");
    let mut codec = launch.toml(&toml).start().await;
    codec.calls(30).await;
    codec.until_logged("invalid peer certificate").await;
    assert!(server.received().is_empty());
    std::fs::copy(right.ca(), codec.launch.dir.path().join("ca.pem")).expect("copied");
    codec.until_carried("siem").await;
    codec.calls(10).await;
    codec.until_carried("siem").await;
    assert_eq!(codec.terminate().await, 0);
    assert_received(&server, &codec).await;
}

/// Every record, once, in order, byte for byte, with its number and hash beside it.
async fn assert_received(server: &Syslog, codec: &Codec) {
    let journal = codec.launch.journal_lines();
    let received = server.until_received(journal.len()).await;
    let texts: Vec<String> = received.iter().map(|message| message.text.clone()).collect();
    assert_same(&texts, &journal);
    for (message, line) in received.iter().zip(&journal) {
        assert_described(message, line);
    }
}

fn assert_described(message: &Message, line: &str) {
    let record: Value = serde_json::from_str(line).expect("JSON");
    let text = |field: &str| record[field].as_str().unwrap_or("").to_owned();
    let (chain, seq, hash) = (text("chain"), &record["seq"], text("hash"));
    assert_eq!(message.data, format!("[codec@32473 chain=\"{chain}\" seq=\"{seq}\" hash=\"{hash}\"]"));
    assert_eq!((&*message.app, &message.id), ("codec", &text("action")));
    let severity = match &*text("outcome") {
        "allowed" => "info",
        "denied" => "warning",
        "failed" => "err",
        _ => "notice",
    };
    assert_eq!(message.severity, severity, "{line}");
}

/// What each vendor's page shows of an answer that is not a success, and that it passes.
async fn vendor(kind: Kind, settings: &str, token: &str, faults: Vec<Fault>, prefix: &str) -> (Collector, Codec) {
    let server = Collector::start(kind).await;
    server.ask_for(&format!("{prefix}{token}"));
    for fault in faults {
        server.fault(fault);
    }
    let launch = with_secret(Launch::new().with_plugins(), "token", &format!("{token}\n"));
    let toml = format!("{}prefix = \"{prefix}\"\n", collector(&server, "batch_records = 25", settings));
    let codec = launch.toml(&toml).start().await;
    codec.calls(60).await;
    (server, codec)
}

#[tokio::test]
async fn the_collectors_that_are_played_here_refuse_what_their_vendors_refuse() {
    let record = json!({"time": "2026-01-01T00:00:00.005Z", "chain": "a", "seq": 1}).to_string();
    let event = format!("{{\"time\":1767225600.005,\"event\":{record}}}");
    let push = |values: &str| format!("{{\"streams\":[{{\"stream\":{{\"job\":\"codec\"}},\"values\":[{values}]}}]}}");
    let entry = format!("[\"1767225600005000000\",{}]", Value::from(&*record));
    let create = "{\"create\":{\"_index\":\"audit\",\"_id\":\"a:1\"}}\n";
    let document = record.replacen('{', "{\"@timestamp\":\"2026-01-01T00:00:00.005Z\",", 1);
    let line = format!("{record}\n");
    let cases = [
        (Kind::NdJson, line.clone(), vec![record.clone(), "[]\n".into(), "{\n".into(), String::new()]),
        (Kind::JsonArray, format!("[{record}]"), vec![line.clone(), "[1]".into(), "[]".into(), format!("[{record}")]),
        (
            Kind::SplunkHec,
            event.repeat(2),
            vec![
                line,
                format!("[{event}]"),
                event.replace("225600.", "225601."),
                event.replace("\"event\"", "\"events\""),
            ],
        ),
        (
            Kind::Loki,
            push(&entry),
            vec![
                push(""),
                push(&entry.replace('[', "[[")),
                push(&entry.replacen('"', "", 2)),
                push(&entry).replace("{\"job\":\"codec\"}", "{}"),
                push(&entry.replacen("5000000", "5", 1)),
            ],
        ),
        (
            Kind::Elasticsearch,
            format!("{create}{document}\n"),
            vec![
                format!("{create}{document}"),
                format!("{create}{record}\n"),
                create.into(),
                format!("{}{document}\n", create.replace("create", "index")),
                format!("{document}\n"),
            ],
        ),
    ];
    for (kind, right, wrong) in cases {
        let server = Collector::start(kind).await;
        let client = Client::new(&server.origin(), "");
        let post = async |body: &str, content_type: &str| {
            let request = client.bare(reqwest::Method::POST, server.path()).header("Content-Type", content_type);
            let answer = client.send(request.header("X-Scope-OrgID", "audit").body(body.to_owned())).await;
            answer.expect("an answer").status
        };
        assert!((200..300).contains(&post(&right, server.content_type()).await), "{kind:?}");
        assert_eq!(server.forgive(), 0, "{kind:?}");
        for body in &wrong {
            assert_eq!(post(body, server.content_type()).await, 400, "{kind:?} {body}");
        }
        assert_eq!(post(&right, "text/plain").await, 400, "{kind:?}");
        assert_eq!(server.forgive(), wrong.len() + 1, "{kind:?}");
        assert!(server.taken().iter().all(|line| *line == record), "{kind:?}: {:?}", server.taken());
    }
}

#[tokio::test]
async fn splunk_gets_its_events_and_is_left_alone_while_it_is_busy() {
    let busy = Reply::new(503, r#"{"text":"Server is busy","code":9}"#).with("Retry-After", "1");
    let settings = "mapping = \"splunk-hec\"\nsplunk = { index = \"audit\", sourcetype = \"codec:audit\" }";
    let misindexed = Reply::new(400, r#"{"text":"Incorrect index","code":7,"invalid-event-number":1}"#);
    let faults = vec![Fault::Refuse(busy), Fault::Refuse(misindexed)];
    let (server, mut codec) = vendor(Kind::SplunkHec, settings, &secret("hec"), faults, "Splunk ").await;
    codec.until_carried("siem").await;
    let arrived = server.arrived();
    assert!(arrived[1] - arrived[0] >= Duration::from_millis(950), "Retry-After: {:?}", arrived[1] - arrived[0]);
    codec.until_logged("Incorrect index").await;
    assert_eq!(codec.sink("siem").await["rejected"], 0, "another index is no bad record");
    assert_eq!(codec.terminate().await, 0);
    assert_same(&server.taken(), &codec.launch.journal_lines());
}

#[tokio::test]
async fn loki_gets_one_stream_of_its_tenant_and_a_lost_acknowledgement_doubles_nothing() {
    let settings = "mapping = \"loki\"\nloki = { labels = { job = \"codec\", env = \"test\" } }\nheaders = { X-Scope-OrgID = \"audit\" }";
    let limited = Reply::new(429, "Ingestion rate limit exceeded for user audit").with("Retry-After", "1");
    let faults = vec![Fault::TakeAndSay(Reply::new(502, "bad gateway")), Fault::Refuse(limited)];
    let (server, mut codec) = vendor(Kind::Loki, settings, &secret("loki"), faults, "Bearer ").await;
    codec.until_carried("siem").await;
    assert_eq!(codec.terminate().await, 0);
    assert!(server.requests() > 4, "{}", server.requests());
    assert_same(&server.taken(), &codec.launch.journal_lines());
}

#[tokio::test]
async fn elasticsearch_gets_each_document_once_whatever_becomes_of_an_answer_and_a_bad_one_alone_is_left_out() {
    let settings = "mapping = \"elasticsearch-bulk\"\nelasticsearch = { index = \"audit\" }";
    let faults = vec![
        // Taken, and the answer lost on its way: the same ids come again.
        Fault::TakeAndSay(Reply::new(504, "gateway timeout")),
        Fault::Item(0, 429, "es_rejected_execution_exception"),
        Fault::Refuse(Reply::new(503, r#"{"error":{"type":"cluster_block_exception"},"status":503}"#)),
    ];
    let (server, mut codec) = vendor(Kind::Elasticsearch, settings, &secret("es"), faults, "ApiKey ").await;
    codec.until_carried("siem").await;
    let unordered = server.taken();
    let mut sorted = unordered.clone();
    sorted.sort_by_key(|line| serde_json::from_str::<Value>(line).expect("JSON")["seq"].as_u64());
    assert_same(&sorted, &codec.launch.journal_lines());
    // One document that it will never take: the operator is told which, the rest is there.
    server.fault(Fault::Item(0, 400, "document_parsing_exception"));
    codec.calls(1).await;
    codec.until_sink("siem", "one is rejected", |sink| sink["rejected"] == 1).await;
    codec.calls(5).await;
    codec.until_carried("siem").await;
    assert!(codec.log().contains("document_parsing_exception"), "{}", codec.log());
    assert_eq!(server.taken().len() + 1, codec.launch.journal_lines().len());
    assert_eq!(codec.terminate().await, 0);
}

#[tokio::test]
async fn any_collector_gets_an_array_and_bodies_no_larger_than_it_takes() {
    let settings = "mapping = \"json-array\"\nmax_body_bytes = 2048";
    let (server, mut codec) = vendor(Kind::JsonArray, settings, &secret("any"), Vec::new(), "").await;
    codec.until_carried("siem").await;
    assert!(server.requests() > 15, "{} requests", server.requests());
    // Less than it was told: the first record comes again alone, the others together, and they are halved.
    server.down(Some(Reply::new(503, "")));
    codec.calls(10).await;
    server.fault(Fault::TakeAndSay(Reply::new(200, "")));
    server.fault(Fault::Refuse(Reply::new(413, "too large")));
    server.down(None);
    codec.until_carried("siem").await;
    assert_eq!(codec.sink("siem").await["rejected"], 0, "halved, not given up");
    assert_eq!(codec.terminate().await, 0);
    assert_same(&server.taken(), &codec.launch.journal_lines());
}
