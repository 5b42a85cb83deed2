//! What a policy costs: a decision on a fresh instance, from its snapshot and without; on one that is kept; an admission.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use origan_codec_host::plugin::{
    Attribute, Caller, Candidate, Decision, DeploymentFact, Engines, Fault, Kind, KnownDeployment, Lookups,
    PolicyPlugin, Query, Variable,
};

use super::Report;
use super::figures::{ADMISSIONS, Row, clocked};
use crate::host::with_engines;
use crate::plugin::{Plugin, limits_of, printable};

/// Measures `plugin`, each thing `runs` times.
pub(super) fn measure(plugin: &Plugin, settings: &str, runs: u64) -> anyhow::Result<Report> {
    let candidate = plugin.candidate(limits_of(Kind::Policy), settings.to_owned());
    with_engines(async |engines| {
        let mut report = Report {
            plugin: plugin.name.clone(),
            kind: "policy",
            debug_build: cfg!(debug_assertions),
            asked: String::new(),
            rows: Vec::new(),
            memory_bytes: None,
            notes: Vec::new(),
        };
        let (policy, admissions) = admitted(engines, &candidate).await?;
        let afresh = if policy.is_snapshotted() { engines.admit_policy_afresh(&candidate).await.ok() } else { None };
        let example = plugin.cases.as_ref().and_then(|(_, cases)| cases.example());
        let asking = async |query: &Query<'_>| measured(&mut report, &policy, afresh.as_ref(), query, runs).await;
        let of_case = match &example {
            Some(example) => example.with_query(policy.needs(), asking).await,
            None => None,
        };
        let decision = match of_case {
            Some(decision) => decision.map_err(anyhow::Error::msg)?,
            None => {
                let asking =
                    async |query: &Query<'_>| measured(&mut report, &policy, afresh.as_ref(), query, runs).await;
                built_in(policy.needs(), asking).await
            }
        };
        let asked = example.map_or("a built-in query".into(), |example| format!("`{}`", printable(example.name())));
        report.asked = match decision.context("a decision that is measured must be one")? {
            Decision::Allow => format!("{asked}, which it allows"),
            Decision::Abstain => format!("{asked}, on which it abstains"),
            Decision::Deny(denial) => format!("{asked}, which it denies ({})", denial.code),
        };
        report.rows.extend(admissions);
        Ok(report)
    })
}

async fn admitted(engines: &Arc<Engines>, candidate: &Candidate) -> anyhow::Result<(PolicyPlugin, Option<Row>)> {
    let mut times = Vec::new();
    let policy = loop {
        let start = Instant::now();
        let policy = engines.admit_policy(candidate.clone()).await;
        let policy =
            policy.context("the host does not admit it, so there is nothing to measure: codec-plugin check")?;
        times.push(start.elapsed());
        if times.len() == ADMISSIONS {
            break policy;
        }
    };
    Ok((policy, Row::of("cold: an admission (configure, compile)", times)))
}

async fn measured(
    report: &mut Report,
    policy: &PolicyPlugin,
    afresh: Option<&PolicyPlugin>,
    query: &Query<'_>,
    runs: u64,
) -> Result<Decision, Fault> {
    let decision = policy.evaluate(query).await?;
    let configured = "fresh, configured for each decision";
    let first = if policy.is_snapshotted() { "fresh, from the snapshot" } else { configured };
    report.rows.extend(Row::of(first, clocked(runs, async || policy.evaluate(query).await.map(drop)).await?));
    match afresh {
        Some(afresh) => {
            let times = clocked(runs, async || afresh.evaluate(query).await.map(drop)).await?;
            report.rows.extend(Row::of(configured, times));
        }
        None => report.notes.push("no snapshot can be taken of it".into()),
    }
    match policy.warm() {
        Ok(mut warm) => {
            let mut outgrown = 0_u64;
            let times = clocked(runs, async || match warm.evaluate(query) {
                // Engines with a garbage collector of their own grow for longer than this lasts.
                Err(Fault::OutOfMemory(_)) => {
                    outgrown += 1;
                    warm = policy.warm()?;
                    warm.evaluate(query).map(drop)
                }
                outcome => outcome.map(drop),
            });
            report.rows.extend(Row::of("warm, one instance kept (the service never does)", times.await?));
            if outgrown > 0 {
                report.notes.push(format!("kept warm it outgrew its memory {outgrown} times, and was replaced"));
            }
            report.memory_bytes = Some(warm.memory_bytes());
        }
        Err(fault) => report.notes.push(format!("no instance of it can be kept: {fault}")),
    }
    Ok(decision)
}

/// What most policies are asked, where there is no case to take it from.
async fn built_in<T>(needs: Lookups, ask: impl AsyncFnOnce(&Query<'_>) -> T) -> T {
    let attributes = [Attribute { name: "remote", value: "10.0.0.1" }];
    let variable =
        |name| Variable { name, kind: "secret", key_version: Some(1), size_bytes: 96, provider: None, reference: None };
    let variables = ["DATABASE_URL", "API_TOKEN", "SMTP_PASSWORD"].map(variable);
    let deployment = KnownDeployment { id: "d-1", project_id: "shop", created: NOON_MS - 3_600_000, attributes: &[] };
    let query = Query {
        request_id: "r-1",
        action: "decrypt-all",
        time: NOON_MS,
        caller: Caller { name: "service", method: "shared-token", attributes: &[] },
        project_id: Some("shop"),
        deployment: if needs.contains(Lookups::DEPLOYMENT) {
            DeploymentFact::Known(deployment)
        } else {
            DeploymentFact::None
        },
        variables: if needs.contains(Lookups::VARIABLES) { &variables } else { &[] },
        attributes: &attributes,
    };
    ask(&query).await
}

/// 2026-01-01T12:00:00Z, when cases are set too.
const NOON_MS: u64 = 1_767_268_800_000;
