//! The arrows of `docs/ARCHITECTURE.md`: who may import whom. Read from the `use` lines and paths of the sources.

use std::path::{Path, PathBuf};

use crate::support::root;

/// From the top floor to the bottom one; rooms import only from floors below, or from within themselves.
const FLOORS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["app"],
    &["server"],
    &["http"],
    &["service"],
    &["keys"],
    &["plugins"],
    &["providers"],
    &["policy"],
    &["deployments"],
    &["audit"],
    &["store"],
    &["config"],
    &["caller"],
    &["names", "clock"],
];

/// What reaches below its place, and why it may.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The durability that operators choose is the journal's own type.
    ("config", "audit"),
];

struct Source {
    room: String,
    path: PathBuf,
    text: String,
}

fn sources(dir: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(dir).expect("inside").with_extension("");
                let room = relative.iter().next().expect("a name").to_string_lossy().into_owned();
                let text = std::fs::read_to_string(&path).expect("readable");
                // Tests may reach further.
                let text = text.split("#[cfg(test)]").next().unwrap_or("").to_owned();
                found.push(Source { room, path, text });
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// Every room that a source names as `crate::room`.
fn imports(source: &Source, marker: &str) -> Vec<String> {
    let code = source.text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut rooms = Vec::new();
    for line in code {
        for (_, rest) in line.match_indices(marker).map(|(at, _)| line.split_at(at + marker.len())) {
            rooms.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms
}

fn floor(room: &str) -> usize {
    FLOORS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| panic!("{room} is on no floor"))
}

#[test]
fn rooms_import_only_from_below() {
    for source in sources(&root().join("src")).iter().filter(|source| source.room != "lib") {
        for import in imports(source, "crate::") {
            let allowed = import == source.room
                || floor(&import) > floor(&source.room)
                || EXCEPTIONS.contains(&(source.room.as_str(), import.as_str()));
            assert!(allowed, "{} imports {import}, which is not below {}", source.path.display(), source.room);
        }
    }
}

#[test]
fn http_names_no_cipher_no_key_ring_and_no_store() {
    for source in sources(&root().join("src")).iter().filter(|source| source.room == "http") {
        for banned in
            ["DekCipher", "KeyRing", "MacKey", "Kek,", "crypto::Kek", "PostgresStore", "SqliteStore", "wasmtime"]
        {
            assert!(!source.text.contains(banned), "{} names {banned}", source.path.display());
        }
    }
}

/// The providers' seam may: a plugin that wraps DEKs is given one.
#[test]
fn nothing_of_a_plugin_can_name_a_key_or_a_plaintext() {
    let mut looked_at = 0;
    for source in sources(&root().join("host/src")).iter().filter(|source| source.room == "plugin") {
        if source.path.ends_with("plugin/provider.rs") {
            continue;
        }
        looked_at += 1;
        let text = source.text.replace("rustls::crypto::", "");
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for banned in ["crypto::", "Kek", "Dek", "Plaintext", "KeyRing", "ServiceToken", "MacKey"] {
            assert!(!code.iter().any(|line| line.contains(banned)), "{} names {banned}", source.path.display());
        }
    }
    assert!(looked_at > 10, "the plugin wing is somewhere else");
    // And on the service's side: what loads and runs plugins has no way to a key either.
    for source in sources(&root().join("src")).iter().filter(|source| ["plugins", "policy"].contains(&&*source.room)) {
        for banned in ["crypto::", "ProjectDek", "crate::keys", "crate::store"] {
            assert!(!source.text.contains(banned), "{} names {banned}", source.path.display());
        }
    }
}

#[test]
fn wasmtime_is_named_in_one_place() {
    for source in sources(&root().join("src")) {
        assert!(!source.text.contains("wasmtime"), "{}", source.path.display());
    }
}

#[test]
fn the_wings_of_the_host_never_meet_and_the_crypto_wing_knows_no_service() {
    for source in sources(&root().join("host/src")) {
        for import in imports(&source, "crate::") {
            assert_eq!(import, source.room, "{}", source.path.display());
        }
        if source.room == "crypto" {
            for banned in ["tokio", "serde", "tracing", "wasmtime", "println", "log::"] {
                let code: String = source.text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
                assert!(!code.contains(banned), "{} names {banned}", source.path.display());
            }
        }
    }
}

#[test]
fn permits_and_receipts_are_made_in_one_place_each() {
    let all = sources(&root().join("src"));
    let makers = |what: &str| -> Vec<String> {
        let making = all.iter().filter(|source| source.text.contains(what));
        making.map(|source| source.path.strip_prefix(root()).expect("inside").display().to_string()).collect()
    };
    assert_eq!(makers("Permit {"), ["src/policy.rs"]);
    assert_eq!(makers(".release("), ["src/service.rs"]);
    // Everything that opens goes through the room that asks for a permit.
    let openers: Vec<String> =
        makers(".open_value(").into_iter().filter(|path| !path.starts_with("src/keys")).collect();
    assert!(openers.is_empty(), "{openers:?}");
}

#[test]
fn secrets_are_exposed_in_few_places() {
    let mut places = Vec::new();
    for dir in ["src", "host/src"] {
        for source in sources(&root().join(dir)) {
            let count = source.text.matches("expose_secret()").count();
            places.extend(
                (count > 0).then(|| (source.path.strip_prefix(root()).expect("inside").display().to_string(), count)),
            );
        }
    }
    let total: usize = places.iter().map(|(_, count)| count).sum();
    assert!(total <= 30, "{total} places no longer fit on one screen: {places:#?}");
}

#[test]
fn files_stay_small_enough_to_hold_one_thing() {
    for dir in ["src", "host/src"] {
        for source in sources(&root().join(dir)) {
            let lines = source.text.lines().count();
            assert!(lines <= 350, "{} has {lines} lines", source.path.display());
        }
    }
}

/// What `cargo fmt` and clippy do not look at: plugins in other languages, which authors copy.
#[test]
fn sources_in_other_languages_are_tidy() {
    let mut folders: Vec<PathBuf> =
        ["plugins/examples", "kit/templates", "kit/src/build", "tests/languages"].map(|dir| root().join(dir)).into();
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(&folder).expect("readable").map(|entry| entry.expect("entry").path()) {
            let name = path.file_name().expect("a name").to_string_lossy();
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && name != "node_modules" {
                folders.push(path);
            } else if ["js", "mjs", "py", "c", "h"].contains(&&*extension) {
                looked_at += 1;
                let text = std::fs::read_to_string(&path).expect("readable");
                assert!(
                    text.lines().count() <= 350 && text.ends_with('\n') && !text.ends_with("\n\n"),
                    "{}",
                    path.display()
                );
                for (line, number) in text.lines().zip(1..) {
                    let is_tidy = line.trim_end() == line && !line.contains('\t') && line.chars().count() <= 140;
                    assert!(is_tidy, "{}:{number}", path.display());
                }
            }
        }
    }
    assert!(looked_at > 20, "they are somewhere else");
}
