//! May they? The only place that makes a [`Permit`].
//!
//! What a caller may ask for at all comes from its configuration. The chain of policy plugins joins here.

use std::marker::PhantomData;

use crate::caller::{Action, Caller};

/// Who wants to do what.
#[derive(Debug)]
pub struct Query<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// For what.
    pub action: Action,
}

/// The decision to let an operation pass. Keys are reached with one, and not without.
#[derive(Debug)]
pub struct Permit {
    /// Keeps the only constructor in this file.
    decided_here: PhantomData<()>,
}

/// The decision not to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// For the caller: short, public, stable.
    pub code: &'static str,
}

/// Every rule that a query must pass.
#[derive(Debug, Default)]
pub struct Policies;

impl Policies {
    /// Decides.
    pub fn decide(&self, query: &Query<'_>) -> Result<Permit, Denial> {
        if !query.caller.may(query.action) {
            return Err(Denial { code: "action-not-allowed" });
        }
        Ok(Permit { decided_here: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Method;

    #[test]
    fn a_caller_gets_a_permit_for_its_actions_and_no_other() {
        let caller = Caller { name: "runner".into(), method: Method::Token, actions: vec![Action::DecryptAll] };
        let decide = |action| Policies.decide(&Query { caller: &caller, action }).map(|_| ());
        for action in Action::ALL {
            let expected =
                if action == Action::DecryptAll { Ok(()) } else { Err(Denial { code: "action-not-allowed" }) };
            assert_eq!(decide(action), expected, "{}", action.name());
        }
    }
}
