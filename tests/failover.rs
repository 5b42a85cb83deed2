//! A PostgreSQL that fails over to its standby in the middle of a load: what is cached goes on, the rest is told in time, nothing that was
//! acknowledged is lost, and nobody starts codec again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::load::Load;
use crate::support::postgres::{Server, SlowInserts};
use crate::support::proxy::Proxy;
use crate::support::{Answer, Client, Codec, Launch};

/// A primary and a standby that has every commit before it is acknowledged.
async fn pair() -> (Server, Server, String) {
    let (primary, standby) = tokio::task::spawn_blocking(|| {
        let primary = Server::start();
        let standby = primary.standby();
        (primary, standby)
    })
    .await
    .expect("they start");
    let url = primary.database().await;
    let mut database = PgConnection::connect(&url).await.expect("the primary");
    for statement in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
        sqlx::query(statement).execute(&mut database).await.expect("synchronous");
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let sync = "SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        let count: i64 = sqlx::query_scalar(sync).fetch_one(&mut database).await.expect("a count");
        if count == 1 {
            return (primary, standby, url);
        }
        assert!(Instant::now() < deadline, "the standby does not follow");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn through(proxy: &Proxy, primary: &Server, url: &str) -> Codec {
    let url = url.replace(&primary.address().to_string(), &proxy.address.to_string());
    let toml = "[store]\ndeadline_ms = 5000\n[audit]\ndurability = \"os\"";
    Launch::new().variable("DATABASE_URL", &url).toml(toml).start().await
}

async fn until(client: &Client, what: &str, call: &Value) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.post("/encrypt", call.clone()).await;
        if answer.status == 200 {
            return answer.ok();
        }
        assert_eq!(answer.problem(), (503, "store_unavailable".into()), "{what}");
        assert!(Instant::now() < deadline, "{what}: it does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_promoted_under_load_and_nothing_acknowledged_is_lost() {
    let (primary, standby, url) = pair().await;
    let proxy = Proxy::to(primary.address()).await;
    let launch = through(&proxy, &primary, &url).await;
    let other = Launch { dir: Launch::new().dir, ..launch.launch.clone() };
    let (one, two) = (launch, other.start().await);
    let uncached = one.client.encrypt("uncached", "u").await;
    let load = Load::start(6, 40, vec![one.client.clone(), two.client.clone()]);
    load.answers(400).await;
    let cached = one.client.encrypt("cached", "c").await;
    let of_cached =
        json!({"projectId": "cached", "encryptedDEK": cached["encryptedDEK"], "encrypted": cached["encrypted"]});
    one.client.post("/decrypt-value", of_cached.clone()).await.ok();
    // A partition: nobody is told, and nobody hangs; whoever connects anew is led where nobody answers either.
    load.outage(true);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    proxy.lead_to(nobody.local_addr().expect("an address"));
    proxy.fall_silent();
    let asked = Instant::now();
    let answer = one.client.post("/encrypt", json!({"projectId": "new", "value": "v"})).await;
    answer.refused(503, "store_unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(asked.elapsed() < Duration::from_secs(30), "it hangs");
    assert_eq!(one.client.post("/decrypt-value", of_cached).await.ok(), json!({"value": "c"}));
    // The standby takes reads before it is promoted, and no writes: nothing is acknowledged that it does not have.
    primary.stop();
    proxy.lead_to(standby.address());
    proxy.cut();
    let call =
        json!({"projectId": "uncached", "encryptedDEK": uncached["encryptedDEK"], "encrypted": uncached["encrypted"]});
    let deadline = Instant::now() + Duration::from_secs(30);
    while two.client.post("/decrypt-value", call.clone()).await.status != 200 {
        assert!(Instant::now() < deadline, "a standby is not read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    one.client.post("/encrypt", json!({"projectId": "new", "value": "v"})).await.refused(503, "store_unavailable");
    standby.control(&["-w", "promote"]);
    for (codec, project) in [(&one, "new-1"), (&two, "new-2")] {
        until(&codec.client, "after the promotion", &json!({"projectId": project, "value": "v"})).await;
    }
    // Connections that were opened before the promotion may still be told of.
    load.answers(100).await;
    load.outage(false);
    load.answers(400).await;
    assert!(load.outages() > 0, "it was never away");
    for codec in [&one, &two] {
        let status = codec.client.get("/status").await.ok();
        assert_eq!((&status["ready"], &status["store"]["reachable"]), (&json!(true), &json!(true)));
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (a, b) = (one.client.get("/status").await.ok(), two.client.get("/status").await.ok());
        let stores = [&a["store"], &b["store"]];
        let leaders = stores.iter().filter(|store| store["leader"] == true).count();
        if leaders == 1 && stores.iter().all(|store| store["listening"] == true) {
            break;
        }
        assert!(Instant::now() < deadline, "{stores:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    load.end(&two.client).await;
    one.verify(&[]);
    two.verify(&[]);
}

type Call = tokio::task::JoinHandle<Answer>;

/// Three times as many inserts as there are connections, of which every one has an insert at work now. What opens connections for longer than
/// an insert takes does not count, and is asked anew.
async fn calls_that_take_every_connection(codec: &Codec, inserts: &mut SlowInserts) -> Vec<Call> {
    const CONNECTIONS: i64 = 8;
    let begun = Instant::now();
    for round in 0.. {
        let call = |index| {
            let client = codec.client.clone();
            let project = format!("p-{round}-{index}");
            tokio::spawn(async move { client.post("/generate-dek", json!({"projectId": project})).await })
        };
        let calls: Vec<Call> = (0..3 * CONNECTIONS).map(call).collect();
        while calls.iter().any(|call| !call.is_finished()) {
            let at_work = inserts.at_work().await;
            if at_work == CONNECTIONS {
                return calls;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{at_work} connections have an insert at work");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    unreachable!("rounds have no end")
}

#[tokio::test]
async fn connections_that_fall_silent_under_their_queries_are_given_up_and_others_made() {
    let server = tokio::task::spawn_blocking(Server::start).await.expect("starts");
    let url = server.database().await;
    let proxy = Proxy::to(server.address()).await;
    let codec = through(&proxy, &server, &url).await;
    // Every connection of the pool has a query at work when it falls silent: inserts take a while.
    let mut inserts = SlowInserts::each(&url).await;
    let calls = calls_that_take_every_connection(&codec, &mut inserts).await;
    proxy.fall_silent();
    let mut refused = 0;
    for call in calls {
        let answer = call.await.expect("an answer");
        if answer.status != 200 {
            answer.refused(503, "store_unavailable");
            refused += 1;
        }
    }
    assert!(refused > 0, "nothing fell silent under a query");
    // Nothing is cut: the server is there, and whoever connects anew is served.
    inserts.end().await;
    for round in 0..3 {
        let calls = (0..16).map(|index| {
            let (client, project) = (codec.client.clone(), format!("q-{round}-{index}"));
            async move { until(&client, "others are made", &json!({"projectId": project, "value": "v"})).await }
        });
        futures_util::future::join_all(calls).await;
    }
}
