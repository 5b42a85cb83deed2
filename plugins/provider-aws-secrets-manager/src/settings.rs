//! What the operator wrote.

use guest_parts::duration::Duration;
use guest_parts::http::{Url, credential};
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
        let (url, region) = (settings.optional::<Url>("url"), settings.optional::<String>("region"));
        let url = match (url, region) {
            (Some(_), Some(_)) => {
                settings.problem("region", "contradicts url: write one of the two".to_owned());
                None
            }
            (Some(url), None) => Some(format!("{}/", url.0.trim_end_matches('/'))),
            (None, Some(region)) if is_region(&region) => Some(endpoint(&region)),
            (None, Some(region)) => {
                settings.problem("region", format!("{region:?} is not a region such as \"eu-central-1\""));
                None
            }
            // What is wrong with the URL has been told.
            (None, None) if settings.problem_count() > 0 => None,
            (None, None) => {
                settings.problem("region", "is required, or url in its place".to_owned());
                None
            }
        };
        let credential = credential(settings);
        let keep = settings.or("keep", KEEP);
        Some(Settings { url: url?, credential, keep })
    })
}

fn is_region(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// China's regions have a domain of their own.
fn endpoint(region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://secretsmanager.{region}.{domain}/")
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
