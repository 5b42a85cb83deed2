//! Bad ciphertexts and keys: what each gets.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use crate::support::{Codec, secret};

/// An encrypted value, its bytes, and the DEK it is under.
struct Sealed {
    text: String,
    bytes: Vec<u8>,
    dek: String,
    encrypted_dek: String,
}

async fn sealed(codec: &Codec, project: &str) -> Sealed {
    let value = codec.client.encrypt(project, &secret("value")).await;
    let (dek, encrypted_dek) = codec.client.dek(project).await;
    let text = value["encrypted"].as_str().expect("text").to_owned();
    Sealed { bytes: STANDARD.decode(&text).expect("base64"), text, dek, encrypted_dek }
}

#[tokio::test]
async fn spellings_that_are_not_the_one() {
    let codec = Codec::start().await;
    let good = sealed(&codec, "shop").await;
    let (head, tail) = good.text.split_at(20);
    let padded = STANDARD.encode(&good.bytes[..32]);
    let cases = [
        ("empty", String::new()),
        ("not base64", "*".repeat(64)),
        ("inner space", format!("{head} {tail}")),
        ("inner newline", format!("{head}\n{tail}")),
        ("trailing newline", format!("{}\n", good.text)),
        ("url-safe alphabet", URL_SAFE.encode([0xfb; 40])),
        ("missing '='", padded.trim_end_matches('=').to_owned()),
        ("non-zero trailing bits", STANDARD.encode([0; 32]).replace("AAA=", "AAB=")),
        ("bytes after padding", format!("{padded}AAAA")),
    ];
    for (case, encrypted) in cases {
        let answer = codec.client.post("/decrypt-value", json!({"encrypted": encrypted, "dek": good.dek})).await;
        assert_eq!(answer.problem(), (400, "invalid_base64".into()), "{case}");
        let answer = codec.client.post("/decrypt-dek", json!({"encryptedDEK": encrypted, "projectId": "shop"})).await;
        assert_eq!(answer.problem(), (400, "invalid_base64".into()), "{case}");
    }
}

#[tokio::test]
async fn lengths_below_an_iv_and_a_tag() {
    let codec = Codec::start().await;
    let good = sealed(&codec, "shop").await;
    for length in [1, 15, 16, 31] {
        let call = json!({"encrypted": STANDARD.encode(&good.bytes[..length]), "dek": good.dek});
        codec.client.post("/decrypt-value", call).await.refused(400, "ciphertext_too_short");
    }
    let empty = codec.client.encrypt("shop", "").await;
    assert_eq!(STANDARD.decode(empty["encrypted"].as_str().expect("text")).expect("base64").len(), 32);
    let opened = codec.client.post("/decrypt-value", json!({"encrypted": empty["encrypted"], "dek": good.dek})).await;
    assert_eq!(opened.ok()["value"], "");
}

#[tokio::test]
async fn everything_that_does_not_open_gets_the_same_answer() {
    let codec = Codec::start().await;
    let good = sealed(&codec, "shop").await;
    let other = sealed(&codec, "other").await;
    let (iv, rest) = good.bytes.split_at(16);
    let (ciphertext, tag) = rest.split_at(rest.len() - 16);
    let hex: String = good.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let cases = [
        ("tag cut", [iv, ciphertext, &tag[..12]].concat()),
        ("tag in front", [tag, iv, ciphertext].concat()),
        ("ciphertext in front", [ciphertext, iv, tag].concat()),
        ("a 12-byte IV", [&iv[..12], ciphertext, tag].concat()),
        ("another project's value", other.bytes.clone()),
        ("the encrypted DEK", STANDARD.decode(&good.encrypted_dek).expect("base64")),
        ("zeros", vec![0; 64]),
        ("hexadecimal", STANDARD.decode(&hex[..64]).expect("hexadecimal is base64 too")),
    ];
    let mut answers = Vec::new();
    for (case, bytes) in cases {
        let call = json!({"encrypted": STANDARD.encode(bytes), "dek": good.dek});
        let answer = codec.client.post("/decrypt-value", call).await;
        assert_eq!(answer.problem(), (422, "decrypt_failed".into()), "{case}");
        let mut body = answer.json();
        body["requestId"] = Value::Null;
        answers.push(body);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "the cause shows");
}

#[tokio::test]
async fn raw_deks_that_are_none() {
    let codec = Codec::start().await;
    let good = sealed(&codec, "shop").await;
    let bytes = STANDARD.decode(&good.dek).expect("base64");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    for (case, dek) in [
        ("31 bytes", STANDARD.encode(&bytes[..31])),
        ("33 bytes", STANDARD.encode([&bytes[..], &[0]].concat())),
        ("hexadecimal", hex),
        ("empty", String::new()),
        ("trailing newline", format!("{}\n", good.dek)),
        ("url-safe", URL_SAFE.encode([0xfb; 32])),
    ] {
        let answer = codec.client.post("/decrypt-value", json!({"encrypted": good.text, "dek": dek})).await;
        assert_eq!(answer.problem(), (400, "invalid_dek".into()), "{case}");
        assert!(!answer.text.contains(&good.dek[..20]), "{case}");
    }
}

#[tokio::test]
async fn formats_and_plaintexts() {
    let codec = Codec::start().await;
    let good = sealed(&codec, "shop").await;
    for encrypted in ["v9.AAAA", "v3.", "v10.x"] {
        let answer = codec.client.post("/decrypt-value", json!({"encrypted": encrypted, "dek": good.dek})).await;
        answer.refused(422, "unsupported_format");
    }
    for text in ["\0", "\u{feff}x", "a\u{2028}b\u{2029}", "🦀", "\u{1b}[31m"] {
        let value = codec.client.encrypt("shop", text).await;
        let opened =
            codec.client.post("/decrypt-value", json!({"encrypted": value["encrypted"], "dek": good.dek})).await;
        assert_eq!(opened.ok()["value"], text);
    }
}

#[tokio::test]
async fn key_versions() {
    let codec = Codec::start().await;
    let good = sealed(&codec, "shop").await;
    let call = |version: &str| {
        format!(
            r#"{{"projectId":"shop","deploymentId":"d","variables":{{"A":{{"type":"secret","value":"{}","keyVersion":{version}}}}}}}"#,
            good.text
        )
    };
    for version in ["0", "-1", "1.5", "1.0", "1e400", "\"1\"", "9223372036854775808", "4294967296", "true", "[]"] {
        let answer = codec.client.post_text("/decrypt-all", call(version)).await;
        assert_eq!(answer.status, 400, "{version}: {}", answer.text);
    }
    for version in ["2", "4294967295"] {
        let answer = codec.client.post_text("/decrypt-all", call(version)).await;
        answer.refused(422, "unknown_key_version");
        assert_eq!(answer.json()["variable"], "A");
    }
    for version in ["1", "null"] {
        assert_eq!(codec.client.post_text("/decrypt-all", call(version)).await.ok()["A"], secret("value"));
    }
}
