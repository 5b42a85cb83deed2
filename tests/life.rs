//! A whole life of keys, under load, while something is killed every second: a KEK is added, promoted, every DEK rewrapped, the old KEK retired; then
//! every DEK is rotated and every value re-encrypted to v2. Every value opens at every moment, and every record is in its chain.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::support::load::{Load, Sealed};
use crate::support::{Client, Codec, Launch, postgres};

const CLIENTS: usize = 8;
const PROJECTS: usize = 60;
const KILL_EVERY: Duration = Duration::from_secs(1);
/// All of it goes on until then.
const KILLS_MIN: u64 = 8;

/// Two replicas, one of which is killed every second and started again; and whoever else may be killed.
struct Replicas {
    codecs: Arc<Mutex<Vec<Codec>>>,
    load: Arc<Load>,
    kills: Arc<AtomicU64>,
    killer: JoinHandle<()>,
}

impl Replicas {
    fn start(codecs: Vec<Codec>) -> Self {
        let clients = codecs.iter().map(|codec| codec.client.clone()).collect();
        let load = Arc::new(Load::start(CLIENTS, PROJECTS, clients));
        let (codecs, kills) = (Arc::new(Mutex::new(codecs)), Arc::new(AtomicU64::new(0)));
        let killer = tokio::spawn(kill_one_after_the_other(codecs.clone(), load.clone(), kills.clone()));
        Self { codecs, load, kills, killer }
    }

    /// One that is there now.
    async fn any(&self) -> Client {
        let codecs = self.codecs.lock().await;
        let index = getrandom::u32().expect("random") as usize % codecs.len();
        codecs[index].client.clone()
    }

