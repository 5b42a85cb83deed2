//! The rules of the chain, with policies that say what they are told to.

use super::*;
use crate::caller::{Caller, Method};
use crate::names::RequestId;
use plugin::Decision;
use std::time::SystemTime;

struct Says(Result<Decision, Fault>);

#[async_trait]
impl Evaluate for Says {
    fn needs(&self) -> Lookups {
        Lookups::empty()
    }

    async fn evaluate(&self, _query: &plugin::Query<'_>, _mode: Mode) -> Result<Decision, Fault> {
        self.0.clone()
    }
}

fn policy(name: &str, says: Result<Decision, Fault>) -> Policy {
    Policy {
        name: name.into(),
        mode: Mode::Enforce,
        actions: Vec::new(),
        projects: Vec::new(),
        evaluator: Some(Arc::new(Says(says))),
        figures: Arc::default(),
    }
}

fn deny(code: &str) -> Result<Decision, Fault> {
    Ok(Decision::Deny(plugin::Denial { code: code.into(), reason: format!("because {code}") }))
}

async fn judge(policies: Vec<Policy>, default: Option<DefaultDecision>, project: Option<&str>) -> Ruling {
    let caller = Caller { name: "runner".into(), method: Method::Token, actions: Action::ALL.to_vec() };
    let project: Option<ProjectId> = project.map(|project| project.parse().expect("a project"));
    let request_id = RequestId::fresh();
    let query = Query {
        caller: &caller,
        action: Action::DecryptAll,
        request_id: &request_id,
        time: SystemTime::now(),
        remote: None,
        project_id: project.as_ref(),
        deployment_id: None,
    };
    let chain = Chain::new(policies, default);
    let ruling = chain.judge(&query, &Facts::default()).await;
    chain.count(&ruling);
    ruling
}

fn code(ruling: &Ruling) -> Option<&str> {
    ruling.denial.as_ref().map(|denial| denial.code.as_str())
}

#[tokio::test]
async fn any_deny_wins_then_any_allow_then_the_default() {
    let (allow, abstain) = (|| Ok(Decision::Allow), || Ok(Decision::Abstain));
    let with = async |says: Vec<Result<Decision, Fault>>, default| {
        let ruling = judge(says.into_iter().map(|says| policy("p", says)).collect(), default, Some("shop")).await;
        code(&ruling).map(str::to_owned)
    };
    let no = |code: &str| Some(code.to_owned());
    assert_eq!(with(vec![], None).await, None);
    assert_eq!(with(vec![], Some(DefaultDecision::Deny)).await, no("no-policy-allows"));
    assert_eq!(with(vec![allow(), abstain()], None).await, None);
    assert_eq!(with(vec![abstain(), abstain()], None).await, no("no-policy-allows"));
    assert_eq!(with(vec![abstain()], Some(DefaultDecision::Allow)).await, None);
    assert_eq!(with(vec![allow(), deny("too-old"), deny("other"), allow()], None).await, no("too-old"));
}

#[tokio::test]
async fn no_answer_denies_each_way_with_a_code_of_its_own() {
    let text = String::new;
    for (fault, expected) in [
        (Fault::Trap(text()), "policy-trap"),
        (Fault::Timeout(text()), "policy-timeout"),
        (Fault::OutOfMemory(text()), "policy-out-of-memory"),
        (Fault::HostLimit(text()), "policy-host-limit"),
        (Fault::BadAnswer(text()), "policy-bad-answer"),
        (Fault::Busy, "policy-busy"),
    ] {
        let decision = fault.code();
        let ruling = judge(vec![policy("ok", Ok(Decision::Allow)), policy("bad", Err(fault))], None, None).await;
        assert_eq!(code(&ruling), Some(expected));
        assert_eq!(ruling.trail[1].decision, decision);
        assert!(DECISIONS.contains(&decision));
    }
    let ruling = judge(vec![Policy { evaluator: None, ..policy("gone", Ok(Decision::Allow)) }], None, None).await;
    assert_eq!(code(&ruling), Some("policy-not-loaded"));
}

#[tokio::test]
async fn a_monitoring_policy_is_recorded_and_changes_nothing() {
    for says in [deny("x"), Err(Fault::Trap(String::new())), Ok(Decision::Allow)] {
        let watched = Policy { mode: Mode::Monitor, ..policy("watched", says) };
        let figures = watched.figures.clone();
        let ruling =
            judge(vec![watched, policy("counts", Ok(Decision::Abstain))], Some(DefaultDecision::Allow), None).await;
        assert_eq!(code(&ruling), None);
        assert!(ruling.by_default && ruling.trail[0].note().1.starts_with("monitor:"));
        assert_eq!(figures.counts().map(|(_, count)| count).sum::<u64>(), 1);
    }
    // Alone it does not even bring a default that denies; and its allow does not let pass either.
    let watched = || Policy { mode: Mode::Monitor, ..policy("watched", Ok(Decision::Allow)) };
    assert_eq!(code(&judge(vec![watched()], None, None).await), None);
    let counting = policy("counts", Ok(Decision::Abstain));
    assert_eq!(code(&judge(vec![watched(), counting], None, None).await), Some("no-policy-allows"));
}

#[tokio::test]
async fn a_policy_applies_by_action_and_project_and_to_every_project_that_is_not_known() {
    let prod = |says| Policy { projects: vec!["prod-*".parse().expect("a pattern")], ..policy("prod", says) };
    let other = || Policy { actions: vec![Action::Encrypt], ..policy("encrypt", deny("never")) };
    let asked = async |project| {
        let ruling = judge(vec![prod(deny("prod")), other()], Some(DefaultDecision::Allow), project).await;
        code(&ruling).map(str::to_owned)
    };
    assert_eq!(asked(Some("prod-shop")).await, Some("prod".into()));
    assert_eq!(asked(Some("shop")).await, None);
    assert_eq!(asked(None).await, Some("prod".into()));
}
