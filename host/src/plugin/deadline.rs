//! How long a policy may compute, whatever else the machine does.

use std::thread::ThreadId;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Store, UpdateDeadline};

use super::engine::TICK;

/// Ticks that pass before it is looked how long a decision has computed: nearly all have ended by then.
const TICKS_UNWATCHED: u64 = 2;
const UNWATCHED: Duration = TICK.saturating_mul(TICKS_UNWATCHED as u32);
const TICKS_WATCHED: u64 = 4;
/// A machine that is busy with others may need so many times a decision's compute time by the clock.
pub(super) const WALL_FACTOR: u32 = 25;

/// Ends what computes for longer than `deadline`. Time that the machine gives to others does not count, within reason: the processor
/// time of this thread is asked for, but not before a call has lasted longer than nearly all do.
pub(super) fn watch(store: &mut Store<impl Send + 'static>, deadline: Duration) {
    store.set_epoch_deadline(TICKS_UNWATCHED);
    let budget = deadline.saturating_sub(UNWATCHED);
    let mut since: Option<(ThreadId, Duration)> = None;
    let mut until: Option<Instant> = None;
    store.epoch_deadline_callback(move |_| {
        let now = thread_time();
        // A WASI guest that has waited may go on in another thread, whose time is another.
        let here = std::thread::current().id();
        let began = since.filter(|(thread, _)| *thread == here).map_or(now, |(_, began)| began);
        let computed = now.saturating_sub(began);
        since = Some((here, began));
        let wall = Instant::now();
        let until = *until.get_or_insert(wall + (deadline * WALL_FACTOR).saturating_sub(UNWATCHED));
        if computed >= budget || wall > until {
            return Ok(UpdateDeadline::Interrupt);
        }
        Ok(UpdateDeadline::Continue(TICKS_WATCHED))
    });
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
