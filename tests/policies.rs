//! Policies decide, in the real service, with the plugins that ship.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::{Client, Codec, Launch, root, secret};

const RECENCY: &str = r#"
[[policies]]
name = "recency"
path = "policy-recency.wasm"
actions = ["decrypt-all"]
settings = { max_age = "24h" }
"#;

fn with_plugins(toml: &str) -> Launch {
    let dir = root().join("target/plugins");
    assert!(dir.join("policy-recency.wasm").exists(), "the plugins are built by `make test`");
    Launch::new().toml(&format!("[plugins]\ndir = {:?}\n{toml}", dir.display().to_string()))
}

/// What the platform writes when it deploys, so long ago.
fn deploy(codec: &Codec, id: &str, project: &str, age: Duration) {
    let dir = codec.launch.data_dir().join("deployments").join(id);
    std::fs::create_dir_all(&dir).expect("a folder");
    let path = dir.join("metadata.json");
    std::fs::write(&path, json!({"projectId": project}).to_string()).expect("written");
    let file = std::fs::File::options().write(true).open(&path).expect("there");
    file.set_modified(SystemTime::now() - age).expect("set");
}

async fn sealed(client: &Client, project: &str) -> Value {
    let sealed = client.encrypt(project, &secret("value")).await;
    json!({"A": {"type": "secret", "encrypted": true, "value": sealed["encrypted"], "keyVersion": 1},
           "PLAIN": {"type": "plain", "value": "x"}})
}

fn all(project: &str, deployment: &str, variables: &Value) -> Value {
    json!({"projectId": project, "deploymentId": deployment, "variables": variables})
}

#[tokio::test]
async fn a_deployment_that_is_too_old_or_not_known_gets_no_secret_and_the_record_says_who_refused() {
    let codec = with_plugins(&format!("default = \"allow\"\n{RECENCY}")).start().await;
    let client = &codec.client;
    let variables = sealed(client, "shop").await;
    deploy(&codec, "fresh", "shop", Duration::from_secs(3_600));
    deploy(&codec, "stale", "shop", Duration::from_secs(25 * 3_600));
    deploy(&codec, "foreign", "other", Duration::ZERO);
    let answer = client.post("/decrypt-all", all("shop", "fresh", &variables)).await.ok();
    assert_eq!(answer["A"], secret("value"));
    let record = codec.last_record();
    assert_eq!(record["decisions"], json!({"recency": "allow"}));
    assert!(record["facts"]["deployment"]["created"].as_str().expect("a time").starts_with("20"));

    for (deployment, code) in [("stale", "deployment-too-old"), ("unheard-of", "deployment-unknown")] {
        let answer = client.post("/decrypt-all", all("shop", deployment, &variables)).await;
        answer.refused(403, "denied");
        assert_eq!(answer.json()["policyCode"], code);
        assert!(!answer.text.contains("max_age"), "the operator's reason is not the caller's: {}", answer.text);
        let record = codec.last_record();
        assert_eq!(record["outcome"], "denied");
        assert_eq!(record["policy"]["name"], "recency");
        assert_eq!(record["policy"]["code"], code);
        assert!(record["policy"]["reason"].as_str().expect("a reason").contains(deployment), "{record}");
        codec.verify(&[answer.receipt()]);
    }
    client.post("/decrypt-all", all("shop", "foreign", &variables)).await.refused(403, "deployment_invalid");
}

