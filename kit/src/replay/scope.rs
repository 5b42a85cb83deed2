//! Which calls the policy is asked about, as `codec.toml` would say it.

use anyhow::bail;

use super::record::{JUDGED, Record};

#[derive(clap::Args)]
pub(super) struct Scope {
    /// Actions that it is asked about, with commas between; without it all.
    #[arg(long, value_name = "ACTION", value_delimiter = ',')]
    actions: Vec<String>,
    /// Projects that it is asked about, by patterns with `*`, with commas between; without it all.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    projects: Vec<String>,
}

impl Scope {
    /// A misspelt action would quietly skip everything.
    pub(super) fn refuse_unknown_actions(&self) -> anyhow::Result<()> {
        match self.actions.iter().find(|action| !JUDGED.contains(&action.as_str())) {
            Some(action) => bail!("--actions {action:?}: policies are asked about {}", JUDGED.join(", ")),
            None => Ok(()),
        }
    }

    /// Whether the policy is asked. A project that is not known could be any: every pattern takes it for its own.
    pub(super) fn applies(&self, record: &Record) -> bool {
        let acts = self.actions.is_empty() || self.actions.contains(&record.operation);
        let owns = |project: &String| self.projects.iter().any(|pattern| matches(pattern, project));
        acts && (self.projects.is_empty() || record.project_id.as_ref().is_none_or(owns))
    }
}

/// Whether `name` fits `pattern`, all of it; a `*` stands for anything, also for nothing.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The leftmost place leaves the most for what follows.
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_for_nothing() {
        for (pattern, fits, fits_not) in [
            ("shop", &["shop"][..], &["shop2", "ashop", ""][..]),
            ("*", &["", "a", "shop"], &[]),
            ("prod-*", &["prod-", "prod-a"], &["prod", "xprod-a"]),
            ("a*b*c", &["abc", "axbxc", "abbc", "abcbc"], &["ab", "acb", "abcd"]),
            ("aa*aa", &["aaaa", "aabaa"], &["aaa", "aa"]),
        ] {
            assert!(fits.iter().all(|name| matches(pattern, name)), "{pattern}");
            assert!(!fits_not.iter().any(|name| matches(pattern, name)), "{pattern}");
        }
    }

    #[test]
    fn an_unknown_project_is_everybodys_and_a_misspelt_action_is_named() {
        let scope = Scope { actions: vec!["decrypt-value".into()], projects: vec!["prod-*".into()] };
        let mut record = Record { operation: "decrypt-value".into(), ..Record::default() };
        assert!(scope.applies(&record));
        record.project_id = Some("shop".into());
        assert!(!scope.applies(&record));
        let scope = Scope { actions: vec!["decrypt".into()], projects: Vec::new() };
        assert!(scope.refuse_unknown_actions().expect_err("misspelt").to_string().contains("\"decrypt\""));
    }
}
