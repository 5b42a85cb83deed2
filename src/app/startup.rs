//! From nothing to ready: store, proof of the KEK, journal. What may pass is waited for; what will not ends the process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use origan_codec_host::crypto::{KekUnavailable, KeyRing};
use tokio::sync::watch;
use tracing::{error, info};

use super::code::VouchedCode;
use crate::audit::Journal;
use crate::audit::journal::{JournalSettings, OpenJournalError};
use crate::config::{Config, ConfigError};
use crate::deployments::Deployments;
use crate::keys::{KekProofError, KekSource, Keys, KeysSettings, MaxAges};
use crate::plugins::Plugins;
use crate::policy::Policies;
use crate::providers::Providers;
use crate::service::{Service, ServiceSettings};
use crate::store::{DekStore, OpenStoreError, PostgresStore, SqliteStore};

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// The same cause is logged again after so many attempts.
const LOG_EVERY: u32 = 30;

/// What has come about so far.
pub(super) struct Startup {
    config: Config,
    kek: KekSource,
    /// Taken by the service.
    deployments: Option<Deployments>,
    policies: Arc<Policies>,
    providers: Arc<Providers>,
    store: Option<Arc<dyn DekStore>>,
    /// Told of the ring's key as soon as there is one.
    code: Arc<VouchedCode>,
    tell: watch::Sender<String>,
    attempts: u32,
}

impl Startup {
    pub(super) fn new(
        config: Config,
        kek: KekSource,
        deployments: Deployments,
        plugins: &Plugins,
        code: Arc<VouchedCode>,
        tell: watch::Sender<String>,
    ) -> Self {
        if let Some(key) = kek.code_key() {
            code.vouch(key);
        }
        let (policies, providers) = (plugins.policies().clone(), plugins.providers().clone());
        let deployments = Some(deployments);
        Self { config, kek, deployments, policies, providers, store: None, code, tell, attempts: 0 }
    }

    /// Tries until it is ready.
    pub(super) async fn until_ready(&mut self) -> anyhow::Result<Arc<Service>> {
        loop {
            tokio::time::sleep(PAUSE).await;
            if let Some(service) = self.attempt().await? {
                info!("ready");
                return Ok(service);
            }
        }
    }

    /// The service; none if something is missing that may come; an error if it will not.
    pub(super) async fn attempt(&mut self) -> anyhow::Result<Option<Arc<Service>>> {
        let store = match &self.store {
            Some(store) => store.clone(),
            None => match open_store(&self.config).await {
                Ok(store) => self.store.insert(store).clone(),
                Err(OpenStoreError::NotNow(cause)) => return Ok(self.wait(&cause.to_string())),
                Err(never) => return Err(never.into()),
            },
        };
        let ring = match self.kek.prove(&*store).await {
            Ok(ring) => ring,
            Err(KekProofError::Unavailable(KekUnavailable::Never(why))) => {
                return Err(self.kek.misconfigured(why).into());
            }
            Err(cause) => return Ok(self.wait(&cause.to_string())),
        };
        self.code.vouch(ring.code_key());
        let journal = match Journal::open(&journal_settings(&self.config), &ring) {
            Ok(journal) => journal,
            Err(locked @ OpenJournalError::Locked(_)) => return Err(locked.into()),
            Err(cause) => return Ok(self.wait(&cause.to_string())),
        };
        let Some(deployments) = self.deployments.take() else { return Ok(None) };
        let settings = KeysSettings {
            unknown_dek: self.config.keys.unknown_dek,
            cache_ttl: Duration::from_secs(self.config.keys.cache_ttl_s),
            cache_entries: self.config.keys.cache_entries,
            max_ages: MaxAges {
                dek_days: self.config.keys.dek_max_age_days,
                kek_days: self.config.keys.kek_max_age_days,
            },
        };
        Ok(Some(Arc::new(Service {
            policies: self.policies.clone(),
            providers: self.providers.clone(),
            keys: Keys::new(ring, store, journal.clone(), &settings),
            deployments,
            journal,
            settings: ServiceSettings {
                dek_release: self.config.keys.dek_release,
                dek_handle_ttl_s: self.config.keys.dek_handle_ttl_s,
                deployment_required: self.config.deployments.required,
                v2_projects: self.config.values.v2_projects.clone(),
            },
        })))
    }