#[tokio::test]
async fn a_table_says_which_caller_may_do_what_and_everything_else_is_denied() {
    let digest = |token: &str| {
        use sha2::Digest;
        sha2::Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let toml = format!(
        r#"
[[policies]]
name = "access"
path = "policy-access.wasm"
[policies.settings]
table = """
  service | encrypt*, generate-dek | *      | *
  runner  | decrypt-all            | shop-* | *
  ! *     | decrypt-*              | *      | ADMIN_*
"""
[[callers]]
name = "runner"
tokens = ["sha256:{}"]
actions = ["encrypt", "decrypt-all", "decrypt-value"]
"#,
        digest("runner-token")
    );
    let codec = with_plugins(&toml).start().await;
    let (service, runner) = (codec.client.clone(), codec.client.with_token("runner-token"));
    let variables = sealed(&service, "shop-eu").await;
    runner.post("/decrypt-all", all("shop-eu", "d", &variables)).await.ok();
    let denied = async |client: &Client, path: &str, body: Value| {
        let answer = client.post(path, body).await;
        answer.refused(403, "denied");
        answer.json()["policyCode"].as_str().expect("a code").to_owned()
    };
    assert_eq!(denied(&service, "/decrypt-all", all("shop-eu", "d", &variables)).await, "access-denied");
    assert_eq!(denied(&runner, "/decrypt-all", all("bank", "d", &variables)).await, "access-denied");
    let admin = json!({"ADMIN_KEY": variables["A"]});
    assert_eq!(denied(&runner, "/decrypt-all", all("shop-eu", "d", &admin)).await, "access-denied");
    assert_eq!(denied(&runner, "/encrypt", json!({"projectId": "shop-eu", "value": "v"})).await, "access-denied");
    // What the caller's own configuration forbids is told before any policy is asked.
    assert_eq!(denied(&runner, "/generate-dek", json!({"projectId": "shop-eu"})).await, "action-not-allowed");
    assert!(codec.last_record().get("decisions").is_none());
}

#[tokio::test]
async fn a_raw_dek_is_judged_as_the_project_that_owns_it() {
    let toml = r#"
default = "allow"
[[policies]]
name = "prod-freeze"
path = "policy-window.wasm"
actions = ["decrypt-value"]
projects = ["prod-*"]
settings = { windows = [{ name = "always", effect = "deny", zone = "UTC", start = "2000-01-01T00:00", end = "2100-01-01T00:00", code = "frozen" }] }
"#;
    let codec = with_plugins(toml).start().await;
    let client = &codec.client;
    for (project, is_denied) in [("prod-shop", true), ("shop", false)] {
        let value = client.encrypt(project, &secret("v")).await["encrypted"].clone();
        let (dek, encrypted_dek) = client.dek(project).await;
        for body in [
            json!({"encrypted": value, "dek": dek}),
            json!({"encrypted": value, "encryptedDEK": encrypted_dek, "projectId": project}),
        ] {
            let answer = client.post("/decrypt-value", body).await;
            assert_eq!(answer.status, if is_denied { 403 } else { 200 }, "{project}: {}", answer.text);
            assert_eq!(codec.last_record()["projectId"], project);
        }
    }
    // One that nobody owns could be anybody's: every pattern takes it for its own, and whom the caller names instead is not believed.
    let value = client.encrypt("shop", &secret("v")).await["encrypted"].clone();
    let nobodys = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=";
    let answer = client.post("/decrypt-value", json!({"encrypted": value, "dek": nobodys})).await;
    answer.refused(403, "denied");
    assert_eq!(answer.json()["policyCode"], "frozen");
    let claimed = json!({"encrypted": value, "dek": nobodys, "projectId": "shop"});
    client.post("/decrypt-value", claimed).await.refused(403, "dek_not_recognised");
}

#[tokio::test]
async fn a_policy_in_monitor_mode_is_recorded_and_lets_pass_whatever_comes_of_it() {
    let monitored = RECENCY.replace("actions", "mode = \"monitor\"\nactions");
    let broken = "[[policies]]\nname = \"gone\"\npath = \"no-such.wasm\"\nmode = \"monitor\"\n";
    let codec = with_plugins(&format!("default = \"allow\"\n{monitored}{broken}")).start().await;
    let variables = sealed(&codec.client, "shop").await;
    codec.client.post("/decrypt-all", all("shop", "unheard-of", &variables)).await.ok();
    let record = codec.last_record();
    assert_eq!(record["decisions"], json!({"recency": "monitor:deny", "gone": "monitor:not-loaded"}));
    assert_eq!(record["outcome"], "allowed");
    assert!(record.get("policy").is_none());
}

#[tokio::test]
async fn a_deployment_is_looked_up_only_where_a_policy_that_applies_asks_and_a_failure_never_passes() {
    // Nobody listens there.
    let nowhere = "[deployments]\nurl = \"s3://bucket\"\ndeadline_ms = 500\n";
    let launch = |toml: &str| {
        let launch = with_plugins(&format!("default = \"allow\"\n{toml}{nowhere}"));
        let launch = launch.variable("AWS_ENDPOINT", "http://127.0.0.1:9").variable("AWS_ALLOW_HTTP", "true");
        launch.variable("AWS_ACCESS_KEY_ID", "x").variable("AWS_SECRET_ACCESS_KEY", "x").variable("AWS_REGION", "x")
    };
    let codec = launch(&RECENCY.replace("actions", "projects = [\"prod-*\"]\nactions")).start().await;
    let (shop, prod) = (sealed(&codec.client, "shop").await, sealed(&codec.client, "prod-shop").await);
    codec.client.post("/decrypt-all", all("shop", "d", &shop)).await.ok();
    codec.client.post("/decrypt-all", all("prod-shop", "d", &prod)).await.refused(503, "deployment_unavailable");
    assert_eq!(codec.last_record()["reason"], "deployment_unavailable");
    // In monitor mode it changes nothing, not even this.
    let codec = launch(&RECENCY.replace("actions", "mode = \"monitor\"\nactions")).start().await;
    let shop = sealed(&codec.client, "shop").await;
    codec.client.post("/decrypt-all", all("shop", "d", &shop)).await.ok();
    assert_eq!(codec.last_record()["decisions"], json!({"recency": "monitor:not-looked-up"}));
}

#[tokio::test]
async fn where_no_policy_allows_and_none_denies_the_default_decides() {
    for (default, status) in [("", 403), ("default = \"deny\"", 403), ("default = \"allow\"", 200)] {
        let codec = with_plugins(&format!("{default}\n{RECENCY}")).start().await;
        let answer = codec.client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await;
        assert_eq!(answer.status, status, "{default:?}: {}", answer.text);
        if status == 403 {
            assert_eq!(answer.json()["policyCode"], "no-policy-allows");
            assert_eq!(codec.last_record()["policy"]["name"], "default");
        }
    }
    // Without any policy the contract alone holds, unless it is said otherwise.
    let codec = Launch::new().toml("[plugins]\ndefault = \"deny\"").start().await;
    codec.client.post("/encrypt", json!({"projectId": "shop", "value": "v"})).await.refused(403, "denied");
}

#[tokio::test]
async fn explain_tells_each_decision_and_does_nothing() {
    let codec = with_plugins(&format!("default = \"allow\"\n{RECENCY}")).start().await;
    let client = &codec.client;
    deploy(&codec, "stale", "shop", Duration::from_secs(90_000));
    let asked = json!({"action": "decrypt-all", "projectId": "shop", "deploymentId": "stale", "variables": {"A": {}}});
    let answer = client.post("/explain", asked).await;
    let said = answer.ok();
    assert_eq!((&said["decision"], &said["code"]), (&json!("deny"), &json!("deployment-too-old")));
    assert_eq!((&said["policy"], &said["deploymentKnown"]), (&json!("recency"), &json!(true)));
    assert_eq!(said["policies"][0]["decision"], "deny");
    assert!(said["reason"].as_str().expect("a reason").contains("stale"), "{said}");
    codec.verify(&[answer.receipt()]);
    assert_eq!(codec.last_record()["action"], "POLICY_EXPLAIN");

    let said = client.post("/explain", json!({"action": "encrypt", "projectId": "shop"})).await.ok();
    assert_eq!(said, json!({"decision": "allow", "byDefault": true, "policies": []}));
    for (body, code) in [
        (json!({}), "invalid_request"),
        (json!({"action": "decrypt-none"}), "invalid_request"),
        (json!({"action": "encrypt", "caller": "nobody"}), "invalid_request"),
        (json!({"action": "encrypt", "projectId": "../x"}), "invalid_request"),
    ] {
        client.post("/explain", body).await.refused(400, code);
    }
    // It is not counted among the decisions, and no DEK was made.
    let metrics = client.get("/metrics").await.text;
    assert!(metrics.contains("codec_policy_decisions_total{policy=\"recency\",decision=\"deny\"} 0"), "{metrics}");
    let made = codec.records().iter().any(|record| record["action"] == "DEK_CREATE");
    assert!(!made);
}

#[tokio::test]
async fn what_was_decided_on_stands_in_the_record() {
    let toml = r#"
[[policies]]
name = "access"
path = "policy-access.wasm"
settings = { table = "service | * | * | *" }
"#;
    let codec = with_plugins(toml).start().await;
    let variables = sealed(&codec.client, "shop").await;
    codec.client.post("/decrypt-all", all("shop", "d", &variables)).await.ok();
    let record = codec.last_record();
    let encrypted = variables["A"]["value"].as_str().expect("text").len();
    assert_eq!(record["facts"], json!({"plainVariables": ["PLAIN"], "sizes": [encrypted, 1], "versions": [1]}));
    assert_eq!(record["variables"], json!(["A"]));
}
