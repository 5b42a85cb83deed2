//! What the operator wrote.

use guest_parts::aws;
use guest_parts::duration::Duration;
use guest_parts::http::credential;
use guest_parts::secret::KEEP;
use guest_parts::settings::{Problem, read};

/// The service, as configured.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its endpoint, with a path.
    pub url: String,
    /// The credential that the host signs with, by its name.
    pub credential: Option<String>,
    /// How long the host may keep a secret.
    pub keep: Duration,
}

/// `json` as the service that it describes.
pub fn parse(json: &str) -> Result<Settings, Vec<Problem>> {
    read(json, |settings| {
        let url = aws::url(settings, "secretsmanager");
        let credential = credential(settings);
        let keep = settings.or("keep", KEEP);
        Some(Settings { url: url?, credential, keep })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_an_endpoint_and_an_endpoint_is_itself() {
        let url = |json: &str| parse(json).map(|settings| settings.url);
        assert_eq!(
            url(r#"{"region": "eu-central-1"}"#).as_deref(),
            Ok("https://secretsmanager.eu-central-1.amazonaws.com/")
        );
        assert_eq!(
            url(r#"{"region": "cn-north-1"}"#).as_deref(),
            Ok("https://secretsmanager.cn-north-1.amazonaws.com.cn/")
        );
        assert_eq!(url(r#"{"url": "http://127.0.0.1:5000"}"#).as_deref(), Ok("http://127.0.0.1:5000/"));
    }

    #[test]
    fn every_fault_is_named() {
        for (json, path) in [
            ("{}", "/region"),
            (r#"{"region": "EU"}"#, "/region"),
            (r#"{"region": "eu-central-1", "url": "https://a.test"}"#, "/region"),
            (r#"{"url": "a.test"}"#, "/url"),
            (r#"{"region": "eu-central-1", "credential": ""}"#, "/credential"),
            (r#"{"region": "eu-central-1", "keep": "x"}"#, "/keep"),
            (r#"{"region": "eu-central-1", "secret_key": "x"}"#, "/secret_key"),
        ] {
            let problems = parse(json).expect_err(json);
            assert_eq!(problems.iter().map(|problem| &*problem.path).collect::<Vec<_>>(), [path], "{json}");
        }
    }
}
