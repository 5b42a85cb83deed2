//! What the operator wrote.

use guest_parts::aws;
use guest_parts::http::credential;
use guest_parts::settings::{Problem, read};

/// The key, as configured.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// The service's endpoint, with a path.
    pub url: String,
    /// What DEKs are wrapped under: an id, an ARN, an alias.
    pub key: String,
    /// The credential that the host signs with, by its name.
    pub credential: Option<String>,
}

/// The longest `KeyId` of the service's model.
const KEY_ID_LEN_MAX: usize = 2_048;

/// `json` as the key that it describes.
pub fn parse(json: &str) -> Result<Settings, Vec<Problem>> {
    read(json, |settings| {
        let url = aws::url(settings, "kms");
        let key = settings.required::<String>("key");
        if let Some(key) = key.as_ref().filter(|key| !is_key_id(key)) {
            let message = format!("{key:?} is not a key: its id, its ARN, \"alias/name\" or an alias's ARN");
            settings.problem("key", message);
        }
        let credential = credential(settings);
        Some(Settings { url: url?, key: key?, credential })
    })
}

/// The characters of ids, ARNs and names of aliases.
fn is_key_id(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"/_-:".contains(&b);
    (1..=KEY_ID_LEN_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_an_endpoint_and_an_endpoint_is_itself() {
        let of = |rest: &str| parse(&format!(r#"{{"key": "alias/codec", {rest}}}"#)).map(|settings| settings.url);
        assert_eq!(of(r#""region": "eu-central-1""#).as_deref(), Ok("https://kms.eu-central-1.amazonaws.com/"));
        assert_eq!(of(r#""region": "cn-north-1""#).as_deref(), Ok("https://kms.cn-north-1.amazonaws.com.cn/"));
        assert_eq!(of(r#""url": "http://127.0.0.1:5000""#).as_deref(), Ok("http://127.0.0.1:5000/"));
    }

    #[test]
    fn every_fault_is_named() {
        for (json, path) in [
            (r#"{"key": "k"}"#, "/region"),
            (r#"{"key": "k", "region": "EU"}"#, "/region"),
            (r#"{"key": "k", "region": "eu-central-1", "url": "https://a.test"}"#, "/region"),
            (r#"{"region": "eu-central-1"}"#, "/key"),
            (r#"{"region": "eu-central-1", "key": ""}"#, "/key"),
            (r#"{"region": "eu-central-1", "key": "a b"}"#, "/key"),
            (r#"{"key": "k", "url": "a.test"}"#, "/url"),
            (r#"{"key": "k", "url": "https://a.test?b"}"#, "/url"),
            (r#"{"region": "eu-central-1", "key": "k", "credential": ""}"#, "/credential"),
            (r#"{"region": "eu-central-1", "key": "k", "secret_key": "x"}"#, "/secret_key"),
        ] {
            let problems = parse(json).expect_err(json);
            assert_eq!(problems.iter().map(|problem| &*problem.path).collect::<Vec<_>>(), [path], "{json}");
        }
    }
}
