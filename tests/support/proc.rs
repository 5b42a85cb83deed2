//! What the kernel says of a process or of a thread, from its folder in `/proc`.

use std::path::{Path, PathBuf};

/// The threads of a process that are called so, by their folders. The kernel keeps fifteen characters of a name.
pub fn threads_named(process: u32, name: &str) -> Vec<PathBuf> {
    let kept: String = name.chars().take(15).collect();
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs").flatten();
    let is_named =
        |thread: &PathBuf| std::fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim() == kept);
    threads.map(|thread| thread.path()).filter(is_named).collect()
}

/// The fields of its `stat` behind the name, which may hold anything: the first of them is the 3rd of `proc_pid_stat(5)`. Empty if it is gone.
pub fn behind_name(folder: &Path) -> Vec<String> {
    fields(&std::fs::read_to_string(folder.join("stat")).unwrap_or_default())
}

/// The same, of a `stat` that has been read.
pub fn fields(stat: &str) -> Vec<String> {
    let behind = stat.rsplit_once(") ").map_or("", |(_, behind)| behind);
    behind.split(' ').map(Into::into).collect()
}

/// Its niceness, the 19th field.
pub fn niceness(behind_name: &[String]) -> &str {
    behind_name.get(16).map_or("", String::as_str)
}

/// How it is scheduled, the 41st field: `SCHED_IDLE` is 5.
pub fn policy(behind_name: &[String]) -> &str {
    behind_name.get(38).map_or("", String::as_str)
}
