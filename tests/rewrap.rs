//! Every DEK by the primary KEK: killed anywhere, run twice, run by several, from memory to a key service and back; every value opens at every
//! moment, and nothing is changed where nothing is to be.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::key_providers::{transit_toml, vault};
use crate::support::backend::{Fault, Reply};
use crate::support::load::Load;
use crate::support::outside_kek::{kek, stopped};
use crate::support::{Codec, Launch, postgres};

/// DEKs by KEK, as the store has them.
async fn by_kek(url: &str) -> Vec<(String, i64)> {
    let mut database = PgConnection::connect(url).await.expect("the database");
    let query = sqlx::query_as("SELECT kek_id, COUNT(*) FROM project_dek GROUP BY kek_id ORDER BY 2");
    query.fetch_all(&mut database).await.expect("counts")
}

async fn generate(codec: &Codec, projects: usize) {
    let client = codec.client.keeping_connections();
    for first in (0..projects).step_by(16) {
        let calls = (first..(first + 16).min(projects)).map(|index| {
            let call = json!({"projectId": format!("project-{index}")});
            let client = &client;
            async move { client.post("/generate-dek", call).await.ok() }
        });
        futures_util::future::join_all(calls).await;
    }
}

/// `codec rewrap` with a journal of its own.
fn rewrap(launch: &Launch, arguments: &[&str], name: &str) -> Child {
    let audit = launch.dir.path().join(name).display().to_string();
    let mut command = launch.command(&[&["rewrap", "--audit-dir", &audit], arguments].concat());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("codec rewrap")
}

