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
    /// The credential that the host adds, by its name.
    pub credential: Option<String>,
    /// How long the host may keep a secret.
    pub keep: Duration,
}

/// `json` as the vault that it describes.
pub fn parse(json: &str) -> Result<Settings, Vec<Problem>> {
    read(json, |settings| {
        let url = base_url(settings);
        let credential = credential(settings);
        let keep = settings.or("keep", KEEP);
        Some(Settings { url: url?, credential, keep })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named() {
        assert_eq!(parse(r#"{"url": "https://v.vault.azure.net/"}"#).expect("good").url, "https://v.vault.azure.net");
        for (json, path) in [
            ("{}", "/url"),
            (r#"{"url": "https://v.test?a"}"#, "/url"),
            (r#"{"url": "https://v.test", "credential": ""}"#, "/credential"),
            (r#"{"url": "https://v.test", "keep": 60}"#, "/keep"),
            (r#"{"url": "https://v.test", "tenant": "x"}"#, "/tenant"),
        ] {
            let problems = parse(json).expect_err(json);
            assert_eq!(problems.iter().map(|problem| &*problem.path).collect::<Vec<_>>(), [path], "{json}");
        }
    }
}
