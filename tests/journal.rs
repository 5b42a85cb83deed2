//! The journal shows every change that is made to it, and repairs what a crash tears.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Codec, Launch};

/// A journal with some records, its process ended.
async fn ended(launch: Launch, records: usize) -> (Launch, Vec<String>) {
    let mut codec = launch.start().await;
    let client = codec.client.keeping_connections();
    let mut receipts = Vec::new();
    for _ in 0..records {
        let answer = client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await;
        receipts.push(answer.receipt().to_owned());
    }
    assert_eq!(codec.terminate().await, 0);
    (codec.launch.clone(), receipts)
}

/// What is done to the lines of a segment.
type Change = Box<dyn FnOnce(Vec<String>) -> Vec<String>>;

/// The SEGMENT_START of the last segment.
fn last_start(launch: &Launch) -> Option<serde_json::Value> {
    crate::support::codec::records(&launch.journal_dir())
        .into_iter()
        .rfind(|record| record["action"] == "SEGMENT_START")
}

fn segments(launch: &Launch) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(launch.journal_dir()).expect("a journal").map(|e| e.expect("entry").path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    found.sort();
    found
}

fn verify(launch: &Launch, receipts: &[&str]) -> Output {
    let mut arguments = vec!["audit", "verify"];
    for receipt in receipts {
        arguments.extend(["--receipt", receipt]);
    }
    launch.run(&arguments)
}

#[track_caller]
fn unsound(launch: &Launch, reason: &str) {
    let output = verify(launch, &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(reason) && said.contains("NOT SOUND"), "{said}");
}

fn edit(path: &Path, change: impl FnOnce(Vec<String>) -> Vec<String>) {
    let lines = std::fs::read_to_string(path).expect("readable").lines().map(String::from).collect();
    let changed: String = change(lines).iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(path, changed).expect("written");
}

#[tokio::test]
async fn every_way_to_change_it_shows() {
    let (launch, receipts) = ended(Launch::new(), 20).await;
    let path = &segments(&launch)[0];
    let good = std::fs::read(path).expect("readable");
    assert!(verify(&launch, &[&receipts[0], &receipts[19]]).status.success());
    assert!(!good.contains(&0), "the zeros are cut off at the end");
    let tampered: Vec<(&str, &str, Change)> = vec![
        (
            "a value changed",
            "does not verify",
            Box::new(|mut lines| {
                lines[5] = lines[5].replace("shop", "shoq");
                lines
            }),
        ),
        (
            "the hash changed too",
            "does not verify",
            Box::new(|mut lines| {
                let at = lines[5].len() - 3;
                let digit = if &lines[5][at..=at] == "0" { "1" } else { "0" };
                lines[5].replace_range(at..=at, digit);
                lines
            }),
        ),
        (
            "a line dropped",
            "stands where record 6 belongs",
            Box::new(|mut lines| {
                lines.remove(5);
                lines
            }),
        ),
        (
            "the first dropped",
            "does not begin with SEGMENT_START",
            Box::new(|mut lines| {
                lines.remove(0);
                lines
            }),
        ),
        (
            "two swapped",
            "stands where record 6 belongs",
            Box::new(|mut lines| {
                lines.swap(5, 6);
                lines
            }),
        ),
        (
            "one doubled",
            "stands where record 7 belongs",
            Box::new(|mut lines| {
                lines.insert(6, lines[5].clone());
                lines
            }),
        ),
        (
            "a line of garbage",
            "not a line",
            Box::new(|mut lines| {
                lines.insert(6, "{}".into());
                lines
            }),
        ),
    ];
    for (case, reason, change) in tampered {
        edit(path, change);
        eprintln!("{case}");
        unsound(&launch, reason);
        std::fs::write(path, &good).expect("written");
    }
    // Its end cut off hangs together; only a receipt from beyond it shows that something is missing.
    edit(path, |mut lines| {
        lines.truncate(15);
        lines
    });
    assert!(verify(&launch, &[&receipts[0]]).status.success());
    let output = verify(&launch, &[&receipts[19]]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("NO RECORD for receipt"));
    std::fs::write(path, &good).expect("written");
    // Another KEK is another key.
    let other = Launch { kek: Launch::new().kek, ..launch.clone() };
    unsound(&other, "not in the ring");
    assert_eq!(verify(&launch, &["nonsense"]).status.code(), Some(2));
}

