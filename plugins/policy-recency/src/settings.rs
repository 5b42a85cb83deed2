//! What the operator wrote.

use guest_parts::action::ActionPattern;
use guest_parts::duration::Duration;
use guest_parts::settings::{Problem, read};

use crate::recency::{Fresh, Recency, Unknown};

/// Where `skew` is not set. Clocks of two machines under NTP are well within it.
const DEFAULT_SKEW: Duration = Duration { ms: 60_000 };
/// Where `actions` is not set: what a runner does to start a worker.
const DEFAULT_ACTION: &str = "decrypt-all";

/// `json` as the policy that it describes.
pub fn parse(json: &str) -> Result<Recency, Vec<Problem>> {
    read(json, |table| {
        let max_age = table.required::<Duration>("max_age");
        let skew = table.or("skew", DEFAULT_SKEW);
        let actions = table.optional::<Vec<ActionPattern>>("actions");
        let unknown = [
            ("deny", Unknown::Deny),
            ("allow", Unknown::Allow),
            ("abstain", Unknown::Abstain),
            ("warn", Unknown::Warn),
        ];
        let unknown = table.choice("unknown", &unknown, Unknown::Deny);
        let fresh = table.choice("fresh", &[("allow", Fresh::Allow), ("abstain", Fresh::Abstain)], Fresh::Allow);
        if max_age.is_some_and(|max_age| max_age.ms == 0) {
            table.problem("max_age", "must be longer than 0: no deployment is that recent".to_owned());
        }
        if actions.as_ref().is_some_and(Vec::is_empty) {
            table.problem("actions", "is empty: the policy would never apply".to_owned());
        }
        let actions = match actions {
            Some(actions) => actions,
            None => ActionPattern::parse(DEFAULT_ACTION).into_iter().collect(),
        };
        Some(Recency { max_age: max_age?, skew, actions, unknown, fresh })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(json: &str) -> Vec<String> {
        parse(json).expect_err("is refused").into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn defaults_are_as_documented() {
        let recency = parse(r#"{"max_age": "24h"}"#).unwrap();
        assert_eq!((recency.max_age.ms, recency.skew.ms), (86_400_000, 60_000));
        assert_eq!((recency.unknown, recency.fresh), (Unknown::Deny, Fresh::Allow));
        let concerned = |action| recency.actions.iter().any(|pattern| pattern.matches(action));
        assert!(concerned("decrypt-all") && !concerned("decrypt-value") && !concerned("encrypt"));
    }

    #[test]
    fn every_fault_is_named() {
        for (json, path) in [
            ("{}", "/max_age"),
            (r#"{"max_age": 24}"#, "/max_age"),
            (r#"{"max_age": "0s"}"#, "/max_age"),
            (r#"{"max_age": "24"}"#, "/max_age"),
            (r#"{"max_age": "1h", "maxage": "1h"}"#, "/maxage"),
            (r#"{"max_age": "1h", "skew": "-1s"}"#, "/skew"),
            (r#"{"max_age": "1h", "actions": []}"#, "/actions"),
            (r#"{"max_age": "1h", "actions": ["decrypt-all", "decript"]}"#, "/actions/1"),
            (r#"{"max_age": "1h", "actions": "decrypt-all"}"#, "/actions"),
            (r#"{"max_age": "1h", "unknown": "ignore"}"#, "/unknown"),
            (r#"{"max_age": "1h", "fresh": "deny"}"#, "/fresh"),
        ] {
            assert_eq!(paths(json), [path], "{json}");
        }
        assert_eq!(paths(r#"{"skew": 1, "x": 2}"#), ["/max_age", "/skew", "/x"]);
    }
}
