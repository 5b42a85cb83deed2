//! What the configuration of plugins must not say.

use std::path::Path;

use origan_codec_host::plugin::outside::credential::is_in_the_clear;
use origan_codec_host::plugin::outside::egress::parse_origin;
use url::Url;

use super::plugins::is_inside;
use super::{Config, ConfigError, HttpGrantConfig};

/// Longest name of a plugin, an output or a credential.
const NAME_LEN_MAX: usize = 64;
/// As [`is_name`] has it.
const NAME_RULE: &str = "must be 1 to 64 of a-z 0-9 and -";
/// The pool has places for so much, and no more.
const POLICY_MEMORY_BYTES_MAX: usize = 128 << 20;
/// WebAssembly's own limit.
const SINK_MEMORY_BYTES_MAX: usize = 4 << 30;
/// A provider's answer is handed over as a whole.
const PROVIDER_BATCH_MAX: usize = 1_000;
/// Instances of one provider, each with a memory of its own.
const PROVIDER_CALLS_MAX: usize = 256;
/// A secret that was revoked elsewhere must not live on here.
const PROVIDER_CACHE_MS_MAX: u64 = 3_600_000;
/// A policy that computes longer holds up the requests beside it.
const POLICY_DEADLINE_MS_MAX: u64 = 1_000;
/// A compiler that is late keeps its place, of which there are four.
const COMPILE_DEADLINE_MS_MAX: u64 = 600_000;
/// A sink takes at most this much from the host at once.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// What a plugin sends where its grants lead, beside the credentials that they name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sends {
    /// Records of the journal, in which there is no secret.
    Records,
    /// DEKs, or secrets of workers.
    Secrets,
}

impl Config {
    pub(super) fn refuse_plugins(&self) -> Result<(), ConfigError> {
        let outputs = self.outputs_dir();
        for (key, dir) in [("plugins.dir", self.plugins_dir()), ("audit.dir", self.journal_dir())] {
            if dir.starts_with(&outputs) || outputs.starts_with(&dir) {
                return Err(ConfigError::value(
                    key,
                    format!("must lie apart from the outputs' folder {}", outputs.display()),
                ));
            }
        }
        self.refuse_policies()?;
        self.refuse_sinks()?;
        self.refuse_providers()?;
        self.refuse_key_provider()?;
        self.refuse_outputs()?;
        let credentials = self.credentials.iter().map(|credential| &*credential.name);
        refuse_names("credentials", credentials)?;
        for (index, credential) in self.credentials.iter().enumerate() {
            let refused = credential.parsed(None).err();
            if let Some((key, why)) = refused {
                return Err(ConfigError::value(format!("credentials[{index}].{key}"), why));
            }
        }
        Ok(())
    }

    fn refuse_policies(&self) -> Result<(), ConfigError> {
        refuse_names("policies", self.policies.iter().map(|policy| &*policy.name))?;
        for (index, policy) in self.policies.iter().enumerate() {
            let key = |field: &str| format!("policies[{index}].{field}");
            refuse_paths(&key, &policy.path, policy.cases.as_deref(), policy.sha256.as_deref())?;
            if !(1..=POLICY_DEADLINE_MS_MAX).contains(&policy.deadline_ms) {
                return Err(ConfigError::value(key("deadline_ms"), format!("1 to {POLICY_DEADLINE_MS_MAX}")));
            }
            if !(1..=POLICY_MEMORY_BYTES_MAX).contains(&policy.memory_bytes) {
                return Err(ConfigError::value(key("memory_bytes"), format!("1 to {POLICY_MEMORY_BYTES_MAX}")));
            }
            if !(1..=COMPILE_DEADLINE_MS_MAX).contains(&policy.compile_deadline_ms) {
                return Err(ConfigError::value(key("compile_deadline_ms"), format!("1 to {COMPILE_DEADLINE_MS_MAX}")));
            }
            if let Some(action) = policy.actions.iter().find(|action| !action.is_judged()) {
                let message = format!("policies are not asked about `{}`", action.name());
                return Err(ConfigError::value(key("actions"), message));
            }
        }
        Ok(())
    }

