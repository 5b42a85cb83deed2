//! The providers that ship, against their backends: Vault's API as an independent client finds it, AWS Secrets Manager of moto, Azure Key Vault
//! as its published description has it; and all of them in one call.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::providers::{TOKEN, decrypt, vault_toml};
use crate::support::backend::{Fault, Reply};
use crate::support::key_vault::{KeyVault, KeyVaultServer};
use crate::support::s3::{AWS_SIGNATURE, S3};
use crate::support::vault::VaultServer;
use crate::support::{Codec, Launch, root, secret, tool, walk_through};

/// A provider with one credential, which goes to one origin.
fn toml(provider: &str, origin: &str, prefix: &str, credential: &str, dir: &Path) -> String {
    let file = dir.join(format!("{provider}-credential"));
    std::fs::write(&file, credential).expect("a credential");
    let (kind, url) = match provider {
        "aws" => ("aws-secrets-manager", origin),
        _ => ("azure-key-vault", origin),
    };
    format!(
        "[[credentials]]\nname = \"{provider}\"\nprefix = \"{prefix}\"\nfile = \"{}\"\n\n[[providers]]\nname = \"{provider}\"\n\
         path = \"provider-{kind}.wasm\"\nhttp = [{{ origin = \"{origin}\", addresses = [\"127.0.0.1/32\"], credentials = [\"{provider}\"] }}]\n\
         settings = {{ url = \"{url}\", credential = \"{provider}\" }}\n",
        file.display()
    )
}

fn aws_toml(moto: &S3, dir: &Path) -> String {
    toml("aws", &moto.url, "", AWS_SIGNATURE, dir)
}

fn azure_toml(vault: &KeyVault, dir: &Path) -> String {
    toml("azure", &vault.origin(), "Bearer ", "azure-bearer-token-of-the-tests", dir)
}

fn at(provider: &str, reference: &str) -> Value {
    json!({"type": "external", "provider": provider, "ref": reference})
}

fn version_of(provider: &str, reference: &str, version: &str) -> Value {
    json!({"type": "external", "provider": provider, "ref": reference, "version": version})
}

/// What is asked, and its value or its problem.
type Case<'a> = (&'a str, Value, Result<&'a str, (u16, &'a str)>);