    fn wait(&mut self, cause: &str) -> Option<Arc<Service>> {
        let is_news = *self.tell.borrow() != cause;
        if is_news || self.attempts.is_multiple_of(LOG_EVERY) {
            error!(cause, "NOT READY: nothing is encrypted or decrypted; trying again");
        }
        self.attempts += 1;
        self.tell.send_replace(cause.to_owned());
        None
    }
}

/// The store that the configuration chooses.
pub async fn open_store(config: &Config) -> Result<Arc<dyn DekStore>, OpenStoreError> {
    let deadline = Duration::from_millis(config.store.deadline_ms);
    let Some(url) = config.store.url.as_deref() else {
        return Ok(Arc::new(SqliteStore::open(&config.data_dir.join("codec.db"), deadline).await?));
    };
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Arc::new(PostgresStore::open(url, config.store.connections, deadline).await?));
    }
    Ok(Arc::new(SqliteStore::open(sqlite_path(url).as_ref(), deadline).await?))
}

/// The same to read, beside a process that serves. Makes nothing.
pub async fn open_store_to_read(config: &Config) -> Result<Arc<dyn DekStore>, OpenStoreError> {
    let deadline = Duration::from_millis(config.store.deadline_ms);
    let path = match config.store.url.as_deref() {
        Some(url) if url.starts_with("postgres") => {
            return Ok(Arc::new(PostgresStore::open_to_read(url, deadline).await?));
        }
        Some(url) => Path::new(sqlite_path(url)).to_owned(),
        None => config.data_dir.join("codec.db"),
    };
    Ok(Arc::new(SqliteStore::open_to_read(&path, deadline).await?))
}

/// The same, unless nothing has made it yet.
pub async fn open_store_to_read_if_made(config: &Config) -> Result<Option<Arc<dyn DekStore>>, OpenStoreError> {
    if is_made(config).await? { open_store_to_read(config).await.map(Some) } else { Ok(None) }
}

/// `sqlite:<path>` or `sqlite://<path>`; the configuration allows nothing else but PostgreSQL.
fn sqlite_path(url: &str) -> &str {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    path.strip_prefix("//").unwrap_or(path)
}

async fn is_made(config: &Config) -> Result<bool, OpenStoreError> {
    Ok(match config.store.url.as_deref() {
        Some(url) if url.starts_with("postgres") => PostgresStore::is_made(url).await?,
        Some(url) => Path::new(sqlite_path(url)).exists(),
        None => config.data_dir.join("codec.db").exists(),
    })
}

/// The ring under which the journal is read.
pub async fn ring_for_the_journal(config: &Config, kek: &KekSource) -> anyhow::Result<Arc<KeyRing>> {
    if let Some(ring) = kek.ring_in_memory()? {
        return Ok(ring);
    }
    let store = open_store_to_read(config).await.context("the key of the journal lies in the store")?;
    Ok(kek.open(&*store).await?)
}

/// The journal that the configuration chooses.
pub fn journal_settings(config: &Config) -> JournalSettings {
    JournalSettings {
        dir: config.journal_dir(),
        durability: config.audit.durability,
        deadline: Duration::from_millis(config.audit.deadline_ms),
        segment_bytes: config.audit.segment_bytes,
        queue: config.audit.queue,
    }
}

/// Without a place for the journal there is no point in starting.
pub fn prepare_folders(config: &Config) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    for (key, dir) in [("data_dir", config.data_dir.clone()), ("audit.dir", config.journal_dir())] {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|error| ConfigError::value(key, format!("{} cannot be created: {error}", dir.display())))?;
    }
    let probe = config.journal_dir().join("probe");
    std::fs::write(&probe, b"")
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|error| ConfigError::value("audit.dir", format!("cannot be written to: {error}")))
        .context("there is no place for the audit journal, and nothing is answered without it")
}