#[tokio::test]
async fn segments_end_at_their_size_and_a_missing_one_shows() {
    let (launch, receipts) = ended(Launch::new().toml("[audit]\nsegment_bytes = 4000"), 60).await;
    let segments = segments(&launch);
    assert!(segments.len() > 5, "{}", segments.len());
    let all: Vec<&str> = receipts.iter().map(String::as_str).collect();
    assert!(verify(&launch, &all).status.success());
    let tail = launch.run(&["audit", "tail", "-n", "25"]);
    let seqs: Vec<u64> = String::from_utf8_lossy(&tail.stdout)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["seq"].as_u64().expect("a number"))
        .collect();
    assert_eq!(seqs.len(), 25);
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    std::fs::remove_file(&segments[2]).expect("removed");
    unsound(&launch, "MISSING: segment 3");
}

#[tokio::test]
async fn a_torn_tail_is_cut_kept_and_noted_and_the_chain_goes_on() {
    let (launch, receipts) = ended(Launch::new(), 10).await;
    let path = segments(&launch)[0].clone();
    let whole = std::fs::read(&path).expect("readable");
    for (case, tail) in [
        ("half a line", b"{\"chain\":\"0123".to_vec()),
        ("half a line and zeros", [&b"{\"chain\":"[..], &[0; 5_000]].concat()),
        ("zeros alone", vec![0; 70_000]),
        ("a hole, then bytes", [&[0; 100][..], b"xyz"].concat()),
    ] {
        let active = segments(&launch).pop().expect("a segment");
        let before = std::fs::read(&active).expect("readable");
        std::fs::write(&active, [&before[..], &tail].concat()).expect("written");
        let is_torn = tail.iter().any(|&b| b != 0);
        let (_, more) = ended(launch.clone(), 2).await;
        let note = last_start(&launch);
        assert_eq!(note.expect("a note").get("repaired").is_some(), is_torn, "{case}");
        assert_eq!(std::fs::read(&active).expect("readable"), before, "{case}");
        let all: Vec<&str> = receipts.iter().chain(&more).map(String::as_str).collect();
        let output = verify(&launch, &all);
        assert!(output.status.success(), "{case}: {}", String::from_utf8_lossy(&output.stdout));
        let chains: Vec<&str> = all.iter().map(|receipt| &receipt[..16]).collect();
        assert!(chains.windows(2).all(|pair| pair[0] == pair[1]), "{case}: the chain goes on");
    }
    assert_eq!(std::fs::read(&path).expect("readable")[..whole.len()], whole);
    let kept = std::fs::read_dir(launch.journal_dir())
        .expect("a journal")
        .filter(|e| e.as_ref().expect("entry").file_name().to_string_lossy().contains("torn"));
    assert_eq!(kept.count(), 3);
}

#[tokio::test]
async fn a_segment_that_was_never_begun_does_not_end_the_chain() {
    let (launch, receipts) = ended(Launch::new(), 3).await;
    std::fs::write(launch.journal_dir().join("segment-0000000002.jsonl"), b"").expect("written");
    std::fs::write(launch.journal_dir().join("segment-0000000003.jsonl"), [0; 4_096]).expect("written");
    let (_, more) = ended(launch.clone(), 1).await;
    assert_eq!(receipts[0][..16], more[0][..16]);
    let all: Vec<&str> = receipts.iter().chain(&more).map(String::as_str).collect();
    assert!(verify(&launch, &all).status.success());
}

#[tokio::test]
async fn tampering_before_a_start_stays_as_evidence_and_a_new_chain_says_what_it_follows() {
    let (launch, receipts) = ended(Launch::new(), 10).await;
    let path = segments(&launch)[0].clone();
    edit(&path, |mut lines| {
        lines[5] = lines[5].replace("shop", "shoq");
        lines
    });
    let tampered = std::fs::read(&path).expect("readable");
    let (_, more) = ended(launch.clone(), 2).await;
    assert_eq!(std::fs::read(&path).expect("readable"), tampered);
    assert_ne!(receipts[0][..16], more[0][..16], "seq numbers of the old chain are not used again");
    let start = last_start(&launch);
    let follows = start.expect("a start")["follows"].as_str().expect("what it follows").to_owned();
    assert!(follows.starts_with(&format!("{}:5:", &receipts[0][..16])), "{follows}");
    unsound(&launch, "record 6 does not verify");
}

#[tokio::test]
async fn a_chain_that_does_not_follow_the_record_it_says_shows() {
    let (launch, _) = ended(Launch::new(), 10).await;
    let path = segments(&launch)[0].clone();
    edit(&path, |mut lines| {
        lines.push("{}".into());
        lines
    });
    ended(launch.clone(), 2).await;
    edit(&path, |mut lines| {
        lines.truncate(4);
        lines
    });
    unsound(&launch, "begins where it cannot");
}

