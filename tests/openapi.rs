//! `docs/openapi.json` and the router say the same.

use std::collections::BTreeSet;

use origan_codec::http::{Code, ROUTES};
use serde_json::{Value, json};

use crate::support::{Codec, root};

fn document() -> Value {
    let text = std::fs::read_to_string(root().join("docs/openapi.json")).expect("the document");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn its_paths_are_the_routes() {
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let documented: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().expect("methods").keys().map(|m| (m.to_uppercase(), path.clone()))
        })
        .collect();
    let routes = ROUTES.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(documented, routes);
}

#[test]
fn its_codes_are_the_codes() {
    let document = document();
    let codes = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array().expect("codes");
    let documented: Vec<&str> = codes.iter().map(|code| code.as_str().expect("text")).collect();
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(documented, codes);
}

/// Follows one `$ref`.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).expect("a definition"),
        None => value,
    }
}

#[tokio::test]
async fn what_is_answered_has_the_properties_that_are_documented() {
    let document = document();
    let codec = Codec::start().await;
    let sealed = codec.client.encrypt("shop", "v").await;
    codec.client.encrypt("other", "v").await;
    let variables = json!({"A": {"type": "secret", "value": "v"}});
    for (path, body) in [
        ("/encrypt", json!({"projectId": "shop", "value": "v"})),
        ("/encrypt-all", json!({"projectId": "shop", "variables": variables})),
        ("/generate-dek", json!({"projectId": "shop"})),
        ("/rotate-dek", json!({"projectId": "other"})),
        ("/rewrap-dek", json!({"projectId": "shop"})),
        ("/disable-dek", json!({"projectId": "other", "keyVersion": 1})),
        ("/decrypt-dek", json!({"projectId": "shop", "encryptedDEK": sealed["encryptedDEK"]})),
        (
            "/decrypt-value",
            json!({"projectId": "shop", "encryptedDEK": sealed["encryptedDEK"], "encrypted": sealed["encrypted"]}),
        ),
    ] {
        let operation = &document["paths"][path]["post"];
        let request = resolved(&document, &operation["requestBody"]["content"]["application/json"]["schema"]);
        let known = request["properties"].as_object().unwrap_or_else(|| panic!("{path}: properties"));
        for name in body.as_object().expect("an object").keys() {
            assert!(known.contains_key(name), "{path} takes {name}");
        }
        let answer = codec.client.post(path, body).await.ok();
        let response = resolved(&document, &operation["responses"]["200"]);
        let schema = resolved(&document, &response["content"]["application/json"]["schema"]);
        let documented: BTreeSet<&String> =
            schema["properties"].as_object().unwrap_or_else(|| panic!("{path}: properties")).keys().collect();
        let answered: BTreeSet<&String> = answer.as_object().expect("an object").keys().collect();
        assert_eq!(answered, documented, "{path}");
    }
    let served = codec.client.get("/openapi.json").await.ok();
    assert_eq!(served, document);
}
