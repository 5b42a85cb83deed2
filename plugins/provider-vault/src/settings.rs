//! What the operator wrote.

use guest_parts::duration::Duration;
use guest_parts::http::{base_url, credential};
use guest_parts::secret::KEEP;
use guest_parts::settings::{Problem, read};

/// The Vault, as configured.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// Up to and without `/v1`.
    pub url: String,
    /// The credential that the host adds, by its name.
    pub credential: Option<String>,
    /// Sent as `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// Mounts whose reads answer `data` without versions: KV version 1, and engines with leases.
    pub unversioned_mounts: Vec<String>,
    /// How long the host may keep a secret, where no lease says less.
    pub keep: Duration,
}

/// `json` as the Vault that it describes.
pub fn parse(json: &str) -> Result<Settings, Vec<Problem>> {
    read(json, |settings| {
        let url = base_url(settings);
        let credential = credential(settings);
        let namespace = settings.optional::<String>("namespace");
        if namespace.as_ref().is_some_and(|name| name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic())) {
            settings.problem("namespace", "must be printable ASCII, and not empty".to_owned());
        }
        let unversioned_mounts: Vec<String> = settings.or("unversioned_mounts", Vec::new());
        let is_wrong = |mount: &String| mount.is_empty() || mount.starts_with('/') || mount.ends_with('/');
        if let Some(mount) = unversioned_mounts.iter().find(|mount| is_wrong(mount)) {
            let message =
                format!("{mount:?} is not a mount such as \"kv\" or \"team/kv\", without a slash at either end");
            settings.problem("unversioned_mounts", message);
        }
        let keep = settings.or("keep", KEEP);
        Some(Settings { url: url?, credential, namespace, unversioned_mounts, keep })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_everything() {
        let settings = parse(r#"{"url": "https://vault.test:8200/"}"#).expect("good");
        let expected = Settings {
            url: "https://vault.test:8200".into(),
            credential: None,
            namespace: None,
            unversioned_mounts: Vec::new(),
            keep: KEEP,
        };
        assert_eq!(settings, expected);
        let all = r#"{"url": "https://v.test/vault", "credential": "vault", "namespace": "team/a", "unversioned_mounts": ["kv", "a/b"],
            "keep": "0s"}"#;
        let settings = parse(all).expect("good");
        assert_eq!((settings.url.as_str(), settings.keep.ms), ("https://v.test/vault", 0));
        assert_eq!(settings.unversioned_mounts, ["kv", "a/b"]);
    }

    #[test]
    fn every_fault_is_named() {
        for (rest, path) in [
            (r#""credential": """#, "/credential"),
            (r#""namespace": "a b""#, "/namespace"),
            (r#""unversioned_mounts": ["kv", "/kv"]"#, "/unversioned_mounts"),
            (r#""unversioned_mounts": "kv""#, "/unversioned_mounts"),
            (r#""keep": "1 minute""#, "/keep"),
            (r#""token": "x""#, "/token"),
        ] {
            let problems = parse(&format!(r#"{{"url": "https://v.test", {rest}}}"#)).expect_err(rest);
            assert_eq!(problems.iter().map(|problem| &*problem.path).collect::<Vec<_>>(), [path], "{rest}");
        }
        for url in ["", "v.test", "https://u@v.test", "https://v.test?x"] {
            let problems = parse(&format!(r#"{{"url": "{url}"}}"#)).expect_err(url);
            assert_eq!(problems[0].path, "/url", "{url}");
        }
    }
}
