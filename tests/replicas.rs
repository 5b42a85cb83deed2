//! Two processes on one PostgreSQL.

use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::support::{Launch, postgres};

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
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let ready = [one.client.get("/readyz").await.status, two.client.get("/readyz").await.status];
        assert_eq!(ready.iter().filter(|status| **status == 200).count(), 1, "round {round}: {ready:?}");
    }
}
