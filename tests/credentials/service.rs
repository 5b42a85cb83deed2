//! In the whole service: a sink is lent what it never holds.

use super::oauth2::{Issuer, bearer};
use super::*;

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
