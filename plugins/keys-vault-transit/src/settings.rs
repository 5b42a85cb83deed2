//! What the operator wrote.

use guest_parts::http::{base_url, credential};
use guest_parts::settings::{Problem, read};

/// The key, as configured.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// Up to and without `/v1`.
    pub url: String,
    /// Where the engine is mounted, without a slash at either end.
    pub mount: String,
    /// The key's name.
    pub key: String,
    /// Sent as `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// The credential that the host adds, by its name.
    pub credential: Option<String>,
    /// Whether the key was made with `derived`, so that Vault wants a context for each use.
    pub is_derived: bool,
}

/// Where Vault mounts the engine unless it is told otherwise.
const MOUNT: &str = "transit";

/// `json` as the key that it describes.
pub fn parse(json: &str) -> Result<Settings, Vec<Problem>> {
    read(json, |settings| {
        let url = base_url(settings);
        let mount: String = settings.or("mount", MOUNT.to_owned());
        if !mount.split('/').all(is_name) {
            let message = format!(
                "{mount:?} is not a mount such as {MOUNT:?} or \"team/transit\", without a slash at either end"
            );
            settings.problem("mount", message);
        }
        let key = settings.required::<String>("key");
        if let Some(key) = key.as_ref().filter(|key| !is_name(key)) {
            settings
                .problem("key", format!("{key:?} is not the name of a key: A-Z a-z 0-9 and _, within it also - and ."));
        }
        let namespace = settings.optional::<String>("namespace");
        if namespace.as_ref().is_some_and(|name| name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic())) {
            settings.problem("namespace", "must be printable ASCII, and not empty".to_owned());
        }
        let credential = credential(settings);
        let is_derived = settings.or("derived", false);
        Some(Settings { url: url?, mount, key: key?, namespace, credential, is_derived })
    })
}

/// As Vault has names in paths (`framework.GenericNameRegex`). What is none could lead elsewhere.
fn is_name(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let is_inner = |b: u8| is_word(b) || b == b'-' || b == b'.';
    let (first, last) = (text.bytes().next(), text.bytes().next_back());
    first.is_some_and(is_word) && last.is_some_and(is_word) && text.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_everything() {
        let expected = Settings {
            url: "https://vault.test:8200".into(),
            mount: "transit".into(),
            key: "codec".into(),
            namespace: None,
            credential: None,
            is_derived: false,
        };
        assert_eq!(parse(r#"{"url": "https://vault.test:8200/", "key": "codec"}"#), Ok(expected));
        let all = r#"{"url": "https://v.test/vault", "mount": "team-a/transit", "key": "a.b-c_d", "namespace": "team/a",
            "credential": "vault", "derived": true}"#;
        let settings = parse(all).expect("good");
        assert_eq!((&*settings.url, &*settings.mount), ("https://v.test/vault", "team-a/transit"));
        assert_eq!((&*settings.key, settings.is_derived), ("a.b-c_d", true));
    }

    #[test]
    fn every_fault_is_named() {
        for (rest, path) in [
            (r#""key": """#, "/key"),
            (r#""key": "a/b""#, "/key"),
            (r#""key": "..""#, "/key"),
            (r#""key": "a?b""#, "/key"),
            (r#""key": 1"#, "/key"),
            (r#""key": "k", "mount": "/transit""#, "/mount"),
            (r#""key": "k", "mount": "transit/""#, "/mount"),
            (r#""key": "k", "mount": "a/../sys""#, "/mount"),
            (r#""key": "k", "mount": """#, "/mount"),
            (r#""key": "k", "namespace": "a b""#, "/namespace"),
            (r#""key": "k", "credential": """#, "/credential"),
            (r#""key": "k", "derived": "yes""#, "/derived"),
            (r#""key": "k", "token": "x""#, "/token"),
        ] {
            let problems = parse(&format!(r#"{{"url": "https://v.test", {rest}}}"#)).expect_err(rest);
            assert_eq!(problems.iter().map(|problem| &*problem.path).collect::<Vec<_>>(), [path], "{rest}");
        }
        for url in ["", "v.test", "https://u@v.test", "https://v.test?x"] {
            let problems = parse(&format!(r#"{{"url": "{url}", "key": "k"}}"#)).expect_err(url);
            assert_eq!(problems[0].path, "/url", "{url}");
        }
    }
}
