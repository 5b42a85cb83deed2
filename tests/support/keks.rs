//! A folder of KEKs: a process that has one, and `codec keys` on it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::outside_kek::kek;
use super::{Client, Launch};

/// What names it.
const RING: &str = "[keys]\nkek_dir = \"keks\"";

/// A process with an empty one.
pub fn launch() -> Launch {
    Launch::new().variable("KEK_SECRET", "").toml(RING)
}

/// Runs `codec keys …`, which must succeed; what it said.
#[track_caller]
pub fn keys(launch: &Launch, arguments: &[&str]) -> String {
    let output = launch.run(&[&["keys"], arguments].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Runs it, and it must fail; why.
#[track_caller]
pub fn refused(launch: &Launch, arguments: &[&str]) -> String {
    let output = launch.run(&[&["keys"], arguments].concat());
    assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until what `/status` says of the KEK `holds`, and gives that.
pub async fn until(client: &Client, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let kek = kek(client).await;
        if holds(&kek) {
            return kek;
        }
        assert!(Instant::now() < deadline, "never {what}: {kek}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
