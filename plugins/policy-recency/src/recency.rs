//! `time - created <= max_age` and `created - time <= skew`, both exact to the millisecond.

use guest_parts::action::ActionPattern;
use guest_parts::duration::Duration;

/// The policy, as configured.
#[derive(Debug)]
pub struct Recency {
    /// How long after its creation a deployment's secrets may be decrypted.
    pub max_age: Duration,
    /// How far in the future a creation may lie: clocks differ.
    pub skew: Duration,
    /// What needs a deployment. The policy abstains from anything else.
    pub actions: Vec<ActionPattern>,
    /// What becomes of a deployment that the platform does not know.
    pub unknown: Unknown,
    /// What a recent deployment is answered.
    pub fresh: Fresh,
}

/// What becomes of a deployment that the platform does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Denied.
    Deny,
    /// Allowed.
    Allow,
    /// Left to the other policies.
    Abstain,
    /// Allowed, and the operator told.
    Warn,
}

/// What a recent deployment is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// Allowed.
    Allow,
    /// Left to the other policies: recency is needed, but does not suffice.
    Abstain,
}

/// What the host knows of the deployment.
#[derive(Debug, Clone, Copy)]
pub enum Deployment<'a> {
    /// The call names none.
    None,
    /// Named, and not known to the platform.
    Unknown(&'a str),
    /// Known.
    Known {
        /// Its id.
        id: &'a str,
        /// When the platform wrote its metadata, in milliseconds since 1970.
        created_ms: u64,
    },
}

/// What the policy decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allow.
    Allow,
    /// Allow, and tell the operator this.
    AllowWarning(String),
    /// Abstain.
    Abstain,
    /// Deny.
    Deny {
        /// For the caller.
        code: &'static str,
        /// For the operator.
        reason: String,
    },
}

impl Recency {
    /// Decides on `action`, begun at `time_ms`, for `deployment`.
    pub fn decide(&self, action: &str, time_ms: u64, deployment: Deployment) -> Decision {
        if !self.actions.iter().any(|pattern| pattern.matches(action)) {
            return Decision::Abstain;
        }
        match deployment {
            Deployment::None => {
                deny("deployment-required", format!("{action} needs a deployment, and the call names none"))
            }
            Deployment::Unknown(id) => self.decide_unknown(id),
            Deployment::Known { id, created_ms } => self.decide_known(id, time_ms, created_ms),
        }
    }

    fn decide_unknown(&self, id: &str) -> Decision {
        let what = format!("the platform does not know deployment {id:?}");
        match self.unknown {
            Unknown::Deny => deny("deployment-unknown", what),
            Unknown::Allow => Decision::Allow,
            Unknown::Abstain => Decision::Abstain,
            Unknown::Warn => Decision::AllowWarning(what),
        }
    }

    fn decide_known(&self, id: &str, time_ms: u64, created_ms: u64) -> Decision {
        // One of the two is 0, and neither can overflow.
        let age = Duration { ms: time_ms.saturating_sub(created_ms) };
        let ahead = Duration { ms: created_ms.saturating_sub(time_ms) };
        if age > self.max_age {
            return deny("deployment-too-old", format!("deployment {id:?} is {age} old; max_age is {}", self.max_age));
        }
        if ahead > self.skew {
            let reason = format!("deployment {id:?} was created {ahead} in the future; skew is {}", self.skew);
            return deny("deployment-in-future", reason);
        }
        match self.fresh {
            Fresh::Allow => Decision::Allow,
            Fresh::Abstain => Decision::Abstain,
        }
    }
}

fn deny(code: &'static str, reason: String) -> Decision {
    Decision::Deny { code, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::parse;

    const NOW: u64 = 1_767_268_800_000;

    fn decide(json: &str, time_ms: u64, deployment: Deployment) -> &'static str {
        match parse(json).unwrap().decide("decrypt-all", time_ms, deployment) {
            Decision::Allow => "allow",
            Decision::AllowWarning(_) => "warn",
            Decision::Abstain => "abstain",
            Decision::Deny { code, .. } => code,
        }
    }

    fn known(created_ms: u64) -> Deployment<'static> {
        Deployment::Known { id: "d-1", created_ms }
    }

    #[test]
    fn the_limit_itself_is_within() {
        let json = r#"{"max_age": "24h", "skew": "60s"}"#;
        for (created_ms, expected) in [
            (NOW, "allow"),
            (NOW - 86_400_000, "allow"),
            (NOW - 86_400_001, "deployment-too-old"),
            (NOW + 60_000, "allow"),
            (NOW + 60_001, "deployment-in-future"),
        ] {
            assert_eq!(decide(json, NOW, known(created_ms)), expected, "{created_ms}");
        }
    }

    #[test]
    fn no_time_overflows() {
        let json = r#"{"max_age": "1h"}"#;
        assert_eq!(decide(json, 0, known(u64::MAX)), "deployment-in-future");
        assert_eq!(decide(json, u64::MAX, known(0)), "deployment-too-old");
        assert_eq!(decide(json, u64::MAX, known(u64::MAX)), "allow");
        let longest = r#"{"max_age": "18446744073709551615ms", "skew": "18446744073709551615ms"}"#;
        assert_eq!(decide(longest, 0, known(u64::MAX)), "allow");
        assert_eq!(decide(longest, u64::MAX, known(0)), "allow");
    }

    #[test]
    fn a_call_without_a_deployment_is_denied() {
        assert_eq!(decide(r#"{"max_age": "1h", "unknown": "allow"}"#, NOW, Deployment::None), "deployment-required");
    }

    #[test]
    fn an_unknown_deployment_is_what_the_operator_says() {
        assert_eq!(decide(r#"{"max_age": "1h"}"#, NOW, Deployment::Unknown("d-2")), "deployment-unknown");
        for unknown in ["allow", "abstain", "warn"] {
            let json = format!(r#"{{"max_age": "1h", "unknown": "{unknown}"}}"#);
            assert_eq!(decide(&json, NOW, Deployment::Unknown("d-2")), unknown);
        }
    }

    #[test]
    fn other_actions_are_left_to_others() {
        let recency = parse(r#"{"max_age": "1h"}"#).unwrap();
        for action in ["encrypt", "decrypt-value", "decrypt-dek", "an-action-to-come"] {
            assert_eq!(recency.decide(action, NOW, known(0)), Decision::Abstain, "{action}");
        }
    }

    #[test]
    fn a_recent_deployment_need_not_suffice() {
        let json = r#"{"max_age": "1h", "fresh": "abstain"}"#;
        assert_eq!(decide(json, NOW, known(NOW)), "abstain");
        assert_eq!(decide(json, NOW, known(0)), "deployment-too-old");
    }

    #[test]
    fn the_reason_says_what_was_compared() {
        let recency = parse(r#"{"max_age": "24h"}"#).unwrap();
        let Decision::Deny { reason, .. } = recency.decide("decrypt-all", NOW, known(NOW - 86_400_001)) else {
            panic!()
        };
        assert_eq!(reason, r#"deployment "d-1" is 1d 1ms old; max_age is 1d"#);
    }
}
