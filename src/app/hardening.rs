//! What the process gives up before it reads a secret.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tracing::warn;

/// Keeps memory from being swapped out, where the system allows it without a limit: with one, a later allocation could fail. Says
/// whether it does.
pub fn lock_memory() -> bool {
    let unlimited = Rlimit { current: None, maximum: None };
    let is_allowed = getrlimit(Resource::Memlock).current.is_none() || setrlimit(Resource::Memlock, unlimited).is_ok();
    // On fault: only pages that are used, as they are used.
    is_allowed && mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).is_ok()
}

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
