//! No record, no answer: whatever happens to the disk.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Codec, Launch};

/// What was done to its file is noticed, and it mends itself: whether anybody sees that it is not ready meanwhile is a matter of chance.
async fn refused_then_recovers(codec: &Codec, case: &str) {
    let sealed = json!({"projectId": "shop", "value": "v"});
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = codec.client.post("/encrypt", sealed.clone()).await;
        if answer.status != 200 {
            answer.refused(503, "audit_unavailable");
            assert!(answer.header("x-audit-receipt").is_none(), "{case}");
            break;
        }
        assert!(Instant::now() < deadline, "{case}: it goes on without a record");
    }
    codec.until_logged("cannot be written").await;
    codec.until_logged("the audit journal takes records again").await;
    assert!(codec.records().iter().any(|r| r["because"] == "recovered"), "{case}: it is noted");
    codec.until_ready().await;
    let answer = codec.client.post("/encrypt", sealed).await;
    answer.ok();
}

/// The receipts of so many calls, and how many were refused.
async fn answers(codec: &Codec, calls: usize) -> (Vec<String>, usize) {
    let client = codec.client.keeping_connections();
    let mut receipts = Vec::new();
    for _ in 0..calls {
        let answer = client.post("/decrypt-all", json!({"projectId": "p", "deploymentId": "d", "variables": {}})).await;
        if answer.status == 200 {
            receipts.push(answer.receipt().to_owned());
        } else {
            answer.refused(503, "audit_unavailable");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let refused = calls - receipts.len();
    (receipts, refused)
}

#[tokio::test]
async fn a_full_disk() {
    // The process runs in a mount namespace of its own, its journal on 256 KB.
    let launch = Launch::new().toml("[audit]\ndir = \"small\"");
    let dir = launch.dir.path().join("small");
    std::fs::create_dir(&dir).expect("a folder");
    let script = format!("mount -t tmpfs -o size=256k none {0} && exec \"$@\"", dir.display());
    let codec = launch.wrapped_in(&["unshare", "-m", "sh", "-c", &script, "sh"]).start().await;
    let inside = format!("/proc/{}/root{}", codec.pid(), dir.display());
    let client = codec.client.keeping_connections();
    let mut receipts = Vec::new();
    let refused = loop {
        let answer = client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await;
        match answer.status {
            200 => receipts.push(answer.receipt().to_owned()),
            _ => break answer,
        }
        assert!(receipts.len() < 5_000, "the disk is never full");
    };
    refused.refused(503, "audit_unavailable");
    client.get("/readyz").await.refused(503, "not_ready");
    // Everything that was acknowledged is there.
    let count = crate::support::codec::records(inside.as_ref()).len();
    assert!(count > receipts.len(), "{count} records, {} answers", receipts.len());
    Command::new("nsenter")
        .args(["-t", &codec.pid().to_string(), "-m", "mount", "-o", "remount,size=4m", &dir.display().to_string()])
        .status()
        .expect("nsenter");
    codec.until_ready().await;
    let answer = client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await;
    answer.ok();
    receipts.push(answer.receipt().to_owned());
    let mut verify = codec.launch.clone();
    verify.wrapper = ["nsenter", "-t", &codec.pid().to_string(), "-m", "-w"].map(String::from).to_vec();
    let mut arguments = vec!["audit", "verify"];
    for receipt in &receipts {
        arguments.extend(["--receipt", receipt]);
    }
    let mut command = verify.command(&arguments);
    let output = command.output().expect("runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn a_file_deleted_under_us() {
    let codec = Codec::start().await;
    codec.client.encrypt("shop", "v").await;
    std::fs::remove_file(codec.launch.journal_dir().join("segment-0000000001.jsonl")).expect("removed");
    refused_then_recovers(&codec, "deleted").await;
}

#[tokio::test]
async fn a_file_truncated_under_us() {
    let codec = Codec::start().await;
    codec.client.encrypt("shop", "v").await;
    let path = codec.launch.journal_dir().join("segment-0000000001.jsonl");
    std::fs::File::options().write(true).open(path).and_then(|file| file.set_len(100)).expect("truncated");
    refused_then_recovers(&codec, "truncated").await;
    // What was taken away is missed.
    let output = codec.launch.run(&["audit", "verify"]);
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn a_disk_that_answers_eio_to_a_sync() {
    // The fault strikes the journal's thread in the middle of the run; what follows works again.
    let launch = Launch::new().with_fault("fdatasync", "error=EIO:when=30..33");
    let codec = launch.start().await;
    let (receipts, refused) = answers(&codec, 200).await;
    assert!(refused > 0, "the fault did not strike");
    assert!(receipts.len() > 100, "it did not recover: {refused} refused");
    let receipts: Vec<&str> = receipts.iter().map(String::as_str).collect();
    codec.verify(&receipts);
}

#[tokio::test]
async fn a_disk_that_hangs_is_503_at_the_deadline() {
    let hanging = async |seconds: u32| {
        let fault = format!("delay_enter={seconds}000000:when=8");
        Launch::new().toml("[audit]\ndeadline_ms = 300").with_fault("fdatasync", &fault).start().await
    };
    let call = json!({"projectId": "p", "deploymentId": "d", "variables": {}});
    let codec = hanging(60).await;
    let mut refused = 0;
    for _ in 0..30 {
        let started = Instant::now();
        let answer = codec.client.post("/decrypt-all", call.clone()).await;
        if answer.status != 200 {
            answer.refused(503, "audit_unavailable");
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
            refused += 1;
        }
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3, "the fault did not strike");
    drop(codec);
    // One that comes back is written to again.
    let codec = hanging(5).await;
    codec.client.until_status(503, "/decrypt-all", call.clone()).await.refused(503, "audit_unavailable");
    codec.client.until_status(200, "/decrypt-all", call).await;
}

#[tokio::test]
async fn no_place_for_a_journal_is_no_start() {
    let launch = Launch::new().toml("[audit]\ndir = \"file/audit\"");
    std::fs::write(launch.dir.path().join("file"), b"").expect("written");
    let output = launch.run(&["serve"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("audit.dir"));
}

#[tokio::test]
async fn a_folder_that_answers_eio_when_a_segment_begins() {
    // The store is made before: only the journal's own folder is synced from then on.
    let mut made = Launch::new().toml("[audit]\nsegment_bytes = 3000").start().await;
    made.terminate().await;
    let launch = made.launch.clone();
    drop(made);
    let codec = launch.with_fault("fsync", "error=EIO:when=12..15").start().await;
    let (receipts, refused) = answers(&codec, 120).await;
    assert!(refused > 0 && receipts.len() > 60, "{refused} refused, {} answered", receipts.len());
    let receipts: Vec<&str> = receipts.iter().map(String::as_str).collect();
    codec.verify(&receipts);
}

#[tokio::test]
async fn a_disk_that_hangs_is_not_ready_and_does_not_keep_the_process_from_ending() {
    let launch =
        Launch::new().toml("[audit]\ndeadline_ms = 1000").with_fault("fdatasync", "delay_enter=60000000:when=8+");
    let mut codec = launch.start().await;
    let call = json!({"projectId": "p", "deploymentId": "d", "variables": {}});
    let deadline = Instant::now() + Duration::from_secs(20);
    // Each call is one sync more, up to the one that hangs.
    while codec.client.get("/readyz").await.status == 200 {
        codec.client.post("/decrypt-all", call.clone()).await;
        assert!(Instant::now() < deadline, "the fault did not strike");
    }
    codec.client.get("/readyz").await.refused(503, "not_ready");
    codec.client.post("/decrypt-all", call).await.refused(503, "audit_unavailable");
    // The process under strace is its child.
    let child = Command::new("pgrep").args(["-P", &codec.pid().to_string()]).output().expect("pgrep");
    let pid = String::from_utf8_lossy(&child.stdout).trim().to_owned();
    Command::new("kill").args(["-TERM", &pid]).status().expect("kill");
    let ended = Instant::now() + Duration::from_secs(20);
    while !codec.log().contains("codec ended") {
        assert!(Instant::now() < ended, "it does not end:\n{}", codec.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(codec.log().contains("the disk does not answer"), "{}", codec.log());
    Command::new("kill").args(["-KILL", &pid]).status().expect("kill");
    codec.kill();
}