/// Each reference alone: what becomes of it.
async fn each(codec: &Codec, cases: &[Case<'_>]) {
    for (case, variable, expected) in cases {
        let answer = decrypt(codec, json!({ "A": variable })).await;
        match expected {
            Ok(value) => assert_eq!(answer.ok()["A"], *value, "{case}"),
            Err((status, code)) => {
                assert_eq!(answer.problem(), (*status, (*code).to_owned()), "{case}: {}", answer.text)
            }
        }
    }
}

#[tokio::test]
async fn the_vault_of_the_tests_is_what_an_independent_client_takes_for_one() {
    let vault = VaultServer::start(TOKEN).await;
    let output = Command::new(tool("hvac/bin/python"))
        .arg(root().join("tests/support/judge_vault.py"))
        .args([&vault.origin(), TOKEN])
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(vault.requests() > 30);
}

#[tokio::test]
async fn ours_and_those_of_vault_and_aws_and_azure_are_one_call() {
    let (vault, moto, azure) =
        tokio::join!(VaultServer::start(TOKEN), S3::start(), KeyVaultServer::start("azure-bearer-token-of-the-tests"));
    let launch = Launch::new().with_plugins();
    let dir = launch.dir.path().to_owned();
    let toml = [vault_toml(&vault, &dir, ""), aws_toml(&moto, &dir), azure_toml(&azure, &dir)].join("\n");
    let codec = launch.toml(&toml).start().await;
    let (mut variables, mut expected) = (serde_json::Map::new(), serde_json::Map::new());
    for index in 0..20 {
        let value = secret(&format!("own-{index}"));
        let sealed = codec.client.encrypt("shop", &value).await;
        variables.insert(format!("OWN_{index}"), json!({"type": "secret", "value": sealed["encrypted"]}));
        expected.insert(format!("OWN_{index}"), value.into());
    }
    for index in 0..5 {
        let of = |place: &str| secret(&format!("{place}-{index}"));
        vault.with(|vault| vault.put(&format!("secret/data/app-{index}"), json!({"a": of("vault")})));
        let name = format!("app/{index}");
        moto.secrets_manager(
            "CreateSecret",
            json!({"Name": name, "SecretString": json!({"a": of("aws")}).to_string()}),
        )
        .await;
        variables.insert(format!("VAULT_{index}"), at("vault", &format!("secret/data/app-{index}#a")));
        variables.insert(format!("AWS_{index}"), at("aws", &format!("app/{index}#a")));
        expected.insert(format!("VAULT_{index}"), of("vault").into());
        expected.insert(format!("AWS_{index}"), of("aws").into());
    }
    azure.with(|azure| azure.set("app", &secret("azure")));
    variables.insert("AZURE".into(), at("azure", "app"));
    expected.insert("AZURE".into(), secret("azure").into());
    let answer = decrypt(&codec, Value::Object(variables)).await;
    assert_eq!(answer.ok(), Value::Object(expected));
    let record = codec.last_record();
    assert_eq!(record["external"].as_array().map(Vec::len), Some(11));
    assert_eq!(record["variables"].as_array().map(Vec::len), Some(20));
    codec.verify(&[answer.receipt()]);
    // Vault has no call for many, so each is an instance of its own at the same time; AWS has, so all are one.
    for (provider, calls, references) in [("vault", 5, 5), ("aws", 1, 5), ("azure", 1, 1)] {
        let status = codec.provider(provider).await;
        assert_eq!((&status["calls"], &status["references"]), (&json!(calls), &json!(references)), "{provider}");
    }
}

#[tokio::test]
async fn aws_versions_and_stages_fields_binary_and_deleted() {
    let moto = S3::start().await;
    let launch = Launch::new().with_plugins();
    let toml = aws_toml(&moto, launch.dir.path());
    let codec = launch.toml(&toml).start().await;
    let fields = json!({"password": secret("one"), "port": 5432, "empty": ""}).to_string();
    let made = moto.secrets_manager("CreateSecret", json!({"Name": "app/db", "SecretString": fields})).await;
    let (arn, first) = (made["ARN"].as_str().expect("ARN"), made["VersionId"].as_str().expect("VersionId"));
    let second = json!({"password": secret("two")}).to_string();
    moto.secrets_manager("PutSecretValue", json!({"SecretId": "app/db", "SecretString": second})).await;
    moto.secrets_manager("CreateSecret", json!({"Name": "binary", "SecretBinary": STANDARD.encode([0xff, 0])})).await;
    moto.secrets_manager("CreateSecret", json!({"Name": "text", "SecretString": secret("text")})).await;
    moto.secrets_manager("CreateSecret", json!({"Name": "gone", "SecretString": "x"})).await;
    moto.secrets_manager("DeleteSecret", json!({"SecretId": "gone"})).await;
    let (one, two, text) = (secret("one"), secret("two"), secret("text"));
    each(
        &codec,
        &[
            ("the current version", at("aws", "app/db#password"), Ok(&two)),
            ("by its ARN", at("aws", &format!("{arn}#password")), Ok(&two)),
            ("the version before", version_of("aws", "app/db#password", "AWSPREVIOUS"), Ok(&one)),
            ("by its id", version_of("aws", "app/db#password", first), Ok(&one)),
            ("a number", version_of("aws", "app/db#port", first), Ok("5432")),
            ("an empty field", version_of("aws", "app/db#empty", first), Ok("")),
            ("all of it", at("aws", "text"), Ok(&text)),
            ("no such field", at("aws", "app/db#user"), Err((404, "secret_not_found"))),
            ("text has no fields", at("aws", "text#a"), Err((422, "invalid_reference"))),
            ("binary", at("aws", "binary"), Err((422, "plaintext_not_utf8"))),
            ("never there", at("aws", "never"), Err((404, "secret_not_found"))),
            ("deleted", at("aws", "gone"), Err((404, "secret_not_found"))),
            (
                "no such version",
                version_of("aws", "app/db", "11111111-1111-4111-8111-111111111111"),
                Err((404, "secret_not_found")),
            ),
            ("no name", at("aws", "a b"), Err((422, "invalid_reference"))),
        ],
    )
    .await;
    let record = codec.records().into_iter().find(|record| record["external"][0]["askedVersion"] == first);
    assert_eq!(record.expect("recorded")["external"][0]["version"], first);
}

#[tokio::test]
async fn azure_versions_and_fields_and_a_challenge_that_is_not_followed() {
    let azure = KeyVaultServer::start("azure-bearer-token-of-the-tests").await;
    let launch = Launch::new().with_plugins();
    let toml = azure_toml(&azure, launch.dir.path());
    let codec = launch.toml(&toml).start().await;
    let (one, two) = (secret("one"), secret("two"));
    let first = azure.with(|azure| {
        azure.set("gone", "x");
        azure.delete("gone");
        azure.set("denied", "x");
        azure.denied.push("denied".into());
        azure.set("off", "x");
        azure.disabled.push("off".into());
        azure.set("fields", &json!({"a": one, "empty": ""}).to_string());
        let first = azure.set("app", &one);
        azure.set("app", &two);
        first
    });
    let cases = [
        ("the latest", at("azure", "app"), Ok(&*two)),
        ("a version", version_of("azure", "app", &first), Ok(&*one)),
        ("a field", at("azure", "fields#a"), Ok(&*one)),
        ("an empty field", at("azure", "fields#empty"), Ok("")),
        ("text has no fields", at("azure", "app#a"), Err((422, "invalid_reference"))),
        ("no such version", version_of("azure", "app", &"f".repeat(32)), Err((404, "secret_not_found"))),
        ("never there", at("azure", "never"), Err((404, "secret_not_found"))),
        ("deleted", at("azure", "gone"), Err((404, "secret_not_found"))),
        ("disabled", at("azure", "off"), Err((403, "provider_denied"))),
        ("denied", at("azure", "denied"), Err((403, "provider_denied"))),
        ("no name", at("azure", "a/b"), Err((422, "invalid_reference"))),
    ];
    each(&codec, &cases).await;
    // Beyond its expiry nobody keeps it.
    azure.with(|azure| {
        azure.expires = Some(1_000_000_000);
        azure.set("old", "x");
    });
    azure.requests();
    each(&codec, &[("expired", at("azure", "old"), Ok("x")), ("and again", at("azure", "old"), Ok("x"))]).await;
    assert_eq!(azure.requests(), 2);
    // Before it is good, Key Vault answers all the same.
    azure.with(|azure| {
        (azure.expires, azure.not_before) = (None, Some(4_102_444_800));
        azure.set("early", "x");
    });
    each(&codec, &[("not yet valid", at("azure", "early"), Ok("x"))]).await;
    // Its own 429 names no time, what stands in front of it may.
    azure.with(|azure| azure.is_throttled = true);
    let busy = decrypt(&codec, json!({"A": at("azure", "never-1")})).await;
    busy.refused(503, "provider_unavailable");
    assert_eq!(busy.header("retry-after"), Some("1"));
    azure.with(|azure| azure.is_throttled = false);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    azure.fault(Fault::Say(Reply::new(429, "{}").with("retry-after", "30")));
    let busy = decrypt(&codec, json!({"A": at("azure", "never-2")})).await;
    busy.refused(503, "provider_unavailable");
    assert_eq!(busy.header("retry-after"), Some("30"));

    // A token that has expired: 401 and where to get another. Nobody goes there.
    let stranger = KeyVaultServer::start("another-token-that-nobody-has").await;
    let launch = Launch::new().with_plugins();
    let toml = azure_toml(&stranger, launch.dir.path());
    let codec = launch.toml(&toml).start().await;
    each(&codec, &[("401", at("azure", "app"), Err((403, "provider_denied")))]).await;
    assert_eq!(stranger.requests(), 1);
    assert_eq!(codec.provider("azure").await["requestsRefused"], 0);
}

/// As it stands in the handbook, but for the ports: twenty of ours, five of Vault's API and five of moto's, by one call and one request to each.
#[test]
fn the_walk_through_works_as_written() {
    let said = walk_through::run("### Secrets that live elsewhere", &["8200", "5000"], "elsewhere/codec.log");
    let answer = said.lines().find(|line| line.contains("\"OURS_1\"")).expect("the answer");
    let answer: serde_json::Map<String, Value> = serde_json::from_str(answer).expect("JSON");
    assert_eq!(answer.len(), 30);
    for (name, value) in &answer {
        assert_eq!(*value, name.to_lowercase().replace('_', "-"), "{name}");
    }
    // Asked once each, and the second time not at all.
    assert_eq!(said.matches("GET /v1/secret/data/shop 200\n").count(), 2, "{said}");
    assert_eq!(said.matches("\"POST / HTTP/1.1\" 200 -\n").count(), 2, "{said}");
    for provider in ["vault", "aws"] {
        for figure in [
            format!("codec_provider_calls_total{{provider=\"{provider}\"}} 1\n"),
            format!("codec_provider_references_total{{provider=\"{provider}\",outcome=\"found\"}} 5\n"),
        ] {
            assert!(said.contains(&figure), "{figure}: {said}");
        }
    }
    assert!(said.contains("\"reference\":\"shop/key-5\""), "{said}");
}
