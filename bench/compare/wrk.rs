//! The load generator: wrk, closed loop, one thread.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::setting::Setting;

/// wrk takes whole seconds: it is interrupted, and reports on the time it had.
const NEVER: &str = "600s";
/// What takes longer counts as a connection that fails. By itself wrk takes 2 s, and a busy machine may well need more.
const ANSWER_WITHIN: &str = "60s";
/// Until it is interrupted once more.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Between two interruptions.
const AGAIN: Duration = Duration::from_millis(20);
/// If it is interrupted before it listens to that, or before an answer came, it gets longer.
const ATTEMPTS: u32 = 5;

/// What one load came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// What wrk sends: one call, with one body or many in turn.
pub(crate) struct Script {
    call: &'static str,
    path: PathBuf,
}

impl Script {
    /// Written to a file of its own.
    pub(crate) fn new(setting: &Setting, call: &'static str, bodies: &[Value]) -> anyhow::Result<Self> {
        let name = format!("{:08x}", getrandom::u32()?);
        let scratch = setting.scratch.path();
        let bodies_path = scratch.join(format!("{name}.bodies"));
        let lines: Vec<String> = bodies.iter().map(Value::to_string).collect();
        fs::write(&bodies_path, lines.join("\n"))?;
        let path = scratch.join(format!("{name}.lua"));
        fs::write(&path, lua(call, &setting.token, &bodies_path, bodies.len()))?;
        Ok(Self { call, path })
    }

    /// Loads `address` for `duration`. An answer that is no success, or a connection that fails, is an error.
    pub(crate) fn run(&self, address: &str, connections: usize, duration: Duration) -> anyhow::Result<Load> {
        let mut duration = duration;
        for _ in 0..ATTEMPTS {
            if let Some(said) = self.attempt(address, connections, duration)? {
                let load = parse(&said).with_context(|| format!("{} at {connections} connections", self.call))?;
                if load.requests > 0 {
                    return Ok(load);
                }
            }
            duration *= 2;
        }
        bail!("{} at {connections} connections: no answer came", self.call)
    }

    fn attempt(&self, address: &str, connections: usize, duration: Duration) -> anyhow::Result<Option<String>> {
        let mut command = Command::new("wrk");
        command.args(["-t1", &format!("-c{connections}"), "-d", NEVER, "--timeout", ANSWER_WITHIN]);
        command.arg("-s").arg(&self.path).arg(format!("http://{address}{}", self.call)).stdin(Stdio::null());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => anyhow::anyhow!("wrk is missing: tests/setup.sh bench installs it"),
                _ => error.into(),
            })?;
        std::thread::sleep(duration);
        // One that comes before wrk sleeps does not end its sleep: another one does.
        while child.try_wait()?.is_none() {
            // Once is not enough: between setting its handler and going to sleep, wrk would sleep on.
            while child.try_wait()?.is_none() {
                kill_process(Pid::from_child(&child), Signal::INT)?;
                std::thread::sleep(AGAIN);
            }
            std::thread::sleep(ASK_AGAIN);
        }
        let output = child.wait_with_output()?;
        match output.status.code() {
            None => Ok(None),
            Some(0) => Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned())),
            Some(_) => bail!("wrk: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

/// Many bodies are made into requests beforehand; one alone makes wrk send the same bytes without asking Lua.
fn lua(call: &str, token: &str, bodies: &Path, count: usize) -> String {
    let bodies = bodies.display();
    let requests = match count {
        1 => format!(r#"wrk.method, wrk.body = "POST", io.open("{bodies}"):read("*a")"#),
        _ => format!(
            r#"
local requests, turn = {{}}, 0
function init()
  for body in io.lines("{bodies}") do requests[#requests + 1] = wrk.format("POST", "{call}", wrk.headers, body) end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end"#
        ),
    };
    format!(
        r#"
wrk.headers["Content-Type"], wrk.headers["X-Service-Auth"] = "application/json", "{token}"
{requests}
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("figures %d %d %f %f %d %d\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"#
    )
}

fn parse(said: &str) -> anyhow::Result<Load> {
    let line = said.lines().find_map(|line| line.strip_prefix("figures ")).context("wrk prints no figures")?;
    let figures: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().context("a figure of wrk")?;
    let [requests, duration_us, p50_us, p99_us, refused, broken] = figures[..] else { bail!("wrk prints {line:?}") };
    ensure!(refused == 0.0, "{refused} of {requests} answers were no success");
    ensure!(broken == 0.0, "{broken} connections failed");
    Ok(Load { requests: requests as u64, per_second: requests / duration_us * 1e6, p50_us, p99_us })
}
