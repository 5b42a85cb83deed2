//! The folder of KEKs: a mounted secret is followed, and what is not one changes nothing.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::Launch;
use crate::support::keks::{keys, launch, refused, until};
use crate::support::outside_kek::{decrypts, kek};

/// What a folder is, its files, and what is said of it.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

/// A mount as Kubernetes makes one: files are links into `..data`, a link to a folder, which is swapped.
struct Mount {
    dir: PathBuf,
    versions: u32,
}

impl Mount {
    fn swap(&mut self, files: &[(&str, &str)]) {
        self.versions += 1;
        let version = format!("..version-{}", self.versions);
        std::fs::create_dir_all(self.dir.join(&version)).expect("a folder");
        for (name, text) in files {
            std::fs::write(self.dir.join(&version).join(name), text).expect("a file");
            let _ = symlink(Path::new("..data").join(name), self.dir.join(name));
        }
        symlink(&version, self.dir.join("..data_tmp")).expect("a link");
        std::fs::rename(self.dir.join("..data_tmp"), self.dir.join("..data")).expect("swapped");
        for entry in std::fs::read_dir(&self.dir).expect("readable").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("..") && !files.iter().any(|(file, _)| *file == name) {
                std::fs::remove_file(entry.path()).expect("gone");
            }
        }
    }
}

