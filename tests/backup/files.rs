//! Files that are not what `codec backup` wrote: refused by name, and nothing is written.

use std::path::PathBuf;

use origan_codec_host::crypto::{Kek, KeyRing};
use sha2::{Digest, Sha256};

use super::{Rows, backed_up, empty_stores, execute, lived_in, restore, restored, rows, said};
use crate::support::{Codec, Launch};

/// What is done to the lines, and what `codec restore` says of it.
struct Case {
    name: &'static str,
    alter: fn(&mut Vec<String>),
    says: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "an edited count",
        alter: |lines| edit(&mut lines[5], "\"encryptions\":64", "\"encryptions\":63"),
        says: "it was altered or damaged",
    },
    Case {
        name: "an edited state",
        alter: |lines| replace_all(lines, "\"disabled\"", "\"decrypt-only\""),
        says: "it was altered or damaged",
    },
    Case {
        name: "another time in the header",
        alter: |lines| edit(&mut lines[0], "\"createdAt\":\"2", "\"createdAt\":\"3"),
        says: "it was altered or damaged",
    },
    Case {
        name: "a canary from elsewhere",
        alter: |lines| edit(&mut lines[1], "\"place\":1", "\"place\":2"),
        says: "it was altered or damaged",
    },
    Case { name: "the end cut off", alter: |lines| drop(lines.pop()), says: "its end is missing" },
    Case { name: "half of it", alter: |lines| lines.truncate(12), says: "it is cut off after line 12" },
    Case { name: "nothing but the header", alter: |lines| lines.truncate(1), says: "it is cut off after line 1" },
    Case { name: "the middle of a line", alter: |lines| cut_in_a_line(lines), says: "its end is missing" },
    Case { name: "a row taken out", alter: |lines| drop(lines.remove(7)), says: "lines were taken out or put in" },
    Case { name: "the canary taken out", alter: |lines| drop(lines.remove(1)), says: "lines were taken out or put in" },
    Case { name: "two rows swapped", alter: |lines| lines.swap(7, 8), says: "line 9 is out of order" },
    Case { name: "a row doubled", alter: |lines| lines.insert(7, lines[7].clone()), says: "line 9 is out of order" },
    Case {
        name: "a canary among the rows",
        alter: |lines| lines.insert(7, lines[1].clone()),
        says: "line 8 is out of order",
    },
    Case {
        name: "a version of the future",
        alter: |lines| edit(&mut lines[0], "\"version\":1", "\"version\":2,\"more\":{}"),
        says: "it is in version 2 of the format",
    },
    Case {
        name: "a schema of the future",
        alter: |lines| edit(&mut lines[0], "\"schema\":", "\"schema\":9"),
        says: "use the newer codec",
    },
    Case {
        name: "another format",
        alter: |lines| edit(&mut lines[0], "codec-backup", "codec-journal"),
        says: "not a backup of codec's",
    },
    Case { name: "no header", alter: |lines| drop(lines.remove(0)), says: "not a backup of codec's" },
    Case { name: "empty", alter: Vec::clear, says: "not a backup of codec's" },
    Case { name: "text", alter: |lines| *lines = vec!["hello".into()], says: "not a backup of codec's" },
    Case {
        name: "a line without an end",
        alter: |lines| *lines = vec!["x".repeat(3 << 20)],
        says: "not a backup of codec's",
    },
    Case {
        name: "a row without an end",
        alter: |lines| lines[9] = "x".repeat(3 << 20),
        says: "line 10 is not a line of a backup: it is longer",
    },
    Case { name: "something after the end", alter: |lines| lines.push("{}".into()), says: "something follows the end" },
    Case {
        name: "an unknown field",
        alter: |lines| edit(&mut lines[9], "\"state\"", "\"more\":1,\"state\""),
        says: "line 10 is not a line of a backup",
    },
    Case {
        name: "a field missing",
        alter: |lines| edit(&mut lines[9], "\"generation\":1,", ""),
        says: "line 10 is not a line of a backup",
    },
    Case {
        name: "a field twice",
        alter: |lines| edit(&mut lines[9], "\"generation\":1,", "\"generation\":1,\"generation\":1,"),
        says: "line 10 is not a line of a backup",
    },
    Case {
        name: "a state that is none",
        alter: |lines| edit(&mut lines[9], "\"primary\"", "\"Primary\""),
        says: "line 10 is not a line of a backup: its state",
    },
    Case {
        name: "a project that is none",
        alter: |lines| edit(&mut lines[9], "\"projectId\":\"", "\"projectId\":\"../"),
        says: "its projectId",
    },
    Case {
        name: "a version that is none",
        alter: |lines| edit(&mut lines[9], "\"version\":1", "\"version\":0"),
        says: "its version",
    },
    Case {
        name: "too many encryptions",
        alter: |lines| edit(&mut lines[9], "\"encryptions\":64", "\"encryptions\":4294967297"),
        says: "its encryptions",
    },
    Case {
        name: "no JSON",
        alter: |lines| lines[9] = "null,".into(),
        says: "line 10 is not a line of a backup: it is not JSON",
    },
    Case {
        name: "edited, with a SHA-256 that is right",
        alter: |lines| {
            replace_all(lines, "\"disabled\"", "\"decrypt-only\"");
            seal(lines)
        },
        says: "its MAC does not verify under KEK",
    },
    Case {
        name: "generations raised, with a SHA-256 that is right",
        alter: |lines| {
            replace_all(lines, "\"generation\":1", "\"generation\":7");
            seal(lines)
        },
        says: "its MAC does not verify under KEK",
    },
    Case {
        name: "a MAC of zeros",
        alter: |lines| {
            let end = lines.last_mut().expect("the end");
            let at = end.find("\"mac\":\"").expect("a MAC") + 7;
            end.replace_range(at..at + 64, &"0".repeat(64))
        },
        says: "its MAC does not verify under KEK",
    },
    Case {
        name: "another KEK's word",
        alter: |lines| {
            let id = Kek::generate().expect("random").id().to_string();
            let own = lines[0].split("\"kekId\":\"").nth(1).expect("an id")[..16].to_owned();
            edit(&mut lines[0], &own, &id);
            seal(lines)
        },
        says: "which is not configured",
    },
];

