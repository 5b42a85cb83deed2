//! Threads that let requests go first: compilers, sinks, policies that have shown to be slow.
//!
//! A weight alone (`nice`) says how much of a processor a thread gets, not how soon it makes room: the kernel lets whoever runs end its
//! slice, 2.8 ms by default, and looks at slices that have ended no more often than every 4 ms. So what such a thread asks for is its slice.

use std::time::Duration;

/// How a thread that lets requests go first works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Now and then, for moments. Gets the shortest slice that Linux grants: its turn comes soon, and is over soon.
    Bursts,
    /// For as long as it is let. Gets the longest: whoever wakes up has a shorter one, and has the processor at once, in the middle of it.
    Long,
}

impl Work {
    fn slice_ns(self) -> u64 {
        match self {
            Self::Bursts => 100_000,
            Self::Long => 100_000_000,
        }
    }
}

/// From now on, whoever else wants this thread's processor gets it, and `niceness` (0 to 19) says how little of it is left for this
/// thread where others never have enough. On Linux before 6.12 only the latter. Cannot be taken back without privileges; threads and
/// processes that this one starts begin with it.
///
/// Source: `sched_setattr(2)`; the kernel's `Documentation/scheduler/sched-eevdf.rst`.
pub fn let_requests_go_first(work: Work, niceness: i32) {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: niceness,
        sched_priority: 0,
        sched_runtime: work.slice_ns(),
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of a structure that lives until the call returns; 0 is the calling thread, and 0 no flags.
    #[expect(unsafe_code, reason = "no wrapper knows the call; it reads one structure")]
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if done != 0 {
        let _ = rustix::process::nice(niceness);
    }
    // The slice that a thread is in keeps the end that it began with. A sleep, however short, ends it.
    std::thread::sleep(Duration::from_nanos(1));
}
