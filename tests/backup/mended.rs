//! Rows that somebody has altered in the database: a restore mends them, beside a process that serves too, unless something would be lost by it.

use std::path::Path;

use serde_json::{Value, json};

use super::{Rows, backed_up, empty_stores, execute, post, restore, restored, rows, said};
use crate::key_providers::{launch as outside_launch, transit_toml, vault};
use crate::support::codec::records;
use crate::support::outside_kek::{decrypts, stopped};
use crate::support::{Codec, Launch, postgres};

/// Projects, and what is done to the row of each.
const ALTERED: &[(&str, &str)] = &[
    (
        "copied",
        "UPDATE project_dek SET encrypted_dek = (SELECT other.encrypted_dek FROM project_dek AS other WHERE other.project_id = 'mac') WHERE project_id = 'copied'",
    ),
    ("encryptions", "UPDATE project_dek SET encryptions = -1 WHERE project_id = 'encryptions'"),
    ("fingerprint", "UPDATE project_dek SET fingerprint = encrypted_dek_sha256 WHERE project_id = 'fingerprint'"),
    ("generation", "UPDATE project_dek SET generation = -1 WHERE project_id = 'generation'"),
    ("kek", "UPDATE project_dek SET kek_id = 'x' WHERE project_id = 'kek'"),
    ("mac", "UPDATE project_dek SET row_mac = fingerprint WHERE project_id = 'mac'"),
    ("origin", "UPDATE project_dek SET origin = 'x' WHERE project_id = 'origin'"),
    ("short", "UPDATE project_dek SET fingerprint = former_sha256 WHERE project_id = 'short'"),
    ("state", "UPDATE project_dek SET state = 'x' WHERE project_id = 'state'"),
    ("swapped-1", "UPDATE project_dek SET project_id = 'between' WHERE project_id = 'swapped-1'"),
    ("swapped-2", "UPDATE project_dek SET project_id = 'swapped-1' WHERE project_id = 'swapped-2'"),
    ("wrapped", "UPDATE project_dek SET encrypted_dek = 'x' WHERE project_id = 'wrapped'"),
];

fn opening(project: &str, encrypted: &Value, version: u32) -> Value {
    let variable = json!({"type": "secret", "value": encrypted, "keyVersion": version});
    json!({"projectId": project, "deploymentId": "d", "variables": {"A": variable}})
}

/// SQLite is one process's; on PostgreSQL it goes on.
async fn made_way(kind: &str, codec: Codec) -> (Launch, Option<Codec>) {
    match kind {
        "SQLite" => (stopped(codec).await, None),
        _ => (codec.launch.clone(), Some(codec)),
    }
}

async fn serving(launch: &Launch, codec: Option<Codec>) -> Codec {
    match codec {
        Some(codec) => codec,
        None => launch.clone().start().await,
    }
}

