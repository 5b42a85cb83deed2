//! The README's transcript works as written.

use std::path::Path;
use std::process::Command;

use crate::support::{Launch, free_port, root};

/// The fenced `sh` blocks of the README's first screen, without the `make run` that they presuppose.
fn transcript() -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("readable");
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().expect("a block"));
    let script: Vec<&str> = blocks.filter(|block| !block.contains("make run")).collect();
    assert!(!script.is_empty());
    script.join("\n")
}

/// `codec-plugin`, which `make test` has built beside `codec`.
fn kit() -> String {
    let path = Path::new(env!("CARGO_BIN_EXE_codec")).with_file_name("codec-plugin");
    assert!(path.exists(), "the kit is built by `make test`");
    path.display().to_string()
}

#[tokio::test]
async fn it_generates_encrypts_decrypts_and_verifies() {
    let port = free_port();
    let launch = Launch::new().variable("KEK_SECRET", "").variable("INTERNAL_SERVICE_TOKEN", "");
    let mut launch = launch.variable("CODEC_LISTEN", &format!("127.0.0.1:{port}"));
    launch.arguments = vec!["serve".into(), "--dev".into()];
    let codec = launch.start().await;
    let script = transcript()
        .replace("127.0.0.1:8686", &format!("127.0.0.1:{port}"))
        .replace("target/release/codec-plugin", &kit())
        .replace("target/release/codec", env!("CARGO_BIN_EXE_codec"));
    // It waits for what it has changed; for ever, where that never comes.
    let mut bash = Command::new("timeout");
    let bash = bash.args(["300", "bash", "-euc", &script]).current_dir(codec.launch.dir.path());
    let output = bash.output().expect("bash");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // Denied and allowed again: the plaintext comes twice, once before and once after.
    assert_eq!(said.matches(r#""DATABASE_URL":"postgres://shop:hunter2@db/shop"}"#).count(), 2, "{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for expected in [
        "encryptedDEK",
        r#"{"API_URL":"https://api.example.com","DATABASE_URL":"postgres://shop:hunter2@db/shop"}"#,
        "the journal is sound",
        "0 failed",
        r#""policyCode":"project-frozen""#,
        r#"{"policy":"deny-frozen","mode":"enforce","decision":"deny","code":"project-frozen""#,
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
