//! What the operator wrote.

use guest_parts::duration::Duration;
use guest_parts::http::{base_url, credential};
use guest_parts::secret::KEEP;
use guest_parts::settings::{Problem, read};

/// The vault, as configured.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// `https://<name>.vault.azure.net`.
    pub url: String,
    /// The version of its API.
    pub api_version: String,
    /// The credential that the host adds, by its name.
    pub credential: Option<String>,
    /// How long the host may keep a secret.
    pub keep: Duration,
}

/// Azure has it since 2023, and every later one answers a secret in the same shape. Azure Stack Hub has had none above 7.1.
const API_VERSION: &str = "7.4";

/// `json` as the vault that it describes.
pub fn parse(json: &str) -> Result<Settings, Vec<Problem>> {
    read(json, |settings| {
        let url = base_url(settings);
        let api_version: String = settings.or("api_version", API_VERSION.to_owned());
        if api_version.is_empty() || !api_version.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
            settings.problem("api_version", format!("{api_version:?} is not a version such as \"7.4\""));
        }
        let credential = credential(settings);
        let keep = settings.or("keep", KEEP);
        Some(Settings { url: url?, api_version, credential, keep })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named() {
        let settings = parse(r#"{"url": "https://v.vault.azure.net/"}"#).expect("good");
        assert_eq!((&*settings.url, &*settings.api_version), ("https://v.vault.azure.net", "7.4"));
        for (json, path) in [
            ("{}", "/url"),
            (r#"{"url": "https://v.test?a"}"#, "/url"),
            (r#"{"url": "https://v.test", "api_version": "7.4&x"}"#, "/api_version"),
            (r#"{"url": "https://v.test", "credential": ""}"#, "/credential"),
            (r#"{"url": "https://v.test", "keep": 60}"#, "/keep"),
            (r#"{"url": "https://v.test", "tenant": "x"}"#, "/tenant"),
        ] {
            let problems = parse(json).expect_err(json);
            assert_eq!(problems.iter().map(|problem| &*problem.path).collect::<Vec<_>>(), [path], "{json}");
        }
    }
}
