//! A plugin's settings, from a file.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

/// What `configure` is given: the JSON object of a .json or .toml file, or `{}`, which is what a plugin without settings gets.
pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<String> {
    let Some(file) = file else { return Ok("{}".into()) };
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let of_file = || format!("the settings in {}", file.display());
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => {
            let table: toml::Table = toml::from_str(&text).with_context(of_file)?;
            serde_json::to_string(&table).with_context(of_file)
        }
        Some("json") => {
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&text).with_context(|| format!("{}, which must be one JSON object", of_file()))?;
            serde_json::to_string(&object).with_context(of_file)
        }
        _ => bail!("{} is not named .json or .toml, so there is no telling how to read it", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_one_object_in_either_form() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        assert_eq!(read(None).expect("none"), "{}");
        let toml = write("s.toml", "max_age = \"24h\"\n[table]\nn = 1\n");
        assert_eq!(read(Some(&toml)).expect("TOML"), r#"{"max_age":"24h","table":{"n":1}}"#);
        let json = write("s.json", "{\"a\": [1, null]}");
        assert_eq!(read(Some(&json)).expect("JSON"), r#"{"a":[1,null]}"#);
        for (name, text, says) in [
            ("list.json", "[]", "one JSON object"),
            ("half.toml", "a = ", "half.toml"),
            ("s.yaml", "a: 1", "not named .json or .toml"),
        ] {
            let error = read(Some(&write(name, text))).expect_err(name);
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
    }
}
