//! What the seed's Node service wrote, codec reads; what codec wrote, Node reads.

use serde_json::json;

use crate::support::node::Node;
use crate::support::{CANARY, Codec};

/// Lengths around the block size, 64 KB, and all of UTF-8's lengths.
fn values() -> Vec<String> {
    let mut values: Vec<String> = [0, 1, 15, 16, 17, 31, 32, 33, 65_536].map(|length| "x".repeat(length)).to_vec();
    values.extend(["\0", "é", "€", "🦀", "\u{feff}", "\u{2028}", "a\0b", "\"\\/\u{8}\u{c}\n\r\t"].map(String::from));
    values.push(format!("{CANARY} é€🦀 mixed"));
    values.push("🦀é€x".repeat(1_000));
    values
}

#[tokio::test]
async fn what_node_wrote_codec_reads() {
    let codec = Codec::start().await;
    let mut node = Node::start(&codec.launch.kek);
    let dek = node.call(json!({"call": "newDek"}));
    let released =
        codec.client.post("/decrypt-dek", json!({"projectId": "old", "encryptedDEK": dek["encryptedDEK"]})).await;
    assert_eq!(released.ok(), json!({"dek": dek["dek"]}));
    for value in values() {
        let sealed = node.call(json!({"call": "encrypt", "value": value, "encryptedDEK": dek["encryptedDEK"]}));
        let opened =
            codec.client.post("/decrypt-value", json!({"encrypted": sealed["encrypted"], "dek": dek["dek"]})).await;
        assert_eq!(opened.ok()["value"], value, "{} bytes", value.len());
        let variables =
            json!({"V": {"type": "secret", "encrypted": true, "value": sealed["encrypted"], "keyVersion": 1}});
        let all = json!({"projectId": "old", "deploymentId": "d", "variables": variables, "encryptedDEK": dek["encryptedDEK"]});
        assert_eq!(codec.client.post("/decrypt-all", all).await.ok()["V"], value, "{} bytes", value.len());
    }
}

#[tokio::test]
async fn what_codec_wrote_node_reads() {
    let codec = Codec::start().await;
    let mut node = Node::start(&codec.launch.kek);
    for value in values() {
        let sealed = codec.client.encrypt("new", &value).await;
        let opened = node
            .call(json!({"call": "decrypt", "encrypted": sealed["encrypted"], "encryptedDEK": sealed["encryptedDEK"]}));
        assert_eq!(opened["value"], value, "{} bytes", value.len());
    }
    let (dek, encrypted_dek) = codec.client.dek("new").await;
    assert_eq!(node.call(json!({"call": "decryptDek", "encryptedDEK": encrypted_dek}))["dek"], dek);
}
