//! One window: which calls it is about, and when it is open.
//!
//! `open = start <= time < end  and  from <= clock < to on one of the days`; a condition that is not written always holds. Where `to` is
//! before `from` the window goes on past midnight, and belongs to the day that it began on.

use guest_parts::action::ActionPattern;
use guest_parts::code::Code;
use guest_parts::pattern::Pattern;
use jiff::Timestamp;

use crate::clock::{Days, Shown, TimeOfDay, Zone};

/// A window, as configured.
#[derive(Debug)]
pub struct Window {
    /// For the operator.
    pub name: String,
    /// What being inside means.
    pub effect: Effect,
    /// Whose clock.
    pub zone: Zone,
    /// On which days.
    pub days: Days,
    /// Between which times of these days, the second not included.
    pub hours: Option<(TimeOfDay, TimeOfDay)>,
    /// From which moment on.
    pub start: Option<Timestamp>,
    /// Before which moment.
    pub end: Option<Timestamp>,
    /// What it is about.
    pub actions: Vec<ActionPattern>,
    /// Whose; every project's, and calls without one, where it is none.
    pub projects: Option<Vec<Pattern>>,
}

/// What being inside a window means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Calls that it is about are possible inside this window (or another of the kind), and only there.
    Allow,
    /// They are denied inside it, and callers told this.
    Deny(Code),
}

impl Window {
    /// Whether it is about such a call.
    pub fn concerns(&self, action: &str, project: Option<&str>) -> bool {
        let projects = self.projects.as_deref();
        self.actions.iter().any(|pattern| pattern.matches(action))
            && projects.is_none_or(|patterns| {
                patterns.iter().any(|pattern| project.map_or_else(|| pattern.is_any(), |name| pattern.matches(name)))
            })
    }

    /// Whether it is open at `time`.
    pub fn is_open(&self, time: Timestamp) -> bool {
        let begun = self.start.is_none_or(|start| start <= time);
        let ended = self.end.is_some_and(|end| end <= time);
        begun && !ended && self.holds(self.zone.show(time))
    }

    fn holds(&self, shown: Shown) -> bool {
        let Some((from, to)) = self.hours else { return self.days.hold_today(shown) };
        if from < to {
            return self.days.hold_today(shown) && from.reached(shown) && !to.reached(shown);
        }
        (self.days.hold_today(shown) && from.reached(shown)) || (self.days.hold_yesterday(shown) && !to.reached(shown))
    }
}
