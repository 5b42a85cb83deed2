//! What a sink under test finds outside: exchanges and lines that are written down beforehand, in order, and no other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use serde::Deserialize;

use super::{CASE_TIME_MS, Case};
use crate::plugin::outside::{Answering, HttpRequest, HttpResponse, Outside, SendError, WriteLinesError};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseExchange {
    method: Option<String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    credential: Option<String>,
    body: Option<String>,
    #[serde(default)]
    body_contains: Vec<String>,
    answer: CaseAnswer,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum CaseAnswer {
    Fault(CaseFault),
    Response(CaseResponse),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CaseFault {
    Timeout,
    Connect,
    Tls,
    NotGranted,
    TooLarge,
    Protocol,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseResponse {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseLines {
    output: String,
    lines: Vec<String>,
    #[serde(default)]
    answer: LinesAnswer,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LinesAnswer {
    #[default]
    Ok,
    Unavailable,
    NotGranted,
    TooLong(u64),
    Malformed(u64),
}

pub(super) struct Script {
    steps: Mutex<Steps>,
}

struct Steps {
    http: VecDeque<CaseExchange>,
    lines: VecDeque<CaseLines>,
    complaints: Vec<String>,
}

impl Script {
    pub(super) fn of(case: &Case) -> Self {
        let (http, lines) = (case.http.iter().cloned().collect(), case.lines.iter().cloned().collect());
        Self { steps: Mutex::new(Steps { http, lines, complaints: Vec::new() }) }
    }

    /// What went otherwise than written; the last entries are steps that never came.
    pub(super) fn complaints(&self) -> Vec<String> {
        let Ok(mut steps) = self.steps.lock() else { return vec!["the script broke".into()] };
        let mut complaints = std::mem::take(&mut steps.complaints);
        let missing = steps.http.iter().map(|e| format!("never sent: {}", e.url.as_deref().unwrap_or("an exchange")));
        complaints.extend(missing);
        complaints
            .extend(steps.lines.iter().map(|lines| format!("never written to `{}`: {:?}", lines.output, lines.lines)));
        complaints
    }

    fn exchange(&self, request: &HttpRequest) -> Result<HttpResponse, SendError> {
        let broken = || SendError::Protocol("the script broke".into());
        let mut steps = self.steps.lock().map_err(|_| broken())?;
        let Some(expected) = steps.http.pop_front() else {
            steps.complaints.push(format!("not in the script: {} {}", request.method, request.url));
            return Err(broken());
        };
        let differences = expected.differences(request);
        steps.complaints.extend(differences);
        match expected.answer {
            CaseAnswer::Response(response) => Ok(HttpResponse {
                status: response.status,
                headers: response.headers.into_iter().collect(),
                body: response.body.into_bytes(),
            }),
            CaseAnswer::Fault(fault) => Err(match fault {
                CaseFault::Timeout => SendError::Timeout,
                CaseFault::Connect => SendError::Connect("refused, as the case says".into()),
                CaseFault::Tls => SendError::Tls("refused, as the case says".into()),
                CaseFault::NotGranted => SendError::NotGranted("as the case says".into()),
                CaseFault::TooLarge => SendError::TooLarge(0),
                CaseFault::Protocol => SendError::Protocol("as the case says".into()),
            }),
        }
    }

    fn take_lines(&self, output: &str, lines: &[String]) -> Result<(), WriteLinesError> {
        let broken = || WriteLinesError::Unavailable("the script broke".into());
        let mut steps = self.steps.lock().map_err(|_| broken())?;
        let Some(expected) = steps.lines.pop_front() else {
            steps.complaints.push(format!("not in the script: lines to `{output}`: {lines:?}"));
            return Err(broken());
        };
        if expected.output != output || expected.lines != lines {
            steps.complaints.push(format!(
                "lines to `{}` should be\n      {:?}\n    and `{output}` got\n      {lines:?}",
                expected.output, expected.lines
            ));
        }
        match expected.answer {
            LinesAnswer::Ok => Ok(()),
            LinesAnswer::Unavailable => Err(WriteLinesError::Unavailable("as the case says".into())),
            LinesAnswer::NotGranted => Err(WriteLinesError::NotGranted("as the case says".into())),
            LinesAnswer::TooLong(index) => Err(WriteLinesError::TooLong(index)),
            LinesAnswer::Malformed(index) => Err(WriteLinesError::Malformed(index)),
        }
    }
}

impl CaseExchange {
    fn differences(&self, request: &HttpRequest) -> Vec<String> {
        let body = String::from_utf8_lossy(&request.body);
        let mut found = Vec::new();
        let mut differs = |what: &str, expected: &str, got: &str| {
            if expected != got {
                found.push(format!("{what} should be\n      {expected:?}\n    and is\n      {got:?}"));
            }
        };
        if let Some(method) = &self.method {
            differs("the method", method, &request.method);
        }
        if let Some(url) = &self.url {
            differs("the URL", url, &request.url);
        }
        if let Some(credential) = &self.credential {
            differs("the credential", credential, request.credential.as_deref().unwrap_or("none"));
        }
        if let Some(expected) = &self.body {
            differs("the body", expected, &body);
        }
        for (name, value) in &self.headers {
            let got = request.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
            differs(&format!("the header {name}"), value, got.map_or("missing", |(_, value)| value));
        }
        for part in self.body_contains.iter().filter(|part| !body.contains(&***part)) {
            found.push(format!("the body should contain\n      {part:?}\n    and is\n      {body:?}"));
        }
        found
    }
}

impl Outside for Script {
    fn send(&self, request: HttpRequest) -> Answering<'_, Result<HttpResponse, SendError>> {
        Box::pin(async move { self.exchange(&request) })
    }

    fn write_lines(&self, output: String, lines: Vec<String>) -> Answering<'_, Result<(), WriteLinesError>> {
        Box::pin(async move { self.take_lines(&output, &lines) })
    }

    fn now_ms(&self) -> u64 {
        CASE_TIME_MS
    }
}
