//! What the store has newer is never made older, nor undone what was done to a DEK since.

use serde_json::json;

use super::{Rows, backed_up, empty_stores, execute, post, restore, restored, rows, said};
use crate::key_providers::{launch as outside_launch, transit_toml, vault};
use crate::support::outside_kek::{decrypts, kek, stopped};
use crate::support::{Codec, Launch, postgres};

/// `shop` with two versions and `blog` with one.
async fn two_projects(codec: &Codec) {
    codec.client.encrypt("shop", "v").await;
    post(codec, "/rotate-dek", 1).await;
    codec.client.encrypt("blog", "v").await;
}

#[tokio::test]
async fn an_older_backup_over_a_newer_store_is_refused_whole() {
    type Change = &'static [(&'static str, u32)];
    let cases: [(&str, Change, &str); 5] = [
        ("rotated", &[("/rotate-dek", 2)], "shop:2: generation 2 (decrypt-only) in the store, 1 here"),
        ("disabled", &[("/disable-dek", 1)], "shop:1: generation 3 (disabled) in the store, 2 here"),
        (
            "destroyed",
            &[("/disable-dek", 1), ("/destroy-dek", 1)],
            "shop:1: generation 4 (destroyed) in the store, 2 here",
        ),
        (
            "enabled again",
            &[("/disable-dek", 1), ("/enable-dek", 1)],
            "shop:1: generation 4 (decrypt-only) in the store, 2 here",
        ),
        (
            "rotated twice",
            &[("/rotate-dek", 2), ("/rotate-dek", 3)],
            "shop:2: generation 2 (decrypt-only) in the store, 1 here",
        ),
    ];
    for (case, changes, why) in cases {
        for (kind, launch) in empty_stores(&Launch::new()).await {
            let codec = launch.start().await;
            two_projects(&codec).await;
            let file = backed_up(&codec.launch, "older");
            for (path, version) in changes {
                post(&codec, path, *version).await;
            }
            let newer = backed_up(&codec.launch, "newer");
            let launch = stopped(codec).await;
            // A row that is missing does not make it any better.
            execute(&launch, "DELETE FROM project_dek WHERE project_id = 'blog'").await;
            let before = rows(&launch).await;
            for more in [&["--dry-run"][..], &[]] {
                let output = restore(&launch, &file, more);
                assert_eq!(output.status.code(), Some(1), "{kind}, {case}: {}", said(&output));
                assert!(said(&output).contains(&format!("REFUSED: {why}")), "{kind}, {case}: {}", said(&output));
                assert!(said(&output).contains("nothing was restored"), "{kind}, {case}");
                assert_eq!(rows(&launch).await, before, "{kind}, {case}");
            }
            let records = crate::support::codec::records(&launch.journal_dir());
            let record = records.last().expect("a record");
            assert_eq!((&record["action"], &record["reason"]), (&json!("STORE_RESTORE"), &json!("store_newer")));
            // The newer one brings the missing row back, and a store that stayed behind forward.
            assert!(restored(&launch, &newer).contains("1 DEKs and 0 canaries added"), "{kind}, {case}");
            for (other, behind) in empty_stores(&launch).await {
                restored(&behind, &file);
                let said = restored(&behind, &newer);
                assert!(said.contains("1 DEKs brought forward"), "{kind} to {other}, {case}: {said}");
                assert_eq!(rows(&behind).await, rows(&launch).await, "{kind} to {other}, {case}");
                restored(&behind, &newer);
            }
        }
    }
}

#[tokio::test]
async fn what_was_destroyed_stays_so_even_where_somebody_lowers_its_generation() {
    for (kind, launch) in empty_stores(&Launch::new()).await {
        let codec = launch.start().await;
        two_projects(&codec).await;
        let file = backed_up(&codec.launch, "older");
        post(&codec, "/disable-dek", 1).await;
        post(&codec, "/destroy-dek", 1).await;
        let launch = stopped(codec).await;
        for lowered in [
            "UPDATE project_dek SET generation = 1 WHERE version = 1",
            "UPDATE project_dek SET generation = 2 WHERE version = 1",
        ] {
            execute(&launch, lowered).await;
            let output = restore(&launch, &file, &[]);
            assert_eq!(output.status.code(), Some(1), "{kind}");
            assert!(
                said(&output).contains("REFUSED: shop:1: another DEK, or another history"),
                "{kind}: {}",
                said(&output)
            );
        }
    }
}

/// A store that began anew has DEKs of its own, of the same names: none takes the place of another, whatever the generations.
#[tokio::test]
async fn a_store_of_another_history_is_left_alone() {
    for (kind, launch) in empty_stores(&Launch::new()).await {
        let codec = launch.start().await;
        two_projects(&codec).await;
        let file = backed_up(&codec.launch, "backup");
        for (other, anew) in empty_stores(&codec.launch).await {
            let anew = anew.start().await;
            let sealed = anew.client.encrypt("shop", "precious").await;
            let anew = stopped(anew).await;
            let before = rows(&anew).await;
            let output = restore(&anew, &file, &[]);
            assert!(
                said(&output).contains("REFUSED: shop:1: another DEK, or another history of it"),
                "{}",
                said(&output)
            );
            assert_eq!(rows(&anew).await, before, "{kind} to {other}");
            let anew = anew.start().await;
            decrypts(&anew.client, "shop", &sealed["encrypted"], "precious").await;
            // Another KEK's store is told before anything is compared.
            let wrong = Launch { kek: Launch::new().kek, ..stopped(anew).await };
            let output = restore(&wrong, &file, &[]);
            assert!(said(&output).contains("is not the KEK that this store was made with"), "{}", said(&output));
        }
    }
}

