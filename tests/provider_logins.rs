//! The providers that ship with the credentials of their own kinds: the host logs in or signs, the guest asks, and neither's headers are in
//! the other's way.

use serde_json::json;

use crate::providers::{TOKEN, decrypt};
use crate::support::key_vault::KeyVaultServer;
use crate::support::s3::S3;
use crate::support::vault::VaultServer;
use crate::support::{Launch, secret};

/// A provider whose credential has these keys.
fn toml(name: &str, component: &str, origin: &str, credential: &str) -> String {
    format!(
        "[[credentials]]\nname = \"{name}\"\n{credential}\n[[providers]]\nname = \"{name}\"\npath = \"{component}.wasm\"\n\
         http = [{{ origin = \"{origin}\", addresses = [\"127.0.0.1/32\"], credentials = [\"{name}\"] }}]\n\
         settings = {{ url = \"{origin}\", credential = \"{name}\" }}\n"
    )
}

#[tokio::test]
async fn secrets_manager_is_asked_by_signed_requests_and_refuses_the_wrong_key() {
    // A user, a key, a policy and a secret; from then on signatures and permissions are checked.
    let moto = S3::start_strict(4).await;
    moto.iam("Action=CreateUser&UserName=codec", "Arn").await;
    let key = |name| moto.iam("Action=CreateAccessKey&UserName=codec", name);
    let pair = key("CreateAccessKeyResult").await;
    let between = |name: &str| {
        let rest = pair.split_once(&format!("<{name}>")).expect("there").1;
        rest.split_once("</").expect("ended").0.to_owned()
    };
    let (id, wrong) = (between("AccessKeyId"), "wrong-key-0123456789012345678901234567890");
    let allowed = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%5B%22secretsmanager%3ABatchGetSecretValue%22%2C%22secretsmanager%3AGetSecretValue%22%5D%2C%22Resource%22%3A%22%2A%22%7D%7D";
    moto.iam(&format!("Action=PutUserPolicy&UserName=codec&PolicyName=p&PolicyDocument={allowed}"), "RequestId").await;
    moto.secrets_manager(
        "CreateSecret",
        json!({"Name": "app/db", "SecretString": json!({"a": secret("aws")}).to_string()}),
    )
    .await;

    let launch = Launch::new().with_plugins();
    let dir = launch.dir.path().to_owned();
    let file = |name: &str, content: &str| {
        std::fs::write(dir.join(name), content).expect("written");
        dir.join(name).display().to_string()
    };
    let (id, key) = (file("id", &id), file("key", &between("SecretAccessKey")));
    let credential = format!(
        "kind = \"aws-sigv4\"\nregion = \"eu-central-1\"\nservice = \"secretsmanager\"\nmethod = \"files\"\n\
         access_key_id_file = \"{id}\"\nsecret_access_key_file = \"{key}\"\n"
    );
    let codec = launch.toml(&toml("aws", "provider-aws-secrets-manager", &moto.url, &credential)).start().await;
    let far = |reference: &str, version: Option<&str>| json!({"A": {"type": "external", "provider": "aws", "ref": reference, "version": version}});
    assert_eq!(decrypt(&codec, far("app/db#a", None)).await.ok()["A"], secret("aws"));
    assert_eq!(decrypt(&codec, far("app/db#a", Some("AWSCURRENT"))).await.ok()["A"], secret("aws"));
    file("key", wrong);
    let refused = decrypt(&codec, far("other#a", None)).await;
    refused.refused(403, "provider_denied");
}

#[tokio::test]
async fn vault_is_asked_with_the_token_of_a_login() {
    let vault = VaultServer::start(TOKEN).await;
    vault.with(|vault| {
        vault.put("secret/data/app", json!({"a": secret("vault")}));
        vault.approle = Some(("role-of-the-tests".into(), "secret-id-of-the-tests".into()));
    });
    let launch = Launch::new().with_plugins();
    let file = launch.dir.path().join("secret-id");
    std::fs::write(&file, "secret-id-of-the-tests\n").expect("written");
    let credential = format!(
        "kind = \"vault\"\nlogin_url = \"{}\"\naddresses = [\"127.0.0.1/32\"]\nmethod = \"approle\"\nrole_id = \"role-of-the-tests\"\n\
         secret_id_file = \"{}\"\n",
        vault.origin(),
        file.display()
    );
    let codec = launch.toml(&toml("vault", "provider-vault", &vault.origin(), &credential)).start().await;
    let far = |reference: &str| json!({"A": {"type": "external", "provider": "vault", "ref": reference}});
    assert_eq!(decrypt(&codec, far("secret/data/app#a")).await.ok()["A"], secret("vault"));
    // A token that was revoked meanwhile: logged in again, and asked again.
    vault.with(|vault| vault.tokens = vec!["hvs.the-next-one-0123456789".into()]);
    decrypt(&codec, far("secret/data/other#a")).await.refused(404, "secret_not_found");
    let log = codec.log();
    assert!(!log.contains("secret-id-of-the-tests") && !log.contains(TOKEN), "{log}");
}

#[tokio::test]
async fn key_vault_is_asked_with_a_bearer_token_that_an_assertion_has_brought() {
    let azure = KeyVaultServer::start("azure-bearer-token-of-the-tests").await;
    azure.with(|azure| azure.set("app", &secret("azure")));
    let launch = Launch::new().with_plugins();
    let file = launch.dir.path().join("assertion");
    std::fs::write(&file, "assertion-of-the-tests\n").expect("written");
    let credential = format!(
        "kind = \"oauth2\"\nlogin_url = \"{}/tenant/oauth2/v2.0/token\"\naddresses = [\"127.0.0.1/32\"]\nclient_id = \"codec\"\n\
         method = \"assertion\"\ntoken_file = \"{}\"\nscope = \"https://vault.azure.net/.default\"\n",
        azure.origin(),
        file.display()
    );
    let codec = launch.toml(&toml("azure", "provider-azure-key-vault", &azure.origin(), &credential)).start().await;
    let answer = decrypt(&codec, json!({"A": {"type": "external", "provider": "azure", "ref": "app"}})).await;
    assert_eq!(answer.ok()["A"], secret("azure"));
}
