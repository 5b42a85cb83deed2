//! What the process gives up before it reads a secret.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tracing::warn;

/// No core dumps, no reading of our memory or environment by others of our user; as many file descriptors as allowed.
pub fn harden_process() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%error, "PR_SET_DUMPABLE: memory may end up in a core dump");
    }
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        warn!(%error, "RLIMIT_CORE: memory may end up in a core dump");
    }
    let files = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }) {
        warn!(%error, "RLIMIT_NOFILE: fewer connections than the system would allow");
    }
}
