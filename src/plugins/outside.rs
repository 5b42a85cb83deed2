//! What each sink and provider is granted, made of the configuration.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use origan_codec_host::plugin::outside::outputs::{Framing, Output, OutputTarget};
use origan_codec_host::plugin::outside::{Egress, EgressLimits, Granted, OriginGrant};

use super::component::LoadError;
use super::credentials::{self, Credentials};
use crate::config::{self, Config, HttpGrantConfig, KeyProviderConfig, OutputConfig, ProviderConfig, SinkConfig};

/// Part of a call's deadline that one exchange may take.
const EXCHANGE_PART: u32 = 2;
/// Longest answer that a provider's backend may give: some secrets at once.
const PROVIDER_RESPONSE_BYTES: usize = 4 << 20;
/// The same of a key provider's: a wrapped DEK and some words.
const KEY_RESPONSE_BYTES: usize = 64 << 10;

/// The outputs, kept as long as their configuration stays: a file or a connection has one writer.
#[derive(Default)]
pub(super) struct Outputs {
    open: HashMap<String, (Key, Result<Arc<Output>, String>)>,
}

/// Two outputs with one key are one: the configuration, and what its file of certificates holds.
type Key = (OutputConfig, Option<Vec<u8>>);

impl Outputs {
    /// Sets up what is new or another, and lets go of what is gone.
    pub(super) fn follow(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.open);
        for output in &config.outputs {
            let key = key_of(output);
            let kept = before.remove(&output.name).filter(|(known, made)| *known == key && made.is_ok());
            let made = kept.unwrap_or_else(|| (key, make(config, output)));
            self.open.insert(output.name.clone(), made);
        }
    }

    /// The outputs of these names.
    fn granted(&self, names: &[String]) -> Result<HashMap<String, Arc<Output>>, LoadError> {
        let found = names.iter().map(|name| match self.open.get(name) {
            Some((_, Ok(output))) => Ok((name.clone(), output.clone())),
            Some((_, Err(why))) => Err(LoadError::Grant(format!("output `{name}`: {why}"))),
            None => Err(LoadError::Grant(format!("there is no output `{name}`"))),
        });
        found.collect()
    }
}

/// Everything that `sink` may reach.
pub(super) fn granted_to_sink(
    sink: &SinkConfig,
    outputs: &Outputs,
    credentials: &Credentials,
) -> Result<Granted, LoadError> {
    let lines = outputs.granted(&sink.lines)?;
    let http = egress(credentials, &sink.http, sink.deadline_ms, EgressLimits::default())?;
    Ok(Granted { http, lines })
}

/// Everything that `provider` may reach.
pub(super) fn granted_to_provider(provider: &ProviderConfig, credentials: &Credentials) -> Result<Granted, LoadError> {
    let limits = EgressLimits { response_bytes: PROVIDER_RESPONSE_BYTES, ..EgressLimits::default() };
    let http = egress(credentials, &provider.http, provider.deadline_ms, limits)?;
    Ok(Granted { http, ..Granted::default() })
}

/// Everything that the key provider may reach.
pub(super) fn granted_to_key_provider(
    provider: &KeyProviderConfig,
    credentials: &Credentials,
) -> Result<Granted, LoadError> {
    let limits = EgressLimits { response_bytes: KEY_RESPONSE_BYTES, ..EgressLimits::default() };
    let http = egress(credentials, &provider.http, provider.deadline_ms, limits)?;
    Ok(Granted { http, ..Granted::default() })
}

fn egress(
    credentials: &Credentials,
    http: &[HttpGrantConfig],
    deadline_ms: u64,
    limits: EgressLimits,
) -> Result<Option<Egress>, LoadError> {
    if http.is_empty() {
        return Ok(None);
    }
    let grants = http.iter().map(|grant| origin_grant(credentials, grant)).collect::<Result<Vec<_>, _>>()?;
    let deadline = Duration::from_millis(deadline_ms) / EXCHANGE_PART;
    let egress = Egress::new(&grants, EgressLimits { deadline, ..limits });
    Ok(Some(egress.map_err(|error| LoadError::Grant(error.to_string()))?))
}

/// What of the configuration `sink` reaches: a sink is another one when any of it changes.
pub(super) fn sink_reach(config: &Config, sink: &SinkConfig) -> String {
    let outputs = config.outputs.iter().filter(|output| sink.lines.contains(&output.name));
    let outputs: Vec<_> = outputs.map(key_of).collect();
    format!("{} {outputs:?}", http_reach(config, &sink.http))
}

/// What of the configuration `http` reaches.
pub(super) fn http_reach(config: &Config, http: &[HttpGrantConfig]) -> String {
    let named = |name: &str| http.iter().any(|grant| grant.credentials.iter().any(|wanted| wanted == name));
    let credentials = config.credentials.iter().filter(|credential| named(&credential.name));
    let credentials: Vec<_> = credentials.map(credentials::key_of).collect();
    let certificates: Vec<_> = http.iter().filter_map(|grant| grant.ca_file.as_ref()).map(std::fs::read).collect();
    format!("{http:?} {credentials:?} {certificates:?}")
}

fn key_of(output: &OutputConfig) -> Key {
    (output.clone(), output.ca_file.as_deref().and_then(|path| std::fs::read(path).ok()))
}

fn origin_grant(credentials: &Credentials, grant: &HttpGrantConfig) -> Result<OriginGrant, LoadError> {
    let wrong = |why: String| LoadError::Grant(format!("http {}: {why}", grant.origin));
    let credentials = grant.credentials.iter().map(|name| credentials.granted(name));
    let credentials = credentials.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let addresses = grant.addresses.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>();
    Ok(OriginGrant {
        origin: grant.origin.clone(),
        addresses: addresses.map_err(|_| wrong("addresses are not networks".into()))?,
        credentials,
        ca_pem: grant.ca_file.as_deref().map(read_pem).transpose().map_err(wrong)?,
    })
}

fn make(config: &Config, output: &OutputConfig) -> Result<Arc<Output>, String> {
    let target = if let Some(name) = output.to.strip_prefix("file:") {
        OutputTarget::File { dir: config.outputs_dir(), name: name.to_owned() }
    } else if let Some(address) = output.to.strip_prefix("tcp://") {
        OutputTarget::Tcp { address: address.to_owned() }
    } else if let Some(address) = output.to.strip_prefix("tls://") {
        let ca_pem = output.ca_file.as_deref().map(read_pem).transpose()?;
        OutputTarget::Tls { address: address.to_owned(), ca_pem }
    } else {
        OutputTarget::Stdout
    };
    let framing = match output.framing {
        config::Framing::Newline => Framing::Newline,
        config::Framing::OctetCounted => Framing::OctetCounted,
    };
    let deadline = Duration::from_millis(output.deadline_ms);
    let made = Output::new(&output.name, target, framing, output.line_bytes, deadline);
    made.map(Arc::new).map_err(|error| error.to_string())
}

fn read_pem(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}