#[tokio::test]
async fn a_forged_receipt_is_no_receipt_beside_a_genuine_one_either() {
    let (launch, receipts) = ended(Launch::new(), 3).await;
    let mut forged = receipts[1].clone();
    let end = forged.len() - 1;
    forged.replace_range(end.., if forged.ends_with('0') { "1" } else { "0" });
    for order in [[&forged, &receipts[1]], [&receipts[1], &forged]] {
        let output = verify(&launch, &[order[0], order[1]]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains(&format!("NO RECORD for receipt {forged}")) && said.contains("1 of 2 receipts"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_hole_that_a_power_loss_leaves_is_cut_kept_told_and_no_alarm_for_ever() {
    let (launch, receipts) = ended(Launch::new(), 20).await;
    let path = segments(&launch)[0].clone();
    let mut content = std::fs::read(&path).expect("readable");
    // A sector of the last commit has not reached the disk; what was written behind it has.
    let from = (content.len() - 1_200).next_multiple_of(512);
    content[from..from + 512].fill(0);
    std::fs::write(&path, &content).expect("written");
    unsound(&launch, "some are missing");
    let (_, more) = ended(launch.clone(), 2).await;
    assert_ne!(receipts[0][..16], more[0][..16], "numbers that were given are not given again");
    // Two records come before the first receipt's, and the hole begins in the middle of one.
    let whole = content[..from].iter().filter(|&&b| b == b'\n').count() - 2;
    let kept: Vec<&str> = receipts[..whole].iter().chain(&more).map(String::as_str).collect();
    let output = verify(&launch, &kept);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("set aside at a start"), "{said}");
}

#[tokio::test]
async fn a_zero_byte_in_the_middle_is_no_power_loss() {
    let (launch, receipts) = ended(Launch::new(), 20).await;
    let path = segments(&launch)[0].clone();
    let mut content = std::fs::read(&path).expect("readable");
    let at = (content.len() / 2) | 1;
    content[at] = 0;
    std::fs::write(&path, &content).expect("written");
    unsound(&launch, "BROKEN");
    let (_, more) = ended(launch.clone(), 2).await;
    assert_ne!(receipts[0][..16], more[0][..16]);
    assert_eq!(std::fs::read(&path).expect("readable"), content, "it stays as evidence");
    unsound(&launch, "BROKEN");
}

#[tokio::test]
async fn files_that_are_not_the_journals_own_are_not_its_business() {
    let (launch, _) = ended(Launch::new(), 3).await;
    for name in ["segment-9999999999999.jsonl", "segment-18446744073709551615.jsonl", "segment-1.jsonl", "notes.txt"] {
        std::fs::write(launch.journal_dir().join(name), b"").expect("written");
    }
    assert!(verify(&launch, &[]).status.success());
    ended(launch, 1).await;
}

#[tokio::test]
async fn tail_follows_a_growing_journal() {
    use std::io::{BufRead, BufReader};
    let codec = Launch::new().toml("[audit]\nsegment_bytes = 2000").start().await;
    let mut tail = codec.launch.command(&["audit", "tail", "-n", "0", "-f"]);
    let mut tail = tail.stdout(std::process::Stdio::piped()).spawn().expect("starts");
    let output = BufReader::new(tail.stdout.take().expect("piped"));
    let (tell, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let seal = async || {
        let answer = codec.client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await;
        answer.ok();
        let seq = answer.receipt().split(':').nth(1).and_then(|seq| seq.parse::<u64>().ok());
        seq.expect("a receipt")
    };
    let seq = |line: String| serde_json::from_str::<serde_json::Value>(&line).expect("JSON")["seq"].as_u64();
    // Until it has looked, what it follows is not settled.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut seen = loop {
        seal().await;
        if let Ok(line) = lines.recv_timeout(Duration::from_millis(50)) {
            break seq(line).expect("seq");
        }
        assert!(Instant::now() < deadline, "it follows nothing");
    };
    let mut last = 0;
    for _ in 0..20 {
        last = seal().await;
    }
    while seen < last {
        let line = lines.recv_timeout(Duration::from_secs(20)).expect("a line");
        assert_eq!(seq(line), Some(seen + 1));
        seen += 1;
    }
    tail.kill().expect("killed");
    tail.wait().expect("ended");
}

#[tokio::test]
async fn two_processes_do_not_write_one_journal() {
    let codec = Codec::start().await;
    let database = crate::support::postgres::database().await;
    let output = codec.launch.clone().variable("DATABASE_URL", &database).run(&["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("another codec process"), "{said}");
}
