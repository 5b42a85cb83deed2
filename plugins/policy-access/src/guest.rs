//! Between the component's interfaces and [`crate::access`].

use std::sync::OnceLock;

use crate::access::{Access, Call, Place, Variable};
use crate::settings::parse;

use bindings::exports::origan::codec::policy::{self, Decision, Denial, Lookups, Query};
use bindings::exports::origan::codec::settings::{self, Problem};

mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "policy-plugin" });
}

struct Guest;

bindings::export!(Guest with_types_in bindings);

/// Set by `configure`, and part of every instance from then on.
static ACCESS: OnceLock<Access> = OnceLock::new();

impl settings::Guest for Guest {
    fn configure(json: String) -> Result<(), Vec<Problem>> {
        let access = parse(&json).map_err(|problems| {
            problems
                .into_iter()
                .map(|problem| Problem { path: problem.path, message: problem.message })
                .collect::<Vec<_>>()
        })?;
        ACCESS.set(access).map_err(|_| vec![Problem { path: String::new(), message: "configured twice".to_owned() }])
    }
}

impl policy::Guest for Guest {
    fn needs() -> Lookups {
        Lookups::VARIABLES
    }

    fn evaluate(query: Query) -> Decision {
        let Some(access) = ACCESS.get() else {
            return deny("not-configured", "the policy was asked before it was configured".to_owned());
        };
        let call = Call {
            caller: &query.caller.name,
            action: &query.action,
            project: query.project_id.as_deref(),
            variables: query.variables.iter().map(as_touched).collect(),
        };
        match access.decide(&call) {
            Ok(()) => Decision::Allow,
            Err(reason) => deny(access.deny_code.as_str(), reason),
        }
    }
}

/// Whatever names a provider or a reference lives elsewhere, and what says that it does names both.
fn as_touched(variable: &bindings::origan::codec::facts::Variable) -> Variable<'_> {
    let is_external = variable.kind == "external" || variable.provider.is_some() || variable.reference.is_some();
    let external = is_external.then(|| Place {
        provider: variable.provider.as_deref().unwrap_or_default(),
        reference: variable.reference.as_deref().unwrap_or_default(),
    });
    Variable { name: &variable.name, external }
}

fn deny(code: &str, reason: String) -> Decision {
    Decision::Deny(Denial { code: code.to_owned(), reason })
}
