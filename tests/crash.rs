//! `kill -9`, again and again: everything acknowledged still decrypts, every plaintext ever answered has its record.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Launch};

const ROUNDS: usize = 200;

/// What callers were told, over all rounds.
#[derive(Default)]
struct Told {
    /// Value by project and ciphertext.
    sealed: Mutex<HashMap<(String, String), String>>,
    /// Every receipt.
    receipts: Mutex<Vec<String>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_times_and_nothing_is_lost() {
    let told = Arc::new(Told::default());
    let launch = Launch::new().toml("[audit]\nsegment_bytes = 20000");
    for round in 0..ROUNDS {
        let mut codec = launch.clone().start().await;
        let before = told.sealed.lock().expect("not poisoned").len();
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                tokio::spawn(call_until_it_dies(codec.client.keeping_connections(), told.clone(), round, caller))
            })
            .collect();
        // Or nothing would be struck on a busy machine.
        let deadline = Instant::now() + Duration::from_secs(20);
        while told.sealed.lock().expect("not poisoned").len() == before {
            assert!(Instant::now() < deadline, "round {round}: nothing is acknowledged");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let pause = u64::from(getrandom::u32().expect("random") % 60);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        codec.kill();
        for caller in callers {
            caller.await.expect("callers see clean errors only");
        }
    }
    let codec = launch.start().await;
    let sealed = std::mem::take(&mut *told.sealed.lock().expect("not poisoned"));
    let receipts = std::mem::take(&mut *told.receipts.lock().expect("not poisoned"));
    assert!(sealed.len() >= ROUNDS, "only {} acknowledged in {ROUNDS} rounds", sealed.len());
    let client = codec.client.keeping_connections();
    for ((project, encrypted), value) in &sealed {
        let variables = json!({"A": {"type": "secret", "value": encrypted}});
        let all = json!({"projectId": project, "deploymentId": "d", "variables": variables});
        assert_eq!(client.post("/decrypt-all", all).await.ok(), json!({"A": value}));
    }
    let recorded: HashSet<String> =
        codec.records().iter().map(|r| format!("{}:{}:{}", text(&r["chain"]), r["seq"], text(&r["hash"]))).collect();
    for receipt in &receipts {
        assert!(recorded.contains(receipt), "an answer without its record: {receipt}");
    }
    codec.verify(&receipts.iter().rev().take(100).map(String::as_str).collect::<Vec<_>>());
    eprintln!("{} values and {} answers over {ROUNDS} kills", sealed.len(), receipts.len());
}

async fn call_until_it_dies(client: Client, told: Arc<Told>, round: usize, caller: usize) {
    for turn in 0.. {
        // Old projects and, each round, new ones: a kill strikes creations too.
        let project = if turn % 3 == 0 { format!("new-{round}-{caller}-{turn}") } else { format!("old-{}", turn % 7) };
        let value = format!("{round}-{caller}-{turn}");
        let Ok(sealed) = client.try_post("/encrypt", json!({"projectId": project, "value": value})).await else {
            return;
        };
        let encrypted = text(&sealed.ok()["encrypted"]).to_owned();
        told.receipts.lock().expect("not poisoned").push(sealed.receipt().to_owned());
        told.sealed.lock().expect("not poisoned").insert((project.clone(), encrypted.clone()), value.clone());
        let variables = json!({"A": {"type": "secret", "value": encrypted}});
        let all = json!({"projectId": project, "deploymentId": "d", "variables": variables});
        let Ok(opened) = client.try_post("/decrypt-all", all).await else { return };
        assert_eq!(opened.ok(), json!({"A": value}));
        told.receipts.lock().expect("not poisoned").push(opened.receipt().to_owned());
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}
