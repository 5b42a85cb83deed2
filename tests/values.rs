//! Values in format v2: bound to project, variable and key version; both formats are read, by the page's own reader too.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use origan_codec_host::crypto::{Dek, Kek, KeyRing, WrapContext};
use serde_json::{Value, json};

use crate::support::node;
use crate::support::{Client, Codec, Launch, root, secret};

/// As `docs/FORMAT.md` has them: project, name, value, what it opens to.
fn frozen() -> Vec<[String; 4]> {
    let page = std::fs::read_to_string(root().join("docs/FORMAT.md")).expect("readable");
    let (_, rest) = page.split_once("Three that never change").expect("the vectors");
    let rows = rest.lines().filter(|line| line.starts_with("| `")).take(3);
    let cells = |row: &str| {
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect();
        [1, 2, 3, 4].map(|at| cells[at].clone())
    };
    rows.map(cells).collect()
}

const FROZEN_DEK: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// `dek` under `kek`, as a platform that kept its own would bring it.
async fn wrapped(kek: &str, dek: &str) -> String {
    let ring = KeyRing::new(&Kek::parse_base64(kek).expect("a KEK"), &[]).expect("a ring");
    let dek = Dek::from_slice(&STANDARD.decode(dek).expect("base64")).expect("32 bytes");
    ring.wrap_dek(&dek, WrapContext::Unrecorded).await.expect("random").encrypted_dek.encode()
}

async fn seal(client: &Client, name: Option<&str>, format: Option<&str>, value: &str) -> Value {
    let call = json!({"projectId": "shop", "value": value, "name": name, "format": format});
    client.post("/encrypt", call).await.ok()
}

async fn open(client: &Client, project: &str, name: Option<&str>, sealed: &Value) -> crate::support::Answer {
    let call = json!({"projectId": project, "encryptedDEK": sealed["encryptedDEK"], "encrypted": sealed["encrypted"], "name": name});
    client.post("/decrypt-value", call).await
}

#[tokio::test]
async fn a_v2_value_opens_as_its_own_variable_and_as_no_other() {
    let codec = Codec::start().await;
    let sealed = seal(&codec.client, Some("KEY"), Some("v2"), &secret("one")).await;
    assert!(sealed["encrypted"].as_str().is_some_and(|text| text.starts_with("v2.")), "{sealed}");
    let opened = open(&codec.client, "shop", Some("KEY"), &sealed).await;
    assert_eq!(opened.ok(), json!({"value": secret("one")}));
    assert_eq!(codec.last_record()["variables"], json!(["KEY"]));
    open(&codec.client, "shop", Some("OTHER"), &sealed).await.refused(422, "decrypt_failed");
    open(&codec.client, "shop", None, &sealed).await.refused(422, "name_required");
    let (dek, _) = codec.client.dek("shop").await;
    let raw = json!({"dek": dek, "encrypted": sealed["encrypted"], "name": "KEY"});
    assert_eq!(codec.client.post("/decrypt-value", raw).await.ok(), json!({"value": secret("one")}));
    // In one call with v1, in its own place and in another's.
    let old = seal(&codec.client, None, None, &secret("old")).await;
    let all = |variables: Value| json!({"projectId": "shop", "deploymentId": "d", "variables": variables});
    let stored = |value: &Value| json!({"type": "secret", "value": value["encrypted"]});
    let call = all(json!({"KEY": stored(&sealed), "OLD": stored(&old)}));
    assert_eq!(codec.client.post("/decrypt-all", call).await.ok(), json!({"KEY": secret("one"), "OLD": secret("old")}));
    let pasted = codec.client.post("/decrypt-all", all(json!({"OLD": stored(&sealed)}))).await;
    pasted.refused(422, "decrypt_failed");
    assert_eq!(pasted.json()["variable"], "OLD");
    // Another project's, even under the very same DEK, which the store has as shop's.
    let mut partial = all(json!({"OLD": stored(&sealed), "KEY": stored(&sealed)}));
    partial["partial"] = json!(true);
    let answer = codec.client.post("/decrypt-all", partial).await.ok();
    assert_eq!(answer["values"], json!({"KEY": secret("one")}));
    assert_eq!(answer["errors"]["OLD"]["code"], "decrypt_failed");
    // The version beside it must be its own.
    let beside = json!({"KEY": {"type": "secret", "value": sealed["encrypted"], "keyVersion": 2}});
    codec.client.post("/decrypt-all", all(beside)).await.refused(400, "invalid_request");
    let beside = json!({"KEY": {"type": "secret", "value": sealed["encrypted"], "keyVersion": 1}});
    codec.client.post("/decrypt-all", all(beside)).await.ok();
}

