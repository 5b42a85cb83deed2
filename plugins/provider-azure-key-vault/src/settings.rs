//! What the operator wrote.

use guest_parts::duration::Duration;
use guest_parts::http::Url;
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

/// A minute: short enough that a new version is soon seen, long enough for a deployment of many workers.
const KEEP: Duration = Duration { ms: 60_000 };

/// `json` as the vault that it describes.
pub fn parse(json: &str) -> Result<Settings, Vec<Problem>> {
    read(json, |settings| {
        let url = settings.required::<Url>("url");
        if url.as_ref().is_some_and(|url| url.0.contains('?')) {
            settings.problem("url", "must not have a query".to_owned());
        }
        let credential = settings.optional::<String>("credential");
        if credential.as_ref().is_some_and(String::is_empty) {
            settings.problem("credential", "is empty".to_owned());
        }
        let keep = settings.or("keep", KEEP);
        Some(Settings { url: url?.0.trim_end_matches('/').to_owned(), credential, keep })
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