/// `codec restore` with a journal of its own, which must work; what it says.
#[track_caller]
fn mended(launch: &Launch, file: &Path, more: &[&str]) -> String {
    let output = restore(launch, file, &[&["--unwrap", "--audit-dir", "beside"], more].concat());
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

#[tokio::test]
async fn what_was_altered_is_as_it_was_and_opens_again() {
    let count = ALTERED.len();
    for (kind, launch) in empty_stores(&Launch::new()).await {
        let codec = launch.start().await;
        let mut sealed = Vec::new();
        for (project, _) in ALTERED {
            sealed.push((*project, codec.client.encrypt(project, project).await["encrypted"].clone()));
        }
        let launch = stopped(codec).await;
        let file = backed_up(&launch, "backup");
        let before = rows(&launch).await;
        for (_, alter) in ALTERED {
            execute(&launch, alter).await;
        }
        execute(&launch, "UPDATE project_dek SET project_id = 'swapped-2' WHERE project_id = 'between'").await;
        // One whose id is none is nobody's, and no backup's.
        execute(
            &launch,
            "INSERT INTO project_dek SELECT '../x', version, kek_id, encrypted_dek, former_sha256, row_mac, row_mac, state, origin, encryptions, \
             created_at, former_sha256, generation, last_used_at FROM project_dek WHERE project_id = 'origin'",
        )
        .await;
        let codec = launch.start().await;
        for (project, encrypted) in &sealed {
            let answer = codec.client.post("/decrypt-all", opening(project, encrypted, 1)).await;
            match *project {
                "encryptions" => assert_eq!(answer.ok(), json!({"A": project})),
                _ => answer.refused(500, "dek_corrupt"),
            }
        }
        let (launch, codec) = made_way(kind, codec).await;
        let altered = rows(&launch).await;
        let said = mended(&launch, &file, &["--dry-run"]);
        assert!(said.contains("WOULD BE MENDED: mac:1: its MAC does not verify\n"), "{kind}: {said}");
        assert!(said.contains(&format!("{count} DEKs would be mended")), "{kind}: {said}");
        assert_eq!(rows(&launch).await, altered, "{kind}");
        let said = mended(&launch, &file, &[]);
        for line in [
            "MENDED: fingerprint:1: its fingerprint is another DEK's",
            "MENDED: mac:1: its MAC does not verify",
            "MENDED: state:1: it cannot be read (a row of the DEK store is corrupt: state)",
            "0 DEKs and 0 canaries added",
            "0 DEKs brought forward",
            &format!("{count} DEKs mended"),
        ] {
            assert!(said.lines().any(|said| said == line), "{kind}, {line}: {said}");
        }
        let record = records(&launch.dir.path().join("beside")).pop().expect("a record");
        assert_eq!((&record["action"], &record["outcome"]), (&json!("STORE_RESTORE"), &json!("allowed")), "{kind}");
        assert_eq!((&record["backup"]["mended"], &record["backup"]["added"]), (&json!(count), &json!(0)), "{kind}");
        let (nobodys, after): (Rows, Rows) = rows(&launch).await.into_iter().partition(|row| row.0 == "../x");
        assert_eq!((nobodys.len(), after), (1, before), "{kind}");
        // Twice is safe.
        let said = mended(&launch, &file, &[]);
        assert!(
            said.contains("\n0 DEKs mended") && said.contains(&format!("{count} DEKs were here already")),
            "{said}"
        );
        let codec = serving(&launch, codec).await;
        for (project, encrypted) in &sealed {
            let answer = codec.client.post("/decrypt-all", opening(project, encrypted, 1)).await;
            assert_eq!(answer.ok(), json!({"A": project}), "{kind}");
            assert_eq!(codec.client.encrypt(project, "v").await["keyVersion"], 1, "{kind} {project}");
        }
    }
}

#[tokio::test]
async fn what_is_newer_stays_while_others_are_mended() {
    for (kind, launch) in empty_stores(&Launch::new()).await {
        let codec = launch.start().await;
        let (shop, blog) = (codec.client.encrypt("shop", "s").await, codec.client.encrypt("blog", "b").await);
        let file = backed_up(&codec.launch, "backup");
        post(&codec, "/rotate-dek", 1).await;
        let launch = stopped(codec).await;
        execute(&launch, "UPDATE project_dek SET row_mac = fingerprint WHERE project_id = 'blog'").await;
        let altered = rows(&launch).await;
        let output = restore(&launch, &file, &[]);
        assert!(!output.status.success() && said(&output).contains("--mend"), "{kind}: {}", said(&output));
        assert_eq!(rows(&launch).await, altered, "{kind}");
        let said = mended(&launch, &file, &["--mend"]);
        for line in [
            "MENDED: blog:1: its MAC does not verify",
            "1 DEKs mended",
            "1 DEKs are newer here, or of another history, and stay",
        ] {
            assert!(said.lines().any(|said| said == line), "{kind}, {line}: {said}");
        }
        // Of one that says it is under a KEK that is not there, nobody can tell; it is named.
        execute(&launch, "CREATE TABLE kept AS SELECT project_id, version, kek_id FROM project_dek").await;
        execute(&launch, "UPDATE project_dek SET kek_id = '0123456789abcdef' WHERE project_id = 'blog'").await;
        let output = restore(&launch, &file, &["--mend"]);
        let unknown = "UNKNOWN: blog:1: KEK 0123456789abcdef is not configured";
        assert!(!output.status.success() && crate::backup::said(&output).contains(unknown), "{kind}: {output:?}");
        execute(&launch, "UPDATE project_dek SET kek_id = (SELECT MAX(kek_id) FROM kept)").await;
        let codec = launch.start().await;
        decrypts(&codec.client, "shop", &shop["encrypted"], "s").await;
        decrypts(&codec.client, "blog", &blog["encrypted"], "b").await;
        assert_eq!(codec.client.encrypt("shop", "t").await["keyVersion"], 2, "{kind}");
    }
}

/// Of one whose state cannot be read, a service does not know that it is the primary one.
#[tokio::test]
async fn a_primary_in_whose_place_a_service_has_made_another_decrypts() {
    for (kind, launch) in empty_stores(&Launch::new()).await {
        let codec = launch.start().await;
        let first = codec.client.encrypt("shop", "first").await;
        let launch = stopped(codec).await;
        let file = backed_up(&launch, "backup");
        execute(&launch, "UPDATE project_dek SET state = 'x'").await;
        let codec = launch.start().await;
        let second = codec.client.encrypt("shop", "second").await;
        assert_eq!(second["keyVersion"], 2, "{kind}");
        let (launch, codec) = made_way(kind, codec).await;
        assert!(mended(&launch, &file, &[]).contains("1 DEKs mended"), "{kind}");
        let row = |version, state: &str, generation| ("shop".to_owned(), version, state.to_owned(), generation, 64);
        let expected: Rows = vec![row(1, "decrypt-only", 2), row(2, "primary", 1)];
        assert_eq!(rows(&launch).await, expected, "{kind}");
        let codec = serving(&launch, codec).await;
        for (version, sealed, value) in [(1, &first, "first"), (2, &second, "second")] {
            let answer = codec.client.post("/decrypt-all", opening("shop", &sealed["encrypted"], version)).await;
            assert_eq!(answer.ok(), json!({"A": value}), "{kind}");
        }
        assert_eq!(codec.client.encrypt("shop", "third").await["keyVersion"], 2, "{kind}");
        // It has been rotated since that backup, and is none the worse for it: it stays, while others are mended.
        let (launch, codec) = made_way(kind, codec).await;
        assert!(mended(&launch, &file, &["--mend"]).contains("1 DEKs are newer here"), "{kind}");
        assert_eq!(rows(&launch).await.len(), 2, "{kind}");
        let (launch, _codec) = (launch, codec);
        let output = restore(&launch, &file, &["--dry-run"]);
        assert!(said(&output).contains("generation 2 (decrypt-only) in the store, 1 here"), "{}", said(&output));
    }
}

#[tokio::test]
async fn what_nobody_can_judge_is_newer_was_destroyed_or_would_be_lost_is_left_as_it_is() {
    // Whether the backup is from before the destruction; what is done then, and what the restore says of it.
    const CASES: &[(bool, &str, &str)] = &[
        (
            false,
            "UPDATE project_dek SET kek_id = '0123456789abcdef' WHERE project_id = 'a'",
            "REFUSED: a:1: another DEK, or another history of it, in the store",
        ),
        (
            false,
            "UPDATE project_dek SET kek_id = '0123456789abcdef', state = 'x' WHERE project_id = 'a'",
            "REFUSED: a:1: in the store, it cannot be read (a row of the DEK store is corrupt: state), but its KEK 0123456789abcdef is not configured",
        ),
        (
            true,
            "UPDATE project_dek SET origin = 'x' WHERE project_id = 'shop' AND version = 1",
            "REFUSED: shop:1: in the store, it cannot be read (a row of the DEK store is corrupt: origin), but its MAC verifies",
        ),
        (
            true,
            "UPDATE project_dek SET generation = -1 WHERE project_id = 'shop' AND version = 1",
            "REFUSED: shop:1: in the store, it cannot be read (a row of the DEK store is corrupt: generation), but its MAC verifies",
        ),
        (
            true,
            "UPDATE project_dek SET row_mac = fingerprint WHERE project_id = 'shop' AND version = 1",
            "REFUSED: shop:1: in the store, its MAC does not verify, but it says that it was destroyed",
        ),
    ];
    for (kind, launch) in empty_stores(&Launch::new()).await {
        let codec = launch.start().await;
        for project in ["a", "shop"] {
            codec.client.encrypt(project, "v").await;
        }
        let older = backed_up(&codec.launch, "older");
        for path in ["/rotate-dek", "/disable-dek", "/destroy-dek"] {
            post(&codec, path, 1).await;
        }
        let newer = backed_up(&codec.launch, "newer");
        let launch = stopped(codec).await;
        execute(&launch, "CREATE TABLE kept AS SELECT * FROM project_dek").await;
        for (is_older, alter, says) in CASES {
            execute(&launch, alter).await;
            let altered = rows(&launch).await;
            for more in [&["--dry-run"][..], &[]] {
                let output = restore(&launch, if *is_older { &older } else { &newer }, more);
                assert_eq!(output.status.code(), Some(1), "{kind}, {alter}: {}", said(&output));
                assert!(said(&output).contains(says), "{kind}, {alter}: {}", said(&output));
                assert_eq!(rows(&launch).await, altered, "{kind}, {alter}");
            }
            execute(&launch, "DELETE FROM project_dek").await;
            execute(&launch, "INSERT INTO project_dek SELECT * FROM kept").await;
        }
        assert!(restored(&launch, &newer).contains("\n0 DEKs mended"), "{kind}");
        // What somebody takes away is made anew, and that is all there is of it.
        execute(&launch, "DELETE FROM project_dek WHERE project_id = 'a'").await;
        let codec = launch.start().await;
        let precious = codec.client.encrypt("a", "precious").await;
        let launch = stopped(codec).await;
        execute(&launch, "CREATE TABLE sound AS SELECT row_mac FROM project_dek WHERE project_id = 'a'").await;
        execute(&launch, "UPDATE project_dek SET row_mac = fingerprint WHERE project_id = 'a'").await;
        for more in [&["--dry-run"][..], &["--mend"], &[]] {
            let output = restore(&launch, &newer, more);
            let why = "REFUSED: a:1: in the store, it is corrupt, but its DEK opens, is not the backup's, and has no other row";
            assert!(!output.status.success() && said(&output).contains(why), "{kind}: {}", said(&output));
        }
        execute(&launch, "UPDATE project_dek SET row_mac = (SELECT row_mac FROM sound) WHERE project_id = 'a'").await;
        decrypts(&launch.start().await.client, "a", &precious["encrypted"], "precious").await;
    }
}

/// With a KEK outside, a service that is started before the restore leaves a service key of its own.
#[tokio::test]
async fn a_store_that_a_service_was_begun_on_with_a_kek_outside_says_what_to_do() {
    let (vault, outside) = (vault().await, outside_launch());
    let toml = transit_toml(&vault.origin(), outside.dir.path(), "codec", "", "");
    let codec = outside.toml(&toml).start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    let file = backed_up(&codec.launch, "backup");
    let launch = stopped(codec).await;
    for is_postgres in [false, true] {
        let mut target = Launch { dir: outside_launch().dir, ..launch.clone() };
        if is_postgres {
            target = target.variable("DATABASE_URL", &postgres::database().await);
        }
        let target = stopped(target.start().await).await;
        for more in [&["--dry-run"][..], &[]] {
            let output = restore(&target, &file, more);
            let what_to_do = "take its service key away (DELETE FROM kek_canary), and run it again";
            assert!(!output.status.success() && said(&output).contains(what_to_do), "{}", said(&output));
        }
        assert_eq!(rows(&target).await, Rows::new());
        std::fs::rename(target.journal_dir(), target.dir.path().join("aside")).expect("put aside");
        execute(&target, "DELETE FROM kek_canary").await;
        assert!(restored(&target, &file).contains("1 DEKs and 1 canaries added"));
        let codec = target.start().await;
        decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
        codec.verify(&[]);
    }
    // One that has DEKs is somebody's.
    let other = Launch { dir: outside_launch().dir, ..launch.clone() }.start().await;
    other.client.encrypt("blog", "v").await;
    let other = stopped(other).await;
    let output = restore(&other, &file, &[]);
    let why = "a service was begun on it, and has made DEKs; restore into an empty store";
    assert!(!output.status.success() && said(&output).contains(why), "{}", said(&output));
    assert_eq!(rows(&other).await.len(), 1);
}