#[tokio::test]
async fn a_project_or_a_call_chooses_and_a_batch_binds_each_to_its_name() {
    let codec = Launch::new().toml("[values]\nv2_projects = [\"bound-*\"]").start().await;
    let batch = |project: &str, format: Option<&str>| {
        let variables = json!({"A": {"type": "secret", "value": "a"}, "B": {"type": "secret", "value": "b"},
                               "P": {"type": "plain", "value": "p"}});
        json!({"projectId": project, "variables": variables, "format": format})
    };
    for (project, format, is_v2) in
        [("bound-1", None, true), ("bound-1", Some("v1"), false), ("free", None, false), ("free", Some("v2"), true)]
    {
        let answer = codec.client.post("/encrypt-all", batch(project, format)).await.ok();
        let variables = answer["variables"].clone();
        for name in ["A", "B"] {
            let value = variables[name]["value"].as_str().expect("text");
            assert_eq!(value.starts_with("v2."), is_v2, "{project} {format:?}");
        }
        let call = json!({"projectId": project, "deploymentId": "d", "variables": variables});
        assert_eq!(codec.client.post("/decrypt-all", call).await.ok(), json!({"A": "a", "B": "b", "P": "p"}));
        // Swapped between themselves: v1 does not notice.
        let (mut swapped, values) = (variables.clone(), variables);
        (swapped["A"]["value"], swapped["B"]["value"]) = (values["B"]["value"].clone(), values["A"]["value"].clone());
        let call = json!({"projectId": project, "deploymentId": "d", "variables": swapped});
        let answer = codec.client.post("/decrypt-all", call).await;
        match is_v2 {
            true => answer.refused(422, "decrypt_failed"),
            false => assert_eq!(answer.ok(), json!({"A": "b", "B": "a", "P": "p"})),
        }
    }
    let nameless = json!({"projectId": "bound-1", "value": "v"});
    codec.client.post("/encrypt", nameless).await.refused(422, "name_required");
    let unknown = json!({"projectId": "free", "value": "v", "name": "A", "format": "v3"});
    codec.client.post("/encrypt", unknown).await.refused(422, "unsupported_format");
}

#[tokio::test]
async fn another_projects_v2_value_does_not_open_though_its_dek_was_carried_over() {
    let codec = Codec::start().await;
    let sealed = seal(&codec.client, Some("KEY"), Some("v2"), "v").await;
    let (_, encrypted_dek) = codec.client.dek("shop").await;
    // A store that knows the same DEK as another project's.
    let other = Launch { kek: codec.launch.kek.clone(), ..Launch::new() }.start().await;
    let taken = json!({"projectId": "blog", "encryptedDEK": encrypted_dek});
    other.client.post("/decrypt-dek", taken).await.ok();
    open(&other.client, "blog", Some("KEY"), &sealed).await.refused(422, "decrypt_failed");
}

#[tokio::test]
async fn the_frozen_values_open_here_and_by_the_pages_reader() {
    let page = std::fs::read_to_string(root().join("docs/FORMAT.md")).expect("readable");
    let (_, rest) = page.split_once("```js\n").expect("the reader");
    let (reader, _) = rest.split_once("```").expect("its end");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("reader.mjs");
    std::fs::write(&path, reader).expect("a file");
    let reads = |dek: &str, project: &str, name: &str, value: &str| {
        let output = Command::new(node::binary()).arg(&path).args([dek, project, name, value]).output().expect("node");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then(|| text.trim_end_matches('\n').to_owned())
    };
    let vectors = frozen();
    assert_eq!(vectors.len(), 3);
    for [project, name, value, text] in &vectors {
        assert_eq!(reads(FROZEN_DEK, project, name, value).as_ref(), Some(text), "{project} {name}");
        assert_eq!(reads(FROZEN_DEK, project, &format!("{name}x"), value), None);
        let codec = Codec::start().await;
        let encrypted_dek = wrapped(&codec.launch.kek, FROZEN_DEK).await;
        let call = json!({"projectId": project, "encryptedDEK": encrypted_dek, "encrypted": value, "name": name});
        assert_eq!(codec.client.post("/decrypt-value", call).await.ok()["value"], *text, "{project} {name}");
    }
    // And what is written now.
    let codec = Codec::start().await;
    for value in ["", "v", "🦀\u{feff}\0", &"x".repeat(70_000)] {
        let sealed = seal(&codec.client, Some("ключ"), Some("v2"), value).await;
        let (dek, _) = codec.client.dek("shop").await;
        // Longer ones are no argument.
        if value.len() < 1_000 && !value.contains('\0') {
            let encrypted = sealed["encrypted"].as_str().expect("text");
            assert_eq!(reads(&dek, "shop", "ключ", encrypted).as_deref(), Some(value));
        }
        assert_eq!(open(&codec.client, "shop", Some("ключ"), &sealed).await.ok()["value"], value);
    }
}

