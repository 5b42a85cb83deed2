//! What a call touches, where it does not say so itself: doubt never allows.

use crate::access::{Call, Row, Variable};

/// Which variables a call is about.
pub(crate) enum Touched<'a> {
    /// These.
    Named(&'a [Variable<'a>], Option<&'a str>),
    /// None at all, for certain: a call on all variables of a worker that has none.
    Nothing,
    /// Any of the project's: what the call hands out or opens is not tied to a name.
    Any,
}

/// The first thing that fails.
pub(crate) enum Failing {
    /// A row denies it.
    Denied(String),
    /// No row allows it.
    Uncovered(String),
}

impl<'a> Touched<'a> {
    /// What `call` is about.
    pub(crate) fn of(call: &'a Call) -> Self {
        match (call.variables.as_slice(), call.action) {
            (_, "decrypt-dek" | "generate-dek") => Self::Any,
            ([], "encrypt-all" | "decrypt-all" | "re-encrypt") => Self::Nothing,
            ([], _) => Self::Any,
            (variables, _) => Self::Named(variables, call.project),
        }
    }

    /// The first of it that rows deny or do not cover.
    pub(crate) fn first_failing(&self, allowing: &[&Row], denying: &[&Row]) -> Option<Failing> {
        match self {
            // Touches nothing, so that only a row about everything denies it.
            Self::Nothing if denying.iter().any(|row| row.covers_all() && !row.is_external_only()) => {
                Some(Failing::Denied("anything".to_owned()))
            }
            Self::Nothing => None,
            Self::Any => any_failing("the DEK or an unnamed value", allowing, denying),
            Self::Named(variables, project) => variables.iter().find_map(|variable| {
                if variable.name.is_empty() && variable.external.is_none() {
                    return any_failing("a variable without a name", allowing, denying);
                }
                let told = || match &variable.external {
                    None => format!("variable {:?}", variable.name),
                    Some(place) => {
                        format!("variable {:?}, {} of {:?},", variable.name, place.reference, place.provider)
                    }
                };
                if denying.iter().any(|row| row.covers(variable, *project)) {
                    return Some(Failing::Denied(told()));
                }
                let is_covered = allowing.iter().any(|row| row.covers(variable, *project));
                (!is_covered).then(|| Failing::Uncovered(told()))
            }),
        }
    }
}

/// What may be any variable is denied by a row for one, and allowed only by a row for all.
fn any_failing(what: &str, allowing: &[&Row], denying: &[&Row]) -> Option<Failing> {
    if denying.iter().any(|row| !row.is_external_only()) {
        return Some(Failing::Denied(what.to_owned()));
    }
    (!allowing.iter().any(|row| row.covers_all())).then(|| Failing::Uncovered(what.to_owned()))
}
