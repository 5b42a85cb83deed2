//! What deadlines are made of: a thread of the operating system that moves the engines' epochs on, once a millisecond, while a call is
//! at work. A process that does nothing is not woken.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::EngineWeak;

/// One tick.
pub(in crate::plugin) const TICK: Duration = Duration::from_millis(1);
/// So many ticks without a call at work, and the clock stops until there is one.
const IDLE_TICKS: u32 = 1_000;

/// Ticks while calls are at work.
#[derive(Debug, Default)]
pub(in crate::plugin) struct Clock {
    at_work: AtomicUsize,
    is_stopped: AtomicBool,
    thread: OnceLock<Thread>,
}

/// A call at work: as long as there is one, the clock ticks.
#[derive(Debug)]
pub(in crate::plugin) struct AtWork(Arc<Clock>);

impl Clock {
    /// Ticks `engines` as long as one of them lives.
    pub(in crate::plugin) fn start(engines: [EngineWeak; 3]) -> io::Result<Arc<Self>> {
        let clock = Arc::new(Self::default());
        let ticking = clock.clone();
        let thread = std::thread::Builder::new().name("plugin-ticks".into()).spawn(move || ticking.tick(&engines))?;
        // Set once: this is the only place.
        let _ = clock.thread.set(thread.thread().clone());
        Ok(clock)
    }

    /// A call begins. Costs nothing while the clock ticks.
    pub(in crate::plugin) fn begin(self: &Arc<Self>) -> AtWork {
        self.at_work.fetch_add(1, Ordering::SeqCst);
        if self.is_stopped.load(Ordering::SeqCst) {
            self.wake();
        }
        AtWork(self.clone())
    }

    /// Looks whether there is anything to tick for.
    pub(in crate::plugin) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Until none of the engines lives.
    fn tick(&self, engines: &[EngineWeak]) {
        let mut idle = 0;
        loop {
            std::thread::sleep(TICK);
            let mut lives = false;
            for engine in engines.iter().filter_map(EngineWeak::upgrade) {
                engine.increment_epoch();
                lives = true;
            }
            if !lives {
                return;
            }
            idle = if self.at_work.load(Ordering::Relaxed) == 0 { idle + 1 } else { 0 };
            if idle >= IDLE_TICKS {
                self.stop();
                idle = 0;
            }
        }
    }

    /// Until a call begins. One that began before it could see that the clock stopped is seen here.
    fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        if self.at_work.load(Ordering::SeqCst) == 0 {
            std::thread::park();
        }
        self.is_stopped.store(false, Ordering::SeqCst);
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::Engine;

    /// Polls for as long as a slow machine may take.
    fn comes_true(is_so: impl Fn() -> bool) -> bool {
        (0..4_000).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            is_so()
        })
    }

    #[test]
    fn it_stops_when_there_is_nothing_to_do_and_goes_on_when_there_is() {
        let engine = Engine::default();
        let clock = Clock::start([engine.weak(), engine.weak(), engine.weak()]).expect("a thread");
        for _ in 0..2 {
            assert!(comes_true(|| clock.is_stopped.load(Ordering::SeqCst)));
            let at_work = clock.begin();
            assert!(comes_true(|| !clock.is_stopped.load(Ordering::SeqCst)));
            drop(at_work);
        }
    }
}
