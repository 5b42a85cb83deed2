//! Refuses every action on a frozen project, and leaves all others to the other policies.

use serde_json::{Map, Value};

use crate::exports::origan::codec::policy::{Decision, Denial, Lookups, Query};
use crate::exports::origan::codec::settings::Problem;

/// What the host should look up for each query: nothing. `Lookups::DEPLOYMENT | Lookups::VARIABLES` would be all there is.
pub const NEEDS: Lookups = Lookups::empty();

/// What the operator may set.
#[derive(Debug, Default, PartialEq)]
pub struct Settings {
    /// `frozen_projects`: ids of projects on which nothing may be done.
    frozen_projects: Vec<String>,
}

impl Settings {
    /// Reads the operator's settings, one JSON object. Names every key that is wrong, and every key that is not known: a misspelt setting
    /// must not be a silent default.
    pub fn parse(json: &str) -> Result<Self, Vec<Problem>> {
        let object: Map<String, Value> =
            serde_json::from_str(json).map_err(|error| vec![problem("", error.to_string())])?;
        let mut settings = Self::default();
        let mut problems = Vec::new();
        for (key, value) in object {
            match key.as_str() {
                "frozen_projects" => match serde_json::from_value(value) {
                    Ok(projects) => settings.frozen_projects = projects,
                    Err(error) => problems.push(problem(&key, format!("wants a list of project ids: {error}"))),
                },
                _ => problems
                    .push(problem(&key, "is not a setting of this policy; frozen_projects is the only one".into())),
            }
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }
}

/// Decides. Everything that it may depend on is in the query, the time included.
pub fn evaluate(settings: &Settings, query: &Query) -> Decision {
    match &query.project_id {
        Some(project) if settings.frozen_projects.contains(project) => Decision::Deny(Denial {
            code: "project-frozen".into(),
            reason: format!("{} on {project}, which frozen_projects lists", query.action),
        }),
        _ => Decision::Abstain,
    }
}

/// A problem with one key, or with the whole where `key` is empty.
fn problem(key: &str, message: String) -> Problem {
    let path = if key.is_empty() { String::new() } else { format!("/{}", key.replace('~', "~0").replace('/', "~1")) };
    Problem { path, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exports::origan::codec::policy::{Caller, Deployment};

    fn query(project: Option<&str>) -> Query {
        Query {
            request_id: "r-1".into(),
            action: "decrypt-all".into(),
            time: 1_767_268_800_000,
            caller: Caller { name: "service".into(), method: "shared-token".into(), attributes: vec![] },
            project_id: project.map(Into::into),
            deployment: Deployment::None,
            variables: vec![],
            attributes: vec![],
        }
    }

    #[test]
    fn a_frozen_project_is_denied_and_others_are_left_alone() {
        let settings = Settings::parse(r#"{"frozen_projects": ["shop"]}"#).expect("good settings");
        let Decision::Deny(denial) = evaluate(&settings, &query(Some("shop"))) else { panic!("shop is frozen") };
        assert_eq!(denial.code, "project-frozen");
        assert!(matches!(evaluate(&settings, &query(Some("blog"))), Decision::Abstain));
        assert!(matches!(evaluate(&settings, &query(None)), Decision::Abstain));
    }

    #[test]
    fn a_misspelt_or_wrong_setting_is_named() {
        for (json, path) in [
            (r#"{"frozen": ["shop"]}"#, "/frozen"),
            (r#"{"frozen_projects": "shop"}"#, "/frozen_projects"),
            (r#"{"a/b": 1}"#, "/a~1b"),
            ("[]", ""),
        ] {
            let problems = Settings::parse(json).expect_err(json);
            assert_eq!(problems[0].path, path, "{json}");
        }
    }

    #[test]
    fn without_settings_nothing_is_frozen() {
        assert_eq!(Settings::parse("{}").expect("good settings"), Settings::default());
    }
}
