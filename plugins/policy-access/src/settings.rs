//! What the operator wrote: `rules` or `table`, never both.

use guest_parts::action::ActionPattern;
use guest_parts::code::Code;
use guest_parts::pattern::Pattern;
use guest_parts::settings::{Problem, Setting, Table, read};
use serde_json::Value;

use crate::access::{Access, Effect, Project, Row};
use crate::text;

/// What denied callers are told where `deny_code` is not set.
const DENY_CODE: &str = "access-denied";

/// `json` as the policy that it describes.
pub fn parse(json: &str) -> Result<Access, Vec<Problem>> {
    read(json, |settings| {
        match (settings.has("rules"), settings.has("table")) {
            (false, false) => settings.problem("rules", "is required, or table in its place".to_owned()),
            (true, true) => settings.problem("table", "contradicts rules: write one of the two".to_owned()),
            _ => {}
        }
        let deny_code = settings.optional::<Code>("deny_code").or_else(|| Code::parse(DENY_CODE));
        let mut rows = settings.tables("rules", rule);
        match settings.optional::<String>("table").map(|table| text::rows(&table)) {
            None => {}
            Some(Ok(read)) => rows.extend(read),
            Some(Err(wrong)) => wrong.into_iter().for_each(|what| settings.problem("table", what)),
        }
        Some(Access { rows, deny_code: deny_code? })
    })
}

/// One of `rules`. Every column must be there: one left out is as likely forgotten as meant for everything.
fn rule(table: &mut Table) -> Option<Row> {
    let effect = table.choice("effect", &[("allow", Effect::Allow), ("deny", Effect::Deny)], Effect::Allow);
    let callers = column::<Pattern>(table, "callers");
    let actions = column::<ActionPattern>(table, "actions");
    let projects = column::<Project>(table, "projects");
    let variables = column::<Pattern>(table, "variables");
    let external = match table.has("external") {
        true => column::<Text>(table, "external")?.into_iter().map(|text| text.0).collect(),
        false => Vec::new(),
    };
    Some(Row { effect, callers: callers?, actions: actions?, projects: projects?, variables: variables?, external })
}

fn column<T: Setting>(table: &mut Table, key: &str) -> Option<Vec<T>> {
    let patterns = table.required::<Vec<T>>(key)?;
    if patterns.is_empty() {
        table.problem(key, "is empty: the rule would never apply".to_owned());
    }
    Some(patterns)
}

/// A pattern of places.
struct Text(String);

impl Setting for Text {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        let text = String::read(value, path)?;
        text::place(&text).map(Self).map_err(|what| Problem::new(path, what))
    }
}

impl Setting for Project {
    fn read(value: &Value, path: &str) -> Result<Self, Problem> {
        let text = String::read(value, path)?;
        if text.is_empty() {
            return Err(Problem::new(path, "is empty: write \"-\" for calls without a known project".to_owned()));
        }
        Ok(text::project(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(json: &str) -> Vec<String> {
        parse(json).expect_err("is refused").into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn rules_and_table_are_two_spellings() {
        let rules = parse(
            r#"{"rules": [
                {"callers": ["runner"], "actions": ["decrypt-*"], "projects": ["shop-*", "-"], "variables": ["*"]},
                {"callers": ["*"], "actions": ["*"], "projects": ["*"], "variables": ["A", "B"], "external": ["v:a", "w:*"], "effect": "deny"}]}"#,
        );
        let table = parse(r#"{"table": "runner | decrypt-* | shop-*, - | *\n!* | * | * | A, B | v:a, w:*"}"#);
        assert_eq!(rules.unwrap().rows, table.unwrap().rows);
    }

    #[test]
    fn every_fault_is_named() {
        let whole = r#""callers": ["a"], "actions": ["*"], "projects": ["*"]"#;
        for (json, path) in [
            ("{}".to_owned(), "/rules"),
            (r#"{"rules": [], "table": ""}"#.to_owned(), "/table"),
            (r#"{"rules": {}}"#.to_owned(), "/rules"),
            (format!(r#"{{"rules": [{{{whole}}}]}}"#), "/rules/0/variables"),
            (format!(r#"{{"rules": [{{{whole}, "variables": []}}]}}"#), "/rules/0/variables"),
            (format!(r#"{{"rules": [{{{whole}, "variables": ["x", ""]}}]}}"#), "/rules/0/variables/1"),
            (format!(r#"{{"rules": [{{{whole}, "variables": ["x"], "variable": "y"}}]}}"#), "/rules/0/variable"),
            (format!(r#"{{"rules": [{{{whole}, "variables": ["x"], "effect": "permit"}}]}}"#), "/rules/0/effect"),
            (format!(r#"{{"rules": [{{{whole}, "variables": ["x"], "external": []}}]}}"#), "/rules/0/external"),
            (format!(r#"{{"rules": [{{{whole}, "variables": ["x"], "external": ["x"]}}]}}"#), "/rules/0/external/0"),
            (r#"{"table": "a | b | c | d"}"#.to_owned(), "/table"),
            (r#"{"table": "", "deny_code": "No!"}"#.to_owned(), "/deny_code"),
            (r#"{"table": "", "tables": ""}"#.to_owned(), "/tables"),
        ] {
            assert_eq!(paths(&json), [path], "{json}");
        }
    }
}
