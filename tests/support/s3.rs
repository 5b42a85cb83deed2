//! AWS on loopback: S3, IAM, STS, Secrets Manager. It asks for a signature on reads, and does not check whose unless it is told to.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Client, free_port, root, tool};

/// What tells the server which service is meant; whether it fits, it does not ask.
pub const AWS_SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=tests/20260101/eu-central-1/secretsmanager/aws4_request, \
     SignedHeaders=host, Signature=00000000000000000000000000000000";

pub struct S3 {
    child: Child,
    pub url: String,
}

/// An answer in XML.
pub struct Fields(String);

impl Fields {
    pub fn get(&self, name: &str) -> String {
        let rest = self.0.split_once(&format!("<{name}>")).map(|(_, rest)| rest);
        let value = rest.and_then(|rest| rest.split_once('<')).map(|(value, _)| value.to_owned());
        value.unwrap_or_else(|| panic!("no {name}: {}", self.0))
    }
}

impl S3 {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// One that checks signatures and permissions, after so many calls to set them up.
    pub async fn start_strict(calls: u32) -> Self {
        Self::start_with(Some(calls)).await
    }

    async fn start_with(unchecked_calls: Option<u32>) -> Self {
        let port = free_port();
        let child = Command::new(root().join("tests/support/tether.sh"))
            .arg(tool("moto/bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .envs(unchecked_calls.map(|calls| ("INITIAL_NO_AUTH_ACTION_COUNT", calls.to_string())))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server");
        let server = Self { child, url: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(30);
        let client = server.client();
        while client.send(client.bare(reqwest::Method::GET, "/moto-api/")).await.is_err() {
            assert!(Instant::now() < deadline, "moto_server does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server
    }

    /// Puts an object, or makes a bucket when `content` is none.
    pub async fn put(&self, path: &str, content: Option<&str>) {
        let client = self.client();
        // Unsigned, as the server allows for the platform's side of the test.
        let request = client.bare(reqwest::Method::PUT, path);
        let request = content.into_iter().fold(request, |request, content| request.body(content.to_owned()));
        let answer = client.send(request).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// From now on every request must be signed by somebody it knows, and may do what that one may.
    pub async fn verify(&self, verifies: bool) {
        let client = self.client();
        // So many requests go through unseen.
        let unseen = if verifies { "0" } else { "1000000" };
        let request = client.bare(reqwest::Method::POST, "/moto-api/reset-auth").body(unseen);
        assert_eq!(client.send(request).await.expect("an answer").status, 200);
    }

    /// It forgets everything.
    pub async fn reset(&self) {
        let client = self.client();
        let answer = client.send(client.bare(reqwest::Method::POST, "/moto-api/reset")).await;
        assert_eq!(answer.expect("an answer").status, 200);
    }

    /// A call of IAM or STS, unsigned; a field of its answer.
    pub async fn call(&self, service: &str, fields: &[(&str, &str)]) -> Fields {
        let client = self.client();
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        // By the scope of a signature it is told which service is meant.
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=x"
        );
        let request = client.bare(reqwest::Method::POST, "/").body(body).header("authorization", scope);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = client.send(request).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text);
        Fields(answer.text)
    }

    /// A call of Secrets Manager, as the platform's side of a test would make it; what it answers.
    pub async fn secrets_manager(&self, what: &str, body: serde_json::Value) -> serde_json::Value {
        self.json_call(&format!("secretsmanager.{what}"), "secretsmanager", body).await
    }

    /// The same of KMS.
    pub async fn kms(&self, what: &str, body: serde_json::Value) -> serde_json::Value {
        self.json_call(&format!("TrentService.{what}"), "kms", body).await
    }

    async fn json_call(&self, target: &str, service: &str, body: serde_json::Value) -> serde_json::Value {
        let client = self.client();
        let request = client.bare(reqwest::Method::POST, "/").header("x-amz-target", target);
        let signature = AWS_SIGNATURE.replace("/secretsmanager/", &format!("/{service}/"));
        let request = request.header("content-type", "application/x-amz-json-1.1").header("authorization", signature);
        let answer = client.send(request.body(body.to_string())).await.expect("an answer");
        assert_eq!(answer.status, 200, "{target}: {}", answer.text);
        serde_json::from_str(&answer.text).unwrap_or_default()
    }

    /// A call of IAM; the text of an element of what it answers.
    pub async fn iam(&self, form: &str, element: &str) -> String {
        let client = self.client();
        let signature = AWS_SIGNATURE.replace("eu-central-1/secretsmanager", "us-east-1/iam");
        let request = client.bare(reqwest::Method::POST, "/").header("authorization", signature);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = client.send(request.body(format!("{form}&Version=2010-05-08"))).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text);
        let (begin, end) = (format!("<{element}>"), format!("</{element}>"));
        let found = answer.text.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end));
        found.map(|(text, _)| text.to_owned()).unwrap_or_default()
    }

    fn client(&self) -> Client {
        Client::new(&self.url, "")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
