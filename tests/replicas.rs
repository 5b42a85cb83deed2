//! Two processes on one PostgreSQL.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::{Client, Codec, Launch, postgres};

#[tokio::test]
async fn two_replicas_that_create_one_projects_dek_at_the_same_moment_agree() {
    const ROUNDS: usize = 1_000;
    let url = postgres::database().await;
    let one = Launch::new().variable("DATABASE_URL", &url).toml("[audit]\ndurability = \"os\"");
    let two = Launch { dir: Launch::new().dir, ..one.clone() };
    let (one, two) = (one.start().await, two.start().await);
    let clients = (one.client.keeping_connections(), two.client.keeping_connections());
    for round in 0..ROUNDS {
        let project = format!("project-{round}");
        let (a, b) = tokio::join!(clients.0.encrypt(&project, "a"), clients.1.encrypt(&project, "b"));
        assert_eq!(a["encryptedDEK"], b["encryptedDEK"], "round {round}");
        assert_eq!((&a["keyVersion"], &b["keyVersion"]), (&json!(1), &json!(1)));
        let variables =
            json!({"A": {"type": "secret", "value": a["encrypted"]}, "B": {"type": "secret", "value": b["encrypted"]}});
        let all = json!({"projectId": project, "deploymentId": "d", "variables": variables});
        let (x, y) = tokio::join!(clients.0.post("/decrypt-all", all.clone()), clients.1.post("/decrypt-all", all));
        assert_eq!((x.ok(), y.ok()), (json!({"A": "a", "B": "b"}), json!({"A": "a", "B": "b"})));
    }
    let mut database = PgConnection::connect(&url).await.expect("connects");
    let count: (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM project_dek").fetch_one(&mut database).await.expect("a count");
    assert_eq!(count.0, ROUNDS as i64);
}

#[tokio::test]
async fn two_replicas_that_are_shown_one_unknown_dek_for_two_projects_let_one_have_it() {
    let url = postgres::database().await;
    let one = Launch::new().variable("DATABASE_URL", &url);
    let two = Launch { dir: Launch::new().dir, ..one.clone() };
    let (one, two) = (one.start().await, two.start().await);
    let mut node = crate::support::node::Node::start(&one.launch.kek);
    for round in 0..50 {
        let encrypted_dek = node.call(json!({"call": "newDek"}))["encryptedDEK"].clone();
        let call = |project: &str| json!({"projectId": format!("{project}-{round}"), "encryptedDEK": encrypted_dek});
        let (a, b) =
            tokio::join!(one.client.post("/decrypt-dek", call("a")), two.client.post("/decrypt-dek", call("b")));
        let mut answers = [a.problem(), b.problem()];
        answers.sort();
        assert_eq!(answers, [(200, String::new()), (403, "dek_not_recognised".into())], "round {round}");
    }
}

#[tokio::test]
async fn a_replica_with_another_kek_is_not_ready() {
    let url = postgres::database().await;
    let one = Launch::new().variable("DATABASE_URL", &url).start().await;
    one.client.encrypt("shop", "v").await;
    let other = Launch::new().variable("DATABASE_URL", &url).start_unready().await;
    other.client.get("/readyz").await.refused(503, "not_ready");
    other.client.post("/encrypt", json!({"projectId": "x", "value": "v"})).await.refused(503, "not_ready");
}

#[tokio::test]
async fn of_two_that_begin_on_an_empty_store_with_different_keks_at_most_one_becomes_ready() {
    for round in 0..8 {
        let url = postgres::database().await;
        let launch = || Launch::new().variable("DATABASE_URL", &url);
        let (one, two) = tokio::join!(launch().start_unready(), launch().start_unready());
        let ready = async || [one.client.get("/readyz").await.status, two.client.get("/readyz").await.status];
        let deadline = Instant::now() + Duration::from_secs(20);
        while !ready().await.contains(&200) {
            assert!(Instant::now() < deadline, "round {round}: neither becomes ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Time for the other one to be wrong in.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let ready = ready().await;
        assert_eq!(ready.iter().filter(|status| **status == 200).count(), 1, "round {round}: {ready:?}");
    }
}

/// Two replicas, and a project of two versions whose first one both have in their caches, by every way.
async fn two_that_have_cached(toml: &str) -> (Codec, Codec, String, Vec<(&'static str, Value)>) {
    let url = postgres::database().await;
    let one = Launch::new().variable("DATABASE_URL", &url).toml(toml);
    let two = Launch { dir: Launch::new().dir, ..one.clone() };
    let (one, two) = (one.start().await, two.start().await);
    let sealed = one.client.encrypt("shop", "v").await;
    let (dek, _) = one.client.dek("shop").await;
    one.client.post("/rotate-dek", json!({"projectId": "shop"})).await.ok();
    let (encrypted, wrapped) = (&sealed["encrypted"], &sealed["encryptedDEK"]);
    let variable = json!({"type": "secret", "value": encrypted, "keyVersion": 1});
    let ways = vec![
        ("/decrypt-all", json!({"projectId": "shop", "deploymentId": "d", "variables": {"A": variable}})),
        ("/decrypt-value", json!({"projectId": "shop", "encryptedDEK": wrapped, "encrypted": encrypted})),
        ("/decrypt-value", json!({"dek": dek, "encrypted": encrypted})),
        ("/decrypt-dek", json!({"projectId": "shop", "encryptedDEK": wrapped})),
    ];
    for codec in [&one, &two] {
        until_it(&codec.client, |status| status["store"]["listening"] == true).await;
        for (path, call) in &ways {
            codec.client.post(path, call.clone()).await.ok();
        }
    }
    (one, two, url, ways)
}

async fn until_it(client: &Client, holds: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = client.get("/status").await.ok();
        if holds(&status) {
            return;
        }
        assert!(Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Until a call is answered with `code`, or for too long.
async fn until_refused(client: &Client, path: &str, call: &Value, within: Duration) {
    let deadline = Instant::now() + within;
    loop {
        let answer = client.post(path, call.clone()).await;
        if answer.status == 403 {
            return answer.refused(403, "dek_disabled");
        }
        answer.ok();
        assert!(Instant::now() < deadline, "{path} opens still");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_one_replica_disables_opens_on_no_other_by_whatever_way_it_was_cached() {
    // The cache alone would keep it for five minutes.
    let (one, two, _, ways) = two_that_have_cached("").await;
    one.client.post("/disable-dek", json!({"projectId": "shop", "keyVersion": 1})).await.ok();
    for (path, call) in &ways {
        until_refused(&two.client, path, call, Duration::from_secs(10)).await;
    }
    one.client.post("/enable-dek", json!({"projectId": "shop", "keyVersion": 1})).await.ok();
    for (path, call) in &ways {
        one.client.post(path, call.clone()).await.ok();
    }
}

#[tokio::test]
async fn a_replica_whose_listening_connection_is_cut_says_so_listens_again_and_has_missed_nothing() {
    let (one, two, url, ways) = two_that_have_cached("").await;
    let mut database = PgConnection::connect(&url).await.expect("connects");
    for round in 0..5 {
        // Both are cut off, and the change falls in between.
        let cut = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE application_name = 'codec-listener' AND datname = current_database()";
        let count: i64 = sqlx::query_scalar(cut).fetch_one(&mut database).await.expect("cut");
        assert!(count > 0, "round {round}");
        one.client.post("/disable-dek", json!({"projectId": "shop", "keyVersion": 1})).await.ok();
        for (path, call) in &ways {
            until_refused(&two.client, path, call, Duration::from_secs(20)).await;
        }
        one.client.post("/enable-dek", json!({"projectId": "shop", "keyVersion": 1})).await.ok();
        for codec in [&one, &two] {
            until_it(&codec.client, |status| status["store"]["listening"] == true).await;
            codec.client.post("/decrypt-all", ways[0].1.clone()).await.ok();
        }
    }
    assert!(two.log().contains("does not hear of other replicas' changes"), "{}", two.log());
    assert!(two.log().contains("hears of other replicas' changes again"), "{}", two.log());
}

#[tokio::test]
async fn a_replica_that_hears_of_nothing_believes_its_cache_no_longer_than_it_is_kept() {
    let url = postgres::database().await;
    let toml = "[keys]\ncache_ttl_s = 2";
    let one = Launch::new().variable("DATABASE_URL", &url).toml(toml).start().await;
    let two = Launch { dir: Launch::new().dir, ..one.launch.clone() }.start().await;
    let sealed = one.client.encrypt("shop", "v").await;
    one.client.post("/rotate-dek", json!({"projectId": "shop"})).await.ok();
    let variable = json!({"type": "secret", "value": sealed["encrypted"], "keyVersion": 1});
    let call = json!({"projectId": "shop", "deploymentId": "d", "variables": {"A": variable}});
    two.client.post("/decrypt-all", call.clone()).await.ok();
    // As if the other had changed it, and nobody was told.
    let mut database = PgConnection::connect(&url).await.expect("connects");
    let row = "SELECT row_mac FROM project_dek WHERE project_id = 'shop' AND version = 1";
    let enabled: Vec<u8> = sqlx::query_scalar(row).fetch_one(&mut database).await.expect("a row");
    one.client.post("/disable-dek", json!({"projectId": "shop", "keyVersion": 1})).await.ok();
    let disabled: Vec<u8> = sqlx::query_scalar(row).fetch_one(&mut database).await.expect("a row");
    let set = "UPDATE project_dek SET state = $1, row_mac = $2 WHERE project_id = 'shop' AND version = 1";
    for (state, mac) in [("decrypt-only", &enabled), ("disabled", &disabled)] {
        sqlx::query(set).bind(state).bind(mac).execute(&mut database).await.expect("set");
        if state == "decrypt-only" {
            until_opens(&two.client, &call).await;
        }
    }
    until_refused(&two.client, "/decrypt-all", &call, Duration::from_secs(10)).await;
}

async fn until_opens(client: &Client, call: &Value) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while client.post("/decrypt-all", call.clone()).await.status != 200 {
        assert!(Instant::now() < deadline, "it does not open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn one_of_them_leads_and_another_does_when_it_is_gone() {
    let url = postgres::database().await;
    let launch = Launch::new().variable("DATABASE_URL", &url);
    let mut codecs = Vec::new();
    for _ in 0..3 {
        codecs.push(Launch { dir: Launch::new().dir, ..launch.clone() }.start().await);
    }
    for left in (1..=3).rev() {
        let deadline = Instant::now() + Duration::from_secs(20);
        let leader = loop {
            let mut leaders = Vec::new();
            for (index, codec) in codecs.iter().enumerate() {
                let status = codec.client.get("/status").await.ok();
                if status["store"]["leader"] == true {
                    leaders.push(index);
                }
            }
            assert!(leaders.len() <= 1, "{leaders:?}");
            if let Some(leader) = leaders.pop() {
                break leader;
            }
            assert!(Instant::now() < deadline, "none of {left} leads");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert!(codecs[leader].client.get("/metrics").await.text.contains("codec_leader 1\n"));
        codecs.remove(leader).kill();
    }
    let alone = Codec::start().await;
    assert_eq!(alone.client.get("/status").await.ok()["store"]["leader"], true);
    assert_eq!(alone.client.get("/status").await.ok()["store"]["listening"], Value::Null);
}
