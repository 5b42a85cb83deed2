//! Credentials that no guest ever holds: the host has them, adds them toward the bound origin, keeps them fresh, and hides what a server
//! repeats of them.

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
        let credential = Arc::new(Credential::new("lent", settings).expect("set up"));
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

// ---------------------------------------------------------------------------------------------------------------------------- AWS

fn aws(service: &str, keys: AwsKeys) -> CredentialSettings {
    CredentialSettings::Aws(AwsSettings { region: "us-east-1".into(), service: service.into(), keys })
}

fn key_files(files: &Files, id: &str, key: &str, token: Option<&str>) -> AwsKeys {
    AwsKeys::Files {
        access_key_id: files.put("id", id),
        secret_access_key: files.put("key", key),
        session_token: token.map(|token| files.put("session", token)),
    }
}

/// A user of `aws` that may do everything: id and key.
async fn user(aws: &S3) -> (String, String) {
    aws.call("iam", &[("Action", "CreateUser"), ("UserName", "codec"), ("Version", "2010-05-08")]).await;
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    let policy = policy.to_string();
    aws.call(
        "iam",
        &[
            ("Action", "PutUserPolicy"),
            ("UserName", "codec"),
            ("PolicyName", "all"),
            ("PolicyDocument", &policy),
            ("Version", "2010-05-08"),
        ],
    )
    .await;
    let made =
        aws.call("iam", &[("Action", "CreateAccessKey"), ("UserName", "codec"), ("Version", "2010-05-08")]).await;
    (made.get("AccessKeyId"), made.get("SecretAccessKey"))
}

