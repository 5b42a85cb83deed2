//! A call is allowed iff every variable that it touches is covered by an allowing row, and none by a denying one.

use guest_parts::action::ActionPattern;
use guest_parts::code::Code;
use guest_parts::pattern::Pattern;

use crate::touched::{Failing, Touched};

/// The policy, as configured.
#[derive(Debug)]
pub struct Access {
    /// In the order written, which does not matter.
    pub rows: Vec<Row>,
    /// What denied callers are told.
    pub deny_code: Code,
}

/// One row of the table. A cell matches if one of its patterns does.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// What it does to what it covers.
    pub effect: Effect,
    /// Names of callers.
    pub callers: Vec<Pattern>,
    /// Actions.
    pub actions: Vec<ActionPattern>,
    /// Projects, or none.
    pub projects: Vec<Project>,
    /// Names of variables.
    pub variables: Vec<Pattern>,
    /// Where those of them may live that live elsewhere, as `provider:reference`; `{project}` stands for the call's.
    pub external: Vec<String>,
}

/// What a row does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Allows what it covers.
    Allow,
    /// Denies what it covers, whatever other rows say.
    Deny,
}

/// One pattern in the cell of projects.
#[derive(Debug, PartialEq, Eq)]
pub enum Project {
    /// `-`: the call's project is not known.
    None,
    /// Every name that matches.
    Named(Pattern),
}

/// What is asked.
#[derive(Debug)]
pub struct Call<'a> {
    /// Who asks.
    pub caller: &'a str,
    /// For what.
    pub action: &'a str,
    /// Of which project, if any is known.
    pub project: Option<&'a str>,
    /// All variables it touches.
    pub variables: Vec<Variable<'a>>,
}

/// A variable that a call touches.
#[derive(Debug)]
pub struct Variable<'a> {
    /// Its name; an empty one is not known.
    pub name: &'a str,
    /// Where it lives, if that is elsewhere.
    pub external: Option<Place<'a>>,
}

/// A secret of a provider.
#[derive(Debug)]
pub struct Place<'a> {
    /// Whose.
    pub provider: &'a str,
    /// What it is asked for.
    pub reference: &'a str,
}

/// Stands for the call's project in patterns of places. An id of a project holds no `*` and no `/`.
const PROJECT: &str = "{project}";

impl Access {
    /// Whether `call` is allowed, or why not.
    pub fn decide(&self, call: &Call) -> Result<(), String> {
        let concerning = |effect| self.rows.iter().filter(move |row| row.effect == effect && row.concerns(call));
        let allowing: Vec<&Row> = concerning(Effect::Allow).collect();
        if allowing.is_empty() {
            return Err(self.unmet(call));
        }
        let denying: Vec<&Row> = concerning(Effect::Deny).collect();
        let touched = Touched::of(call);
        let Some(failing) = touched.first_failing(&allowing, &denying) else { return Ok(()) };
        let (caller, action, project) = (call.caller, call.action, told(call.project));
        Err(match failing {
            Failing::Denied(what) => format!("a row denies {caller:?} {action} of {what} of {project}"),
            Failing::Uncovered(what) => format!("no row allows {caller:?} {action} of {what} of {project}"),
        })
    }

    /// Which part of the call no allowing row has, looked at from left to right.
    fn unmet(&self, call: &Call) -> String {
        let (caller, action) = (call.caller, call.action);
        let mut rows: Vec<&Row> = self.rows.iter().filter(|row| row.effect == Effect::Allow).collect();
        rows.retain(|row| row.callers.iter().any(|pattern| pattern.matches(caller)));
        if rows.is_empty() {
            return format!("no row allows caller {caller:?} anything");
        }
        rows.retain(|row| row.actions.iter().any(|pattern| pattern.matches(action)));
        if rows.is_empty() {
            return format!("no row allows caller {caller:?} the action {action:?}");
        }
        let project = told(call.project);
        format!("no row allows caller {caller:?} the action {action:?} for {project}")
    }
}

impl Row {
    /// Whether caller, action and project are the row's.
    fn concerns(&self, call: &Call) -> bool {
        self.callers.iter().any(|pattern| pattern.matches(call.caller))
            && self.actions.iter().any(|pattern| pattern.matches(call.action))
            && self.projects.iter().any(|project| project.matches(call.project, self.effect))
    }