fn edit(line: &mut String, from: &str, to: &str) {
    assert!(line.contains(from), "{from} is not in {line}");
    *line = line.replacen(from, to, 1);
}

fn replace_all(lines: &mut [String], from: &str, to: &str) {
    assert!(lines.iter().any(|line| line.contains(from)));
    for line in lines {
        *line = line.replace(from, to);
    }
}

fn cut_in_a_line(lines: &mut Vec<String>) {
    lines.truncate(12);
    let half = lines[11].len() / 2;
    lines[11].truncate(half);
}

/// Puts the digest into the last line that the others have.
fn seal(lines: &mut [String]) {
    let (end, before) = lines.split_last_mut().expect("lines");
    let mut digest = Sha256::new();
    for line in before {
        digest.update(line.as_bytes());
        digest.update(b"\n");
    }
    let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let at = end.find("\"sha256\":\"").expect("a digest") + 10;
    end.replace_range(at..at + 64, &hex);
}

#[tokio::test]
async fn what_is_not_as_it_was_written_is_refused_by_name_and_nothing_is_written() {
    let codec = Codec::start().await;
    lived_in(&codec).await;
    let file = backed_up(&codec.launch, "backup");
    let text = std::fs::read_to_string(&file).expect("readable");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let write = |name: &str, lines: &[String]| -> PathBuf {
        let path = codec.launch.dir.path().join(name);
        let mut text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if name == "the middle of a line" {
            text.pop();
        }
        std::fs::write(&path, text).expect("written");
        path
    };
    // What the cases alter is right as it stands.
    let mut sealed = lines.clone();
    seal(&mut sealed);
    assert_eq!(sealed, lines);
    for (kind, target) in empty_stores(&codec.launch).await {
        for case in CASES {
            let mut altered = lines.clone();
            (case.alter)(&mut altered);
            let path = write(case.name, &altered);
            for more in [&["--dry-run"][..], &[]] {
                let output = restore(&target, &path, more);
                assert_eq!(output.status.code(), Some(1), "{kind}, {}", case.name);
                assert!(said(&output).contains(case.says), "{kind}, {}: {}", case.name, said(&output));
                assert_eq!(rows(&target).await, Rows::new(), "{kind}, {}", case.name);
            }
        }
        let other = Launch { kek: Launch::new().kek, ..target.clone() };
        let output = restore(&other, &file, &[]);
        assert!(
            !output.status.success() && said(&output).contains("is not the KEK that this store was made with"),
            "{}",
            said(&output)
        );
        let missing = restore(&target, &codec.launch.dir.path().join("missing"), &[]);
        assert!(said(&missing).contains("No such file"), "{}", said(&missing));
        let pipe = codec.launch.dir.path().join("pipe");
        assert!(pipe.exists() || std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        assert!(said(&restore(&target, &pipe, &[])).contains("no regular file"));
        let folder = restore(&target, codec.launch.dir.path(), &[]);
        assert!(said(&folder).contains("no regular file") || said(&folder).contains("directory"), "{}", said(&folder));
        assert_eq!(rows(&target).await, Rows::new(), "{kind}");
        assert!(
            restored(&target, &file).contains("34 DEKs and 1 canaries added"),
            "{kind}: no canary was left by all this"
        );
    }
}

/// A KEK that vouches for the file is not enough: each row has a MAC of its own, and `--unwrap` opens its DEK.
#[tokio::test]
async fn a_row_that_does_not_hang_together_is_left_out_of_a_backup_and_named() {
    for (kind, launch) in empty_stores(&Launch::new()).await {
        let codec = launch.start().await;
        for project in ["a", "b", "c"] {
            codec.client.encrypt(project, project).await;
        }
        execute(&codec.launch, "UPDATE project_dek SET state = 'decrypt-only' WHERE project_id = 'b'").await;
        let path = codec.launch.dir.path().join("backup");
        let output = codec.launch.run(&["backup", "--out", &path.to_string_lossy()]);
        assert_eq!(output.status.code(), Some(1), "{kind}: {}", said(&output));
        assert!(said(&output).contains("LEFT OUT: b:1: its MAC does not verify"), "{kind}: {}", said(&output));
        execute(
            &codec.launch,
            "UPDATE project_dek SET state = 'primary', fingerprint = encrypted_dek_sha256 WHERE project_id = 'b'",
        )
        .await;
        // Its MAC is right, for that says nothing of the fingerprint: opening it tells.
        let unopened = backed_up(&codec.launch, "unopened");
        for (other, target) in empty_stores(&codec.launch).await {
            let output = restore(&target, &unopened, &["--unwrap"]);
            assert_eq!(output.status.code(), Some(1), "{kind} to {other}");
            assert!(said(&output).contains("REFUSED: b:1: its fingerprint is another DEK's"), "{}", said(&output));
            assert_eq!(rows(&target).await, Rows::new(), "{kind} to {other}");
            assert!(restored(&target, &path).contains("2 DEKs and 1 canaries added"), "{kind} to {other}");
        }
    }
}

#[test]
fn the_key_that_vouches_is_the_keks_own() {
    let (one, other) = (Kek::generate().expect("random"), Kek::generate().expect("random"));
    let ring = KeyRing::new(&one, &[]).expect("a ring");
    let mac = ring.backup_mac(&[b"a"]);
    assert_eq!(ring.backup_mac_verifies(one.id(), &[b"a"], &mac), Ok(true));
    assert_eq!(ring.backup_mac_verifies(one.id(), &[b"b"], &mac), Ok(false));
    assert!(ring.backup_mac_verifies(other.id(), &[b"a"], &mac).is_err());
    // None of the other keys says the same.
    assert_ne!(mac, ring.row_mac(one.id(), &[b"a"]).expect("in the ring").0);
}
