//! Rows that take the place of others under a service that has the DEK of before in its cache, as a restore may put them there: encryptions are
//! counted of the very DEK, so nothing is sealed under one that is not there.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::execute;
use crate::support::outside_kek::stopped;
use crate::support::{Client, Launch, postgres};

/// `/encrypt-all` of so many variables, under the DEK that is named, if one is.
fn sealing(count: usize, named: Option<&Value>) -> Value {
    let variable = |n| (format!("V_{n}"), json!({"type": "secret", "value": "v"}));
    let variables: Map<_, _> = (0..count).map(variable).collect();
    let mut call = json!({"projectId": "shop", "variables": variables});
    if let Some(named) = named {
        call["encryptedDEK"] = named.clone();
    }
    call
}

/// Everything of `answer` opens.
async fn opens(client: &Client, answer: &Value) {
    let call = json!({"projectId": "shop", "deploymentId": "d", "variables": answer["variables"]});
    let opened = client.post("/decrypt-all", call).await.ok();
    assert!(opened.as_object().expect("variables").values().all(|value| value == "v"), "{opened}");
}

/// It hears of the others, and keeps what it has from now on.
async fn until_listening(client: &Client) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.get("/status").await.ok()["store"]["listening"] != true {
        assert!(Instant::now() < deadline, "it does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn nothing_is_sealed_under_a_dek_whose_place_another_has_taken() {
    let url = postgres::database().await;
    let one = Launch::new().variable("DATABASE_URL", &url).start().await;
    let two = Launch { dir: Launch::new().dir, ..one.launch.clone() }.start().await;
    until_listening(&two.client).await;
    let first = two.client.encrypt("shop", "v").await["encryptedDEK"].clone();
    two.client.post("/encrypt-all", sealing(1, Some(&first))).await.ok();
    // Nobody is told of it, and the other one has nothing of it in its cache.
    execute(&one.launch, "DELETE FROM project_dek").await;
    let second = one.client.encrypt("shop", "v").await;
    assert_eq!(second["keyVersion"], 1);
    assert_ne!(second["encryptedDEK"], first);
    // More than a replica leases at once.
    two.client.post("/encrypt-all", sealing(100, Some(&first))).await.refused(409, "dek_not_primary");
    let answer = two.client.post("/encrypt-all", sealing(100, None)).await.ok();
    assert_eq!(answer["encryptedDEK"], second["encryptedDEK"]);
    opens(&one.client, &answer).await;
}

/// It is the same DEK, whoever names it by what it was wrapped as.
#[tokio::test]
async fn a_dek_that_another_replica_has_wrapped_anew_goes_on_sealing() {
    let url = postgres::database().await;
    let old = Launch::new().variable("DATABASE_URL", &url).start().await;
    let first = old.client.encrypt("shop", "v").await["encryptedDEK"].clone();
    let old = stopped(old).await;
    let retained = old.kek.clone();
    let both = old.variable("KEK_SECRET", &Launch::new().kek).variable("KEK_SECRET_RETAINED", &retained);
    let other = Launch { dir: Launch::new().dir, ..both.clone() };
    let (one, two) = (both.start().await, other.start().await);
    until_listening(&two.client).await;
    for named in [Some(&first), None] {
        two.client.post("/encrypt-all", sealing(1, named)).await.ok();
    }
    let anew = one.client.post("/rewrap-dek", json!({"projectId": "shop"})).await.ok()["encryptedDEK"].clone();
    assert_ne!(anew, first);
    // More than a replica leases at once.
    for named in [Some(&first), None, Some(&anew)] {
        let answer = two.client.post("/encrypt-all", sealing(100, named)).await.ok();
        assert_eq!((&answer["encryptedDEK"], &answer["keyVersion"]), (&anew, &json!(1)));
        opens(&one.client, &answer).await;
    }
}
