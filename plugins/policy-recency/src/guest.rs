//! Between the component's interfaces and [`crate::recency`].

use std::sync::OnceLock;

use crate::recency::{Decision as Decided, Deployment, Recency};
use crate::settings::parse;

use bindings::exports::origan::codec::policy::{self, Decision, Denial, Lookups, Query};
use bindings::exports::origan::codec::settings::{self, Problem};
use bindings::origan::codec::facts;
use bindings::origan::codec::log::{Level, emit};

mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "policy-plugin" });
}

struct Guest;

bindings::export!(Guest with_types_in bindings);

/// Set by `configure`, and part of every instance from then on.
static RECENCY: OnceLock<Recency> = OnceLock::new();

impl settings::Guest for Guest {
    fn configure(json: String) -> Result<(), Vec<Problem>> {
        let recency = parse(&json).map_err(|problems| {
            problems
                .into_iter()
                .map(|problem| Problem { path: problem.path, message: problem.message })
                .collect::<Vec<_>>()
        })?;
        RECENCY.set(recency).map_err(|_| vec![Problem { path: String::new(), message: "configured twice".to_owned() }])
    }
}

impl policy::Guest for Guest {
    fn needs() -> Lookups {
        Lookups::DEPLOYMENT
    }

    fn evaluate(query: Query) -> Decision {
        let Some(recency) = RECENCY.get() else {
            return deny("not-configured", "the policy was asked before it was configured".to_owned());
        };
        let deployment = match &query.deployment {
            facts::Deployment::None => Deployment::None,
            facts::Deployment::Unknown(id) => Deployment::Unknown(id),
            facts::Deployment::Known(known) => Deployment::Known { id: &known.id, created_ms: known.created },
        };
        match recency.decide(&query.action, query.time, deployment) {
            Decided::Allow => Decision::Allow,
            Decided::AllowWarning(message) => {
                emit(Level::Warn, &format!("allowed, although {message}"), &[]);
                Decision::Allow
            }
            Decided::Abstain => Decision::Abstain,
            Decided::Deny { code, reason } => deny(code, reason),
        }
    }
}

fn deny(code: &str, reason: String) -> Decision {
    Decision::Deny(Denial { code: code.to_owned(), reason })
}