/// Two DEKs: the platform's own, taken over to decrypt only, and ours.
#[tokio::test]
async fn re_encrypt_moves_values_to_the_primary_dek_and_to_v2_and_shows_nobody_what_they_are() {
    let codec = Codec::start().await;
    let mut node = node::Node::start(&codec.launch.kek);
    let dek = node.call(json!({"call": "newDek"}));
    let old = node.call(json!({"call": "encrypt", "value": secret("old"), "encryptedDEK": dek["encryptedDEK"]}));
    let imported = json!({"projectId": "shop", "encryptedDEK": dek["encryptedDEK"]});
    codec.client.post("/decrypt-dek", imported).await.ok();
    let new = seal(&codec.client, None, None, &secret("new")).await;
    assert_eq!(new["keyVersion"], 2);
    let stored = |value: &Value, version: u32| json!({"type": "secret", "encrypted": true, "value": value, "keyVersion": version});
    let variables = json!({"OLD": stored(&old["encrypted"], 1), "NEW": stored(&new["encrypted"], 2),
        "PLAIN": {"type": "plain", "value": "p"}, "FAR": {"type": "external", "provider": "vault", "ref": "secret/data/a#b"}});
    let call = |variables: &Value, format: Option<&str>| json!({"projectId": "shop", "variables": variables, "format": format});
    let answer = codec.client.post("/re-encrypt", call(&variables, None)).await;
    let moved = answer.ok();
    assert_eq!((&moved["keyVersion"], &moved["encryptedDEK"]), (&json!(2), &new["encryptedDEK"]));
    // Under the primary one already, and of no other format: byte for byte; and what is no secret of ours.
    assert_eq!(moved["variables"]["NEW"], variables["NEW"]);
    assert_eq!((&moved["variables"]["PLAIN"], &moved["variables"]["FAR"]), (&variables["PLAIN"], &variables["FAR"]));
    assert_eq!(moved["variables"]["OLD"]["keyVersion"], 2);
    let text = moved["variables"]["OLD"]["value"].as_str().expect("text");
    assert!(!text.starts_with("v2.") && !answer.text.contains(crate::support::CANARY), "{}", answer.text);
    let record = codec.last_record();
    assert_eq!(
        (&record["action"], &record["operation"], &record["keyVersions"], &record["variables"]),
        (&json!("SECRET_REENCRYPT"), &json!("re-encrypt"), &json!([1, 2]), &json!(["NEW", "OLD"]))
    );
    codec.verify(&[answer.receipt()]);
    // To v2, and once more: nothing is left to do. Back to v1 only by name.
    let bound = codec.client.post("/re-encrypt", call(&variables, Some("v2"))).await.ok()["variables"].clone();
    for name in ["OLD", "NEW"] {
        assert!(bound[name]["value"].as_str().is_some_and(|text| text.starts_with("v2.")), "{bound}");
    }
    for format in [None, Some("v2")] {
        assert_eq!(codec.client.post("/re-encrypt", call(&bound, format)).await.ok()["variables"], bound);
    }
    let mut ours = bound.clone();
    ours.as_object_mut().expect("an object").remove("FAR");
    let opens = json!({"projectId": "shop", "deploymentId": "d", "variables": ours});
    let opened = json!({"OLD": secret("old"), "NEW": secret("new"), "PLAIN": "p"});
    assert_eq!(codec.client.post("/decrypt-all", opens).await.ok(), opened);
    let back = codec.client.post("/re-encrypt", call(&ours, Some("v1"))).await.ok()["variables"].clone();
    let opens = json!({"projectId": "shop", "deploymentId": "d", "variables": back});
    assert_eq!(codec.client.post("/decrypt-all", opens).await.ok(), opened);
    // What does not open moves nothing: pasted, altered, of a version that is not there, of a project that is not there.
    let mut pasted = bound.clone();
    pasted["NEW"] = bound["OLD"].clone();
    codec.client.post("/re-encrypt", call(&pasted, None)).await.refused(422, "decrypt_failed");
    let unknown = json!({"A": stored(&new["encrypted"], 7)});
    codec.client.post("/re-encrypt", call(&unknown, None)).await.refused(422, "unknown_key_version");
    let nobody = json!({"projectId": "nobody", "variables": {"A": stored(&new["encrypted"], 1)}});
    codec.client.post("/re-encrypt", nobody).await.refused(404, "unknown_project");
    assert!(codec.records().iter().all(|record| record["action"] != "DEK_CREATE" || record["projectId"] == "shop"));
}