    /// Whether it covers `variable`. One that lives elsewhere is allowed only by a row that says where, for its name is only what the
    /// caller calls it; and a row that says where denies nothing else.
    pub(crate) fn covers(&self, variable: &Variable, project: Option<&str>) -> bool {
        let is_named = self.variables.iter().any(|pattern| pattern.matches(variable.name));
        let is_there = match (&variable.external, self.effect) {
            (None, Effect::Allow) => true,
            (None, Effect::Deny) => self.external.is_empty(),
            (Some(_), Effect::Deny) if self.external.is_empty() => true,
            (Some(place), _) => self.external.iter().any(|pattern| place.matches(pattern, project)),
        };
        is_named && is_there
    }

    /// Whether it is about secrets that live elsewhere, and nothing else.
    pub(crate) fn is_external_only(&self) -> bool {
        self.effect == Effect::Deny && !self.external.is_empty()
    }

    /// Whether it covers every variable there is.
    pub(crate) fn covers_all(&self) -> bool {
        self.variables.iter().any(Pattern::is_any)
    }
}

impl Place<'_> {
    /// A pattern with `{project}` is none where the project is not known.
    fn matches(&self, pattern: &str, project: Option<&str>) -> bool {
        let pattern = match (pattern.contains(PROJECT), project) {
            (false, _) => Pattern::new(pattern),
            (true, Some(project)) => Pattern::new(&pattern.replace(PROJECT, project)),
            (true, None) => return false,
        };
        pattern.matches(&format!("{}:{}", self.provider, self.reference))
    }
}

impl Project {
    /// An unknown project is allowed by `-` only, and denied by `*` too.
    fn matches(&self, project: Option<&str>, effect: Effect) -> bool {
        match (self, project) {
            (Self::Named(pattern), Some(name)) => pattern.matches(name),
            (Self::Named(pattern), None) => effect == Effect::Deny && pattern.is_any(),
            (Self::None, project) => project.is_none(),
        }
    }
}

