//! `codec-plugin check`: would the host let it live? Asked of the host's own admission.

mod steps;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use origan_codec_host::plugin::outside::{Egress, EgressLimits, Granted, OriginGrant};
use origan_codec_host::plugin::{AdmissionError, Candidate, Kind, Lookups, PolicyPlugin, Scan, Sha256Digest};

use crate::host::with_engines;
use crate::plugin::{Plugin, PluginArgs, limits_of, printable, settings};
use steps::Step;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    plugin: PluginArgs,
    /// Its settings, a .json or .toml file; without it `{}`, as the host has it.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// An origin that it may send requests to; may be given again.
    #[arg(long, value_name = "ORIGIN")]
    http: Vec<String>,
    /// An output that it may write lines to; may be given again.
    #[arg(long, value_name = "NAME")]
    lines: Vec<String>,
    /// The SHA-256 that it must have.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
}

/// Admits it, and says of each step that it was passed. An error if it is refused.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let granted = args.granted()?;
    let settings = settings::read(args.settings.as_deref())?;
    let mut plugin = args.plugin.open()?;
    let cases = plugin.cases.take().map(|(_, cases)| cases).filter(|cases| !cases.is_empty());
    let mut candidate = plugin.candidate(limits_of(Kind::Policy), settings);
    candidate.pinned = args.sha256.as_deref().map(digest).transpose()?;
    candidate.cases = cases.map(Arc::new);
    println!("{}", plugin.path.display());
    let scan = args.scan(&mut candidate).map_err(|error| refused(&plugin, false, &error))?;
    steps::tell_scan(&candidate, &scan);
    let start = Instant::now();
    let admitting = with_engines(async |engines| {
        let (http, lines) = (!args.http.is_empty(), !args.lines.is_empty());
        let outside = Arc::new(granted);
        Ok(match scan.kind {
            Kind::Policy => engines.admit_policy(candidate.clone()).await.map(|policy| Admitted::of_policy(&policy)),
            Kind::SecretProvider => {
                let provider = engines.admit_secret_provider(candidate.clone(), outside, http).await;
                provider.map(|_| Admitted::afresh())
            }
            Kind::KeyProvider => {
                let provider = engines.admit_key_provider(candidate.clone(), outside, http).await;
                provider.map(|_| Admitted::afresh())
            }
            Kind::AuditSink => {
                let sink = engines.admit_sink(candidate.clone(), outside, http, lines).await;
                sink.map(|sink| Admitted {
                    configured: format!("an instance of {} bytes", sink.memory_bytes()),
                    needs: None,
                })
            }
        })
    })?;
    let took_ms = start.elapsed().as_millis();
    let admitted = admitting.map_err(|error| refused(&plugin, true, &error))?;
    steps::tell(Step::Compile, "");
    steps::tell(Step::Configure, &admitted.configured);
    if let Some(needs) = admitted.needs {
        steps::tell(Step::Needs, &needs);
    }
    if let Some(cases) = &candidate.cases {
        steps::tell(Step::Cases, &format!("{} pass", cases.len()));
    }
    println!("admitted in {took_ms} ms");
    Ok(())
}

/// What there is to say of a plugin that may live.
struct Admitted {
    configured: String,
    /// Of a policy.
    needs: Option<String>,
}

impl Admitted {
    fn afresh() -> Self {
        Self { configured: "afresh for each call".into(), needs: None }
    }

    fn of_policy(policy: &PolicyPlugin) -> Self {
        let configured = match policy.is_snapshotted() {
            true => "snapshot: yes",
            false => "snapshot: NO, it is configured for each decision",
        };
        let named = [(Lookups::DEPLOYMENT, "the deployment"), (Lookups::VARIABLES, "the variables")];
        let needs = named.into_iter().filter(|(flag, _)| policy.needs().contains(*flag)).map(|(_, name)| name);
        let needs = needs.collect::<Vec<_>>().join(" and ");
        let needs = if needs.is_empty() { "nothing looked up".into() } else { needs };
        Self { configured: configured.into(), needs: Some(needs) }
    }
}

impl Args {
    fn granted(&self) -> anyhow::Result<Granted> {
        // The clients' TLS. That it is there already is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let grants: Vec<OriginGrant> = self
            .http
            .iter()
            .map(|origin| OriginGrant {
                origin: origin.clone(),
                addresses: Vec::new(),
                credentials: Vec::new(),
                ca_pem: None,
            })
            .collect();
        let http = if grants.is_empty() { None } else { Some(Egress::new(&grants, EgressLimits::default())?) };
        Ok(Granted { http, ..Granted::default() })
    }

    /// All that the host can tell without compiling: as a policy or, if it says that it is another kind, as that.
    fn scan(&self, candidate: &mut Candidate) -> Result<Scan, AdmissionError> {
        let (http, lines) = (!self.http.is_empty(), !self.lines.is_empty());
        match candidate.check(Kind::Policy, false, false) {
            Err(AdmissionError::WrongKind { found, .. }) => {
                candidate.limits = limits_of(found);
                candidate.check(found, http, lines)
            }
            outcome => outcome,
        }
    }
}

/// The one error, after the steps that came before it.
fn refused(plugin: &Plugin, is_scan_told: bool, error: &AdmissionError) -> anyhow::Error {
    steps::tell_before(error, is_scan_told);
    let (path, code) = (plugin.path.display(), error.code());
    anyhow!("{path}: not admitted ({code}): {}{}", printable(&error.to_string()), hint(error))
}

fn hint(error: &AdmissionError) -> &'static str {
    match error {
        AdmissionError::ImportNotGranted { grant, .. } if grant.starts_with("`http`") => {
            ". Here --http ORIGIN grants it, in codec.toml http = [{ origin = \"…\" }]"
        }
        AdmissionError::ImportNotGranted { grant, .. } if grant.starts_with("`lines`") => {
            ". Here --lines NAME grants it, in codec.toml lines = [\"…\"]"
        }
        AdmissionError::ImportNotGranted { grant, .. } if grant.starts_with("`wasi") => ". Here --wasi does",
        AdmissionError::Settings(_) => ". --settings FILE.toml gives it others",
        AdmissionError::Cases(_) => ". codec-plugin test tells more",
        _ => "",
    }
}

fn digest(text: &str) -> anyhow::Result<Sha256Digest> {
    Sha256Digest::parse(text).with_context(|| {
        format!("--sha256 {}: a SHA-256 is 64 hexadecimal digits, as codec-plugin inspect shows it", printable(text))
    })
}