/// What it said at its end, which must be a good one.
#[track_caller]
fn ended(child: Child) -> String {
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A service that is under an old KEK, and how one with a new KEK beside it is launched.
async fn old_and_new(url: &str, projects: usize) -> Launch {
    let old = Launch::new().variable("DATABASE_URL", url).toml("[audit]\ndurability = \"os\"");
    let codec = old.start().await;
    generate(&codec, projects).await;
    let old = stopped(codec).await;
    let new = Launch::new().kek;
    old.clone().variable("KEK_SECRET", &new).variable("KEK_SECRET_RETAINED", &old.kek)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_and_run_twice_at_once_beside_services_every_value_opens() {
    const PROJECTS: usize = 400;
    let url = postgres::database().await;
    let launch = old_and_new(&url, PROJECTS).await;
    let other = Launch { dir: Launch::new().dir, ..launch.clone() };
    let (one, two) = (launch.start().await, other.start().await);
    let load = Load::start(4, PROJECTS, vec![one.client.clone(), two.client.clone()]);
    load.answers(50).await;
    let mut kills = 0;
    loop {
        let mut child = rewrap(&one.launch, &["--rate", "300"], &format!("rewrap-{kills}"));
        tokio::time::sleep(Duration::from_millis(u64::from(getrandom::u32().expect("random") % 250))).await;
        child.kill().expect("killed");
        child.wait().expect("gone");
        kills += 1;
        if kills == 12 {
            break;
        }
    }
    let left = by_kek(&url).await;
    assert_eq!(left.iter().map(|(_, count)| count).sum::<i64>(), PROJECTS as i64, "{left:?}");
    // Two at once, to the end.
    let both = [rewrap(&one.launch, &[], "first"), rewrap(&two.launch, &[], "second")];
    let said: Vec<String> = both.into_iter().map(ended).collect();
    assert!(said.iter().all(|said| said.contains("DEKs wrapped by the primary KEK")), "{said:?}");
    let primary = kek(&one.client).await["primary"].as_str().expect("an id").to_owned();
    assert_eq!(by_kek(&url).await, [(primary, PROJECTS as i64)]);
    assert!(ended(rewrap(&one.launch, &[], "again")).contains("\n0 DEKs wrapped by the primary KEK"));
    load.answers(200).await;
    load.end(&two.client).await;
    for (launch, name) in [(&one.launch, "first"), (&two.launch, "second")] {
        let audit = launch.dir.path().join(name).display().to_string();
        let output = launch.run(&["audit", "verify", "--audit-dir", &audit]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    one.verify(&[]);
    two.verify(&[]);
    // The old KEK can go: callers' blobs from then lead to their rows still.
    let sealed = {
        let mut launch = stopped(one).await;
        launch.variables.retain(|(name, _)| name != "KEK_SECRET_RETAINED");
        launch.start().await
    };
    sealed.client.encrypt("project-1", "v").await;
}

#[tokio::test]
async fn a_dry_run_and_a_shadow_run_change_nothing_and_a_row_that_is_damaged_stays_and_is_named() {
    let url = postgres::database().await;
    let launch = old_and_new(&url, 40).await;
    let rows = async || {
        let mut database = PgConnection::connect(&url).await.expect("the database");
        let query = "SELECT md5(string_agg(project_dek::text, ',' ORDER BY project_id, version)) FROM project_dek";
        sqlx::query_scalar::<_, String>(query).fetch_one(&mut database).await.expect("a digest")
    };
    let before = rows().await;
    let said = ended(rewrap(&launch, &["--dry-run"], "none"));
    assert!(said.contains("40 DEKs at ") && said.contains("nothing was changed"), "{said}");
    let said = ended(rewrap(&launch, &["--shadow"], "none"));
    assert!(said.contains("40 DEKs open to the same under the primary KEK"), "{said}");
    assert_eq!(rows().await, before);
    assert!(!launch.dir.path().join("none").exists(), "nothing was recorded");
    // A row of somebody else's making.
    let mut database = PgConnection::connect(&url).await.expect("the database");
    let damage = "UPDATE project_dek SET fingerprint = decode(repeat('00', 32), 'hex') WHERE project_id = 'project-7'";
    sqlx::query(damage).execute(&mut database).await.expect("damaged");
    let said = rewrap(&launch, &[], "audit").wait_with_output().expect("ends");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(!said.status.success(), "{text}");
    assert!(text.contains("39 DEKs wrapped by the primary KEK"), "{text}");
    assert!(text.contains("REFUSED: project-7:1: "), "{text}");
    assert_eq!(by_kek(&url).await.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1, 39]);
    // Versions that are disabled or destroyed come along: their old KEK is not needed for them.
    let codec = launch.start().await;
    for path in ["/rotate-dek", "/disable-dek", "/destroy-dek"] {
        codec.client.post(path, json!({"projectId": "project-1", "keyVersion": 1})).await.ok();
    }
    let launch = stopped(codec).await;
    let next = Launch::new().kek;
    let (_, kek) = launch.variables.iter().find(|(name, _)| name == "KEK_SECRET").expect("set").clone();
    let retained = format!("{kek} {}", launch.kek);
    let launch = launch.variable("KEK_SECRET", &next).variable("KEK_SECRET_RETAINED", &retained);
    assert!(!rewrap(&launch, &[], "next").wait_with_output().expect("ends").status.success());
    assert_eq!(by_kek(&url).await.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1, 40]);
    let codec = launch.start().await;
    codec
        .client
        .post("/enable-dek", json!({"projectId": "project-1", "keyVersion": 1}))
        .await
        .refused(410, "dek_destroyed");
}

#[tokio::test]
async fn rows_of_somebody_elses_making_hold_up_no_other() {
    let url = postgres::database().await;
    let launch = old_and_new(&url, 12).await;
    let mut database = PgConnection::connect(&url).await.expect("the database");
    let mut sql = async |statement: &'static str| {
        let done = sqlx::raw_sql(statement).execute(&mut database).await.expect(statement);
        assert!(done.rows_affected() > 0, "{statement}");
    };
    let codec = launch.start().await;
    // One that has the fingerprint which another will have.
    sql("CREATE TABLE kept AS SELECT * FROM project_dek WHERE project_id = 'project-3'").await;
    codec.client.post("/rewrap-dek", json!({"projectId": "project-3"})).await.ok();
    sql("CREATE TABLE later AS SELECT fingerprint FROM project_dek WHERE project_id = 'project-3'; \
         DELETE FROM project_dek WHERE project_id = 'project-3'; INSERT INTO project_dek SELECT * FROM kept")
    .await;
    sql("UPDATE project_dek SET fingerprint = (SELECT fingerprint FROM later) WHERE project_id = 'project-5'").await;
    // One whose id is none.
    sql("UPDATE project_dek SET project_id = 'a \"b\":1:c' WHERE project_id = 'project-7'").await;
    let (mut rewrapped, mut failed, mut after) = (0, Vec::new(), Value::Null);
    loop {
        // One at a time: each of them is a place to go on from.
        let answer = codec.client.post("/rewrap-all", json!({"after": after, "limit": 1})).await.ok();
        rewrapped += answer["rewrapped"].as_u64().expect("a number");
        failed.extend(answer["failed"].as_array().expect("a list").iter().map(|row| row["projectId"].clone()));
        after = answer["next"].clone();
        if after.is_null() {
            break;
        }
    }
    failed.sort_by_key(Value::to_string);
    assert_eq!(failed, ["a \"b\":1:c", "project-3", "project-5"]);
    assert_eq!(rewrapped, 9);
    // All at once: there is nothing left but them.
    let answer = codec.client.post("/rewrap-all", json!({})).await.ok();
    assert_eq!((&answer["rewrapped"], answer["failed"].as_array().map(Vec::len)), (&json!(0), Some(3)), "{answer}");
    // The one that is as it was opens.
    codec.client.encrypt("project-3", "v").await;
}

/// Two replicas, restarted one after the other for each step: KEKs are there everywhere before one of them wraps.
struct Pair {
    codecs: Vec<Codec>,
    load: Load,
}

impl Pair {
    async fn restart(&mut self, change: impl Fn(Launch) -> Launch) {
        for index in 0..self.codecs.len() {
            let codec = self.codecs.remove(index);
            self.load.targets(self.codecs.iter().map(|codec| codec.client.clone()).collect());
            let launch = change(stopped(codec).await);
            self.codecs.insert(index, launch.start().await);
            self.load.targets(self.codecs.iter().map(|codec| codec.client.clone()).collect());
            self.load.answers(20).await;
        }
    }

    async fn rewrap_all(&self) -> u64 {
        let (mut rewrapped, mut after) = (0, Value::Null);
        loop {
            let call = json!({"after": after, "limit": 50});
            let answer = self.codecs[0].client.post("/rewrap-all", call).await.ok();
            assert_eq!(answer["failed"], json!([]));
            rewrapped += answer["rewrapped"].as_u64().expect("a number");
            match &answer["next"] {
                Value::Null => return rewrapped,
                next => after = next.clone(),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_memory_to_vault_transit_and_back_under_load_nothing_is_lost() {
    const PROJECTS: usize = 60;
    let (vault, url) = (vault().await, postgres::database().await);
    let memory = Launch::new().kek;
    let launch = || {
        let launch = Launch::new().with_plugins().variable("DATABASE_URL", &url);
        launch.variable("KEK_SECRET", &memory).toml("[audit]\ndurability = \"os\"")
    };
    let codecs = vec![launch().start().await, launch().start().await];
    generate(&codecs[0], PROJECTS).await;
    let load = Load::start(4, PROJECTS, codecs.iter().map(|codec| codec.client.clone()).collect());
    load.answers(100).await;
    let mut pair = Pair { codecs, load };
    let origin = vault.origin();
    let with = |primary: &'static str| {
        let origin = origin.clone();
        move |mut launch: Launch| {
            let keys = format!("primary = \"{primary}\"");
            launch.toml =
                transit_toml(&origin, launch.dir.path(), "codec", &keys, "") + "[audit]\ndurability = \"os\"\n";
            launch
        }
    };
    // There: known everywhere, then primary everywhere, then everything is brought.
    pair.restart(with("memory")).await;
    pair.restart(with("provider")).await;
    assert!(pair.rewrap_all().await >= PROJECTS as u64);
    pair.load.answers(100).await;
    let outside = kek(&pair.codecs[0].client).await["primary"].as_str().expect("an id").to_owned();
    assert_eq!(by_kek(&url).await, [(outside, PROJECTS as i64)]);
    // The KEK in memory is needed no more.
    pair.restart(|launch| {
        let toml = launch.toml.replace("primary = \"provider\"\n", "");
        Launch { toml, ..launch.variable("KEK_SECRET", "") }
    })
    .await;
    pair.load.answers(100).await;
    // And back, with another one.
    let other = Launch::new().kek;
    for primary in ["provider", "memory"] {
        let with = with(primary);
        pair.restart(|launch| with(launch.variable("KEK_SECRET", &other))).await;
    }
    // By the command this time, beside both of them.
    let said = ended(rewrap(&pair.codecs[0].launch, &["--shadow"], "tried"));
    assert!(said.contains(&format!("{PROJECTS} DEKs open to the same under the primary KEK")), "{said}");
    let said = ended(rewrap(&pair.codecs[1].launch, &["--at-once", "16"], "back"));
    assert!(said.contains(&format!("{PROJECTS} DEKs wrapped by the primary KEK")), "{said}");
    pair.restart(|launch| Launch { toml: "[audit]\ndurability = \"os\"\n".into(), ..launch }).await;
    vault.always(Some(Fault::Say(Reply::new(503, "{}"))));
    pair.load.answers(100).await;
    let inside = kek(&pair.codecs[0].client).await["primary"].as_str().expect("an id").to_owned();
    assert_eq!(by_kek(&url).await, [(inside, PROJECTS as i64)]);
    let client = pair.codecs[1].client.clone();
    pair.load.end(&client).await;
}

#[tokio::test]
async fn rows_that_a_key_service_refuses_are_named_and_hold_up_no_other() {
    let (vault, url) = (vault().await, postgres::database().await);
    let launch = |primary: &str| {
        let launch = Launch::new().with_plugins().variable("DATABASE_URL", &url).toml("[audit]\ndurability = \"os\"");
        let keys = format!("primary = \"{primary}\"");
        let toml = transit_toml(
            &vault.origin(),
            launch.dir.path(),
            "codec",
            &keys,
            "breaker_failures = 1000\ndeadline_ms = 10000",
        );
        Launch { toml, ..launch }
    };
    let memory = Launch::new().kek;
    let mut codec = launch("provider").variable("KEK_SECRET", &memory).start().await;
    let encrypt = async |codec: &Codec, projects: &[String]| {
        for project in projects {
            codec.client.encrypt(project, "v").await;
        }
    };
    let named = |prefix: &str, count: usize| -> Vec<String> { (0..count).map(|n| format!("{prefix}-{n}")).collect() };
    // Others stand before and behind them. The service key is cut off too, which opens the breaker now and then: not here.
    let (cut_off, kept) = (named("b", 8), [named("a", 2), named("c", 2)].concat());
    encrypt(&codec, &cut_off).await;
    vault.with(|vault| vault.change("POST", "transit/keys/codec/rotate", json!({})));
    encrypt(&codec, &kept).await;
    assert_eq!(codec.terminate().await, 0);
    let codec = launch("memory").variable("KEK_SECRET", &memory).start().await;
    vault.with(|vault| vault.change("POST", "transit/keys/codec/config", json!({"min_decryption_version": 2})));
    for (limit, expected) in [(50, 4), (1, 0), (3, 0)] {
        let (mut rewrapped, mut failed, mut after) = (0, Vec::new(), Value::Null);
        loop {
            // Where the key service is late once, the same stretch is asked for again.
            let call = json!({"after": after, "limit": limit});
            let answer = codec.client.until_status(200, "/rewrap-all", call).await.ok();
            rewrapped += answer["rewrapped"].as_u64().expect("a number");
            for row in answer["failed"].as_array().expect("a list") {
                assert_eq!(row["code"], "kek_unavailable");
                failed.push(row["projectId"].as_str().expect("an id").to_owned());
            }
            after = answer["next"].clone();
            if after.is_null() {
                break;
            }
        }
        assert_eq!((rewrapped, &failed), (expected, &cut_off), "{limit} at a time");
    }
    // Where nobody is answered, nothing is said of any row.
    vault.always(Some(Fault::Say(Reply::new(503, "{}"))));
    codec.client.post("/rewrap-all", json!({"limit": 1})).await.refused(503, "kek_unavailable");
}
