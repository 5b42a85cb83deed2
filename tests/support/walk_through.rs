//! Walk-throughs of `docs/OPERATIONS.md`, run as they stand there but for the ports.

use std::process::Command;

use super::{free_port, root};

/// The one block of shell in `section`, with its ports; what it says, and what it leaves in `log`. It must end well.
pub fn run(section: &str, ports: &[&str], log: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/OPERATIONS.md")).expect("readable");
    let (level, _) = section.split_once(' ').expect("a heading");
    let (_, page) = page.split_once(&format!("{section}\n")).expect("the section");
    let (page, _) = page.split_once(&format!("\n{level} ")).expect("its end");
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [walk] = blocks[..] else { panic!("{} blocks", blocks.len()) };
    let mut script = walk.to_owned();
    for port in ports {
        let free = free_port();
        script = script.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{free}"));
        script = script.replace(&format!("-p {port}"), &format!("-p {free}"));
    }
    let codec = free_port();
    script = script.replace("127.0.0.1:8686", &format!("127.0.0.1:{codec}"));
    // A folder that looks like the clone. Whatever becomes of the script, what it has started ends with it, be it stopped or not.
    let clone = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(root().join("target"), clone.path().join("target")).expect("a link");
    let script = format!("trap 'kill -KILL $(jobs -p) 2> /dev/null || true' EXIT\n{script}");
    let path = std::env::var("PATH").expect("PATH");
    let output = Command::new("timeout")
        .args(["120", "bash", "-euc", &script])
        .env_clear()
        .envs([("PATH", path), ("CODEC_LISTEN", format!("127.0.0.1:{codec}"))])
        .current_dir(clone.path())
        .output()
        .expect("bash");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = std::fs::read_to_string(clone.path().join(log)).unwrap_or_default();
    assert!(output.status.success(), "{said}{}{log}", String::from_utf8_lossy(&output.stderr));
    said
}
