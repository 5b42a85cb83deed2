//! The calls about one value: every server at every number of connections for the one that counts, a few for the others.

use serde_json::{Value, json};

use crate::alternate::{rows, turns, warm_up};
use crate::launches::{ECHO_FSYNC, Launch, OS};
use crate::report::Report;
use crate::server::Server;
use crate::setting::{PROJECT, Setting, random_text};
use crate::wrk::Script;

/// The case that budgets are about.
pub(crate) const DECRYPT_VALUE: &str = "/decrypt-value, one value of 64 bytes under a raw DEK";
/// Connections where nothing else is said.
pub(crate) const CONNECTIONS: usize = 32;

/// As rows name a load.
pub(crate) fn load(connections: usize) -> String {
    let plural = if connections == 1 { "" } else { "s" };
    format!("{connections} connection{plural}")
}

/// `/decrypt-value`.
pub(crate) fn decrypt_value(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let servers = Server::start_all(setting, Launch::everyone())?;
    let (body, text) = setting.decrypt_value()?;
    let script = Script::new(setting, "/decrypt-value", std::slice::from_ref(&body))?;
    for server in &servers {
        server.check("/decrypt-value", &body, |answer| answer["value"] == *text)?;
    }
    let servers: Vec<&Server> = servers.iter().collect();
    let playing: Vec<_> = servers.iter().map(|server| (*server, &script)).collect();
    warm_up(setting, &playing)?;
    for connections in setting.connections() {
        let all = turns(setting, &playing, connections)?;
        let at = connections as f64;
        rows(report, DECRYPT_VALUE, &load(connections), at, &servers, &all, &[OS, ECHO_FSYNC]);
    }
    Ok(())
}

/// `/encrypt` and `/decrypt-dek`.
pub(crate) fn others(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let servers = Server::start_all(setting, Launch::few())?;
    let text = random_text()?;
    let dek = setting.owned.raw();
    // A project of its own: each process of the cluster makes a DEK for it, and keeps it in place of what a call brings.
    let calls: [(&str, Value); 2] = [
        ("/encrypt", json!({"projectId": "bench-encrypt", "value": text})),
        ("/decrypt-dek", json!({"projectId": PROJECT, "encryptedDEK": setting.owned.encrypted_dek})),
    ];
    for (call, body) in calls {
        for server in &servers {
            server.check(call, &body, |answer| match call {
                "/encrypt" => answer["encrypted"].is_string(),
                _ => answer["dek"] == *dek,
            })?;
        }
        let script = Script::new(setting, call, &[body])?;
        let servers: Vec<&Server> = servers.iter().collect();
        let playing: Vec<_> = servers.iter().map(|server| (*server, &script)).collect();
        warm_up(setting, &playing)?;
        let all = turns(setting, &playing, CONNECTIONS)?;
        rows(report, call, &load(CONNECTIONS), CONNECTIONS as f64, &servers, &all, &[]);
    }
    Ok(())
}
