//! Each processor has a thread that serves, and no call keeps one from others: what takes long is done beside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::hostile::corpus::{self, World};
use crate::support::{Client, Codec, Launch, proc, secret};

/// Calls of `/livez` while something else goes on: enough for each thread that serves to get some.
fn probes() -> usize {
    4 * processors()
}

fn processors() -> usize {
    std::thread::available_parallelism().expect("known").get()
}

const ATTEMPTS: usize = 20;

/// What each thread of the process has spent, by its name: `of` says what, from its folder in `/proc`.
fn threads(codec: &Codec, of: impl Fn(&str, &str) -> u64) -> BTreeMap<String, u64> {
    let mut spent = BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{}/task", codec.pid())).expect("it runs").flatten() {
        let read = |name: &str| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        *spent.entry(read("comm").trim().to_owned()).or_default() += of(&read("stat"), &read("status"));
    }
    spent
}

/// Of all of Linux that runs here.
const TICKS_PER_S: u64 = 100;

/// Clock ticks of processor time: the 14th and 15th field.
fn ticks(stat: &str, _status: &str) -> u64 {
    proc::fields(stat).iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// How often it has waited for something.
fn waits(_stat: &str, status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

fn served(threads: &BTreeMap<String, u64>) -> u64 {
    threads.iter().filter(|(name, _)| name.starts_with("serve-")).map(|(_, spent)| spent).sum()
}

#[tokio::test]
async fn each_processor_has_a_thread_that_serves_and_all_of_them_get_connections() {
    let codec = Codec::start().await;
    let before = threads(&codec, waits);
    let serving: Vec<_> = before.keys().filter(|name| name.starts_with("serve-")).collect();
    assert_eq!(serving.len(), processors(), "{before:?}");
    // Connections that stay: the threads have as many of them each.
    let clients: Vec<Client> = (0..2 * processors()).map(|_| codec.client.keeping_connections()).collect();
    for client in &clients {
        client.get("/livez").await;
    }
    for _ in 0..10 {
        for client in &clients {
            client.encrypt("shop", &secret("value")).await;
        }
    }
    let after = threads(&codec, waits);
    for name in serving {
        assert!(after[name] >= before[name] + 10, "{name} served nobody: {before:?} {after:?}");
    }
}

/// Some tenths of a second of computing, and then this.
fn long(then: &str) -> String {
    format!(
        "(local $left i64)\n(local.set $left (i64.const 200000000))\n(loop $on\n\
         (local.set $left (i64.sub (local.get $left) (i64.const 1)))\n\
         (br_if $on (i64.ne (local.get $left) (i64.const 0))))\n{then}\n"
    )
}

/// One policy, of one project, and what else is said of it.
fn only(name: &str, more: &str) -> String {
    format!(
        "[plugins]\ndefault = \"allow\"\n\n[[policies]]\nname = \"{name}\"\npath = \"{name}.wasm\"\nprojects = [\"shop\"]\n{more}\n"
    )
}

#[tokio::test]
async fn a_policy_that_takes_long_holds_up_none_of_those_on_its_thread() {
    for (then, decision) in [("(call $abstain)", "abstain"), ("(unreachable)", "trap")] {
        let launch = Launch::new().toml(&only("long", "deadline_ms = 1000"));
        launch.put_plugin("long.wasm", &corpus::made(World::Policy, &[("evaluate", &long(then))]));
        let codec = launch.start().await;
        let encrypt = async |client: Client| client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await;
        // From these it is known.
        for _ in 0..3 {
            encrypt(codec.client.clone()).await;
        }
        // On a busy machine a decision may be done before the others have had their turns; on one thread, they never would before it.
        let mut overtaken = false;
        for _ in 0..ATTEMPTS {
            let deciding = tokio::spawn(encrypt(codec.client.clone()));
            tokio::time::sleep(Duration::from_millis(20)).await;
            for _ in 0..probes() {
                // A new connection each: they go to all threads alike.
                codec.client.get("/livez").await;
            }
            overtaken |= !deciding.is_finished();
            let answer = deciding.await.expect("no panic");
            assert_eq!(answer.status, if decision == "trap" { 403 } else { 200 }, "{}", answer.text);
            assert_eq!(codec.last_record()["decisions"], json!({"long": decision}));
            if overtaken {
                break;
            }
        }
        assert!(overtaken, "all waited for the decision");
    }
}

/// `SCHED_IDLE`.
const SPARE_TIME: &str = "5";

/// How the threads named `name` are scheduled: a field each.
fn scheduled(codec: &Codec, name: &str) -> Vec<String> {
    let stats = proc::threads_named(codec.pid(), name).into_iter().map(|thread| proc::behind_name(&thread));
    stats.filter(|stat| stat.len() > 1).map(|stat| proc::policy(&stat).to_owned()).collect()
}

/// With a policy that never ends, and what else is said of it.
async fn endless(more: &str) -> Codec {
    let launch = Launch::new().toml(&only("endless", more));
    launch
        .put_plugin("endless.wasm", &corpus::made(World::Policy, &[("evaluate", "(loop $on (br $on)) (unreachable)")]));
    launch.start().await
}

#[tokio::test]
async fn a_policy_that_never_ends_takes_time_that_nobody_else_wants() {
    const CALLS: usize = 30;
    const UNTIL_HOPELESS: usize = 10;
    let codec = endless("").await;
    let client = codec.client.clone();
    let call = async move |count| {
        for _ in 0..count {
            let answer = client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await;
            // Where others want all there is, the one before may still be at it.
            assert!(answer.status == 403 || answer.status == 503, "{}", answer.text);
        }
    };
    call(UNTIL_HOPELESS).await;
    let (began, before) = (Instant::now(), threads(&codec, ticks)["slow-policy"]);
    let calling = tokio::spawn(async move { call(CALLS - UNTIL_HOPELESS).await });
    let mut seen = BTreeMap::<String, usize>::new();
    while !calling.is_finished() {
        for how in scheduled(&codec, "slow-policy") {
            *seen.entry(how).or_default() += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    calling.await.expect("no panic");
    // Nor all of that: a sixth of a processor. Without rests it is nine tenths, where nobody else wants them.
    let spent = Duration::from_millis(1_000 / TICKS_PER_S * (threads(&codec, ticks)["slow-policy"] - before));
    assert!(2 * spent < began.elapsed(), "{spent:?} of {:?}", began.elapsed());
    assert!(seen.get(SPARE_TIME).is_some_and(|spare| 2 * spare > seen.values().sum()), "{seen:?}");
    let decided = codec.plugins().await["policies"][0]["decisions"].clone();
    let counted = decided.as_object().expect("counts").values().filter_map(Value::as_u64).sum::<u64>();
    let late = |how: &str| decided[how].as_u64().expect("a count");
    assert_eq!((late("timeout") + late("busy"), counted), (CALLS as u64, CALLS as u64), "{decided}");
}

/// In monitor mode a policy is on trial: what it does changes no answer, and its rests hold up no call.
#[tokio::test]
async fn nobody_waits_for_the_rests_of_a_policy_that_changes_nothing() {
    let codec = endless("mode = \"monitor\"").await;
    let mut decided: Vec<Value> = Vec::new();
    let count = |decided: &[Value], how: &str| decided.iter().filter(|decision| *decision == how).count();
    while count(&decided, "monitor:busy") < 10 || count(&decided, "monitor:timeout") <= 10 {
        assert!(decided.len() < 400, "every call waited for its turn, or none had one: {decided:?}");
        codec.client.encrypt("shop", "v").await;
        decided.push(codec.last_record()["decisions"]["endless"].clone());
    }
    assert!(
        decided.iter().all(|decision| *decision == "monitor:busy" || *decision == "monitor:timeout"),
        "{decided:?}"
    );
}

/// Values in a batch that takes long.
const BATCH: usize = 4_000;

fn values(what: &str) -> Map<String, Value> {
    (0..BATCH).map(|n| (format!("SECRET_{n}"), json!(secret(what)))).collect()
}

fn secrets(values: &Map<String, Value>) -> Value {
    values.iter().map(|(name, value)| (name.clone(), json!({"type": "secret", "value": value}))).collect()
}

#[tokio::test]
async fn batches_that_take_long_are_worked_on_beside_the_threads_that_serve() {
    let codec = Codec::start().await;
    let values = values("long");
    let before = threads(&codec, ticks);
    let mut stored = Value::Null;
    for _ in 0..5 {
        let body = json!({"projectId": "shop", "variables": secrets(&values)});
        stored = codec.client.post("/encrypt-all", body).await.ok()["variables"].take();
        let body = json!({"projectId": "shop", "deploymentId": "d-1", "variables": stored});
        let opened = codec.client.post("/decrypt-all", body).await.ok();
        assert_eq!(opened.as_object(), Some(&values));
    }
    assert!(stored.to_string().len() > 64 << 10, "these are not long");
    let after = threads(&codec, ticks);
    let beside = |threads: &BTreeMap<String, u64>| threads["tokio-rt-worker"];
    let (beside, served) = (beside(&after) - beside(&before), served(&after) - served(&before));
    assert!(beside > served, "ticks: {beside} beside, {served} on threads that serve");
}

#[tokio::test]
async fn who_goes_away_from_a_batch_that_takes_long_leaves_its_record() {
    let codec = Codec::start().await;
    codec.client.encrypt("shop", &secret("value")).await;
    let body = json!({"projectId": "shop", "variables": secrets(&values("gone"))}).to_string();
    let is_batch = |record: &Value| record["variables"].as_array().is_some_and(|names| names.len() == BATCH);
    let (mut left, mut patience) = (0, 1);
    // Until one of them began: on a busy machine it takes a while until the body is there.
    while patience < 40 || !codec.records().iter().any(is_batch) {
        assert!(patience < 60_000, "none of them began");
        let call = codec.client.post_text("/encrypt-all", body.clone());
        left += usize::from(tokio::time::timeout(Duration::from_millis(patience), call).await.is_err());
        patience += if patience < 40 { 1 } else { patience };
    }
    assert!(left > 0, "all were answered within milliseconds");
    // Every call that began is recorded, allowed or abandoned, and the service goes on.
    codec.client.encrypt("shop", &secret("value")).await;
    let records = codec.records();
    for record in records.iter().filter(|record| is_batch(record)) {
        let (outcome, reason) = (&record["outcome"], &record["reason"]);
        assert!(outcome == "allowed" || (outcome == "failed" && reason == "abandoned"), "{record}");
    }
}