    fn refuse_sinks(&self) -> Result<(), ConfigError> {
        refuse_names("sinks", self.sinks.iter().map(|sink| &*sink.name))?;
        for (index, sink) in self.sinks.iter().enumerate() {
            let key = |field: &str| format!("sinks[{index}].{field}");
            refuse_paths(&key, &sink.path, sink.cases.as_deref(), sink.sha256.as_deref())?;
            if sink.deadline_ms == 0 || sink.batch_records == 0 {
                return Err(ConfigError::value(key("deadline_ms, batch_records"), "must not be 0"));
            }
            if !(1..=BATCH_BYTES_MAX).contains(&sink.batch_bytes) {
                return Err(ConfigError::value(key("batch_bytes"), format!("1 to {BATCH_BYTES_MAX}")));
            }
            if !(1..=SINK_MEMORY_BYTES_MAX).contains(&sink.memory_bytes) {
                return Err(ConfigError::value(key("memory_bytes"), format!("1 to {SINK_MEMORY_BYTES_MAX}")));
            }
            if !(1..=COMPILE_DEADLINE_MS_MAX).contains(&sink.compile_deadline_ms) {
                return Err(ConfigError::value(key("compile_deadline_ms"), format!("1 to {COMPILE_DEADLINE_MS_MAX}")));
            }
            if let Some(missing) =
                sink.lines.iter().find(|name| !self.outputs.iter().any(|output| output.name == **name))
            {
                return Err(ConfigError::value(
                    key("lines"),
                    format!("there is no [[outputs]] named `{}`", missing.escape_debug()),
                ));
            }
            self.refuse_grants(&key, &sink.http, Sends::Records)?;
        }
        Ok(())
    }

    fn refuse_providers(&self) -> Result<(), ConfigError> {
        refuse_names("providers", self.providers.iter().map(|provider| &*provider.name))?;
        for (index, provider) in self.providers.iter().enumerate() {
            let key = |field: &str| format!("providers[{index}].{field}");
            refuse_paths(&key, &provider.path, provider.cases.as_deref(), provider.sha256.as_deref())?;
            refuse_numbers(
                &key,
                &[
                    ("deadline_ms", provider.deadline_ms, u64::MAX),
                    ("batch_max", provider.batch_max as u64, PROVIDER_BATCH_MAX as u64),
                    ("parallel", provider.parallel as u64, PROVIDER_CALLS_MAX as u64),
                    ("calls_max", provider.calls_max as u64, PROVIDER_CALLS_MAX as u64),
                    ("breaker_failures", u64::from(provider.breaker_failures), u64::MAX),
                    ("compile_deadline_ms", provider.compile_deadline_ms, COMPILE_DEADLINE_MS_MAX),
                    ("breaker_ms", provider.breaker_ms, PROVIDER_CACHE_MS_MAX),
                    ("memory_bytes", provider.memory_bytes as u64, SINK_MEMORY_BYTES_MAX as u64),
                ],
            )?;
            if provider.cache_max_ms > PROVIDER_CACHE_MS_MAX {
                return Err(ConfigError::value(key("cache_max_ms"), format!("0 to {PROVIDER_CACHE_MS_MAX}")));
            }
            self.refuse_grants(&key, &provider.http, Sends::Secrets)?;
        }
        Ok(())
    }

    fn refuse_key_provider(&self) -> Result<(), ConfigError> {
        let Some(provider) = &self.keys.provider else { return Ok(()) };
        let key = |field: &str| format!("keys.provider.{field}");
        if !is_name(&provider.name) {
            return Err(ConfigError::value(key("name"), NAME_RULE));
        }
        refuse_paths(&key, &provider.path, provider.cases.as_deref(), provider.sha256.as_deref())?;
        refuse_numbers(
            &key,
            &[
                ("deadline_ms", provider.deadline_ms, u64::MAX),
                ("calls_max", provider.calls_max as u64, PROVIDER_CALLS_MAX as u64),
                ("breaker_failures", u64::from(provider.breaker_failures), u64::MAX),
                ("compile_deadline_ms", provider.compile_deadline_ms, COMPILE_DEADLINE_MS_MAX),
                ("breaker_ms", provider.breaker_ms, PROVIDER_CACHE_MS_MAX),
                ("memory_bytes", provider.memory_bytes as u64, SINK_MEMORY_BYTES_MAX as u64),
            ],
        )?;
        self.refuse_grants(&key, &provider.http, Sends::Secrets)
    }

