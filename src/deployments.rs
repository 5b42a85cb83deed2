//! What the platform knows of a deployment: `deployments/{id}/metadata.json`, in a folder, S3, GCS or Azure Blob.
//!
//! It is read only when something needs it. What cannot be read is an error that refuses; what is not there is a fact.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::TryStreamExt;
use moka::Expiry;
use moka::future::Cache;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use origan_codec_host::crypto::EncryptedDek;
use serde::Deserialize;
use url::Url;

use crate::names::{DeploymentId, ProjectId};

/// Deployments kept in mind.
const CACHE_ENTRIES: u64 = 10_000;
/// How long "unknown" is believed: the platform may write the object any moment.
const UNKNOWN_TTL: Duration = Duration::from_secs(1);

/// Where deployments are looked up.
pub struct Deployments {
    objects: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    object_bytes: u64,
    deadline: Duration,
    cache: Cache<DeploymentId, Deployment>,
}

/// What a look-up tells.
#[derive(Debug, Clone)]
pub enum Deployment {
    /// The platform does not know it.
    Unknown,
    /// It does.
    Known(Arc<DeploymentFacts>),
}

/// What may be known of a deployment.
#[derive(Debug)]
pub struct DeploymentFacts {
    /// Whose.
    pub project_id: ProjectId,
    /// When the platform wrote its metadata: the object store's time, never the caller's.
    pub created: SystemTime,
    /// The DEK that came along, as it stands there.
    pub encrypted_dek: Option<EncryptedDek>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// May pass.
    #[error("deployments are unavailable: {0}")]
    Unavailable(String),
    /// There is an object, and it is not a deployment's metadata.
    #[error("the deployment's metadata is not valid: {0}")]
    Invalid(&'static str),
}

/// Why look-ups cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OpenDeploymentsError {
    /// Not a URL.
    #[error("deployments.url is not a URL: {0}")]
    Url(#[from] url::ParseError),
    /// No such kind of store, or its settings are not complete.
    #[error("deployments.url: {0}")]
    Store(#[from] object_store::Error),
    /// The default folder.
    #[error("the data directory {0} has no absolute path")]
    DataDir(std::path::PathBuf),
}

/// What operators set.
#[derive(Debug, Clone)]
pub struct DeploymentsSettings {
    /// Where; none: the data directory.
    pub url: Option<String>,
    /// How long what was read is believed.
    pub cache_ttl: Duration,
    /// Largest object read, in bytes.
    pub object_bytes: u64,
    /// How long a look-up may take.
    pub deadline: Duration,
}

/// The part of `metadata.json` that matters here; the rest is passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    project_id: String,
    #[serde(default, rename = "encryptedDEK")]
    encrypted_dek: Option<String>,
}

impl Deployments {
    /// Sets up look-ups; does not connect yet. Credentials of object stores come from their usual environment variables.
    pub fn open(settings: &DeploymentsSettings, data_dir: &Path) -> Result<Self, OpenDeploymentsError> {
        let url = match &settings.url {
            Some(url) => Url::parse(url)?,
            None => {
                let absolute =
                    std::fs::canonicalize(data_dir).map_err(|_| OpenDeploymentsError::DataDir(data_dir.into()))?;
                Url::from_directory_path(&absolute).map_err(|()| OpenDeploymentsError::DataDir(absolute))?
            }
        };
        let (objects, prefix) = object_store::parse_url_opts(&url, object_store_variables())?;
        let ttls = Ttls { known: settings.cache_ttl };
        Ok(Self {
            objects: Arc::from(objects),
            prefix,
            object_bytes: settings.object_bytes,
            deadline: settings.deadline,
            cache: Cache::builder().max_capacity(CACHE_ENTRIES).expire_after(ttls).build(),
        })
    }

    /// What is known of `id`; one look-up at a time for each.
    pub async fn look_up(&self, id: &DeploymentId) -> Result<Deployment, LookupError> {
        let load = async {
            match tokio::time::timeout(self.deadline, self.read(id)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(LookupError::Unavailable(format!("no answer in {} ms", self.deadline.as_millis()))),
            }
        };
        self.cache.try_get_with_by_ref(id, load).await.map_err(|error: Arc<LookupError>| LookupError::clone(&error))
    }

    async fn read(&self, id: &DeploymentId) -> Result<Deployment, LookupError> {
        let path = self.prefix.clone().join("deployments").join(id.as_str()).join("metadata.json");
        let found = match self.objects.get(&path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(Deployment::Unknown),
            Err(error) => return Err(LookupError::Unavailable(error.to_string())),
        };
        let created = found.meta.last_modified.into();
        // What the store says of the size spares the reading; what arrives is counted all the same.
        if found.meta.size > self.object_bytes {
            return Err(LookupError::Invalid("too large"));
        }
        let mut content = Vec::new();
        let mut stream = found.into_stream();
        while let Some(piece) = stream.try_next().await.map_err(|error| LookupError::Unavailable(error.to_string()))? {
            if (content.len() + piece.len()) as u64 > self.object_bytes {
                return Err(LookupError::Invalid("too large"));
            }
            content.extend_from_slice(&piece);
        }
        parse(&content, created).map(|facts| Deployment::Known(Arc::new(facts)))
    }
}

/// Public for the fuzz target.
pub fn parse(content: &[u8], created: SystemTime) -> Result<DeploymentFacts, LookupError> {
    let metadata: Metadata = serde_json::from_slice(content).map_err(|_| LookupError::Invalid("not metadata.json"))?;
    let encrypted_dek = metadata.encrypted_dek.as_deref().map(EncryptedDek::parse).transpose();
    Ok(DeploymentFacts {
        project_id: metadata.project_id.parse().map_err(|_| LookupError::Invalid("projectId"))?,
        created,
        encrypted_dek: encrypted_dek.map_err(|_| LookupError::Invalid("encryptedDEK"))?,
    })
}

/// The variables that object stores are set up by, and no other: their option names are short enough to clash with anything.
fn object_store_variables() -> impl Iterator<Item = (String, String)> {
    let prefixes = ["AWS_", "GOOGLE_", "AZURE_"];
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(move |(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)))
}

struct Ttls {
    known: Duration,
}

impl Expiry<DeploymentId, Deployment> for Ttls {
    fn expire_after_create(&self, _id: &DeploymentId, found: &Deployment, _created: Instant) -> Option<Duration> {
        Some(match found {
            Deployment::Known(_) => self.known,
            Deployment::Unknown => self.known.min(UNKNOWN_TTL),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_strictly_where_it_matters_and_passed_over_elsewhere() {
        let parse = |text: &str| parse(text.as_bytes(), SystemTime::UNIX_EPOCH);
        let facts =
            parse(r#"{"projectId":"shop","environmentVariables":{"A":{"type":"plain","value":"x"}},"new":[1]}"#);
        assert_eq!(facts.expect("valid").project_id.as_str(), "shop");
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"projectId":"../x"}"#,
            r#"{"projectId":1}"#,
            r#"{"projectId":"a","projectId":"b"}"#,
            r#"{"projectId":"shop","encryptedDEK":"garbage"}"#,
        ] {
            assert!(matches!(parse(text), Err(LookupError::Invalid(_))), "{text}");
        }
    }
}
