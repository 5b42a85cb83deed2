//! Threads that let requests go first: compilers, sinks, policies that have shown to be slow.
//!
//! A weight alone (`nice`) says how much of a processor a thread gets, not how soon it makes room: the kernel lets whoever runs end its
//! slice, 2.8 ms by default, and looks at slices that have ended no more often than every 4 ms. So what such a thread asks for is its slice.
//! Still the kernel takes its processor for one that is busy, and puts all who wake up on the others. What need not be done soon is done on
//! spare time.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rustix::param::clock_ticks_per_second;

const NICENESS_MAX: i32 = 19;
/// How often it is looked whether there is time to spare.
const LOOK: Duration = Duration::from_millis(250);

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
    if !schedule(libc::SCHED_OTHER, niceness, work.slice_ns()) {
        let _ = rustix::process::nice(niceness);
    }
    // The slice that a thread is in keeps the end that it began with. A sleep, however short, ends it.
    std::thread::sleep(Duration::from_nanos(1));
}

/// From now on, this thread has only what time of processors nobody else wants: a three hundredth, where others never have enough. To the
/// kernel, its processor is idle: whoever wakes up may have it, and is not put beside others on the next one. Cannot be taken back
/// without privileges; threads and processes that this one starts begin with it. Whether the system grants it.
///
/// Source: `sched(7)`, `SCHED_IDLE`.
pub fn live_on_spare_time() -> bool {
    // The less it asks for, the sooner it has its turn where all want the processor: it may hold a lock. With the policy, a slice cannot be
    // asked for.
    schedule(libc::SCHED_OTHER, NICENESS_MAX, Work::Bursts.slice_ns());
    let granted = schedule(libc::SCHED_IDLE, NICENESS_MAX, 0);
    ON_SPARE_TIME.set(granted);
    granted
}

/// Whether this thread lives on spare time because it [went there](live_on_spare_time), and not because all of the process does.
pub fn lives_on_spare_time() -> bool {
    ON_SPARE_TIME.get()
}

thread_local! {
    static ON_SPARE_TIME: Cell<bool> = const { Cell::new(false) };
}

/// Until who is looked at wants a processor, and hardly gets one, from one look to the next. What cannot be seen counts as such.
pub async fn starved(look: impl Fn() -> Option<Progress>) {
    starved_between(LOOK, look).await;
}

async fn starved_between(looks: Duration, look: impl Fn() -> Option<Progress>) {
    let mut before: Option<(Progress, Instant)> = None;
    while let Some(now) = look() {
        if let Some((before, then)) = before
            && now.is_runnable
            && is_starved(now.processor_time.saturating_sub(before.processor_time), then.elapsed())
        {
            return;
        }
        before = now.is_runnable.then(|| (now, Instant::now()));
        tokio::time::sleep(looks).await;
    }
}

/// Whether that much of the processors within `time` is too little to go on with: less than a quarter of one.
fn is_starved(had: Duration, time: Duration) -> bool {
    had < time / 4
}

/// How a thread of this process, or a process, gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Whether it runs or wants to.
    is_runnable: bool,
    /// What it has had of the processors so far.
    processor_time: Duration,
}

impl Progress {
    /// Of this process or a child, which is taken to have work at all times. None if it is gone, or if the system does not say.
    ///
    /// Source: `clock_getcpuclockid(3)`, which needs no `/proc`: that may hide a child from its parent.
    pub fn of_process(process: u32) -> Option<Self> {
        let process = libc::pid_t::try_from(process).ok().filter(|process| *process > 0)?;
        let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
        // SAFETY: each writes one value, which lives until the call returns.
        #[expect(unsafe_code, reason = "no wrapper knows the clocks of processes")]
        let known = unsafe {
            libc::clock_getcpuclockid(process, &raw mut clock) == 0 && libc::clock_gettime(clock, &raw mut time) == 0
        };
        let had = Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0));
        known.then_some(Self { is_runnable: true, processor_time: had })
    }

    /// As `proc_pid_stat(5)` has it. None if it is gone. While it waits for another, a compiler say, it wants none.
    pub(super) fn of_thread(thread: rustix::thread::Pid) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/self/task/{}/stat", thread.as_raw_nonzero())).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // Counted behind the name, which may hold anything: the 3rd, the 14th and the 15th field.
        let (_, behind) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = behind.split(' ').collect();
        let ticks = |field: usize| fields.get(field)?.trim_end().parse::<u64>().ok();
        let processor_time =
            Duration::from_secs(ticks(11)? + ticks(12)?) / u32::try_from(clock_ticks_per_second()).ok()?;
        Some(Self { is_runnable: *fields.first()? == "R", processor_time })
    }
}

