//! May they? The only place that makes a [`Permit`].
//!
//! What a caller may ask for at all comes from its configuration. Beyond that the chain of policies decides: those that apply to the
//! call are asked in order; any deny wins; if nobody denies, any allow lets pass; if all abstain, the operator's default decides. A
//! policy that gives no answer denies, each way with a code of its own. One in monitor mode is asked and recorded, and changes nothing.

pub mod chain;
mod code;
pub mod query;

use std::marker::PhantomData;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::caller::{Action, Caller};
use crate::config::DefaultDecision;
use chain::{Chain, Ruling};
pub use code::PolicyCode;
use query::{Facts, Query};

/// The decision to let an operation pass. Keys are reached with one, and not without.
#[derive(Debug)]
pub struct Permit {
    /// Keeps the only constructor in this file.
    decided_here: PhantomData<()>,
}

/// The decision not to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// For the caller: short, public, stable.
    pub code: PolicyCode,
    /// Which policy; none where the caller's configuration decides.
    pub policy: Option<Arc<str>>,
    /// For the operator.
    pub reason: String,
    /// Whether the policy was asked for more than it can decide now: what may pass is no final answer.
    pub is_busy: bool,
}

/// Every rule that a query must pass.
pub struct Policies {
    chain: ArcSwap<Chain>,
}

impl Default for Policies {
    /// Nothing passes before a chain is published.
    fn default() -> Self {
        Self { chain: ArcSwap::from_pointee(Chain::new(Vec::new(), Some(DefaultDecision::Deny))) }
    }
}

impl Policies {
    /// Replaces the chain. Who is being judged is judged by the one before, to the end.
    pub fn publish(&self, chain: Chain) {
        self.chain.store(Arc::new(chain));
    }

    /// The chain as it is now: one operation asks one chain.
    pub fn chain(&self) -> Arc<Chain> {
        self.chain.load_full()
    }

    /// Whether `caller` may ask for `action` at all: asked before anything is looked up.
    pub fn admit(&self, caller: &Caller, action: Action) -> Result<(), Denial> {
        if caller.may(action) {
            return Ok(());
        }
        Err(Denial { code: PolicyCode::of("action-not-allowed"), policy: None, reason: String::new(), is_busy: false })
    }

    /// Decides. `facts` holds what the chain's policies asked for.
    pub async fn decide(
        &self,
        chain: &Chain,
        query: &Query<'_>,
        facts: &Facts<'_>,
    ) -> (Result<Permit, Denial>, Ruling) {
        if let Err(denial) = self.admit(query.caller, query.action) {
            return (Err(denial), Ruling::default());
        }
        let mut ruling = chain.judge(query, facts).await;
        chain.count(&ruling);
        match ruling.denial.take() {
            None => (Ok(Permit { decided_here: PhantomData }), ruling),
            Some(denial) => (Err(denial), ruling),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Method;

    #[test]
    fn a_caller_may_ask_for_its_actions_and_no_other() {
        let caller = Caller { name: "runner".into(), method: Method::Token, actions: vec![Action::DecryptAll] };
        for action in Action::ALL {
            let admitted = Policies::default().admit(&caller, action);
            assert_eq!(admitted.is_ok(), action == Action::DecryptAll, "{}", action.name());
        }
    }
}
