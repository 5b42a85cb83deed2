//! What was decided, what would be, and the difference.

use origan_codec_host::plugin::{Decision, Denial, Fault};
use serde::Serialize;

use super::record::Record;
use super::report::Skipped;

/// What was decided then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Was {
    /// Its effect.
    pub(super) vote: Vote,
    /// In words.
    pub(super) text: String,
    /// Whether it is what one policy said, which may abstain.
    is_one_policys: bool,
}

/// What the policy decides now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Would {
    /// A decision.
    Vote(Vote, Option<Denial>),
    /// None: the service takes that for a denial.
    NoAnswer(Fault),
}

/// The effect of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vote {
    Allow,
    Deny,
    Abstain,
}

/// What is different now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Difference {
    /// Not denied then.
    NowDenied,
    /// Not allowed then.
    NowAllowed,
    /// The policy had an opinion then.
    NowAbstains,
    /// It traps, or misses its deadline.
    NoAnswer,
}

impl Was {
    /// What the policy `name` decided, or without it what became of the call as far as policies go.
    pub(super) fn of(record: &Record, name: Option<&str>) -> Result<Self, Skipped> {
        let by = record.policy.as_ref().filter(|by| name.is_none_or(|name| by.name == name));
        let code = by.map(|by| format!(" {}", by.code)).unwrap_or_default();
        if let Some(name) = name {
            let recorded = record.decisions.get(name).ok_or(Skipped::NotAsked)?;
            let vote = match recorded.strip_prefix("monitor:").unwrap_or(recorded) {
                "allow" => Vote::Allow,
                "abstain" => Vote::Abstain,
                // `deny`, and whatever is no answer.
                _ => Vote::Deny,
            };
            return Ok(Self { vote, text: format!("{recorded}{code}"), is_one_policys: true });
        }
        match (&*record.outcome, record.reason.as_deref(), by) {
            ("denied", Some("denied"), None) => Err(Skipped::NotThisCallers),
            ("denied", Some("denied"), Some(by)) => {
                Ok(Self { vote: Vote::Deny, text: format!("denied by {}{code}", by.name), is_one_policys: false })
            }
            // Whatever else went wrong did so later, or elsewhere.
            _ => Ok(Self { vote: Vote::Allow, text: "allowed".into(), is_one_policys: false }),
        }
    }
}

impl Would {
    /// Of an answer.
    pub(super) fn of(answer: Result<Decision, Fault>) -> Self {
        match answer {
            Ok(Decision::Allow) => Self::Vote(Vote::Allow, None),
            Ok(Decision::Abstain) => Self::Vote(Vote::Abstain, None),
            Ok(Decision::Deny(denial)) => Self::Vote(Vote::Deny, Some(denial)),
            Err(fault) => Self::NoAnswer(fault),
        }
    }

    /// In words.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Vote(Vote::Allow, _) => "allow".into(),
            Self::Vote(Vote::Abstain, _) => "abstain".into(),
            Self::Vote(Vote::Deny, None) => "deny".into(),
            Self::Vote(Vote::Deny, Some(denial)) => format!("deny {}", denial.code),
            Self::NoAnswer(fault) => fault.code().into(),
        }
    }

    /// What the operator is told.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Vote(_, denial) => denial.as_ref().map(|denial| denial.reason.clone()).unwrap_or_default(),
            Self::NoAnswer(fault) => format!("it {fault}"),
        }
    }
}

impl Difference {
    /// Between then and now, if there is one.
    pub(super) fn between(was: &Was, would: &Would) -> Option<Self> {
        match would {
            Would::NoAnswer(_) => Some(Self::NoAnswer),
            // Alone it would be for the others to decide, as they did.
            Would::Vote(Vote::Abstain, _) if !was.is_one_policys => None,
            Would::Vote(vote, _) if *vote == was.vote => None,
            Would::Vote(Vote::Deny, _) => Some(Self::NowDenied),
            Would::Vote(Vote::Allow, _) => Some(Self::NowAllowed),
            Would::Vote(Vote::Abstain, _) => Some(Self::NowAbstains),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> Record {
        serde_json::from_str(json).expect("a record")
    }

    fn denial() -> Would {
        Would::of(Ok(Decision::Deny(Denial { code: "too-old".into(), reason: "r".into() })))
    }

    #[test]
    fn what_became_of_a_call_is_told_as_far_as_policies_go() {
        for (json, vote, text) in [
            (r#"{"outcome":"allowed"}"#, Vote::Allow, "allowed"),
            (r#"{"outcome":"failed","reason":"decrypt-failed"}"#, Vote::Allow, "allowed"),
            (r#"{"outcome":"denied","reason":"dek-release-refused"}"#, Vote::Allow, "allowed"),
            (
                r#"{"outcome":"denied","reason":"denied","policy":{"name":"p","code":"frozen"}}"#,
                Vote::Deny,
                "denied by p frozen",
            ),
        ] {
            let was = Was::of(&record(json), None).expect(json);
            assert_eq!((was.vote, &*was.text), (vote, text), "{json}");
        }
        let refused = record(r#"{"outcome":"denied","reason":"denied"}"#);
        assert_eq!(Was::of(&refused, None), Err(Skipped::NotThisCallers));
    }

    #[test]
    fn one_policys_decision_is_told_even_where_it_changed_nothing() {
        let json = r#"{"outcome":"allowed","decisions":{"a":"allow","b":"monitor:deny","c":"timeout","d":"abstain"}}"#;
        for (name, vote) in [("a", Vote::Allow), ("b", Vote::Deny), ("c", Vote::Deny), ("d", Vote::Abstain)] {
            assert_eq!(Was::of(&record(json), Some(name)).expect(name).vote, vote, "{name}");
        }
        assert_eq!(Was::of(&record(json), Some("e")), Err(Skipped::NotAsked));
    }

    #[test]
    fn differences_are_told_from_the_side_of_the_call() {
        let allowed = Was::of(&record(r#"{"outcome":"allowed"}"#), None).expect("was");
        let one = |decision: &str| {
            let json = format!(r#"{{"decisions":{{"p":"{decision}"}}}}"#);
            Was::of(&record(&json), Some("p")).expect("was")
        };
        let abstention = || Would::of(Ok(Decision::Abstain));
        let allowance = || Would::of(Ok(Decision::Allow));
        for (was, would, difference) in [
            (&allowed, denial(), Some(Difference::NowDenied)),
            (&allowed, abstention(), None),
            (&allowed, allowance(), None),
            (&one("deny"), denial(), None),
            (&one("deny"), allowance(), Some(Difference::NowAllowed)),
            (&one("deny"), abstention(), Some(Difference::NowAbstains)),
            (&one("abstain"), abstention(), None),
            (&one("abstain"), allowance(), Some(Difference::NowAllowed)),
            (&one("timeout"), Would::of(Err(Fault::Busy)), Some(Difference::NoAnswer)),
        ] {
            assert_eq!(Difference::between(was, &would), difference, "{was:?} → {would:?}");
        }
        assert_eq!((denial().text(), denial().reason()), ("deny too-old".into(), "r".into()));
    }
}
