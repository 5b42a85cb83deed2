//! A sink's backend is swapped by an edit while the service answers: no request fails, and no record is lost or out of order.

use crate::sink_backends::{clickhouse, hashes, syslog, with_secret};
use crate::support::Launch;
use crate::support::callers::Callers;
use crate::support::clickhouse::{self, ClickHouse};
use crate::support::haproxy::HaProxy;
use crate::support::plugins::{assert_same, lines};
use crate::support::syslog::Syslog;

/// ClickHouse behind HAProxy, then rsyslogd, then a file: an edit each, under load.
async fn swapped_under_load(required: bool) {
    let (database, daemon) = (ClickHouse::start().await, Syslog::start(None).await);
    let front = HaProxy::start(&database.address, None).await;
    let more = format!("required = {required}");
    let to_database = clickhouse(&format!("http://{}", front.address), "", &more);
    let to_daemon = syslog(&format!("tcp://{}", daemon.address), "", &more);
    let to_file = format!(
        "[[outputs]]\nname = \"file\"\nto = \"file:audit.jsonl\"\n[[sinks]]\nname = \"siem\"\npath = \"audit-lines.wasm\"\n\
         {more}\nlines = [\"file\"]\nsettings = {{ output = \"file\" }}\n"
    );
    let launch = with_secret(Launch::new().with_plugins(), "password", clickhouse::PASSWORD);
    let mut codec = launch.toml(&to_database).start().await;
    let callers = Callers::sealing(8, || codec.client.keeping_connections());
    codec.until_sink("siem", "it is live", |sink| sink["live"] == true).await;
    callers.answers(100).await;
    codec.reconfigure(&to_daemon).await;
    callers.answers(100).await;
    codec.reconfigure(&to_file).await;
    callers.answers(100).await;
    callers.end().await;
    codec.until_carried("siem").await;
    assert_eq!(codec.terminate().await, 0);

    let first = database.hashes().await;
    let third = lines(&codec.launch.output("audit.jsonl"));
    let journal = codec.launch.journal_lines();
    let second = daemon.until_received(journal.len().saturating_sub(first.len() + third.len())).await;
    let second: Vec<String> = second.into_iter().map(|message| message.text).collect();
    for (backend, count) in [("ClickHouse", first.len()), ("rsyslogd", second.len()), ("the file", third.len())] {
        assert!(count > 50, "{backend}: {count}");
    }
    // Counted at the backends, one after the other, they are the journal.
    assert_same(&[first, hashes(&second), hashes(&third)].concat(), &hashes(&journal));
    codec.verify(&[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_optional_sinks_backend_is_swapped_by_an_edit_under_load_and_no_record_is_lost_or_out_of_order() {
    swapped_under_load(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_required_sinks_backend_is_swapped_by_an_edit_under_load_and_no_request_fails() {
    swapped_under_load(true).await;
}
