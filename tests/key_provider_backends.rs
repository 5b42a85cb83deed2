//! The key providers that ship, against their backends: AWS KMS of moto, whose requests are signed and checked; Azure Key Vault as its
//! published description has it; the walk-through of OPERATIONS, with Vault's transit engine as an independent client finds it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::key_providers::{launch, transit_toml, vault};
use crate::support::backend::{Fault, Reply};
use crate::support::key_vault_keys::{KeyVaultKeys, KeyVaultKeysServer};
use crate::support::outside_kek::{decrypts, kek, stopped, waiting_for};
use crate::support::s3::S3;
use crate::support::{root, walk_through};

/// The token that the Key Vault of the tests takes.
const AZURE_TOKEN: &str = "azure-bearer-token-of-the-tests";

/// `[keys.provider]` on the KMS key `key`, with a signature of whoever has `keys`.
fn kms_toml(moto: &S3, dir: &Path, key: &str, (id, secret): (&str, &str)) -> String {
    let (id_file, secret_file) = (dir.join("aws-id"), dir.join("aws-secret"));
    std::fs::write(&id_file, id).expect("a file");
    std::fs::write(&secret_file, secret).expect("a file");
    format!(
        "[keys.provider]\nname = \"kms\"\npath = \"keys-aws-kms.wasm\"\nbreaker_ms = 200\n\
         http = [{{ origin = \"{url}\", addresses = [\"127.0.0.1/32\"], credentials = [\"aws\"] }}]\n\
         settings = {{ url = \"{url}\", key = \"{key}\", credential = \"aws\" }}\n\n\
         [[credentials]]\nname = \"aws\"\nkind = \"aws-sigv4\"\nregion = \"eu-central-1\"\nservice = \"kms\"\nmethod = \"files\"\n\
         access_key_id_file = \"{}\"\nsecret_access_key_file = \"{}\"\n",
        id_file.display(),
        secret_file.display(),
        url = moto.url,
    )
}

/// A user who may do `actions`, and the keys to sign with.
async fn user(moto: &S3, name: &str, actions: &[&str]) -> (String, String) {
    let user = [("UserName", name), ("Version", "2010-05-08")];
    moto.call("iam", &[&[("Action", "CreateUser")], &user[..]].concat()).await;
    let statement =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]});
    let statement = statement.to_string();
    let policy = [("Action", "PutUserPolicy"), ("PolicyName", "p"), ("PolicyDocument", statement.as_str())];
    moto.call("iam", &[&policy[..], &user].concat()).await;
    let keys = moto.call("iam", &[&[("Action", "CreateAccessKey")], &user[..]].concat()).await;
    (keys.get("AccessKeyId"), keys.get("SecretAccessKey"))
}

#[tokio::test]
async fn aws_kms_wraps_for_whom_its_policy_lets_and_its_signatures_are_checked() {
    let moto = S3::start().await;
    let made = moto.kms("CreateKey", json!({"Description": "codec"})).await;
    let arn = made["KeyMetadata"]["Arn"].as_str().expect("an ARN").to_owned();
    moto.kms("CreateAlias", json!({"AliasName": "alias/codec", "TargetKeyId": arn})).await;
    let keys = user(&moto, "codec", &["kms:Encrypt", "kms:Decrypt"]).await;
    let stranger = user(&moto, "stranger", &["s3:GetObject"]).await;
    moto.verify(true).await;
    let launch = launch();
    let dir = launch.dir.clone();
    let toml = |keys: (&str, &str)| kms_toml(&moto, dir.path(), "alias/codec", keys);
    let codec = launch.toml(&toml((&keys.0, &keys.1))).start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    let status = kek(&codec.client).await;
    assert_eq!((&status["location"], &status["answers"]), (&json!("provider"), &json!(true)));
    // Who may not, and who signs with another secret: nothing opens, nothing is made.
    let mut launch = stopped(codec).await;
    for (case, keys, named) in [
        ("one who may not", (stranger.0.as_str(), stranger.1.as_str()), "denied"),
        ("a wrong secret", (keys.0.as_str(), "wrong-wrong-wrong-wrong-wrong-wrong-wron"), "denied"),
    ] {
        launch.toml = toml(keys);
        let refused = launch.clone().start_unready().await;
        let waiting = waiting_for(&refused).await;
        assert!(waiting.contains(named), "{case}: {waiting}");
    }
    // An alias that has moved on: what is there opens under the key that its row names, which the ARN tells.
    moto.verify(false).await;
    let other = moto.kms("CreateKey", json!({})).await["KeyMetadata"]["Arn"].clone();
    moto.kms("UpdateAlias", json!({"AliasName": "alias/codec", "TargetKeyId": other})).await;
    moto.verify(true).await;
    launch.toml = toml((&keys.0, &keys.1));
    let codec = launch.start().await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    codec.client.encrypt("after", "v").await;
    // No longer allowed: what is not in the cache gets 503, and the reason is the operator's.
    moto.verify(false).await;
    let taken = [("Action", "DeleteUserPolicy"), ("PolicyName", "p"), ("UserName", "codec"), ("Version", "2010-05-08")];
    moto.call("iam", &taken).await;
    moto.verify(true).await;
    codec.client.post("/encrypt", json!({"projectId": "new", "value": "v"})).await.refused(503, "kek_unavailable");
    assert!(codec.log().contains("denied"), "{}", codec.log());
    moto.verify(false).await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    codec.verify(&[]);
}

