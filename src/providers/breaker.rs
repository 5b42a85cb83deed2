//! A backend that does not answer is left alone for a while: then one request may try it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// However long a backend asks to be left alone, it is tried again after this.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// While one request tries it, the others are told to come back in so long.
const TRIED_NOW: Duration = Duration::from_secs(1);

/// Whether it may be asked.
pub(crate) struct Breaker {
    state: Mutex<State>,
    failures_max: u32,
    open_for: Duration,
}

#[derive(Clone, Copy)]
enum State {
    /// With so many failures in a row.
    Closed(u32),
    /// Nobody asks until then.
    Open(Instant),
    /// One request asks, to see whether it answers.
    HalfOpen,
}

/// As operators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// It is asked.
    Closed,
    /// It is left alone.
    Open,
    /// It is being tried, or the next request will.
    HalfOpen,
}

/// What came of a call, as far as the breaker cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Called {
    /// The backend answers, whatever it says.
    Answered,
    /// It does not.
    Failed,
    /// It asks to be left alone for so long.
    Pause(Duration),
    /// Nobody asked it in the end, or it was not what failed.
    NotAtAll,
}

impl Breaker {
    pub(crate) fn new(failures_max: u32, open_for: Duration) -> Self {
        Self { state: Mutex::new(State::Closed(0)), failures_max, open_for }
    }

    /// Whether it may be asked now; if not, when it may. Who is let in must [tell](Self::told) what came of it.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Closed(_) => Ok(()),
            State::Open(until) if now < until => Err(until - now),
            State::Open(_) => {
                *state = State::HalfOpen;
                Ok(())
            }
            State::HalfOpen => Err(TRIED_NOW),
        }
    }

    pub(crate) fn told(&self, called: Called, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match (called, *state) {
            (Called::NotAtAll, State::HalfOpen) => State::Open(now),
            (Called::NotAtAll, state) => state,
            (Called::Answered, State::Open(until)) if now < until => State::Open(until),
            (Called::Answered, _) => State::Closed(0),
            (Called::Pause(wanted), _) => State::Open(now + wanted.min(PAUSE_MAX)),
            (Called::Failed, State::Closed(failures)) if failures + 1 < self.failures_max => {
                State::Closed(failures + 1)
            }
            // What was under way when it opened does not keep it open for longer.
            (Called::Failed, State::Open(until)) if now < until => State::Open(until),
            (Called::Failed, _) => State::Open(now + self.open_for),
        };
    }

    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Closed(_) => BreakerState::Closed,
            State::Open(until) if now < until => BreakerState::Open,
            State::Open(_) | State::HalfOpen => BreakerState::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(5);

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_try_afterwards() {
        let (breaker, start) = (Breaker::new(3, OPEN), Instant::now());
        for called in [Called::Failed, Called::Failed, Called::Answered, Called::Failed, Called::Failed] {
            assert_eq!(breaker.admit(start), Ok(()));
            breaker.told(called, start);
        }
        assert_eq!(breaker.state(start), BreakerState::Closed);
        breaker.told(Called::Failed, start);
        assert_eq!(breaker.admit(start + OPEN / 5), Err(OPEN * 4 / 5));
        // Late answers of calls that were under way change nothing.
        breaker.told(Called::Answered, start + OPEN / 5);
        breaker.told(Called::Failed, start + OPEN / 5);
        let later = start + OPEN;
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        assert_eq!((breaker.admit(later), breaker.admit(later)), (Ok(()), Err(TRIED_NOW)));
        breaker.told(Called::NotAtAll, later);
        assert_eq!((breaker.admit(later), breaker.admit(later)), (Ok(()), Err(TRIED_NOW)));
        breaker.told(Called::Failed, later);
        assert_eq!(breaker.admit(later), Err(OPEN));
        assert_eq!(breaker.admit(later + OPEN), Ok(()));
        breaker.told(Called::Answered, later + OPEN);
        assert_eq!((breaker.admit(later + OPEN), breaker.admit(later + OPEN)), (Ok(()), Ok(())));
    }

    #[test]
    fn who_asks_to_be_left_alone_is_but_not_for_ever() {
        let (breaker, start) = (Breaker::new(3, OPEN), Instant::now());
        breaker.told(Called::Pause(Duration::from_secs(7)), start);
        assert_eq!(breaker.admit(start), Err(Duration::from_secs(7)));
        breaker.told(Called::Pause(Duration::MAX), start);
        assert_eq!(breaker.admit(start), Err(PAUSE_MAX));
    }
}
