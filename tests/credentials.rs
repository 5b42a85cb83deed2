//! Credentials that no guest ever holds: the host has them, adds them toward the bound origin, keeps them fresh, and hides what a server
//! repeats of them.

mod aws;
mod oauth2;
mod service;
mod vault;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use origan_codec_host::plugin::outside::{
    AwsKeys, AwsSettings, ClientProof, Credential, CredentialSettings, Egress, EgressLimits, Granted, HttpRequest,
    HttpResponse, LoginSettings, OAuth2Settings, OriginGrant, Outside, SendError, VaultMethod, VaultSettings,
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::certificates::Certificates;
use crate::support::collector::{Collector, Kind, Reply};
use crate::support::haproxy::HaProxy;
use crate::support::plugins::assert_same;
use crate::support::s3::S3;
use crate::support::stub::{Asked, Stub};
use crate::support::vault_login::{VaultLogin, VaultSetUp};
use crate::support::{Launch, secret};

const LOOPBACK: &str = "127.0.0.0/8";

/// A guest's way out to one origin, with one credential.
struct Guest {
    outside: Granted,
    credential: Arc<Credential>,
}

impl Guest {
    fn new(origin: &str, settings: CredentialSettings) -> Self {
        Self::in_time(origin, settings, Duration::from_secs(8))
    }

    fn in_time(origin: &str, settings: CredentialSettings, deadline: Duration) -> Self {
        Self::lent(origin, Arc::new(Credential::new("lent", settings).expect("set up")), deadline)
    }

    /// With one that others may have too.
    fn lent(origin: &str, credential: Arc<Credential>, deadline: Duration) -> Self {
        let grant = OriginGrant {
            origin: origin.to_owned(),
            addresses: vec![LOOPBACK.parse().expect("a network")],
            credentials: vec![credential.clone()],
            ca_pem: None,
        };
        let limits = EgressLimits { deadline, ..EgressLimits::default() };
        let outside = Granted { http: Some(Egress::new(&[grant], limits).expect("set up")), ..Granted::default() };
        Self { outside, credential }
    }

    async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<HttpResponse, SendError> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (method, url, body) = (method.to_owned(), url.to_owned(), body.as_bytes().to_vec());
        self.outside.send(HttpRequest { method, url, headers, body, credential: Some("lent".into()) }).await
    }

    async fn get(&self, url: &str) -> HttpResponse {
        self.send("GET", url, &[], "").await.expect("an answer")
    }

    /// What it is told when there is no answer.
    async fn refused(&self, url: &str) -> String {
        match self.send("GET", url, &[], "").await {
            Err(SendError::Connect(why)) => {
                assert!(why.starts_with("credential `lent`: "), "{why}");
                assert!(!why.contains("canary"), "{why}");
                why
            }
            other => panic!("{other:?}"),
        }
    }

    fn failure(&self) -> Option<String> {
        self.credential.state().failing.map(|(_, why)| why)
    }
}

/// Files of secrets.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn put(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        crate::support::plugins::replace(&path, format!("{content}\n").as_bytes());
        path
    }
}

fn login(url: &str) -> LoginSettings {
    LoginSettings { url: url.to_owned(), addresses: vec![LOOPBACK.parse().expect("a network")], ca_pem: None }
}

fn text(answer: &HttpResponse) -> String {
    format!("{} {:?} {}", answer.status, answer.headers, String::from_utf8_lossy(&answer.body))
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "not so in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
