//! What the kernel says of a process or of a thread, from its folder in `/proc`.

use std::path::Path;

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
