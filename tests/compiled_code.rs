//! What plugins were compiled to is kept between starts, and nothing is run that others have put there.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::support::plugins::component;
use crate::support::{Codec, Launch};

const TOML: &str = "[[policies]]\nname = \"access\"\npath = \"policy-access.wasm\"\n\
                    settings = { table = \"service | encrypt | *, - | *\" }\n";
const NOT_OURS: &str = "not the compiled code that was kept";

fn launch() -> Launch {
    let launch = Launch::new().toml(TOML);
    launch.put_plugin("policy-access.wasm", &component("policy-access"));
    launch
}

/// Every file of compiled code, and when it was written.
fn kept(launch: &Launch) -> BTreeMap<PathBuf, SystemTime> {
    let files = std::fs::read_dir(launch.data_dir().join("code")).expect("a folder");
    let files = files.map(|entry| {
        let entry = entry.expect("an entry");
        (entry.path(), entry.metadata().and_then(|found| found.modified()).expect("a time"))
    });
    files.collect()
}

async fn started_again(mut codec: Codec) -> Codec {
    assert_eq!(codec.terminate().await, 0);
    codec.launch.clone().start().await
}

/// The policy decides, and decides the same.
async fn decides(codec: &Codec) {
    let body = serde_json::json!({"projectId": "shop", "value": "v"});
    codec.client.post("/encrypt", body).await.ok();
    let body = serde_json::json!({"projectId": "shop"});
    assert_eq!(codec.client.post("/generate-dek", body).await.status, 403);
}

#[tokio::test]
async fn a_second_start_compiles_nothing() {
    let codec = launch().start().await;
    decides(&codec).await;
    let before = kept(&codec.launch);
    assert!(before.len() >= 2, "for `configure`, and for deciding: {before:?}");
    for path in before.keys() {
        let mode = std::fs::metadata(path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    let codec = started_again(codec).await;
    decides(&codec).await;
    assert_eq!(kept(&codec.launch), before);
    assert!(!codec.log().contains(NOT_OURS));
}

#[tokio::test]
async fn code_that_others_have_put_there_is_not_run_and_made_again() {
    let codec = launch().start().await;
    let before = kept(&codec.launch);
    let good: Vec<Vec<u8>> = before.keys().map(|path| std::fs::read(path).expect("readable")).collect();
    // One bit of the first; in each other's place the machine code of the one before.
    let mut altered = good[0].clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for (path, code) in before.keys().zip(std::iter::once(&altered).chain(&good)) {
        std::fs::write(path, code).expect("writable");
    }
    let codec = started_again(codec).await;
    decides(&codec).await;
    assert_eq!(codec.log().matches(NOT_OURS).count(), good.len(), "{}", codec.log());
    // What was made again is good from then on.
    let after = kept(&codec.launch);
    let codec = started_again(codec).await;
    assert_eq!(kept(&codec.launch), after);
    assert!(!codec.log().contains(NOT_OURS));
}

#[tokio::test]
async fn links_pipes_and_huge_files_in_the_place_of_code_hold_up_no_start_and_give_way() {
    let mut codec = launch().start().await;
    let before = kept(&codec.launch);
    let aside = codec.launch.data_dir().join("aside");
    std::fs::create_dir(&aside).expect("a folder");
    let kept_aside = |path: &Path| aside.join(path.file_name().expect("a name"));
    let link = |path: &Path| symlink(kept_aside(path), path).expect("a link");
    let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
    let huge = |path: &Path| File::create(path).and_then(|file| file.set_len(1 << 40)).expect("sparse");
    let puts: [&dyn Fn(&Path); 3] = [&link, &pipe, &huge];
    for (case, put) in ["links to good code", "pipes", "huge files"].into_iter().zip(puts) {
        for path in before.keys() {
            std::fs::rename(path, kept_aside(path)).expect("moved");
            put(path);
        }
        codec = started_again(codec).await;
        decides(&codec).await;
        assert!(codec.log().contains(NOT_OURS), "{case}: {}", codec.log());
        let after = kept(&codec.launch);
        assert!(after.keys().eq(before.keys()), "{case}: {after:?}");
        for path in after.keys() {
            let found = std::fs::symlink_metadata(path).expect("there");
            assert!(found.is_file() && found.len() < 1 << 30, "{case}: {found:?}");
        }
    }
}

#[tokio::test]
async fn code_kept_under_another_kek_is_not_run() {
    let codec = launch().start().await;
    let before = kept(&codec.launch);
    let other = launch();
    let folder = other.data_dir().join("code");
    std::fs::create_dir_all(&folder).expect("a folder");
    for path in before.keys() {
        std::fs::copy(path, folder.join(path.file_name().expect("a name"))).expect("copied");
    }
    let other = other.start().await;
    decides(&other).await;
    assert_eq!(other.log().matches(NOT_OURS).count(), before.len(), "{}", other.log());
}

#[tokio::test]
async fn without_a_place_for_it_plugins_are_compiled_at_every_start() {
    let launch = launch();
    std::fs::create_dir_all(launch.data_dir()).expect("a folder");
    std::fs::write(launch.data_dir().join("code"), b"in the way").expect("writable");
    let codec = launch.start().await;
    decides(&codec).await;
    assert!(codec.log().contains("no place for compiled code"), "{}", codec.log());
}