#[tokio::test]
async fn a_mounted_secret_is_swapped_under_load_and_a_bad_one_changes_nothing() {
    let launch = launch();
    let mut mount = Mount { dir: launch.dir.path().join("keks"), versions: 0 };
    let (one, two, stranger) = (Launch::new().kek, Launch::new().kek, Launch::new().kek);
    mount.swap(&[("one", &one)]);
    let codec = launch.start().await;
    let first = kek(&codec.client).await["primary"].clone();
    let sealed = codec.client.encrypt("shop", "v").await;
    // Honest calls go on all the while.
    let load = tokio::spawn({
        let (client, sealed) = (codec.client.clone(), sealed.clone());
        async move {
            let mut calls = 0;
            loop {
                decrypts(&client, "shop", &sealed["encrypted"], "v").await;
                client.encrypt(&format!("p-{calls}"), "v").await;
                calls += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    mount.swap(&[("one", &one), ("two", &two), ("primary", "one")]);
    until(&codec.client, "two", |kek| kek["inRing"] == 2).await;
    mount.swap(&[("one", &one), ("two", &two), ("primary", "two\n")]);
    until(&codec.client, "promoted", |kek| kek["primary"] != first).await;
    let bad: [Case<'_>; 8] = [
        ("a KEK that rows need is gone", &[("two", &two)], "DEKs are under KEK"),
        (
            "it is retired",
            &[("one", &one), ("two", &two), ("primary", "two"), ("retired", "one")],
            "DEKs are under KEK",
        ),
        ("another in its place", &[("one", &stranger), ("two", &two), ("primary", "two")], "DEKs are under KEK"),
        ("not one of ours", &[("one", &stranger)], "is not the KEK that this store was made with"),
        ("a file that is no KEK", &[("one", &one), ("two", "changeme"), ("primary", "one")], "two: "),
        ("which is primary is not said", &[("one", &one), ("two", &two)], "`primary`"),
        ("the primary is not there", &[("one", &one), ("primary", "three")], "primary: names a KEK"),
        ("nothing", &[], "holds no KEK"),
    ];
    let primary = kek(&codec.client).await["primary"].clone();
    for (case, files, why) in bad {
        mount.swap(files);
        let said =
            until(&codec.client, case, |kek| kek["ringFailure"].as_str().is_some_and(|text| text.contains(why))).await;
        assert_eq!((&said["primary"], &said["inRing"]), (&primary, &json!(2)), "{case}");
        assert!(!said.to_string().contains(&two) && !said.to_string().contains("changeme"), "{case}");
        mount.swap(&[("one", &one), ("two", &two), ("primary", "two")]);
        until(&codec.client, "good again", |kek| kek["ringFailure"].is_null()).await;
    }
    let metrics = codec.client.get("/metrics").await.text;
    assert!(metrics.contains("codec_kek_rings_total{outcome=\"taken\"} 2\n"), "{metrics}");
    assert!(metrics.contains("codec_kek_rings_total{outcome=\"refused\"} 8\n"), "{metrics}");
    assert!(!load.is_finished(), "{:?}", load.await);
    load.abort();
    let why = refused(&codec.launch, &["add", "three"]);
    assert!(why.contains("is a mounted secret"), "{why}");
    codec.verify(&[]);
}

#[test]
fn a_folder_that_is_not_one_ends_the_start_and_is_named() {
    let (one, two) = (Launch::new().kek, Launch::new().kek);
    let cases: [Case<'_>; 9] = [
        ("empty", &[], "holds no KEK"),
        ("no KEK", &[("one", "changeme")], "one: "),
        ("31 bytes", &[("one", &STANDARD.encode([7; 31]))], "one: "),
        ("two newlines", &[("one", &format!("{one}\n\n"))], "one: "),
        ("the same twice", &[("one", &one), ("two", &one), ("primary", "one")], "one and two are the same KEK"),
        ("several, and none is named", &[("one", &one), ("two", &two)], "no file `primary`"),
        (
            "a KEK in the file that names one",
            &[("one", &one), ("primary", &two)],
            "primary: names a KEK that is not there",
        ),
        ("retired and primary", &[("one", &one), ("primary", "one"), ("retired", "one")], "it cannot be both"),
        ("a name that is none", &[("a b", &one)], "is not the name of a KEK"),
    ];
    for (case, files, why) in cases {
        let launch = launch();
        let dir = launch.dir.path().join("keks");
        std::fs::create_dir(&dir).expect("a folder");
        for (name, text) in files {
            std::fs::write(dir.join(name), text).expect("a file");
        }
        let output = launch.run(&["serve"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{case}: {said}");
        assert!(said.contains("keys.kek_dir") && said.contains(why), "{case}: {said}");
        assert!(!said.contains(&one[..20]) && !said.contains(&two[..20]), "{case}: it repeats a key");
        assert!(!launch.data_dir().exists(), "{case}: something was touched");
    }
    let both = launch().variable("KEK_SECRET", &one).run(&["config", "check"]);
    assert_eq!(both.status.code(), Some(2));
    let without = Launch::new().run(&["keys", "add", "one"]);
    assert_eq!(without.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&without.stderr).contains("keys.kek_dir"));
}

#[test]
fn what_operators_mistype_changes_nothing() {
    let launch = launch();
    keys(&launch, &["add", "one"]);
    let path = launch.dir.path().join("keks");
    let state = || {
        let mut files: Vec<_> = std::fs::read_dir(&path).expect("readable").flatten().map(|file| file.path()).collect();
        files.sort();
        files.into_iter().map(|file| (file.clone(), std::fs::read(file).expect("readable"))).collect::<Vec<_>>()
    };
    let before = state();
    let twin = path.join("one").display().to_string();
    for (case, arguments, why) in [
        ("a name that is taken", vec!["add", "one"], "there already"),
        ("a name that is none", vec!["add", "../one"], "is not the name of a KEK"),
        ("a name that means something", vec!["add", "primary"], "is not the name of a KEK"),
        ("the same KEK again", vec!["add", "two", "--from", &twin], "has this KEK already"),
        ("one that is not there", vec!["promote", "two"], "there is no \"two\""),
        ("one that is not there", vec!["retire", "two"], "there is no \"two\""),
    ] {
        let said = refused(&launch, &arguments);
        assert!(said.contains(why), "{case}: {said}");
        assert_eq!(state(), before, "{case}");
    }
    use std::os::unix::fs::PermissionsExt;
    for (file, _) in before {
        let mode = std::fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", file.display());
    }
}
