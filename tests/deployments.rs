//! Deployments are read only when something needs them, and what cannot be read refuses.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::node::Node;
use crate::support::s3::S3;
use crate::support::{Codec, Launch, free_port, secret};

/// A project whose DEK the service has never seen: it is in the deployment's metadata, as the seed has it.
struct Deployed {
    metadata: String,
    variables: Value,
}

fn deployed(kek: &str, project: &str) -> Deployed {
    let mut node = Node::start(kek);
    let encrypted_dek = node.call(json!({"call": "newDek"}))["encryptedDEK"].clone();
    let sealed = node.call(json!({"call": "encrypt", "value": secret("deployed"), "encryptedDEK": encrypted_dek}));
    let variables = json!({
        "API_URL": {"type": "plain", "value": "https://api.example.com"},
        "DATABASE_URL": {"type": "secret", "encrypted": true, "value": sealed["encrypted"]},
    });
    let metadata = json!({"projectId": project, "encryptedDEK": encrypted_dek, "environmentVariables": variables});
    Deployed { metadata: metadata.to_string(), variables }
}

fn call(project: &str, deployment: &str, variables: &Value) -> Value {
    json!({"projectId": project, "deploymentId": deployment, "variables": variables})
}

fn write(data_dir: &Path, deployment: &str, content: &str) {
    let dir = data_dir.join("deployments").join(deployment);
    std::fs::create_dir_all(&dir).expect("a folder");
    std::fs::write(dir.join("metadata.json"), content).expect("written");
}

fn opened() -> Value {
    json!({"API_URL": "https://api.example.com", "DATABASE_URL": secret("deployed")})
}

#[tokio::test]
async fn the_dek_in_a_deployment_on_disk_is_used_where_request_and_store_have_none() {
    let codec = Codec::start().await;
    let deployed = deployed(&codec.launch.kek, "shop");
    codec.client.post("/decrypt-all", call("shop", "d-1", &deployed.variables)).await.refused(404, "unknown_project");
    write(&codec.launch.data_dir(), "d-2", &deployed.metadata);
    assert_eq!(codec.client.post("/decrypt-all", call("shop", "d-2", &deployed.variables)).await.ok(), opened());
    // Another project cannot have it by naming the deployment.
    codec
        .client
        .post("/decrypt-all", call("thief", "d-2", &deployed.variables))
        .await
        .refused(403, "deployment_invalid");
    // It is in the store now: the deployment is no longer read.
    std::fs::remove_dir_all(codec.launch.data_dir().join("deployments")).expect("removed");
    assert_eq!(codec.client.post("/decrypt-all", call("shop", "gone", &deployed.variables)).await.ok(), opened());
}

#[tokio::test]
async fn a_required_deployment_must_be_known_valid_and_this_projects() {
    let codec = Launch::new().toml("[deployments]\nrequired = true\ncache_s = 0\nobject_bytes = 5000").start().await;
    let data_dir = codec.launch.data_dir();
    let sealed = codec.client.encrypt("shop", "x").await;
    let variables = json!({"A": {"type": "secret", "value": sealed["encrypted"]}});
    codec.client.post("/decrypt-all", call("shop", "absent", &variables)).await.refused(404, "unknown_deployment");
    let padded = |length: usize| format!("{}{}", json!({"projectId": "shop"}), " ".repeat(length));
    for (deployment, content) in [
        ("empty", String::new()),
        ("no-json", "metadata".into()),
        ("a-list", "[]".into()),
        ("no-project", "{}".into()),
        ("anothers", json!({"projectId": "other"}).to_string()),
        ("a-path", json!({"projectId": "../shop"}).to_string()),
        ("bad-dek", json!({"projectId": "shop", "encryptedDEK": "garbage"}).to_string()),
        ("too-large", padded(5_000)),
    ] {
        write(&data_dir, deployment, &content);
        let answer = codec.client.post("/decrypt-all", call("shop", deployment, &variables)).await;
        assert_eq!(answer.problem(), (403, "deployment_invalid".into()), "{deployment}");
        assert_eq!(codec.last_record()["outcome"], "denied");
    }
    write(&data_dir, "good", &padded(4_000));
    assert_eq!(codec.client.post("/decrypt-all", call("shop", "good", &variables)).await.ok(), json!({"A": "x"}));
    let plain = json!({"A": {"type": "plain", "value": "x"}});
    codec.client.post("/decrypt-all", call("shop", "absent", &plain)).await.refused(404, "unknown_deployment");
}

#[tokio::test]
async fn five_gigabytes_are_not_read() {
    let codec = Launch::new().toml("[deployments]\nrequired = true").start().await;
    write(&codec.launch.data_dir(), "huge", "");
    let path = codec.launch.data_dir().join("deployments/huge/metadata.json");
    std::fs::File::options().write(true).open(path).and_then(|file| file.set_len(5 << 30)).expect("a sparse file");
    codec.client.post("/decrypt-all", call("shop", "huge", &json!({}))).await.refused(403, "deployment_invalid");
}

fn on_s3(launch: Launch, url: &str, secret_key: &str, deadline_ms: u32) -> Launch {
    let deployments = "[deployments]\nurl = \"s3://platform/production\"\nrequired = true\ncache_s = 0";
    launch
        .variable("AWS_ENDPOINT_URL", url)
        .variable("AWS_ALLOW_HTTP", "true")
        .variable("AWS_REGION", "us-east-1")
        .variable("AWS_ACCESS_KEY_ID", "test")
        .variable("AWS_SECRET_ACCESS_KEY", secret_key)
        .toml(&format!("{deployments}\ndeadline_ms = {deadline_ms}"))
}

#[tokio::test]
async fn s3_is_read_like_a_folder_and_its_failures_pass() {
    let server = S3::start().await;
    // The server is in Python. What is gone is asked for again up to the deadline.
    let launch = on_s3(Launch::new(), &server.url, "test-secret-key", 5_000);
    let deployed = deployed(&launch.kek, "shop");
    server.put("/platform", None).await;
    server.put("/platform/production/deployments/d-1/metadata.json", Some(&deployed.metadata)).await;
    server.put("/platform/production/deployments/bad/metadata.json", Some("{")).await;
    let codec = launch.start().await;
    assert_eq!(codec.client.post("/decrypt-all", call("shop", "d-1", &deployed.variables)).await.ok(), opened());
    codec
        .client
        .post("/decrypt-all", call("shop", "absent", &deployed.variables))
        .await
        .refused(404, "unknown_deployment");
    codec
        .client
        .post("/decrypt-all", call("shop", "bad", &deployed.variables))
        .await
        .refused(403, "deployment_invalid");
    drop(server);
    let gone = codec.client.post("/decrypt-all", call("shop", "d-1", &deployed.variables)).await;
    gone.refused(503, "deployment_unavailable");
    assert_eq!(gone.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn an_object_store_that_hangs_is_given_up_at_the_deadline() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let codec = on_s3(Launch::new(), &url, "key", 1_500).start().await;
    let started = Instant::now();
    codec.client.post("/decrypt-all", call("shop", "d", &json!({}))).await.refused(503, "deployment_unavailable");
    assert!(started.elapsed() < Duration::from_secs(20));
    let refused = on_s3(Launch::new(), &format!("http://127.0.0.1:{}", free_port()), "key", 1_500).start().await;
    refused.client.post("/decrypt-all", call("shop", "d", &json!({}))).await.refused(503, "deployment_unavailable");
}
