//! What `--dev` and the sample for production load: both let in whom they say, and differ where a deployment is not known.

use serde_json::json;

use crate::support::{Launch, root};

#[tokio::test]
async fn dev_loads_the_plugins_that_ship_and_lets_an_unknown_deployment_pass_with_a_warning() {
    let mut launch = Launch::new();
    launch.arguments = vec!["serve".into(), "--dev".into()];
    let codec = launch.start().await;
    codec.until_carried("trail").await;
    let plugins = codec.client.get("/status").await.ok()["plugins"].clone();
    for (kind, names) in [("policies", &["recency", "access"][..]), ("sinks", &["trail"][..])] {
        let live = plugins[kind].as_array().expect("a list").iter();
        let live: Vec<&str> = live.filter(|p| p["live"] == true).map(|p| p["name"].as_str().expect("text")).collect();
        assert_eq!(live, names);
    }
    // The token may do everything.
    let sealed = codec.client.encrypt("shop", "v").await;
    let (dek, _) = codec.client.dek("shop").await;
    codec.client.post("/decrypt-value", json!({"dek": dek, "encrypted": sealed["encrypted"]})).await.ok();
    let variables = json!({"A": {"type": "secret", "value": sealed["encrypted"]}});
    let all = json!({"projectId": "shop", "deploymentId": "unheard-of", "variables": variables});
    assert_eq!(codec.client.post("/decrypt-all", all).await.ok()["A"], "v");
    assert!(codec.log().contains("the platform does not know deployment"), "{}", codec.log());
}

#[tokio::test]
async fn the_sample_for_production_goes_live_and_refuses_an_unknown_deployment() {
    let sample = std::fs::read_to_string(root().join("deploy/production.toml")).expect("readable");
    let launch = Launch::new();
    let dir = launch.dir.path().to_owned();
    let secrets = dir.join("secrets");
    std::fs::create_dir_all(&secrets).expect("a folder");
    for name in ["control-api-token", "runner-token", "operator-tools-token", "collector-token"] {
        assert!(sample.contains(&format!("/run/secrets/codec/{name}")), "{name}");
        std::fs::write(secrets.join(name), format!("{name}-of-the-sample\n")).expect("written");
    }
    // Where it would be installed, here: the rest is as it stands.
    let text = sample
        .replace("/run/secrets/codec", &secrets.display().to_string())
        .replace("/etc/codec/plugins", &root().join("target/plugins").display().to_string())
        .replace("\"/var/lib/codec\"", &format!("{:?}", launch.data_dir().display().to_string()))
        .replace("url = \"s3://platform-deployments\"\n", "");
    let launch = launch.variable("INTERNAL_SERVICE_TOKEN", "").toml(&text);
    // The file is written with the first command.
    let output = launch.run(&["config", "check"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("sha-256").count(), 3, "{said}");

    let codec = launch.start().await;
    let with = |name: &str| codec.client.with_token(&format!("{name}-token-of-the-sample"));
    let sealed = with("control-api").encrypt("shop", "v").await;
    let variables = json!({"A": {"type": "secret", "value": sealed["encrypted"]}});
    let all = json!({"projectId": "shop", "deploymentId": "unheard-of", "variables": variables});
    let refused = with("runner").post("/decrypt-all", all).await;
    refused.refused(403, "denied");
    assert_eq!(refused.json()["policyCode"], "deployment-unknown");
    with("runner").post("/encrypt", json!({"projectId": "shop", "value": "v"})).await.refused(403, "denied");
    let explained =
        json!({"action": "decrypt-all", "caller": "runner", "projectId": "shop", "deploymentId": "unheard-of"});
    let said = with("operator-tools").post("/explain", explained).await.ok();
    assert_eq!(said["code"], "deployment-unknown");
}