#[tokio::test]
async fn encryptions_never_go_down_and_missing_rows_come_back() {
    for (kind, launch) in empty_stores(&Launch::new()).await {
        let codec = launch.start().await;
        two_projects(&codec).await;
        let launch = stopped(codec).await;
        execute(&launch, "UPDATE project_dek SET encryptions = 1000").await;
        let file = backed_up(&launch, "backup");
        let before = rows(&launch).await;
        // Fewer here, more there: the higher of both.
        execute(&launch, "UPDATE project_dek SET encryptions = 5 WHERE project_id = 'blog'").await;
        execute(&launch, "UPDATE project_dek SET encryptions = 5000 WHERE version = 2").await;
        restored(&launch, &file);
        let mut expected = before.clone();
        expected[2].4 = 5000;
        assert_eq!(rows(&launch).await, expected, "{kind}");
        // Whatever is missing is added, in its place, and the rest is as it was.
        execute(&launch, "DELETE FROM project_dek WHERE version = 1").await;
        execute(&launch, "DELETE FROM kek_canary").await;
        assert!(restored(&launch, &file).contains("2 DEKs and 1 canaries added"), "{kind}");
        assert_eq!(rows(&launch).await, expected, "{kind}");
        let codec = launch.start().await;
        assert_eq!(codec.client.encrypt("blog", "v").await["keyVersion"], 1);
        // What is new since is nobody's business.
        codec.client.encrypt("later", "v").await;
        let launch = stopped(codec).await;
        let with_later = rows(&launch).await;
        restored(&launch, &file);
        assert_eq!(rows(&launch).await, with_later, "{kind}");
    }
}

/// The service key of a KEK outside lies in the store, so in its backup, wrapped; and what is under another KEK since is not put back.
#[tokio::test]
async fn with_a_kek_behind_a_key_service_and_one_in_memory() {
    let vault = vault().await;
    let in_memory = outside_launch().variable("KEK_SECRET", &Launch::new().kek);
    let dir = in_memory.dir.clone();
    let toml =
        |primary: &str| transit_toml(&vault.origin(), dir.path(), "codec", &format!("primary = \"{primary}\""), "");
    let codec = in_memory.start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    let under_memory = backed_up(&codec.launch, "under-memory");
    let mut launch = stopped(codec).await;
    launch.toml = toml("provider");
    let codec = launch.start().await;
    codec.client.encrypt("blog", "v").await;
    let both = backed_up(&codec.launch, "both");
    codec.client.post("/rewrap-all", json!({})).await.ok();
    let under_vault = backed_up(&codec.launch, "under-vault");
    // A KEK that rows need is not left out, neither on the way out nor on the way in.
    let alone = Launch { toml: "[keys]\n".into(), ..codec.launch.clone() };
    let output = alone.run(&["backup", "--out", "never"]);
    assert!(said(&output).contains("rows are under KEK") && !output.status.success(), "{}", said(&output));
    let empty = Launch { dir: Launch::new().dir, ..alone };
    let output = restore(&empty, &both, &[]);
    assert!(said(&output).contains("it was made under KEK") && !output.status.success(), "{}", said(&output));
    assert_eq!(rows(&empty).await, Rows::new());
    let primary = kek(&codec.client).await["primary"].clone();
    let launch = stopped(codec).await;
    let before = rows(&launch).await;
    for older in [&under_memory, &both] {
        let output = restore(&launch, older, &[]);
        assert!(
            said(&output).contains("REFUSED: shop:1: generation 2 (primary) in the store, 1 here"),
            "{}",
            said(&output)
        );
        assert_eq!(rows(&launch).await, before);
    }
    // Into an empty store of either kind, each with what it needs; and from one to the next.
    for is_postgres in [false, true] {
        let mut target = Launch { dir: outside_launch().dir, ..launch.clone() };
        if is_postgres {
            target = target.variable("DATABASE_URL", &postgres::database().await);
        }
        assert_eq!(rows(&target).await, Rows::new());
        assert!(restored(&target, &under_memory).contains("1 DEKs and 1 canaries added"));
        let said = restored(&target, &both);
        assert!(said.contains("1 DEKs and 1 canaries added"), "{said}");
        assert!(restored(&target, &under_vault).contains("1 DEKs brought forward"));
        let target = target.start().await;
        assert_eq!(kek(&target.client).await["primary"], primary);
        decrypts(&target.client, "shop", &sealed["encrypted"], "v").await;
        target.verify(&[]);
    }
}
