//! Threads that let requests go first: compilers, sinks, policies that have shown to be slow.
//!
//! A weight alone (`nice`) says how much of a processor a thread gets, not how soon it makes room: the kernel lets whoever runs end its
//! slice, 2.8 ms by default, and a request that woke up meanwhile waits for that long. So these threads ask for the shortest slice too.

/// Nanoseconds after which such a thread makes room: the shortest slice that Linux grants.
const SLICE_NS: u64 = 100_000;

/// From now on, whoever else wants this thread's processor gets it within a tenth of a millisecond, and `niceness` (0 to 19) says how
/// little of it is left for this thread. On Linux before 6.12 only the latter. Cannot be taken back without privileges.
///
/// Source: `sched_setattr(2)`; the kernel's `Documentation/scheduler/sched-eevdf.rst`.
pub fn let_requests_go_first(niceness: i32) {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: niceness,
        sched_priority: 0,
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of a structure that lives until the call returns; 0 is the calling thread, and 0 no flags.
    #[expect(unsafe_code, reason = "no wrapper knows the call; it reads one structure")]
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if done != 0 {
        let _ = rustix::process::nice(niceness);
    }
}
