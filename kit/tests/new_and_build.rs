//! `codec-plugin new` makes whole projects, and the command line says what is wrong.
//!
//! That a new project compiles, passes its cases and is admitted is shown where a toolchain for guests is at hand: `CODEC_KIT_FULL=1` does it here.

#![expect(clippy::expect_used, reason = "tests fail loudly")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const KINDS: [(&str, &str); 4] = [
    ("policy", "policy.rs"),
    ("audit-sink", "sink.rs"),
    ("secret-provider", "provider.rs"),
    ("key-provider", "provider.rs"),
];

fn codec_plugin(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codec-plugin"));
    command.current_dir(folder).args(arguments).output().expect("codec-plugin runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_new_project_is_whole_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for (kind, logic) in KINDS {
        let name = format!("my-{kind}");
        let output = codec_plugin(folder.path(), &["new", kind, &name]);
        assert!(output.status.success(), "{}", stderr(&output));
        let project = folder.path().join(&name);
        let read = |file: &str| fs::read_to_string(project.join(file)).expect(file);

        let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
        assert_eq!(manifest["package"]["name"].as_str(), Some(name.as_str()));
        assert_eq!(manifest["lib"]["crate-type"][0].as_str(), Some("cdylib"));
        assert!(manifest.contains_key("workspace"), "stands alone");
        let cases: toml::Table = read("cases.toml").parse().expect("TOML");
        assert!(cases["case"].as_array().is_some_and(|cases| cases.len() >= 3));
        assert!(read("README.md").starts_with(&format!("# {name}\n")));
        assert!(read("src/lib.rs").contains(&format!("world: \"{kind}-plugin\"")));
        assert!(read(&format!("src/{logic}")).contains("#[cfg(test)]"));
        assert_eq!(read(".gitignore"), "/target\n");
        let worlds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/worlds.wit");
        assert_eq!(read("wit/worlds.wit"), fs::read_to_string(worlds).expect("worlds.wit"));
    }
}

#[test]
fn what_is_there_is_never_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("mine")).expect("made");
    for path in ["mine", "mine/"] {
        let output = codec_plugin(folder.path(), &["new", "policy", path]);
        assert!(!output.status.success());
        assert!(stderr(&output).contains("is there already"), "{}", stderr(&output));
    }
    assert_eq!(fs::read_dir(folder.path().join("mine")).expect("there").count(), 0);
}

#[test]
fn a_mistake_is_answered_by_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("noise.wasm"), [7_u8; 4_096]).expect("written");
    fs::create_dir(folder.path().join("empty")).expect("made");
    for (arguments, says) in [
        (&["new", "policy", "My_Policy"][..], "a letter a-z first"),
        (&["new", "key-provider", "kp", "--lang", "c"], "`--lang rust` has one"),
        (&["new", "policy", "wit-bindgen"], "another name"),
        (&["inspect", "noise.wasm"], "noise.wasm: this is not WebAssembly"),
        (&["inspect", "nowhere.wasm"], "cannot read nowhere.wasm"),
        (&["build", "nowhere", "--no-install"], "there is no folder nowhere"),
    ] {
        let output = codec_plugin(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(says), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 2, "nothing is left behind");
}

/// Minutes of work for two compilers, and downloads: only when asked.
#[test]
fn a_new_project_tests_builds_and_shows_its_grants() {
    if std::env::var_os("CODEC_KIT_FULL").is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (kind, _) in KINDS {
        assert!(codec_plugin(folder.path(), &["new", kind, kind]).status.success());
        let project = folder.path().join(kind);
        let tests = Command::new("cargo")
            .args(["test", "--target-dir"])
            .arg(folder.path().join("native"))
            .current_dir(&project)
            .output()
            .expect("cargo runs");
        assert!(tests.status.success(), "{}", stderr(&tests));
        let built = codec_plugin(folder.path(), &["build", "--no-install", kind, "--out", "out"]);
        assert!(built.status.success(), "{}", stderr(&built));
        let shown = codec_plugin(folder.path(), &["inspect", &format!("out/{kind}.wasm"), "--json"]);
        let anatomy: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
        assert_eq!(anatomy["kinds"], serde_json::json!([kind]));
        let refused = anatomy["imports"].as_array().expect("imports").iter().any(|import| import["grant"] == "refused");
        assert!(!refused, "{anatomy}");
        let tested = codec_plugin(&project, &["test", "--no-install"]);
        let told = String::from_utf8_lossy(&tested.stdout).into_owned();
        assert!(tested.status.success() && told.ends_with(" passed, 0 failed\n"), "{told}{}", stderr(&tested));
        let settings = folder.path().join("settings.json").to_string_lossy().into_owned();
        let more = match kind {
            "secret-provider" => r#"{"url": "https://secrets.test"}"#,
            "key-provider" => r#"{"url": "https://keys.test", "key": "codec"}"#,
            _ => "{}",
        };
        fs::write(&settings, more).expect("written");
        let granted = ["--lines", "stdout", "--http", "https://a.test", "--settings", &settings];
        let checked = codec_plugin(folder.path(), &[&["check", kind, "--no-build"][..], &granted].concat());
        assert!(checked.status.success(), "{}", stderr(&checked));
        let measured = codec_plugin(folder.path(), &["bench", kind, "--no-build", "-n", "2000", "--json"]);
        assert!(measured.status.success(), "{}", stderr(&measured));
        let figures: serde_json::Value = serde_json::from_slice(&measured.stdout).expect("JSON");
        let rows = figures["rows"].as_array().map_or(0, Vec::len);
        assert!(figures["kind"] == *kind && rows >= 2, "{figures}");
    }
}
