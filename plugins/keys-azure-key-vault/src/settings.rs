//! What the operator wrote.

use guest_parts::http::{base_url, credential};
use guest_parts::settings::{Problem, read};

/// The key, as configured.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// `https://<name>.vault.azure.net`, or `https://<name>.managedhsm.azure.net`.
    pub url: String,
    /// The key's name.
    pub key: String,
    /// Which version wraps; none: the newest. Each DEK is opened by the version that wrapped it.
    pub version: Option<String>,
    /// How keys are wrapped.
    pub algorithm: Algorithm,
    /// The version of the vault's API.
    pub api_version: String,
    /// The credential that the host adds, by its name.
    pub credential: Option<String>,
}

/// Of `JsonWebKeyEncryptionAlgorithm`, those that wrap a DEK safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 8017 with SHA-256, for RSA keys.
    RsaOaep256,
    /// RFC 3394 with 256 bits, for `oct-HSM` keys of Managed HSM.
    Aes256Kw,
}

/// As the provider of secrets has it.
const API_VERSION: &str = "7.4";

const ALGORITHMS: [(&str, Algorithm); 2] = [("RSA-OAEP-256", Algorithm::RsaOaep256), ("A256KW", Algorithm::Aes256Kw)];

impl Algorithm {
    /// As the API has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::Aes256Kw => "A256KW",
        }
    }
}

/// `json` as the key that it describes.
pub fn parse(json: &str) -> Result<Settings, Vec<Problem>> {
    read(json, |settings| {
        let url = base_url(settings);
        let key = settings.required::<String>("key");
        if let Some(key) = key.as_ref().filter(|key| !is_name(key)) {
            settings.problem("key", format!("{key:?} is not the name of a key: 1 to 127 of A-Z a-z 0-9 and -"));
        }
        let version = settings.optional::<String>("version");
        if let Some(version) = version.as_ref().filter(|version| !is_version(version)) {
            settings.problem("version", format!("{version:?} is not a version: 32 hexadecimal digits"));
        }
        let algorithm = settings.choice("algorithm", &ALGORITHMS, Algorithm::RsaOaep256);
        let api_version: String = settings.or("api_version", API_VERSION.to_owned());
        if api_version.is_empty() || !api_version.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
            settings.problem("api_version", format!("{api_version:?} is not a version such as \"{API_VERSION}\""));
        }
        let credential = credential(settings);
        Some(Settings { url: url?, key: key?, version, algorithm, api_version, credential })
    })
}

fn is_name(text: &str) -> bool {
    (1..=127).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether `text` is a version of a key. What is none could lead elsewhere in a URL.
pub fn is_version(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named() {
        let settings = parse(r#"{"url": "https://v.vault.azure.net/", "key": "codec"}"#).expect("good");
        assert_eq!((&*settings.url, &*settings.api_version), ("https://v.vault.azure.net", "7.4"));
        assert_eq!((settings.algorithm, settings.version), (Algorithm::RsaOaep256, None));
        for (name, algorithm) in ALGORITHMS {
            assert_eq!(algorithm.name(), name);
        }
        for (rest, path) in [
            (r#""key": """#, "/key"),
            (r#""key": "a/b""#, "/key"),
            (r#""key": "k", "version": "latest""#, "/version"),
            (r#""key": "k", "algorithm": "RSA1_5""#, "/algorithm"),
            (r#""key": "k", "algorithm": "RSA-OAEP""#, "/algorithm"),
            (r#""key": "k", "api_version": "7.4&x""#, "/api_version"),
            (r#""key": "k", "credential": """#, "/credential"),
            (r#""key": "k", "tenant": "x""#, "/tenant"),
        ] {
            let problems = parse(&format!(r#"{{"url": "https://v.test", {rest}}}"#)).expect_err(rest);
            assert_eq!(problems.iter().map(|problem| &*problem.path).collect::<Vec<_>>(), [path], "{rest}");
        }
        for json in
            [r#"{"key": "k"}"#, r#"{"key": "k", "url": "v.test"}"#, r#"{"key": "k", "url": "https://v.test?a"}"#]
        {
            assert_eq!(parse(json).expect_err(json)[0].path, "/url", "{json}");
        }
    }
}
