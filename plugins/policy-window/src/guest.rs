//! Between the component's interfaces and [`crate::chain`].

use std::sync::OnceLock;

use crate::chain::{Decision as Decided, Windows};
use crate::settings::parse;

use bindings::exports::origan::codec::policy::{self, Decision, Denial, Lookups, Query};
use bindings::exports::origan::codec::settings::{self, Problem};

mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "policy-plugin" });
}

struct Guest;

bindings::export!(Guest with_types_in bindings);

/// Set by `configure`, and part of every instance from then on.
static WINDOWS: OnceLock<Windows> = OnceLock::new();

impl settings::Guest for Guest {
    fn configure(json: String) -> Result<(), Vec<Problem>> {
        let windows = parse(&json).map_err(|problems| {
            problems
                .into_iter()
                .map(|problem| Problem { path: problem.path, message: problem.message })
                .collect::<Vec<_>>()
        })?;
        WINDOWS.set(windows).map_err(|_| vec![Problem { path: String::new(), message: "configured twice".to_owned() }])
    }
}

impl policy::Guest for Guest {
    fn needs() -> Lookups {
        Lookups::empty()
    }

    fn evaluate(query: Query) -> Decision {
        let Some(windows) = WINDOWS.get() else {
            return deny("not-configured".to_owned(), "the policy was asked before it was configured".to_owned());
        };
        match windows.decide(&query.action, query.project_id.as_deref(), query.time) {
            Decided::Allow => Decision::Allow,
            Decided::Abstain => Decision::Abstain,
            Decided::Deny { code, reason } => deny(code, reason),
        }
    }
}

fn deny(code: String, reason: String) -> Decision {
    Decision::Deny(Denial { code, reason })
}
