//! A plugin is what its component does, whatever it is written in: those in JavaScript, Python and C pass the cases of those in Rust, run
//! in the real service, and are started by `codec-plugin new`; what a language does otherwise here is as `docs/PLUGINS.md` says.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::support::{Launch, plugins, root};

/// The engines of JavaScript and of Python take seconds to compile, and other tests are at work beside.
const PATIENCE: Duration = Duration::from_secs(400);

fn kit(arguments: &[&str]) -> Output {
    let path = Path::new(env!("CARGO_BIN_EXE_codec")).with_file_name("codec-plugin");
    assert!(path.exists(), "the kit is built by `make test`");
    Command::new(path).current_dir(root()).args(arguments).output().expect("codec-plugin runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn passes(arguments: &[&str]) -> String {
    let output = kit(arguments);
    let said = stdout(&output);
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The two examples in one language, on the very files that those in Rust are tested with.
fn passes_the_cases_of_rust(language: &str) {
    for (example, original) in [("policy-recency", "policy-recency"), ("audit-lines", "audit-lines")] {
        let project = format!("plugins/examples/{example}-{language}");
        let cases = std::fs::read_to_string(root().join(format!("plugins/{original}/cases.toml"))).expect("cases");
        let count = cases.lines().filter(|line| *line == "[[case]]").count();
        assert!(count >= 10);
        let said = passes(&["test", &project]);
        assert_eq!(said.lines().last(), Some(&*format!("{count} passed, 0 failed")), "{project}: {said}");
        let component = format!("{project}/target/{example}-{language}.wasm");
        let anatomy: Value = serde_json::from_str(&passes(&["inspect", &component, "--json"])).expect("JSON");
        let imports: Vec<&str> = anatomy["imports"]
            .as_array()
            .expect("imports")
            .iter()
            .filter_map(|import| import["name"].as_str())
            .collect();
        assert!(!imports.is_empty() && imports.iter().all(|name| name.starts_with("origan:codec/")), "{anatomy}");
    }
}

#[test]
fn those_in_javascript_pass_the_cases_of_those_in_rust() {
    passes_the_cases_of_rust("js");
}

#[test]
fn those_in_python_pass_the_cases_of_those_in_rust() {
    passes_the_cases_of_rust("py");
}

#[test]
fn those_in_c_pass_the_cases_of_those_in_rust() {
    passes_the_cases_of_rust("c");
}

#[tokio::test]
async fn a_policy_in_each_language_allows_and_denies_in_the_running_service() {
    let mut toml = format!("[plugins]\ndir = {:?}\n", root().join("target/plugins").display().to_string());
    for language in ["c", "js", "py"] {
        toml += &format!(
            "[[policies]]\nname = \"{language}\"\npath = \"policy-recency-{language}.wasm\"\nprojects = [\"{language}\"]\n\
             actions = [\"decrypt-all\"]\ncompile_deadline_ms = 400000\nsettings = {{ max_age = \"24h\" }}\n"
        );
    }
    // What encrypts needs an allowance too.
    toml += "[[policies]]\nname = \"rust\"\npath = \"policy-recency.wasm\"\nactions = [\"encrypt\"]\nsettings = { max_age = \"24h\" }\n";
    toml = toml.replace("[plugins]", "[plugins]\ndefault = \"allow\"");
    toml += "[[outputs]]\nname = \"trail\"\nto = \"file:trail.jsonl\"\n[[sinks]]\nname = \"trail\"\npath = \"audit-lines-c.wasm\"\n\
             lines = [\"trail\"]\nsettings = { output = \"trail\" }\n";
    for name in ["policy-recency-c", "policy-recency-js", "policy-recency-py", "audit-lines-c"] {
        // `make test` has built them; the file is there.
        assert!(!plugins::component(name).is_empty());
    }
    let codec = Launch::new().toml(&toml).start_unready().await;
    let start = Instant::now();
    while codec.client.get("/readyz").await.status != 200 {
        assert!(start.elapsed() < PATIENCE, "it does not become ready:\n{}", codec.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let status = codec.plugins().await;
    let policies = status["policies"].as_array().expect("policies");
    assert!(policies.iter().all(|policy| policy["live"] == true && policy["snapshot"] == true), "{status:#}");
    for language in ["c", "js", "py"] {
        for (id, age) in [("fresh", Duration::from_secs(3_600)), ("stale", Duration::from_secs(25 * 3_600))] {
            let id = format!("{language}-{id}");
            let dir = codec.launch.data_dir().join("deployments").join(&id);
            std::fs::create_dir_all(&dir).expect("a folder");
            let path = dir.join("metadata.json");
            std::fs::write(&path, json!({"projectId": language}).to_string()).expect("written");
            let file = std::fs::File::options().write(true).open(&path).expect("there");
            file.set_modified(SystemTime::now() - age).expect("set");
        }
        let sealed = codec.client.encrypt(language, "v").await;
        let variables = json!({"A": {"type": "secret", "value": sealed["encrypted"]}});
        let ask = async |id: String| {
            let all = json!({"projectId": language, "deploymentId": id, "variables": variables});
            codec.client.post("/decrypt-all", all).await
        };
        assert_eq!(ask(format!("{language}-fresh")).await.ok()["A"], "v");
        assert_eq!(codec.last_record()["decisions"], json!({language: "allow"}));
        for (id, code) in [("stale", "deployment-too-old"), ("unheard-of", "deployment-unknown")] {
            let refused = ask(format!("{language}-{id}")).await;
            refused.refused(403, "denied");
            assert_eq!(refused.json()["policyCode"], code);
            assert_eq!(codec.last_record()["policy"]["name"], *language);
        }
    }
    codec.until_carried("trail").await;
    plugins::assert_same(&plugins::lines(&codec.launch.output("trail.jsonl")), &codec.launch.journal_lines());
}

/// A project as `codec-plugin new` writes it, in a folder that stays: its component is made again only if what it writes has changed.
fn new_project(kind: &str, language: &str) -> PathBuf {
    let made = tempfile::tempdir().expect("a folder");
    let name = format!("{language}-{kind}");
    let project = made.path().join(&name);
    passes(&["new", kind, &project.display().to_string(), "--lang", language]);
    let kept = root().join("target/languages").join(&name);
    for file in ["", "wit"] {
        std::fs::create_dir_all(kept.join(file)).expect("a folder");
        for entry in std::fs::read_dir(project.join(file)).expect("there").map(|entry| entry.expect("entry").path()) {
            if entry.is_file() {
                let to = kept.join(file).join(entry.file_name().expect("a name"));
                std::fs::copy(&entry, to).expect("copied");
            }
        }
    }
    kept
}

fn a_new_project_passes_its_cases(language: &str) {
    for kind in ["policy", "audit-sink"] {
        let project = new_project(kind, language).display().to_string();
        let said = passes(&["test", &project]);
        assert!(said.ends_with(" passed, 0 failed\n") && !said.contains("\n0 passed"), "{said}");
        assert!(!std::fs::read_to_string(format!("{project}/README.md")).expect("README").contains("{{"));
    }
}

#[test]
fn a_new_project_in_javascript_builds_and_passes_its_cases() {
    a_new_project_passes_its_cases("js");
}

#[test]
fn a_new_project_in_python_builds_and_passes_its_cases() {
    a_new_project_passes_its_cases("python");
}

#[test]
fn a_new_project_in_c_builds_and_passes_its_cases() {
    a_new_project_passes_its_cases("c");
}

/// What came of each of `tests/languages/traps.toml`: the reason that was given, or the first line of the fault. Asked twice, of an instance
/// each: what came must be the same.
fn traps(language: &str) -> HashMap<String, String> {
    let output = kit(&["test", &format!("tests/languages/traps-{language}")]);
    let said = stdout(&output);
    assert!(!output.status.success() && said.contains("\n0 passed, 20 failed\n"), "{said}");
    let mut came = HashMap::new();
    let lines: Vec<&str> = said.lines().collect();
    for pair in lines.windows(2) {
        let Some(name) = pair[0].strip_prefix("FAILED  ") else { continue };
        let what = name.split(' ').next().expect("a word").to_owned();
        let answer = pair[1].split_once("reason: \"<").and_then(|(_, rest)| rest.split_once(">\""));
        let answer = answer.map_or(pair[1].trim(), |(reason, _)| reason).to_owned();
        if let Some(before) = came.insert(what, answer.clone()) {
            assert_eq!(before, answer, "{name}");
        }
    }
    assert_eq!(came.len(), 10, "{said}");
    came
}

/// That each of these ended in a trap.
#[track_caller]
fn assert_trapped(came: &HashMap<String, String>, names: &[&str]) {
    for name in names {
        assert!(came[*name].starts_with("it trapped: "), "{name}: {}", came[*name]);
        assert!(!came[*name].contains("the message"), "{name}: {}", came[*name]);
    }
}

#[test]
fn what_javascript_does_otherwise_is_as_documented() {
    let came = traps("js");
    assert!(came["random"].starts_with("0.") && came["uuid"].len() == 36, "frozen, and the same twice: {came:?}");
    assert!(came["clock"].parse::<u64>().is_ok_and(|ms| ms > 1_700_000_000_000), "stands still: {came:?}");
    assert_eq!((&*came["time"], &*came["absent"]), ("bigint 1767268800000", "undefined"));
    assert_eq!(came["print"], "undefined", "it goes nowhere");
    assert_trapped(&came, &["exception", "import", "open", "shape"]);
}

#[test]
fn what_python_does_otherwise_is_as_documented() {
    let came = traps("py");
    assert!(came["random"].starts_with("0."), "frozen, and the same twice: {came:?}");
    assert_eq!((&*came["time"], &*came["absent"]), ("int 1767268800000", "None"));
    assert_trapped(&came, &["uuid", "clock", "print", "exception", "import", "open", "shape"]);
}

#[test]
fn what_c_does_otherwise_is_as_documented() {
    let came = traps("c");
    assert_eq!(came["absent"], "none");
    assert_trapped(&came, &["exception"]);
    // The bindings write 0 for a tag that is none, and 0 is `allow`.
    assert!(came["shape"].ends_with("it answered Allow"), "{came:?}");
    // What wants a system makes no component, and says what to do instead.
    let folder = tempfile::tempdir().expect("a folder");
    let project = root().join("tests/languages/traps-c");
    let source = std::fs::read_to_string(project.join("traps.c")).expect("C");
    let source = format!("#include <stdio.h>\n{}", source.replace("(void)json,", "printf(\"%zu\\n\", json->len),"));
    std::fs::write(folder.path().join("traps.c"), source).expect("written");
    let manifest = std::fs::read_to_string(project.join("plugin.toml")).expect("TOML");
    let wit = root().join("wit").display().to_string();
    std::fs::write(folder.path().join("plugin.toml"), manifest.replace("../../../wit", &wit)).expect("written");
    let output = kit(&["build", &folder.path().display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("use snprintf") && said.contains("wasi_snapshot_preview1"),
        "{said}"
    );
}