    /// A call that is made until it is answered, wherever.
    async fn call(&self, path: &str, body: &Value) -> Value {
        loop {
            let client = self.any().await;
            if let Ok(answer) = client.try_post(path, body.clone()).await {
                return answer.ok();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Until both say so of their KEKs.
    async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let codecs = self.codecs.lock().await;
            let mut all = Vec::new();
            for codec in codecs.iter() {
                all.push(codec.client.get("/status").await.ok()["kek"].clone());
            }
            if all.iter().all(&holds) {
                return;
            }
            drop(codecs);
            assert!(Instant::now() < deadline, "never {what}: {all:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn kill_one_after_the_other(codecs: Arc<Mutex<Vec<Codec>>>, load: Arc<Load>, kills: Arc<AtomicU64>) {
    loop {
        tokio::time::sleep(KILL_EVERY).await;
        let mut codecs = codecs.lock().await;
        let index = getrandom::u32().expect("random") as usize % codecs.len();
        // In the midst of its calls; those that come next go to the other.
        codecs[index].kill();
        kills.fetch_add(1, Ordering::Relaxed);
        let killed = codecs.remove(index);
        load.targets(codecs.iter().map(|codec| codec.client.clone()).collect());
        let launch = killed.launch.clone();
        drop(killed);
        codecs.push(launch.start().await);
        load.targets(codecs.iter().map(|codec| codec.client.clone()).collect());
    }
}

/// Runs `codec …` beside them, which must succeed.
fn run(launch: &Launch, arguments: &[&str]) -> String {
    let output = launch.run(arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// `codec rewrap`, killed half-way as often as it takes more than its share of a second, until it has come to its end.
async fn rewrap(launch: &Launch) -> Vec<String> {
    let mut audits = Vec::new();
    for round in 1_u64.. {
        let audit = format!("rewrap-{round}");
        let arguments = ["rewrap", "--rate", "20", "--audit-dir", &audit];
        let mut command = tokio::process::Command::from(launch.command(&arguments));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("codec rewrap");
        audits.push(audit);
        let patience = Duration::from_millis(150 * round);
        match tokio::time::timeout(patience, child.wait()).await {
            Ok(status) => {
                assert!(status.expect("ends").success(), "round {round}");
                assert!(round > 2, "it was never killed");
                break;
            }
            Err(_) => child.kill().await.expect("killed"),
        }
    }
    audits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_born_rotated_and_retired_while_something_is_killed_every_second() {
    let url = postgres::database().await;
    let mount = tempfile::tempdir().expect("a folder");
    let toml = format!("[keys]\nkek_dir = \"{}\"\n[audit]\ndurability = \"os\"", mount.path().display());
    let launch = || Launch::new().variable("KEK_SECRET", "").variable("DATABASE_URL", &url).toml(&toml);
    let operator = launch();
    run(&operator, &["keys", "add", "old"]);
    let replicas = Replicas::start(vec![launch().start().await, launch().start().await]);
    for project in 0..PROJECTS {
        replicas.call("/generate-dek", &json!({"projectId": format!("project-{project}")})).await;
    }
    replicas.load.answers(300).await;
    // A new KEK, everywhere before it wraps.
    run(&operator, &["keys", "add", "new"]);
    replicas.until("two KEKs", |kek| kek["inRing"] == 2).await;
    let before = run(&operator, &["keys", "list"]);
    run(&operator, &["keys", "promote", "new"]);
    let old = before.split_whitespace().next().expect("an id").to_owned();
    replicas.until("promoted", |kek| kek["primary"] != json!(old)).await;
    // Every DEK by it, and the old one goes.
    let audits = rewrap(&operator).await;
    let said = run(&operator, &["keys", "list"]);
    assert!(said.contains(&format!("{old}  retained          0 DEKs")), "{said}");
    run(&operator, &["keys", "retire", "old"]);
    replicas.until("retired", |kek| kek["retired"] == 1 && kek["inRing"] == 1).await;
    replicas.load.answers(300).await;
    // Every DEK rotated; asked again where the answer was lost, it is not rotated twice.
    for project in 0..PROJECTS {
        let call = json!({"projectId": format!("project-{project}"), "keyVersion": 1});
        assert_eq!(replicas.call("/rotate-dek", &call).await["keyVersion"], 2);
    }
    // Every value under it, in v2.
    replicas.load.write_v2();
    loop {
        let sealed = replicas.load.sealed();
        let is_v1 = |one: &Sealed| one.variable["value"].as_str().is_some_and(|value| !value.starts_with("v2."));
        let left: Vec<(usize, Sealed)> = sealed.into_iter().enumerate().filter(|(_, one)| is_v1(one)).collect();
        if left.is_empty() || replicas.load.has_failed() {
            break;
        }
        for project in (0..PROJECTS).map(|project| format!("project-{project}")) {
            let of_project = || left.iter().filter(|(_, one)| one.project == project);
            let variables: Map<_, _> = of_project().map(|(_, one)| (one.name.clone(), one.variable.clone())).collect();
            let call = json!({"projectId": project, "format": "v2", "variables": variables});
            let answer = replicas.call("/re-encrypt", &call).await;
            for (index, one) in of_project() {
                let (variable, encrypted_dek) =
                    (answer["variables"][&one.name].clone(), answer["encryptedDEK"].clone());
                replicas.load.store(*index, Sealed { variable, encrypted_dek, ..one.clone() });
            }
        }
    }
    while replicas.kills.load(Ordering::Relaxed) < KILLS_MIN && !replicas.load.has_failed() {
        replicas.load.answers(100).await;
    }
    let Replicas { codecs, load, kills, killer } = replicas;
    killer.abort();
    let _ = killer.await;
    let load = Arc::into_inner(load).expect("the killer is gone");
    let sealed = load.sealed();
    assert!(sealed.len() > 100, "{}", sealed.len());
    assert!(sealed.iter().all(|one| one.variable["keyVersion"] == 2), "all of it is under the new versions");
    let codecs = codecs.lock().await;
    let client = codecs.first().expect("one is there").client.clone();
    let calls = load.end(&client).await;
    for codec in codecs.iter() {
        codec.verify(&[]);
    }
    for audit in audits {
        run(&operator, &["audit", "verify", "--audit-dir", &audit]);
    }
    let kills = kills.load(Ordering::Relaxed);
    eprintln!(
        "{} values, {} answers, {} connections that died, {kills} kills",
        sealed.len(),
        calls.answers.load(Ordering::Relaxed),
        calls.broken_connections.load(Ordering::Relaxed)
    );
}
