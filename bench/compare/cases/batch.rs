//! `/decrypt-all` as it grows, and the limit for it: base64 and AES-256-GCM in a loop.

use std::time::{Duration, Instant};

use aes_gcm::aead::{Aead as _, KeyInit as _};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::calls::{CONNECTIONS, load};
use crate::alternate::{Turns, rows, turns, warm_up};
use crate::figures::{self, Samples};
use crate::launches::{Launch, OS};
use crate::report::{Report, Row};
use crate::server::Server;
use crate::setting::Setting;
use crate::wrk::Script;

/// The case, with so many secrets.
pub(crate) const DECRYPT_ALL: &str = "/decrypt-all, values of 64 bytes";
/// What no service can be quicker than on one processor.
pub(crate) const LIMIT: &str = "AES-256-GCM + base64 in a loop";

/// With so many bytes of IV, as the format has it.
type Cipher = AesGcm<Aes256, aes_gcm::aead::consts::U16>;

/// As rows name a size.
pub(crate) fn size(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} secret{plural}, {}", figures::count(count), load(CONNECTIONS))
}

/// All sizes.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let servers = Server::start_all(setting, Launch::few())?;
    let servers: Vec<&Server> = servers.iter().collect();
    for count in setting.variables() {
        let (body, last) = setting.decrypt_all(count)?;
        let name = format!("VARIABLE_{}", count - 1);
        for server in &servers {
            server.check("/decrypt-all", &body, |answer| answer[&name] == *last)?;
        }
        let script = Script::new(setting, "/decrypt-all", std::slice::from_ref(&body))?;
        let playing: Vec<_> = servers.iter().map(|server| (*server, &script)).collect();
        warm_up(setting, &playing)?;
        let all: Vec<Turns> = turns(setting, &playing, CONNECTIONS)?;
        rows(report, DECRYPT_ALL, &size(count), count as f64, &servers, &all, &[]);
        let mut sealed = Vec::new();
        for variable in body["variables"].as_object().into_iter().flat_map(|variables| variables.values()) {
            sealed.push(variable["value"].as_str().context("a value")?.to_owned());
        }
        let limit = limit(setting, &sealed)?;
        let row = Row::new(DECRYPT_ALL, LIMIT, &size(count), "batches/s", limit.clone()).at(count as f64);
        let row = row.without("HTTP, JSON, audit, whose a DEK is; one thread of one processor, alone");
        let os = servers.iter().zip(&all).find(|(server, _)| server.launch.name == OS).map(|(_, turns)| &turns.rate);
        report.rows.push(match os {
            Some(os) => row.over(OS, limit.over(os)),
            None => row,
        });
    }
    Ok(())
}

/// Batches in a second, opened one after the other.
fn limit(setting: &Setting, sealed: &[String]) -> anyhow::Result<Samples> {
    let cipher = Cipher::new_from_slice(setting.owned.dek.expose_secret()).context("a DEK")?;
    let mut rates = Samples::default();
    for _ in 0..setting.pairs {
        let (begun, mut batches) = (Instant::now(), 0_u64);
        let mut took = Duration::ZERO;
        while took < setting.each {
            for text in sealed {
                let bytes = STANDARD.decode(text)?;
                let (iv, ciphertext) = bytes.split_at_checked(16).context("too short")?;
                let nonce: &Nonce<_> = iv.try_into().context("an IV")?;
                let opened = cipher.decrypt(nonce, ciphertext).ok().context("does not open")?;
                ensure!(opened.len() == crate::setting::VALUE_BYTES, "another length");
            }
            batches += 1;
            took = begun.elapsed();
        }
        rates.0.push(batches as f64 / took.as_secs_f64());
    }
    Ok(rates)
}