    fn refuse_grants(
        &self,
        key: &impl Fn(&str) -> String,
        http: &[HttpGrantConfig],
        sends: Sends,
    ) -> Result<(), ConfigError> {
        let refused = http.iter().find_map(|grant| self.refuse_grant(grant, sends).err());
        refused.map_or(Ok(()), |message| Err(ConfigError::value(key("http"), message)))
    }

    fn refuse_grant(&self, grant: &HttpGrantConfig, sends: Sends) -> Result<(), String> {
        let origin = parse_origin(&grant.origin).map_err(|error| error.to_string())?;
        let url = Url::parse(&origin).map_err(|error| error.to_string())?;
        if let Some(wrong) = grant.addresses.iter().find(|text| text.parse::<ipnet::IpNet>().is_err()) {
            return Err(format!("`{}` is not a network such as 10.1.0.0/16", wrong.escape_debug()));
        }
        let is_known = |name: &String| self.credentials.iter().any(|credential| credential.name == *name);
        if let Some(missing) = grant.credentials.iter().find(|name| !is_known(name)) {
            return Err(format!("there is no [[credentials]] named `{}`", missing.escape_debug()));
        }
        let is_secret = sends == Sends::Secrets || !grant.credentials.is_empty();
        if is_secret && is_in_the_clear(&url) && !grant.plaintext {
            return Err(format!(
                "{origin} gets secrets in the clear: https, a loopback address, or `plaintext = true` if that is meant"
            ));
        }
        Ok(())
    }

    fn refuse_outputs(&self) -> Result<(), ConfigError> {
        refuse_names("outputs", self.outputs.iter().map(|output| &*output.name))?;
        for (index, output) in self.outputs.iter().enumerate() {
            let key = |field: &str| format!("outputs[{index}].{field}");
            let is_peer = output.to.starts_with("tcp://") || output.to.starts_with("tls://");
            if let Some(name) = output.to.strip_prefix("file:") {
                origan_codec_host::plugin::outside::outputs::check_file_name(name)
                    .map_err(|error| ConfigError::value(key("to"), error.to_string()))?;
            } else if output.to != "stdout" && !is_peer {
                let message = "must be stdout, file:<name>, tcp://host:port or tls://host:port";
                return Err(ConfigError::value(key("to"), message));
            }
            if output.ca_file.is_some() && !output.to.starts_with("tls://") {
                return Err(ConfigError::value(key("ca_file"), "is for tls:// alone"));
            }
            if output.line_bytes == 0 || output.deadline_ms == 0 {
                return Err(ConfigError::value(key("line_bytes, deadline_ms"), "must not be 0"));
            }
            if self.outputs[..index].iter().any(|other| other.to == output.to) {
                return Err(ConfigError::value(
                    key("to"),
                    "another output goes there: two writers would tear each other's lines",
                ));
            }
        }
        Ok(())
    }
}

fn refuse_names<'a>(key: &str, names: impl Iterator<Item = &'a str> + Clone) -> Result<(), ConfigError> {
    for (index, name) in names.clone().enumerate() {
        if !is_name(name) {
            return Err(ConfigError::value(format!("{key}[{index}].name"), NAME_RULE));
        }
        if names.clone().take(index).any(|other| other == name) {
            return Err(ConfigError::value(format!("{key}[{index}].name"), "another one has this name"));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    (1..=NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Each from 1 to the most that there may be.
fn refuse_numbers(key: &impl Fn(&str) -> String, numbers: &[(&str, u64, u64)]) -> Result<(), ConfigError> {
    for &(field, value, most) in numbers {
        if value == 0 {
            return Err(ConfigError::value(key(field), "must not be 0"));
        }
        if value > most {
            return Err(ConfigError::value(key(field), format!("1 to {most}")));
        }
    }
    Ok(())
}

fn refuse_paths(
    key: &impl Fn(&str) -> String,
    path: &Path,
    cases: Option<&Path>,
    sha256: Option<&str>,
) -> Result<(), ConfigError> {
    for (field, path) in [("path", Some(path)), ("cases", cases)] {
        if path.is_some_and(|path| !is_inside(path)) {
            return Err(ConfigError::value(key(field), "must be relative to plugins.dir, and inside it"));
        }
    }
    match sha256 {
        Some(text) if origan_codec_host::plugin::Sha256Digest::parse(text).is_none() => {
            Err(ConfigError::value(key("sha256"), "must be 64 hexadecimal digits"))
        }
        _ => Ok(()),
    }
}
