//! The AES-GCM vectors of C2SP/Wycheproof with 256-bit keys and 128-bit IVs, through the real endpoint, and every single-bit change
//! of them refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::Codec;

fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("vectors/wycheproof_aes256gcm_iv128.json")).expect("vectors")
}

fn from_hex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().expect("hexadecimal").as_bytes();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

#[tokio::test]
async fn every_vector_opens() {
    let codec = Codec::start().await;
    let vectors = vectors();
    assert_eq!(vectors.len(), 19);
    for vector in vectors {
        let dek = STANDARD.encode(from_hex(&vector["keyHex"]));
        let answer = codec.client.post("/decrypt-value", json!({"encrypted": vector["blobB64"], "dek": dek})).await;
        match String::from_utf8(from_hex(&vector["msgHex"])) {
            Ok(text) => assert_eq!(answer.ok()["value"], text, "tcId {}", vector["tcId"]),
            Err(_) => answer.refused(422, "plaintext_not_utf8"),
        }
    }
}

#[tokio::test]
async fn every_single_bit_change_is_refused() {
    let codec = Codec::start().await;
    let client = codec.client.keeping_connections();
    let mut changes = 0;
    for vector in vectors() {
        let dek = STANDARD.encode(from_hex(&vector["keyHex"]));
        let blob = STANDARD.decode(vector["blobB64"].as_str().expect("base64")).expect("base64");
        for bit in 0..blob.len() * 8 {
            let mut changed = blob.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let call = json!({"encrypted": STANDARD.encode(changed), "dek": dek});
            client.post("/decrypt-value", call).await.refused(422, "decrypt_failed");
            changes += 1;
        }
    }
    assert_eq!(changes, 9_472);
}