#[tokio::test]
async fn aws_takes_what_is_signed_and_nothing_else() {
    let server = S3::start().await;
    server.put("/bucket", None).await;
    let (id, key) = user(&server).await;
    server.verify(true).await;
    let files = Files::new();
    let s3 = Guest::new(&server.url, aws("s3", key_files(&files, &id, &key, None)));
    // Names that a careless signer gets wrong.
    for name in ["plain", "a b", "a+b", "é/ü", "(x)!*'", "a%2Fb", "a=b&c", "~.-_", "x//y", "%25"] {
        let url = url::Url::parse(&server.url).expect("a URL");
        let escaped = match name {
            "a%2Fb" => name.to_owned(),
            name => name.replace('%', "%25").replace('+', "%2B"),
        };
        let url = url.join("/bucket/").and_then(|base| base.join(&format!("./{escaped}"))).expect("a URL");
        let put =
            s3.send("PUT", url.as_str(), &[("content-type", "text/plain"), ("x-amz-meta-a", " b   c ")], "v").await;
        assert_eq!(put.as_ref().map(|answer| answer.status), Ok(200), "{name}: {put:?}");
        let got = s3.get(url.as_str()).await;
        assert_eq!((got.status, &*got.body), (200, &b"v"[..]), "{name}");
    }
    for query in
        ["list-type=2&prefix=a%20b", "list-type=2&prefix=a+b&max-keys=1", "list-type=2&prefix=%C3%A9%2F", "location"]
    {
        let answer = s3.get(&format!("{}/bucket?{query}", server.url)).await;
        assert_eq!(answer.status, 200, "{query}: {}", text(&answer));
        assert!(!query.contains("prefix") || text(&answer).contains("<Key>"), "{query}: {}", text(&answer));
    }
    let kept = Guest::new(&server.url, aws("secretsmanager", key_files(&files, &id, &key, None)));
    let url = format!("{}/", server.url);
    let call = async |guest: &Guest, target: &str, body: &str| {
        let target = format!("secretsmanager.{target}");
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", &*target)];
        guest.send("POST", &url, &headers, body).await.expect("an answer")
    };
    let made = call(&kept, "CreateSecret", r#"{"Name": "app", "SecretString": "value-é"}"#).await;
    assert_eq!(made.status, 200, "{}", text(&made));
    let got = call(&kept, "GetSecretValue", r#"{"SecretId": "app"}"#).await;
    assert!(got.status == 200 && text(&got).contains("SecretString"), "{}", text(&got));
    // The server does look at signatures: one byte of the key, the region's name, and it refuses.
    let other = format!("{}{}", &key[..key.len() - 1], if key.ends_with('A') { 'B' } else { 'A' });
    let wrong = Files::new();
    let wrong = Guest::new(&server.url, aws("secretsmanager", key_files(&wrong, &id, &other, None)));
    let refused = call(&wrong, "GetSecretValue", r#"{"SecretId": "app"}"#).await;
    assert!(refused.status == 403 && text(&refused).contains("SignatureDoesNotMatch"), "{}", text(&refused));
    // A key that is replaced counts at once.
    files.put("key", &other);
    assert_eq!(call(&kept, "GetSecretValue", r#"{"SecretId": "app"}"#).await.status, 403);
    files.put("key", &key);
    assert_eq!(call(&kept, "GetSecretValue", r#"{"SecretId": "app"}"#).await.status, 200);
    std::fs::remove_file(files.0.path().join("key")).expect("removed");
    let why = kept.refused(&url).await;
    assert!(why.contains("cannot be read"), "{why}");
}

/// STS in front of one that verifies signatures: nobody signs this call, and the server behind would ask for it.
async fn sts(server: &Arc<S3>, files: &Files) -> Stub {
    let server = server.clone();
    let token_file = files.0.path().join("web-token");
    Stub::start_slow(move |asked: Asked| {
        let (server, token_file) = (server.clone(), token_file.clone());
        Box::pin(async move {
            let expected = std::fs::read_to_string(token_file).unwrap_or_default();
            if asked.field("WebIdentityToken") != expected.trim_end() || !asked.header("authorization").is_empty() {
                let body = "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>no</Message></Error></ErrorResponse>";
                return Reply::new(400, body);
            }
            server.verify(false).await;
            let field = |name: &str| asked.field(name);
            let (action, version, role, name) = (field("Action"), field("Version"), field("RoleArn"), field("RoleSessionName"));
            let fields = [("Action", &*action), ("Version", &*version), ("RoleArn", &*role), ("RoleSessionName", &*name)];
            let answer = server.call("sts", &fields).await;
            server.verify(true).await;
            let expiration = Utc::now() + chrono::Duration::seconds(3_600);
            Reply::new(
                200,
                format!(
                    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                     <SessionToken>{}</SessionToken><SecretAccessKey>{}</SecretAccessKey><Expiration>{}</Expiration>\
                     <AccessKeyId>{}</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
                    answer.get("SessionToken"),
                    answer.get("SecretAccessKey"),
                    expiration.format("%Y-%m-%dT%H:%M:%SZ"),
                    answer.get("AccessKeyId"),
                ),
            )
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_keys_are_had_for_a_web_identity_and_had_anew_when_they_are_not_known_any_more() {
    let server = Arc::new(S3::start().await);
    let role_arn = role(&server).await;
    server.verify(true).await;
    let files = Files::new();
    let token_file = files.put("web-token", &secret("web-token-1"));
    let sts = sts(&server, &files).await;
    let keys = AwsKeys::WebIdentity {
        login: login(&sts.origin()),
        role_arn,
        token_file: token_file.clone(),
        session_name: "codec".into(),
    };
    let guest = Guest::new(&server.url, aws("s3", keys));
    let url = format!("{}/bucket/object", server.url);
    for _ in 0..3 {
        let put = guest.send("PUT", &url, &[], "v").await.expect("an answer");
        assert_eq!(put.status, 200, "{}", text(&put));
    }
    assert_eq!(sts.asked().len(), 1, "keys are kept");
    let expires = guest.credential.state().expires.expect("they end");
    assert!(expires > SystemTime::now() + Duration::from_secs(3_500));
    // The server knows none of them any more, and the token in the file is another one by now.
    server.reset().await;
    server.verify(false).await;
    role(&server).await;
    server.verify(true).await;
    files.put("web-token", &secret("web-token-2"));
    let put = guest.send("PUT", &url, &[], "v").await.expect("an answer");
    assert_eq!(put.status, 200, "{}", text(&put));
    let asked = sts.asked();
    let tokens: Vec<String> = asked.iter().map(|asked| asked.field("WebIdentityToken")).collect();
    assert_eq!(tokens, [secret("web-token-1"), secret("web-token-2")]);
    let call = [asked[0].method.clone(), asked[0].field("Action"), asked[0].field("Version")];
    assert_eq!(call, ["POST", "AssumeRoleWithWebIdentity", "2011-06-15"]);
}

/// A bucket, and a role that may do everything with it: its ARN.
async fn role(aws: &S3) -> String {
    aws.put("/bucket", None).await;
    let may = |action: &str, whom: serde_json::Value| {
        let mut statement = json!({"Effect": "Allow", "Action": action});
        statement.as_object_mut().expect("an object").extend(whom.as_object().expect("an object").clone());
        json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
    };
    let trust = may("sts:AssumeRoleWithWebIdentity", json!({"Principal": {"Federated": "x"}}));
    let all = may("*", json!({"Resource": "*"}));
    let named = [("RoleName", "codec"), ("Version", "2010-05-08")];
    let made = [&named[..], &[("Action", "CreateRole"), ("AssumeRolePolicyDocument", &trust)]].concat();
    let made = aws.call("iam", &made).await;
    let put = [("Action", "PutRolePolicy"), ("PolicyName", "all"), ("PolicyDocument", &all)];
    aws.call("iam", &[&named[..], &put].concat()).await;
    made.get("Arn")
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_keys_that_have_ended_are_had_anew_once_and_not_again_if_that_does_not_help() {
    let files = Files::new();
    let token_file = files.put("web-token", &secret("web-token"));
    let issued = Arc::new(AtomicUsize::new(0));
    let counting = issued.clone();
    let sts = Stub::start(move |_| {
        let n = counting.fetch_add(1, Ordering::SeqCst) + 1;
        let expiration = (Utc::now() + chrono::Duration::seconds(3_600)).timestamp();
        let body = json!({"AssumeRoleWithWebIdentityResponse": {"AssumeRoleWithWebIdentityResult": {"Credentials": {
            "AccessKeyId": format!("ASIA{n:012}"), "SecretAccessKey": "k".repeat(40),
            "SessionToken": secret(&format!("session-{n}")), "Expiration": expiration}}}});
        Reply::new(200, body.to_string())
    })
    .await;
    // The first keys have ended, and so have all that ask for /never.
    let service = Stub::start(|asked| {
        let is_first = asked.header("authorization").contains("ASIA000000000001/");
        if is_first || asked.path == "/never" {
            let token = asked.header("x-amz-security-token");
            let body = format!("{{\"__type\":\"ExpiredTokenException\",\"message\":\"{token} has expired\"}}");
            return Reply::new(400, body);
        }
        Reply::new(200, "fine")
    })
    .await;
    let keys = AwsKeys::WebIdentity {
        login: login(&sts.origin()),
        role_arn: "arn:aws:iam::123456789012:role/codec".into(),
        token_file,
        session_name: "codec".into(),
    };
    let guest = Guest::new(&service.origin(), aws("kms", keys));
    assert_eq!(guest.get(&service.url("/")).await.status, 200);
    assert_eq!((issued.load(Ordering::SeqCst), service.asked().len()), (2, 2));
    for _ in 0..5 {
        let answer = guest.get(&service.url("/never")).await;
        assert!(answer.status == 400 && !text(&answer).contains("canary"), "{}", text(&answer));
    }
    assert_eq!(issued.load(Ordering::SeqCst), 3, "had anew once, and then not believed");
    // Each but the first of those was sent once.
    assert_eq!(service.asked().len(), 2 + 2 + 4);
    assert_eq!(guest.get(&service.url("/")).await.status, 200);
}

/// The time that a signature states, less the server's, in seconds.
fn apart_s(asked: &Asked, theirs: DateTime<Utc>) -> i64 {
    let stamp = chrono::NaiveDateTime::parse_from_str(asked.header("x-amz-date"), "%Y%m%dT%H%M%SZ").expect("a time");
    (stamp.and_utc() - theirs).num_seconds()
}

/// A server whose clock is so many seconds ahead of ours and that refuses signatures of another time.
async fn skewed(ahead_s: i64, dates_s: i64, body: &'static str) -> Stub {
    Stub::start(move |asked| {
        let theirs = Utc::now() + chrono::Duration::seconds(ahead_s);
        let dated = (Utc::now() + chrono::Duration::seconds(dates_s)).to_rfc2822();
        let reply = if apart_s(asked, theirs).abs() < 300 { Reply::new(200, "fine") } else { Reply::new(403, body) };
        reply.with("date", dated)
    })
    .await
}

#[tokio::test]
async fn a_clock_that_differs_is_set_right_once_by_what_the_server_says() {
    let files = Files::new();
    let keys = || key_files(&files, "AKIDEXAMPLE0", &secret("aws-key"), None);
    const XML: &str = "<Error><Code>RequestTimeTooSkewed</Code></Error>";
    const JSON: &str = r#"{"__type":"InvalidSignatureException","message":"Signature expired"}"#;
    for (ahead_s, body) in [(3_600, XML), (-7_200, JSON)] {
        let server = skewed(ahead_s, ahead_s, body).await;
        let guest = Guest::new(&server.origin(), aws("s3", keys()));
        assert_eq!(guest.get(&server.url("/")).await.status, 200, "{ahead_s}");
        assert_eq!(server.asked().len(), 2, "refused, and repeated");
        assert_eq!(guest.get(&server.url("/")).await.status, 200);
        assert_eq!(server.asked().len(), 3, "right at once from then on");
    }
    // A server that lies about its time, one that is a week away, and one that refuses for another reason.
    for (ahead_s, dates_s, body, requests) in
        [(7_200, 3_600, XML, 2), (604_800, 604_800, XML, 1), (3_600, 0, JSON, 1), (3_600, 3_600, "AccessDenied", 1)]
    {
        let server = skewed(ahead_s, dates_s, body).await;
        let guest = Guest::new(&server.origin(), aws("s3", keys()));
        assert_eq!(guest.get(&server.url("/")).await.status, 403);
        assert_eq!(server.asked().len(), requests, "{ahead_s} {dates_s} {body}: bounded");
    }
}

#[tokio::test]
async fn what_a_signature_consists_of_is_neither_set_nor_seen_by_a_guest() {
    let server = Stub::start(|asked| {
        let shown = format!("{:?} {}", asked.headers, asked.header("authorization").to_uppercase());
        Reply::new(403, shown)
            .with("x-echo", asked.header("authorization"))
            .with("x-amz-token", asked.header("x-amz-security-token"))
    })
    .await;
    let files = Files::new();
    let token = secret("session/with+slashes==");
    let guest =
        Guest::new(&server.origin(), aws("s3", key_files(&files, "AKIDEXAMPLE0", &secret("aws-key"), Some(&token))));
    let answer = guest.get(&server.url("/")).await;
    let sent = server.asked().remove(0);
    assert!(sent.header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE0/"));
    assert_eq!(sent.header("x-amz-security-token"), token);
    let signature = sent.header("authorization").rsplit_once('=').expect("a signature").1.to_owned();
    for hidden in [&*token, &*signature, "AKIDEXAMPLE0", &*signature.to_uppercase(), "canary"] {
        assert!(!text(&answer).contains(hidden), "{hidden}: {}", text(&answer));
    }
    for header in ["authorization", "x-amz-date", "X-Amz-Security-Token", "x-amz-content-sha256", "host"] {
        let outcome = guest.send("GET", &server.url("/"), &[(header, "mine")], "").await;
        assert!(matches!(outcome, Err(SendError::InvalidRequest(_))), "{header}: {outcome:?}");
    }
    for query in ["X-Amz-Signature=mine", "a=b&x-amz-date=mine", "%58-Amz-Credential=mine"] {
        let outcome = guest.send("GET", &server.url(&format!("/?{query}")), &[], "").await;
        assert!(matches!(outcome, Err(SendError::InvalidRequest(_))), "{query}: {outcome:?}");
    }
    assert_eq!(server.asked().len(), 1, "nothing of it was sent");
}

// -------------------------------------------------------------------------------------------------------------------------- Vault

/// One that runs, and a guest that may ask it.
async fn vault(set_up: VaultSetUp, deadline: Duration) -> (VaultLogin, Guest, Files) {
    let server = VaultLogin::start(set_up.clone()).await;
    let files = Files::new();
    let file = files.put("proof", &server.proof());
    let method = match set_up.mount {
        "approle" => VaultMethod::AppRole { role_id: "app-role".into(), secret_id_file: file },
        _ => VaultMethod::Kubernetes { role: "app-role".into(), token_file: file },
    };
    let settings = VaultSettings {
        login: login(&server.stub.origin()),
        method,
        mount: set_up.mount.into(),
        namespace: set_up.namespace.map(Into::into),
    };
    let guest = Guest::in_time(&server.stub.origin(), CredentialSettings::Vault(settings), deadline);
    (server, guest, files)
}

const PATIENT: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn vault_is_logged_in_to_once_for_all_who_ask_and_by_either_method() {
    let kubernetes = VaultSetUp { mount: "k8s/prod", namespace: Some("team-a"), ..VaultSetUp::default() };
    for set_up in [VaultSetUp::default(), kubernetes] {
        let mount = set_up.mount;
        let (server, guest, _files) = vault(set_up, PATIENT).await;
        assert!(!guest.credential.state().was_had);
        let url = server.stub.url("/v1/secret/data/app");
        let asking = (0..20).map(|_| guest.get(&url));
        for answer in futures_util::future::join_all(asking).await {
            assert_eq!(answer.status, 200, "{mount}: {}", text(&answer));
        }
        assert_eq!(server.logins(), 1, "{mount}: one flight");
        let state = guest.credential.state();
        assert!(state.was_had && state.failing.is_none() && state.counts.logins == 1);
        assert!(state.expires.is_some_and(|at| at > SystemTime::now() + Duration::from_secs(3_000)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_token_is_renewed_before_it_ends_though_nobody_asks() {
    let set_up = VaultSetUp { ttl: Duration::from_secs(3), ..VaultSetUp::default() };
    let (server, guest, _files) = vault(set_up, PATIENT).await;
    let url = server.stub.url("/v1/secret/data/app");
    assert_eq!(guest.get(&url).await.status, 200);
    until("renewed twice", || server.renewals() >= 3).await;
    assert_eq!((guest.get(&url).await.status, server.logins(), server.issued().len()), (200, 1, 1));
    assert!(guest.credential.state().counts.renewals >= 2);
    // Whoever lets go of it ends the renewals too.
    drop(guest);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let renewals = server.renewals();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(server.renewals(), renewals);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_token_that_cannot_be_renewed_any_more_is_replaced_and_no_request_fails() {
    let ttl = Duration::from_secs(3);
    let no_more = VaultSetUp { ttl, max_ttl: Duration::from_secs(5), ..VaultSetUp::default() };
    let never = VaultSetUp { ttl, is_renewable: false, ..VaultSetUp::default() };
    let refused = VaultSetUp { ttl, ..VaultSetUp::default() };
    for (case, set_up) in [("max_ttl", no_more), ("not renewable", never), ("refused", refused)] {
        let (server, guest, _files) = vault(set_up, PATIENT).await;
        if case == "refused" {
            server.refuse_renewals();
        }
        let url = server.stub.url("/v1/secret/data/app");
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(9) {
            let answer = guest.get(&url).await;
            assert_eq!(answer.status, 200, "{case}: {}", text(&answer));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!((2..8).contains(&server.logins()), "{case}: {}", server.logins());
        assert_eq!(server.renewals() > 0, case == "max_ttl", "{case}");
        assert_eq!(guest.failure(), None, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_token_that_was_revoked_leads_to_one_login_and_one_repeat_and_a_denial_to_no_loop() {
    let (server, guest, _files) = vault(VaultSetUp::default(), PATIENT).await;
    let url = server.stub.url("/v1/secret/data/app");
    assert_eq!(guest.get(&url).await.status, 200);
    for round in 2..4 {
        server.revoke_all();
        let before = server.stub.asked().len();
        assert_eq!(guest.get(&url).await.status, 200);
        assert_eq!((server.logins(), server.stub.asked().len()), (round, before + 3), "refused, logged in, repeated");
    }
    server.revoke_all();
    for answer in futures_util::future::join_all((0..10).map(|_| guest.get(&url))).await {
        assert_eq!(answer.status, 200, "{}", text(&answer));
    }
    assert_eq!(server.logins(), 4, "one flight");
    // What the token may not, no other one may either.
    let denied = server.stub.url("/v1/secret/data/denied");
    let before = server.stub.asked().len();
    for _ in 0..10 {
        assert_eq!(guest.get(&denied).await.status, 403);
    }
    assert_eq!(
        (server.logins(), server.stub.asked().len()),
        (5, before + 12),
        "one login, one repeat, for all of them"
    );
    assert_eq!(guest.get(&url).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_fails_is_told_without_secrets_left_alone_for_a_while_and_tried_again_when_its_file_changes() {
    let (server, guest, files) = vault(VaultSetUp::default(), PATIENT).await;
    let url = server.stub.url("/v1/secret/data/app");
    let good = server.proof();
    // The next secret id is not in the file yet.
    server.change_proof(&secret("proof-2"));
    let why = guest.refused(&url).await;
    assert!(why.contains("HTTP 400: invalid role or secret ID") && why.contains(&server.stub.origin()), "{why}");
    assert!(!why.contains(&good));
    for _ in 0..5 {
        assert_eq!(guest.refused(&url).await, why);
    }
    assert_eq!(server.logins(), 1, "left alone");
    let state = guest.credential.state();
    assert!(!state.was_had && state.counts.failures == 1 && guest.failure() == Some(why));
    files.put("proof", &secret("proof-2"));
    assert_eq!(guest.get(&url).await.status, 200, "at once");
    assert!(guest.failure().is_none() && server.logins() == 2);

    // What may pass: refused for being too many, broken, redirected, nonsense, too long, a proof repeated.
    for (reply, told) in [
        (Reply::new(403, r#"{"errors":["permission denied"]}"#), "HTTP 403: permission denied"),
        (Reply::new(500, "<html>").with("x", "y"), "HTTP 500"),
        (Reply::new(503, r#"{"errors":["Vault is sealed"]}"#), "HTTP 503: Vault is sealed"),
        (Reply::new(307, "").with("location", server.stub.url("/elsewhere")), "HTTP 307: a redirect is not followed"),
        (Reply::new(200, "{}"), "HTTP 200 without a token"),
        (Reply::new(200, "not JSON"), "HTTP 200 without a token"),
        (Reply::new(200, r#"{"auth":{"client_token":"a\nb-c-d-e-f","lease_duration":1}}"#), "HTTP 200 without a token"),
        (Reply::new(200, "x".repeat(1 << 20)), "an answer of more than"),
        (
            Reply::new(400, json!({"errors": [format!("{} is bad\n\u{1b}[2J", secret("proof-1"))]}).to_string()),
            "HTTP 400: ****",
        ),
    ] {
        let (server, guest, _files) = vault(VaultSetUp::default(), PATIENT).await;
        server.reply(std::slice::from_ref(&reply));
        let why = guest.refused(&server.stub.url("/v1/secret/data/app")).await;
        assert!(why.contains(told) && !why.contains(|c: char| c.is_control()), "{reply:?}: {why}");
        assert_eq!(server.stub.asked().iter().filter(|asked| asked.path == "/elsewhere").count(), 0);
        until("it is tried again by itself", || guest.credential.state().failing.is_some()).await;
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        assert_eq!(guest.get(&server.stub.url("/v1/secret/data/app")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_waits_as_long_as_the_server_says_and_goes_on_when_its_guest_is_gone() {
    let (server, guest, _files) = vault(VaultSetUp::default(), PATIENT).await;
    let url = server.stub.url("/v1/secret/data/app");
    server.reply(&[Reply::new(
        429,
        r#"{"errors":["request path \"auth/approle/login\": rate limit quota exceeded"]}"#,
    )
    .with("retry-after", "3")]);
    let began = Instant::now();
    let why = guest.refused(&url).await;
    assert!(why.contains("HTTP 429: request path"), "{why}");
    while server.logins() == 1 {
        let _ = guest.send("GET", &url, &[], "").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(3) && guest.get(&url).await.status == 200);

    let (server, guest, _files) = vault(VaultSetUp::default(), Duration::from_millis(300)).await;
    let url = server.stub.url("/v1/secret/data/app");
    server.delay_logins(Duration::from_millis(900));
    let why = guest.refused(&url).await;
    assert!(why.contains("has not ended in the time"), "{why}");
    until("the login goes on", || guest.credential.state().was_had).await;
    assert_eq!((guest.get(&url).await.status, server.logins()), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_goes_on_while_vault_cannot_renew_it() {
    let set_up = VaultSetUp { ttl: Duration::from_secs(6), is_renewable: false, ..VaultSetUp::default() };
    let (server, guest, _files) = vault(set_up, PATIENT).await;
    let url = server.stub.url("/v1/secret/data/app");
    assert_eq!(guest.get(&url).await.status, 200);
    server.reply(&[Reply::new(500, ""), Reply::new(502, "")]);
    until("it fails", || guest.failure().is_some()).await;
    assert_eq!(guest.get(&url).await.status, 200, "held, and good");
    until("it is had again", || guest.failure().is_none()).await;
    assert_eq!((guest.get(&url).await.status, server.issued().len()), (200, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_token_is_neither_set_nor_seen_by_a_guest_and_goes_nowhere_else() {
    let (server, guest, _files) = vault(VaultSetUp::default(), PATIENT).await;
    let answer = guest.get(&server.stub.url("/v1/secret/data/echo")).await;
    let token = server.issued().remove(0);
    assert!(answer.status == 200 && text(&answer).contains("****"), "{}", text(&answer));
    assert!(!text(&answer).to_lowercase().contains(&token.to_lowercase()), "{}", text(&answer));
    let moved = guest.get(&server.stub.url("/v1/secret/data/moved")).await;
    assert_eq!(moved.status, 307, "an answer like any other");
    let before = server.stub.asked().len();
    for header in ["X-Vault-Token", "x-vault-namespace", "X-Vault-Wrap-TTL", "Accept-Encoding", "Authorization"] {
        let outcome = guest.send("GET", &server.stub.url("/v1/secret/data/app"), &[(header, "mine")], "").await;
        assert!(matches!(outcome, Err(SendError::InvalidRequest(_))), "{header}: {outcome:?}");
    }
    for path in [
        "/v1/auth/token/lookup-self",
        "/v1/%61uth/token/create",
        "/v1//AUTH/approle/login",
        "/v1/ns1/auth/token/create",
    ] {
        let outcome = guest.send("POST", &server.stub.url(path), &[], "{}").await;
        assert!(matches!(outcome, Err(SendError::InvalidRequest(_))), "{path}: {outcome:?}");
    }
    let elsewhere = Stub::start(|_| Reply::new(200, "")).await;
    let outcome = guest.send("GET", &elsewhere.url("/v1/secret/data/app"), &[], "").await;
    assert!(matches!(outcome, Err(SendError::NotGranted(_))), "{outcome:?}");
    assert_eq!((server.stub.asked().len(), elsewhere.asked().len()), (before, 0), "nothing was sent");
    // Another origin that is granted, without the credential.
    let grant = |origin: String, credentials: &[Arc<Credential>]| OriginGrant {
        origin,
        addresses: vec![LOOPBACK.parse().expect("a network")],
        credentials: credentials.to_vec(),
        ca_pem: None,
    };
    let grants = [grant(server.stub.origin(), std::slice::from_ref(&guest.credential)), grant(elsewhere.origin(), &[])];
    let egress = Egress::new(&grants, EgressLimits::default()).expect("set up");
    let outside = Granted { http: Some(egress), ..Granted::default() };
    let (method, url) = ("GET".to_owned(), elsewhere.url("/"));
    let request = HttpRequest { method, url, headers: vec![], body: vec![], credential: Some("lent".into()) };
    assert!(
        matches!(outside.send(request).await, Err(SendError::NotGranted(why)) if why.contains("no credential `lent`"))
    );
    assert_eq!(elsewhere.asked().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_logs_in_by_the_same_checked_way_as_a_guest_sends() {
    let server = VaultLogin::start(VaultSetUp::default()).await;
    let certificates = Certificates::new();
    let proxy = HaProxy::start(&server.stub.address.to_string(), Some(&certificates.both())).await;
    let files = Files::new();
    let file = files.put("proof", &server.proof());
    let guest = |login: LoginSettings| {
        let method = VaultMethod::AppRole { role_id: "app-role".into(), secret_id_file: file.clone() };
        let settings = VaultSettings { login, method, mount: "approle".into(), namespace: None };
        Guest::new(&server.stub.origin(), CredentialSettings::Vault(settings))
    };
    let url = server.stub.url("/v1/secret/data/app");
    let https = format!("https://{}", proxy.address);
    let named = format!("https://localhost:{}", proxy.address.rsplit_once(':').expect("a port").1);
    for (case, settings, told) in [
        (
            "an address that is not granted",
            LoginSettings { addresses: vec![], ..login(&server.stub.origin()) },
            "`addresses`",
        ),
        ("a name that leads there", LoginSettings { addresses: vec![], ..login(&named) }, "`addresses`"),
        ("an authority that nobody knows", login(&https), "TLS: "),
        ("nobody there", login("http://127.0.0.1:1"), "its login at http://127.0.0.1:1"),
    ] {
        let why = guest(settings).refused(&url).await;
        assert!(why.contains(told), "{case}: {why}");
        assert_eq!(server.stub.asked().len(), 0, "{case}: nothing was sent");
    }
    let ca_pem = Some(std::fs::read(certificates.ca()).expect("readable"));
    assert_eq!(guest(LoginSettings { ca_pem, ..login(&https) }).get(&url).await.status, 200);
    for wrong in ["http://vault.example:8200", "https://u:p@vault.example", "vault", "ftp://127.0.0.1"] {
        let method = VaultMethod::AppRole { role_id: "r".into(), secret_id_file: file.clone() };
        let settings = VaultSettings { login: login(wrong), method, mount: "approle".into(), namespace: None };
        let error = Credential::new("lent", CredentialSettings::Vault(settings)).err().expect("refused").to_string();
        assert!(error.contains("login_url"), "{wrong}: {error}");
    }
}

// -------------------------------------------------------------------------------------------------------------------------- OAuth 2

/// A token endpoint: the token that is good now, and how many it has given out.
struct Issuer {
    stub: Stub,
    issued: Arc<AtomicUsize>,
}

impl Issuer {
    /// Whose tokens last so long.
    async fn start(expires_in: serde_json::Value) -> Self {
        let issued = Arc::new(AtomicUsize::new(0));
        let counting = issued.clone();
        let stub = Stub::start(move |asked| {
            let n = counting.fetch_add(1, Ordering::SeqCst) + 1;
            let is_form = asked.header("content-type") == "application/x-www-form-urlencoded" && asked.method == "POST";
            if !is_form
                || asked.field("grant_type") != "client_credentials"
                || asked.path != "/tenant/oauth2/v2.0/token"
            {
                return Reply::new(400, r#"{"error":"invalid_request"}"#);
            }
            let token = json!({"token_type": "Bearer", "expires_in": expires_in, "ext_expires_in": 3599, "access_token": bearer(n)});
            Reply::new(200, token.to_string())
        });
        Self { stub: stub.await, issued }
    }

    fn settings(&self, proof: ClientProof) -> OAuth2Settings {
        OAuth2Settings {
            login: login(&self.stub.url("/tenant/oauth2/v2.0/token")),
            client_id: "client:1".into(),
            proof,
            scope: Some("https://vault.azure.net/.default".into()),
            audience: None,
        }
    }

    fn issued(&self) -> usize {
        self.issued.load(Ordering::SeqCst)
    }
}

fn bearer(n: usize) -> String {
    secret(&format!("bearer-{n}"))
}

/// A service that takes the bearer tokens of these numbers.
async fn service(good: impl Fn(usize) -> bool + Send + Sync + 'static) -> Stub {
    Stub::start(move |asked| {
        let is_good = (1..50).any(|n| good(n) && asked.header("authorization") == format!("Bearer {}", bearer(n)));
        if is_good && asked.path != "/never" {
            Reply::new(200, "fine")
        } else {
            Reply::new(401, format!("you sent {}", asked.header("authorization"))).with("www-authenticate", "Bearer")
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_proves_who_it_is_in_each_way_and_its_token_is_had_once() {
    let files = Files::new();
    let file = files.put("proof", &secret("se/cret +&=%"));
    for proof in [
        ClientProof::SecretInBody(file.clone()),
        ClientProof::SecretInHeader(file.clone()),
        ClientProof::Assertion(file.clone()),
    ] {
        // Some write the number as text.
        let issuer = Issuer::start(json!("3599")).await;
        let service = service(|n| n == 1).await;
        let guest = Guest::new(&service.origin(), CredentialSettings::OAuth2(issuer.settings(proof.clone())));
        let url = service.url("/");
        for answer in futures_util::future::join_all((0..20).map(|_| guest.get(&url))).await {
            assert_eq!(answer.status, 200, "{proof:?}: {}", text(&answer));
        }
        assert_eq!(issuer.issued(), 1, "{proof:?}: one flight");
        assert!(guest.credential.state().expires.is_some_and(|at| at > SystemTime::now() + Duration::from_secs(3_500)));
        let asked = issuer.stub.asked().remove(0);
        let (field, basic) = (|name: &str| asked.field(name), asked.header("authorization"));
        assert_eq!(field("scope"), "https://vault.azure.net/.default");
        match proof {
            ClientProof::SecretInBody(_) => {
                assert_eq!((field("client_id"), field("client_secret")), ("client:1".into(), secret("se/cret +&=%")));
                assert_eq!(basic, "");
            }
            ClientProof::SecretInHeader(_) => {
                // printf %s 'client%3A1:canary-7c1f5e-se%2Fcret+%2B%26%3D%25' | base64
                assert_eq!(basic, "Basic Y2xpZW50JTNBMTpjYW5hcnktN2MxZjVlLXNlJTJGY3JldCslMkIlMjYlM0QlMjU=");
                assert_eq!((field("client_id"), field("client_secret")), (String::new(), String::new()));
            }
            ClientProof::Assertion(_) => {
                assert_eq!(field("client_assertion"), secret("se/cret +&=%"));
                assert_eq!(field("client_assertion_type"), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
                assert_eq!((field("client_id"), basic), ("client:1".into(), ""));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_is_had_anew_before_it_ends_and_by_what_its_file_holds_then() {
    let files = Files::new();
    let file = files.put("proof", &secret("assertion-1"));
    let issuer = Issuer::start(json!(3)).await;
    let service = service(|_| true).await;
    let guest =
        Guest::new(&service.origin(), CredentialSettings::OAuth2(issuer.settings(ClientProof::Assertion(file))));
    assert_eq!(guest.get(&service.url("/")).await.status, 200);
    files.put("proof", &secret("assertion-2"));
    until("another one was had", || issuer.issued() >= 2).await;
    until("it is held", || guest.credential.state().counts.logins >= 2).await;
    assert_eq!(guest.get(&service.url("/")).await.status, 200);
    let assertions: Vec<String> = issuer.stub.asked().iter().map(|asked| asked.field("client_assertion")).collect();
    assert_eq!(assertions[..2], [secret("assertion-1"), secret("assertion-2")]);
    assert!(service.asked()[1].header("authorization") != service.asked()[0].header("authorization"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_that_is_refused_is_had_anew_once_and_the_request_repeated_once() {
    let files = Files::new();
    let file = files.put("proof", &secret("client-secret"));
    let issuer = Issuer::start(json!(3_600)).await;
    // The first one has been revoked.
    let service = service(|n| n > 1).await;
    let settings = issuer.settings(ClientProof::SecretInBody(file));
    let guest = Guest::new(&service.origin(), CredentialSettings::OAuth2(settings));
    assert_eq!(guest.get(&service.url("/")).await.status, 200);
    assert_eq!((issuer.issued(), service.asked().len()), (2, 2));
    for _ in 0..5 {
        let answer = guest.get(&service.url("/never")).await;
        assert!(answer.status == 401 && text(&answer).contains("you sent Bearer ***"), "{}", text(&answer));
        assert!(!text(&answer).contains("canary"), "{}", text(&answer));
    }
    assert_eq!((issuer.issued(), service.asked().len()), (3, 8), "one login, one repeat, for all of them");
    let outcome = guest.send("GET", &service.url("/"), &[("authorization", "Bearer mine")], "").await;
    assert!(matches!(outcome, Err(SendError::InvalidRequest(_))), "{outcome:?}");
    assert_eq!(guest.get(&service.url("/")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_gives_none_is_told_without_secrets() {
    for (status, body, told) in [
        (
            401,
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: canary-7c1f5e-client-secret is wrong.\r\nTrace"}"#,
            "HTTP 401: invalid_client AADSTS7000215: ****",
        ),
        (400, r#"{"error":"unauthorized_client"}"#, "HTTP 400: unauthorized_client"),
        (429, "slow down", "HTTP 429"),
        (500, "", "HTTP 500"),
        (302, "", "HTTP 302: a redirect is not followed"),
        (200, r#"{"token_type":"mac","access_token":"canary-7c1f5e-x"}"#, "not a bearer token"),
        (200, r#"{"token_type":"Bearer","access_token":"short"}"#, "without a token"),
        (200, r#"{"error":"invalid_client"}"#, "without a token"),
    ] {
        let issuer = Stub::start(move |_| Reply::new(status, body).with("location", "http://127.0.0.1:1/")).await;
        let files = Files::new();
        let proof = ClientProof::SecretInBody(files.put("proof", &secret("client-secret")));
        let settings = OAuth2Settings {
            login: login(&issuer.url("/token")),
            client_id: "client".into(),
            proof,
            scope: None,
            audience: None,
        };
        let guest = Guest::new(&issuer.origin(), CredentialSettings::OAuth2(settings));
        let why = guest.refused(&issuer.url("/")).await;
        assert!(why.contains(told) && !why.contains(|c: char| c.is_control()), "{why}");
        assert_eq!(issuer.asked().len(), 1, "nothing but the login: {why}");
    }
}

// ------------------------------------------------------------------------------------------------------------------- whole process

#[tokio::test]
async fn a_sink_is_lent_a_bearer_token_and_status_and_figures_tell_how_it_fares_and_nothing_of_it() {
    let collector = Collector::start(Kind::NdJson).await;
    collector.echo();
    collector.ask_for(&format!("Bearer {}", bearer(1)));
    let issuer = Issuer::start(json!(3_600)).await;
    let launch = Launch::new().with_plugins();
    let file = launch.dir.path().join("client-secret");
    let (origin, path) = (collector.origin(), collector.path());
    let toml = format!(
        "[log]\nlevel = \"trace\"\n[[sinks]]\nname = \"siem\"\npath = \"audit-http.wasm\"\n\
         http = [{{ origin = \"{origin}\", addresses = [\"127.0.0.1/32\"], credentials = [\"siem\"] }}]\n\
         settings = {{ url = \"{origin}{path}\", credential = \"siem\" }}\n\
         [[credentials]]\nname = \"siem\"\nkind = \"oauth2\"\nlogin_url = \"{}\"\naddresses = [\"127.0.0.1/32\"]\n\
         client_id = \"codec\"\nmethod = \"secret-post\"\nclient_secret_file = {:?}\n",
        issuer.stub.url("/tenant/oauth2/v2.0/token"),
        file.display().to_string(),
    );
    let mut codec = launch.toml(&toml).start().await;
    // Without its file the sink is not admitted, and says why; the file is seen when it comes.
    codec.until_sink("siem", "its secret is missing", |sink| sink["errorCode"] == "grant").await;
    std::fs::write(&file, secret("client-secret")).expect("written");
    codec.calls(3).await;
    codec.until_carried("siem").await;
    let fares = codec.plugins().await["credentials"][0].clone();
    assert_eq!((&fares["name"], &fares["kind"], &fares["state"]), (&json!("siem"), &json!("oauth2"), &json!("ok")));
    assert!(fares["expires"].is_string() && fares["logins"] == 1 && fares["failingSince"].is_null(), "{fares}");
    // A sink that is replaced is logged in already.
    codec.reconfigure(&toml.replace("audit-http.wasm\"\n", "audit-http.wasm\"\nbatch_records = 7\n")).await;
    codec.calls(3).await;
    codec.until_carried("siem").await;
    assert_eq!(issuer.issued(), 1);
    // The collector knows another one now, and repeats in its refusal what it was sent: the second one is had by itself.
    collector.ask_for(&format!("Bearer {}", bearer(2)));
    codec.calls(1).await;
    codec.until_carried("siem").await;
    collector.ask_for("Bearer nobody's");
    codec.calls(1).await;
    codec.until_logged("HTTP 401: you sent Bearer ***").await;
    collector.ask_for(&format!("Bearer {}", bearer(3)));
    codec.until_carried("siem").await;
    let metrics = codec.client.get("/metrics").await.text;
    for figure in [
        "codec_credential_failing{credential=\"siem\",kind=\"oauth2\"} 0",
        "codec_credential_expires_timestamp_seconds{credential=\"siem\",kind=\"oauth2\"} 1",
        "codec_credential_logins_total{credential=\"siem\",kind=\"oauth2\",outcome=\"login\"} 3",
    ] {
        assert!(metrics.contains(figure), "{figure}: {metrics}");
    }
    let mut said = format!("{metrics}{}", codec.client.get("/status").await.text);
    assert_eq!(codec.terminate().await, 0);
    assert_same(&collector.taken(), &codec.launch.journal_lines());
    said.push_str(&codec.log());
    said.push_str(&codec.launch.journal_lines().join("\n"));
    for secret in [bearer(1), bearer(2), bearer(3), secret("client-secret")] {
        let found = said.lines().find(|line| line.contains(&secret));
        assert!(found.is_none(), "{found:?}");
    }
}

#[tokio::test]
async fn a_sink_is_lent_a_signature_by_keys_from_the_environment() {
    let server = Stub::start(|asked| Reply::new(200, format!("you sent {:?}", asked.headers))).await;
    let (origin, key, token) = (server.origin(), secret("aws-key"), secret("aws-session"));
    let toml = format!(
        "[log]\nlevel = \"trace\"\n[[sinks]]\nname = \"queue\"\npath = \"audit-http.wasm\"\n\
         http = [{{ origin = \"{origin}\", addresses = [\"127.0.0.1/32\"], credentials = [\"aws\"] }}]\n\
         settings = {{ url = \"{origin}/prod/audit\", credential = \"aws\" }}\n\
         [[credentials]]\nname = \"aws\"\nkind = \"aws-sigv4\"\nregion = \"eu-central-1\"\nservice = \"execute-api\"\n\
         method = \"environment\"\n"
    );
    let without = Launch::new().with_plugins().toml(&toml).start().await;
    let sink = without.until_sink("queue", "it has no keys", |sink| sink["errorCode"] == "grant").await;
    assert!(
        sink["error"].as_str().is_some_and(|why| why.contains("AWS_ACCESS_KEY_ID is not in the environment")),
        "{sink}"
    );
    drop(without);
    let launch = Launch::new().with_plugins().toml(&toml).variable("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE0");
    let launch = launch.variable("AWS_SECRET_ACCESS_KEY", &key).variable("AWS_SESSION_TOKEN", &token);
    let mut codec = launch.start().await;
    codec.calls(3).await;
    codec.until_carried("queue").await;
    let status = codec.client.get("/status").await.text;
    assert!(status.contains("\"aws-sigv4\"") && !status.contains("AKIDEXAMPLE0"), "{status}");
    assert_eq!(codec.terminate().await, 0);
    let asked = server.asked().remove(0);
    let (scope, date) = ("/eu-central-1/execute-api/aws4_request, SignedHeaders=", &asked.header("x-amz-date")[..8]);
    let begin = format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE0/{date}{scope}");
    let authorization = asked.header("authorization");
    assert!(authorization.starts_with(&begin), "{authorization}");
    let signed = "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature=";
    assert!(authorization.contains(signed) && asked.header("x-amz-security-token") == token, "{authorization}");
    let log = codec.log();
    assert!(!log.contains(&key) && !log.contains(&token) && !log.contains(authorization), "it is in the log");
}

#[test]
fn mistakes_in_a_credential_are_exit_code_2_and_their_key() {
    let vault = "kind = \"vault\"\nlogin_url = \"https://v.example\"\nmethod = \"approle\"\nrole_id = \"r\"\nsecret_id_file = \"f\"";
    let aws = "kind = \"aws-sigv4\"\nregion = \"eu-central-1\"\nservice = \"kms\"\nmethod = \"environment\"";
    let web = "kind = \"aws-sigv4\"\nregion = \"r\"\nservice = \"s3\"\nmethod = \"web-identity\"\nrole_arn = \"a\"\ntoken_file = \"f\"";
    let oauth = "kind = \"oauth2\"\nlogin_url = \"https://v.example/token\"\nclient_id = \"c\"\nmethod = \"secret-post\"\nclient_secret_file = \"f\"";
    for good in ["file = \"f\"", vault, aws, web, oauth] {
        let launch = Launch::new().toml(&format!("[[credentials]]\nname = \"c\"\n{good}"));
        let output = launch.run(&["config", "check"]);
        assert!(output.status.success(), "{good}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for (toml, key) in [
        (String::new(), "credentials[0].file"),
        ("kind = \"basic\"".to_owned(), "kind"),
        ("file = \"f\"\nheader = \"a b\"".to_owned(), "credentials[0].header"),
        ("file = \"f\"\nprefix = \"\\n\"".to_owned(), "credentials[0].prefix"),
        ("file = \"f\"\nlogin_url = \"https://a\"".to_owned(), "credentials[0].login_url"),
        (vault.replace("https:", "http:"), "credentials[0].login_url"),
        (vault.replace("approle", "ldap"), "credentials[0].method"),
        (vault.replace("role_id = \"r\"", ""), "credentials[0].role_id"),
        (vault.replace("secret_id_file", "token_file"), "credentials[0].token_file"),
        (format!("{vault}\nmount = \"../x\""), "credentials[0].mount"),
        (format!("{vault}\nnamespace = \"a b\""), "credentials[0].namespace"),
        (format!("{vault}\naddresses = [\"10.0.0.0\"]"), "credentials[0].addresses"),
        (format!("{vault}\nfile = \"f\""), "credentials[0].file"),
        (aws.replace("eu-central-1", "eu/central"), "credentials[0].region"),
        (aws.replace("service = \"kms\"", ""), "credentials[0].service"),
        (aws.replace("environment", "files"), "credentials[0].access_key_id_file"),
        (format!("{aws}\nrole_arn = \"a\""), "credentials[0].role_arn"),
        (web.replace("token_file = \"f\"", ""), "credentials[0].token_file"),
        (oauth.replace("secret-post", "password"), "credentials[0].method"),
        (oauth.replace("client_id = \"c\"", "client_id = \"\""), "credentials[0].client_id"),
        (oauth.replace("secret-post", "assertion"), "credentials[0].client_secret_file"),
        (format!("{oauth}\nclient_secret = \"canary-7c1f5e\""), "client_secret"),
    ] {
        let launch = Launch::new().toml(&format!("[[credentials]]\nname = \"c\"\n{toml}"));
        let output = launch.run(&["serve"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(key), "{key}: {toml}: {said}");
        assert!(!said.contains("canary") && !launch.data_dir().exists(), "{key}: {said}");
    }
}