fn told(project: Option<&str>) -> String {
    project.map_or_else(|| "an unknown project".to_owned(), |name| format!("project {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::parse;

    fn decide(
        table: &str,
        caller: &str,
        action: &str,
        project: Option<&str>,
        variables: &[&str],
    ) -> Result<(), String> {
        let json = serde_json::json!({ "table": table }).to_string();
        let access = parse(&json).unwrap();
        let variables = variables.iter().map(|name| match name.split_once('@') {
            None => Variable { name, external: None },
            Some((name, place)) => {
                let (provider, reference) = place.split_once(':').expect("provider:reference");
                Variable { name, external: Some(Place { provider, reference }) }
            }
        });
        access.decide(&Call { caller, action, project, variables: variables.collect() })
    }

    #[test]
    fn what_lives_elsewhere_is_allowed_by_a_row_that_says_where() {
        let ask = |table: &str, variable: &str| {
            decide(table, "runner", "decrypt-all", Some("shop"), &[variable, "OWN"]).is_ok()
        };
        let bound = "runner | decrypt-all | * | * | vault:secret/data/{project}/*, aws:shop-*";
        assert!(ask(bound, "A@vault:secret/data/shop/app#a"));
        assert!(ask(bound, "A@aws:shop-db#password"));
        for other in ["A@vault:secret/data/bank/app#a", "A@vault:secret/data/shop", "A@azure:shop-db", "A@aws:bank"] {
            assert!(!ask(bound, other), "{other}");
        }
        // Everything of ours, and nothing of anybody else's.
        assert!(!ask("runner | * | * | *", "A@vault:secret/data/shop/app#a"));
        assert!(ask("runner | * | * | *", "A"));
        assert!(!ask("runner | * | * | B, OWN | *", "A@vault:x"));
        assert!(decide("runner | * | - | * | *:{project}*", "runner", "decrypt-all", None, &["A@vault:x"]).is_err());
    }

    #[test]
    fn a_denying_row_that_says_where_denies_that_and_one_that_does_not_denies_by_name() {
        let ask = |deny: &str, variable: &str| {
            let table = format!("* | * | * | * | *\n! * | * | * | {deny}");
            decide(&table, "runner", "decrypt-all", Some("shop"), &[variable]).is_ok()
        };
        assert!(!ask("* | *:*/platform/*", "A@vault:secret/data/platform/x"));
        assert!(ask("* | *:*/platform/*", "A@vault:secret/data/shop/x"));
        assert!(ask("* | *:*/platform/*", "A"));
        assert!(!ask("ADMIN_*", "ADMIN_KEY@vault:secret/data/shop/x"));
        // Nor does it deny a DEK.
        let table = "* | * | * | * \n! * | * | * | * | *:*";
        assert!(decide(table, "runner", "decrypt-dek", Some("shop"), &[]).is_ok());
    }

    #[test]
    fn every_variable_must_be_covered() {
        let table = "runner | decrypt-all | shop | DB_*, API_URL";
        let ask = |variables: &[&str]| decide(table, "runner", "decrypt-all", Some("shop"), variables);
        assert_eq!(ask(&["DB_URL", "API_URL"]), Ok(()));
        let reason = ask(&["DB_URL", "OTHER"]).unwrap_err();
        assert_eq!(reason, r#"no row allows "runner" decrypt-all of variable "OTHER" of project "shop""#);
    }

    #[test]
    fn variables_may_be_covered_by_several_rows() {
        let table = "runner | decrypt-all | shop | A\nrunner | * | * | B";
        assert_eq!(decide(table, "runner", "decrypt-all", Some("shop"), &["A", "B"]), Ok(()));
        assert!(decide(table, "runner", "decrypt-all", Some("other"), &["A", "B"]).is_err());
    }

    #[test]
    fn a_denying_row_wins_in_any_order() {
        let rows = ["* | * | * | *", "! runner | decrypt-* | shop | ADMIN_*"];
        for table in [rows.join("\n"), [rows[1], rows[0]].join("\n")] {
            let reason = decide(&table, "runner", "decrypt-all", Some("shop"), &["A", "ADMIN_KEY"]).unwrap_err();
            assert_eq!(reason, r#"a row denies "runner" decrypt-all of variable "ADMIN_KEY" of project "shop""#);
            assert_eq!(decide(&table, "runner", "decrypt-all", Some("shop"), &["A"]), Ok(()));
            assert_eq!(decide(&table, "other", "decrypt-all", Some("shop"), &["ADMIN_KEY"]), Ok(()));
        }
    }

    #[test]
    fn the_reason_names_the_part_that_no_row_has() {
        let table = "runner | decrypt-all | shop | *";
        for (caller, action, project, reason) in [
            ("x\n", "decrypt-all", Some("shop"), r#"no row allows caller "x\n" anything"#),
            ("runner", "encrypt", Some("shop"), r#"no row allows caller "runner" the action "encrypt""#),
            (
                "runner",
                "decrypt-all",
                Some("b"),
                r#"no row allows caller "runner" the action "decrypt-all" for project "b""#,
            ),
            (
                "runner",
                "decrypt-all",
                None,
                r#"no row allows caller "runner" the action "decrypt-all" for an unknown project"#,
            ),
        ] {
            assert_eq!(decide(table, caller, action, project, &["A"]).unwrap_err(), reason);
        }
    }

    #[test]
    fn an_unknown_project_is_allowed_by_a_dash_only_and_denied_by_a_star() {
        let ask = |table: &str| decide(table, "runner", "decrypt-value", None, &["A"]).is_ok();
        assert!(!ask("runner | * | * | *"));
        assert!(ask("runner | * | *, - | *"));
        assert!(!ask("runner | * | - | *\n! runner | * | * | *"));
        assert!(!ask("runner | * | - | *\n! runner | * | - | *"));
        assert!(ask("runner | * | - | *\n! runner | * | shop | *"));
        assert!(decide("runner | * | - | *", "runner", "encrypt", Some("-"), &["A"]).is_err());
    }

    #[test]
    fn a_dek_or_a_nameless_value_stands_for_every_variable() {
        for (action, variables) in [
            ("decrypt-dek", &[][..]),
            ("decrypt-dek", &["DB_URL"]),
            ("generate-dek", &[]),
            ("decrypt-value", &[]),
            ("decrypt-value", &[""]),
        ] {
            let ask = |table: &str| decide(table, "runner", action, Some("shop"), variables).is_ok();
            assert!(ask("runner | * | * | *"), "{action}");
            assert!(!ask("runner | * | * | DB_*"), "{action}");
            assert!(!ask("runner | * | * | *\n! runner | * | * | DB_*"), "{action}");
            assert!(ask("runner | * | * | *\n! other | * | * | DB_*"), "{action}");
        }
    }

    #[test]
    fn a_worker_without_variables_needs_only_a_row_of_its_own() {
        let ask = |table: &str, project| decide(table, "runner", "decrypt-all", Some(project), &[]).is_ok();
        assert!(decide("runner | re-encrypt | shop | DB_*", "runner", "re-encrypt", Some("shop"), &[]).is_ok());
        assert!(ask("runner | decrypt-all | shop | DB_*", "shop"));
        assert!(!ask("runner | decrypt-all | shop | DB_*", "other"));
        assert!(ask("runner | * | * | *\n! runner | * | * | DB_*", "shop"));
        assert!(!ask("runner | * | * | *\n! runner | * | * | *", "shop"));
    }

    #[test]
    fn an_empty_table_denies_everything() {
        assert!(decide("# nobody", "runner", "decrypt-all", Some("shop"), &[]).is_err());
    }
}
