//! The audit trail: a record for every operation, durable before its answer.
//!
//! [`record`] is what a record says, [`chain`] how records hang together, [`journal`] where they become durable,
//! [`reader`] how they are verified, and [`cursor`] how they are followed: by `codec audit`, and in [`delivery`] by the sinks that drain
//! the journal, each from a cursor of its own.

mod canonical;
pub mod chain;
pub mod cursor;
pub mod delivery;
pub mod journal;
pub mod reader;
pub mod record;
pub mod required;
mod segment;

pub use canonical::written_len;
pub use chain::{ChainId, Position, Receipt};
pub use journal::{AuditUnavailable, Journal, Pending};
pub use record::{Outcome, Record};

/// Something that must not leave before its record is durable: it opens only to a [`Receipt`].
#[derive(Debug)]
pub struct Withheld<T>(T);

impl<T, E> Withheld<Result<T, E>> {
    /// Why there is nothing to hold back; what there is stays held back.
    pub fn transpose(self) -> Result<Withheld<T>, E> {
        self.0.map(Withheld)
    }
}

impl<T> Withheld<T> {
    /// Holds `value` back.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// Another thing made of it, held back just the same.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Withheld<U> {
        Withheld(make(self.0))
    }

    /// Adds another thing that is held back to this one.
    pub fn and<U>(mut self, other: Withheld<U>, add: impl FnOnce(&mut T, U)) -> Self {
        add(&mut self.0, other.0);
        self
    }

    /// Lets go: `_receipt` proves that the record is durable.
    pub fn release(self, _receipt: &Receipt) -> T {
        self.0
    }
}