fn azure_toml(vault: &KeyVaultKeys, dir: &Path, more: &str) -> String {
    let (origin, file) = (vault.origin(), dir.join("azure-token"));
    std::fs::write(&file, AZURE_TOKEN).expect("a token");
    format!(
        "[keys.provider]\nname = \"key-vault\"\npath = \"keys-azure-key-vault.wasm\"\nbreaker_ms = 200\n{more}\n\
         http = [{{ origin = \"{origin}\", addresses = [\"127.0.0.1/32\"], credentials = [\"azure\"] }}]\n\
         settings = {{ url = \"{origin}\", key = \"codec\", credential = \"azure\" }}\n\n\
         [[credentials]]\nname = \"azure\"\nprefix = \"Bearer \"\nfile = \"{}\"\n",
        file.display()
    )
}

#[tokio::test]
async fn azure_key_vault_wraps_under_the_latest_version_and_opens_under_the_one_that_wrapped() {
    let vault = KeyVaultKeysServer::start(AZURE_TOKEN).await;
    vault.with(|vault| vault.rotate("codec"));
    let launch = launch();
    let dir = launch.dir.clone();
    let codec = launch.toml(&azure_toml(&vault, dir.path(), "")).start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    let id = kek(&codec.client).await["primary"].as_str().expect("an id").to_owned();
    vault.with(|vault| vault.rotate("codec"));
    let after = codec.client.encrypt("after", "v").await;
    let mut launch = stopped(codec).await;
    launch.toml = azure_toml(&vault, dir.path(), &format!("kek_id = \"{id}\""));
    let codec = launch.start().await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
    decrypts(&codec.client, "after", &after["encrypted"], "v").await;
    // Throttled, forbidden: 503, with the reason in the log, and on when it is over.
    for (case, status, body, said) in [
        ("forbidden", 403, json!({"error": {"code": "Forbidden", "message": "no permission"}}), "denied"),
        ("throttled", 429, json!({"error": {"code": "Throttled", "message": "slow down"}}), "asked again later"),
        ("broken", 500, json!({}), "500"),
    ] {
        vault.always(Some(Fault::Say(Reply::new(status, body.to_string()))));
        let answer = codec.client.post("/encrypt", json!({"projectId": format!("p-{status}"), "value": "v"})).await;
        answer.refused(503, "kek_unavailable");
        assert!(codec.log().contains(said), "{case}: {}", codec.log());
        vault.always(None);
        let deadline = Instant::now() + Duration::from_secs(20);
        while kek(&codec.client).await["answers"] != true {
            assert!(Instant::now() < deadline, "{case}: {}", codec.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let back: Value = codec.client.encrypt("back", "v").await;
    decrypts(&codec.client, "back", &back["encrypted"], "v").await;
    // Deleted: what is cached goes on, nothing new begins.
    vault.with(|vault| vault.delete("codec"));
    codec.client.post("/encrypt", json!({"projectId": "gone", "value": "v"})).await.refused(503, "kek_unavailable");
    assert!(codec.log().contains("unknown key"), "{}", codec.log());
    decrypts(&codec.client, "back", &back["encrypted"], "v").await;
}

/// What a DEK is wrapped for is bound to it, or nothing is wrapped.
#[tokio::test]
async fn a_vault_that_passes_over_the_context_wraps_nothing_and_a_derived_key_is_one_too() {
    let vault = vault().await;
    vault.with(|vault| vault.transit().is_old = true);
    let launch = launch();
    let dir = launch.dir.clone();
    let toml = transit_toml(&vault.origin(), dir.path(), "codec", "", "breaker_ms = 200");
    let codec = launch.toml(&toml).start_unready().await;
    let waiting = waiting_for(&codec).await;
    assert!(waiting.contains("associated_data"), "{waiting}");
    vault.with(|vault| vault.transit().is_old = false);
    codec.until_ready().await;
    codec.client.encrypt("shop", "v").await;
    let derived = crate::key_providers::launch();
    vault.with(|vault| vault.change("POST", "transit/keys/derived", json!({"type": "aes256-gcm96", "derived": true})));
    let toml = transit_toml(&vault.origin(), derived.dir.path(), "derived", "", "");
    let toml = toml.replace("key = \"derived\"", "key = \"derived\", derived = true");
    let codec = derived.toml(&toml).start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    let codec = stopped(codec).await.start().await;
    decrypts(&codec.client, "shop", &sealed["encrypted"], "v").await;
}

/// As it stands in `docs/OPERATIONS.md`, but for the ports.
#[test]
fn the_walk_through_works_as_written() {
    let said = walk_through::run("## A KEK behind a key service", &["8200"], "outside/codec.log");
    for promised in [
        "the configuration is good",
        "POST /v1/transit/encrypt/codec 200\nPOST /v1/transit/decrypt/codec 200\n",
        "{\"URL\":\"postgres://shop:hunter2@db/shop\"}",
        "\"code\":\"kek_unavailable\"",
        "\"location\":\"provider\",\"name\":\"key provider `transit`\",\"answers\":true}",
        "the journal is sound",
    ] {
        assert!(said.contains(promised), "{promised}: {said}");
    }
}

/// The other configurations that OPERATIONS shows are ones.
#[test]
fn what_the_page_shows_of_configurations_is_taken() {
    let page = std::fs::read_to_string(root().join("docs/OPERATIONS.md")).expect("readable");
    let (_, page) = page.split_once("## A KEK behind a key service\n").expect("the section");
    let (page, _) = page.split_once("\n## ").expect("its end");
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [kms, key_vault, two] = blocks[..] else { panic!("{} blocks", blocks.len()) };
    let two = format!("{two}\n{kms}");
    let (environment, dir) = (origan_codec::config::Environment::default(), tempfile::tempdir().expect("a folder"));
    for (index, block) in [kms, key_vault, &two].into_iter().enumerate() {
        let path = dir.path().join(format!("{index}.toml"));
        std::fs::write(&path, block).expect("a file");
        let config = origan_codec::config::Config::load(Some(&path), &environment).expect(block);
        assert!(config.keys.provider.is_some());
    }
}