/// Whether the kernel does so.
fn schedule(policy: i32, niceness: i32, slice_ns: u64) -> bool {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: policy as u32,
        sched_flags: 0,
        sched_nice: niceness,
        sched_priority: 0,
        sched_runtime: slice_ns,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of a structure that lives until the call returns; 0 is the calling thread, and 0 no flags.
    #[expect(unsafe_code, reason = "no wrapper knows the call; it reads one structure")]
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    done == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read_behind_a_name_that_may_hold_anything() {
        let behind = "R 1 2 3 4 5 6 7 8 9 10 120 30 99 98";
        for name in ["codec", "a) S 1 2 (b", "", ") "] {
            let found = Progress::parse(&format!("17 ({name}) {behind}")).expect(name);
            assert!(found.is_runnable, "{name}");
            assert_eq!(found.processor_time, Duration::from_millis(1_500), "{name}: ticks are hundredths of a second");
        }
        assert!(!Progress::parse("17 (codec) S 1 2 3 4 5 6 7 8 9 10 120 30").expect("whole").is_runnable);
        for torn in ["", "17 (codec", "17 (codec) R", "17 (codec) R 1 2 3 4 5 6 7 8 9 10 x 30"] {
            assert_eq!(Progress::parse(torn), None, "{torn}");
        }
        assert!(Progress::of_thread(rustix::thread::gettid()).expect("it lives").is_runnable);
    }

    #[test]
    fn a_process_says_what_it_has_had() {
        let here = || Progress::of_process(std::process::id()).expect("it runs").processor_time;
        let before = here();
        // Others may have the processor meanwhile.
        while here() < before + Duration::from_millis(5) {}
        for nobody in [0, u32::MAX, (1 << 22) + 1] {
            assert_eq!(Progress::of_process(nobody), None, "{nobody}");
        }
    }

    #[test]
    fn less_than_a_quarter_is_too_little() {
        let time = Duration::from_millis(400);
        assert!(is_starved(Duration::from_millis(99), time));
        assert!(!is_starved(Duration::from_millis(100), time));
    }

    #[tokio::test]
    async fn only_who_wants_a_processor_at_two_looks_and_hardly_gets_one_is_starved() {
        let (wants, waits) = (true, false);
        for (name, looks, starves) in [
            ("gets nothing", vec![(wants, 0), (wants, 0)], true),
            ("gets too little later", vec![(wants, 0), (wants, 10_000), (wants, 10_001)], true),
            ("gets enough", vec![(wants, 0), (wants, 10_000), (wants, 20_000)], false),
            ("waits for another", vec![(waits, 0), (waits, 0), (waits, 0)], false),
            ("waits at every other look", vec![(wants, 0), (waits, 0), (wants, 0), (waits, 0)], false),
            ("cannot be seen", vec![], false),
        ] {
            let looked = Cell::new(0);
            let look = || {
                let (is_runnable, had) = looks.get(looked.replace(looked.get() + 1)).copied()?;
                Some(Progress { is_runnable, processor_time: Duration::from_millis(had) })
            };
            starved_between(Duration::from_millis(10), look).await;
            // Behind the last look, it cannot be seen.
            assert_eq!(looked.get(), if starves { looks.len() } else { looks.len() + 1 }, "{name}");
        }
    }

    #[test]
    fn only_a_thread_that_went_there_lives_on_spare_time() {
        let went = std::thread::spawn(|| live_on_spare_time() && lives_on_spare_time()).join().expect("no panic");
        assert!(went, "the system does not grant it");
        assert!(!lives_on_spare_time());
    }
}
