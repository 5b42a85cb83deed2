//! `deploy/codec.toml` shows every key with its default, and mistakes are told by name before anything is touched.

use std::path::Path;

use origan_codec::config::{Config, Environment, KeyProviderConfig, Pkcs11Config};

use crate::support::{Launch, root};

const CREDENTIAL_KEYS: [&str; 26] = [
    "name",
    "kind",
    "header",
    "prefix",
    "file",
    "login_url",
    "addresses",
    "ca_file",
    "method",
    "mount",
    "namespace",
    "role_id",
    "role",
    "secret_id_file",
    "token_file",
    "region",
    "service",
    "access_key_id_file",
    "secret_access_key_file",
    "session_token_file",
    "role_arn",
    "session_name",
    "client_id",
    "client_secret_file",
    "scope",
    "audience",
];

#[test]
fn the_sample_configuration_is_the_defaults_and_shows_every_key() {
    let path = root().join("deploy/codec.toml");
    let sample = Config::load(Some(&path), &Environment::default()).expect("it loads");
    let text = std::fs::read_to_string(&path).expect("readable");
    assert_eq!(format!("{sample:?}"), format!("{:?}", Config::default()));
    // Keys that have no default are shown as comments; so every key of every struct is on a line of its own.
    let keys = |section: &str, names: &[&str]| {
        let body =
            text.split(&format!("[{section}]\n")).nth(1).unwrap_or_else(|| panic!("[{section}]")).split("\n[").next();
        for name in names {
            let found =
                body.unwrap_or("").lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} = ")));
            assert!(found, "[{section}] {name}");
        }
    };
    for (section, value) in toml::Value::try_from(Config::default()).expect("serializes").as_table().expect("a table") {
        if let Some(table) = value.as_table() {
            keys(section, &table.keys().map(String::as_str).collect::<Vec<_>>());
        }
    }
    keys("keys", &["kek_file", "kek_dir", "primary"]);
    keys("store", &["url"]);
    keys("deployments", &["url"]);
    keys("audit", &["dir"]);
    for name in ["name", "tokens", "token_file", "actions"] {
        assert!(text.contains(&format!("# {name} = ")), "[[callers]] {name}");
    }
    for name in CREDENTIAL_KEYS {
        assert!(text.contains(&format!("# {name} = ")), "[[credentials]] {name}");
    }
    for name in ["origin", "addresses", "credentials", "ca_file", "plaintext"] {
        assert!(text.contains(&format!("# {name} = ")), "[[sinks.http]] {name}");
    }
    assert!(text.contains("data_dir = "));
}

#[test]
fn the_sample_shows_every_key_of_a_token_with_its_default() {
    let text = std::fs::read_to_string(root().join("deploy/codec.toml")).expect("readable");
    let (_, block) = text.split_once("# [keys.pkcs11]\n").expect("the block");
    let (block, _) = block.split_once("\n\n").expect("its end");
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let is_key = |line: &&str| line.split_once(" = ").is_some_and(|(name, _)| is_name(name));
    let lines: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_key).collect();
    let shown: Pkcs11Config = toml::from_str(&lines.join("\n")).expect("every key is one");
    let least: Pkcs11Config = toml::from_str("module = \"m\"").expect("all else has a default");
    // A field that the struct gets and nobody looks for here does not compile.
    let Pkcs11Config { module: _, token, slot, key_label, key_id, pin_file, sessions, deadline_ms } = shown;
    assert_eq!((sessions, deadline_ms), (least.sessions, least.deadline_ms));
    assert!(token.is_some() && slot.is_some() && key_label.is_some() && key_id.is_some() && pin_file.is_some());
    for name in ["sessions", "deadline_ms"] {
        assert!(lines.iter().any(|line| line.starts_with(&format!("{name} = "))), "{name}");
    }
}

#[test]
fn the_sample_shows_every_key_of_a_key_provider_with_its_default() {
    let text = std::fs::read_to_string(root().join("deploy/codec.toml")).expect("readable");
    let (_, block) = text.split_once("# [keys.provider]\n").expect("the block");
    let (block, _) = block.split_once("\n\n").expect("its end");
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let is_key = |line: &&str| line.split_once(" = ").is_some_and(|(name, _)| is_name(name));
    let lines: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_key).collect();
    let shown: KeyProviderConfig = toml::from_str(&lines.join("\n")).expect("every key is one");
    let least = "name = \"transit\"\npath = \"keys-vault-transit.wasm\"";
    let least: KeyProviderConfig = toml::from_str(least).expect("all else has a default");
    let with_default = KeyProviderConfig {
        sha256: None,
        kek_id: None,
        cases: None,
        http: Vec::new(),
        settings: toml::Table::new(),
        ..shown.clone()
    };
    assert_eq!(format!("{with_default:?}"), format!("{least:?}"));
    let every = toml::Value::try_from(&shown).expect("serializes");
    for name in every.as_table().expect("a table").keys() {
        assert!(lines.iter().any(|line| line.starts_with(&format!("{name} = "))), "{name}");
    }
    assert!(shown.kek_id.is_some() && shown.cases.is_some() && !shown.http.is_empty() && !shown.settings.is_empty());
}

#[test]
fn mistakes_are_exit_code_2_and_their_name() {
    for (case, toml, named) in [
        ("an unknown key", "[server]\nlissten = \"127.0.0.1:1\"", "lissten"),
        ("an unknown section", "[sever]\n", "sever"),
        ("a wrong type", "[limits]\nvariables = \"many\"", "variables"),
        ("not TOML", "[limits", "codec.toml"),
        ("zero", "[audit]\ndeadline_ms = 0", "audit.deadline_ms"),
        ("too long", "[deployments]\ncache_s = 31", "deployments.cache_s"),
        ("an unknown durability", "[audit]\ndurability = \"maybe\"", "durability"),
        ("a caller without tokens", "[[callers]]\nname = \"x\"\nactions = []", "callers[0].tokens"),
        (
            "a token that is no digest",
            "[[callers]]\nname = \"x\"\ntokens = [\"abc\"]\nactions = []",
            "callers[0].tokens",
        ),
        ("an unknown action", "[[callers]]\nname = \"x\"\ntoken_file = \"y\"\nactions = [\"decrypt-none\"]", "actions"),
        (
            "a token file that is not there",
            "[[callers]]\nname = \"x\"\ntoken_file = \"absent\"\nactions = []",
            "absent",
        ),
        (
            "the digest of nothing",
            "[[callers]]\nname = \"x\"\ntokens = [\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"]\nactions = []",
            "empty token",
        ),
        (
            "one token for two",
            "[[callers]]\nname = \"x\"\ntokens = [\"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"]\nactions = []\n\
             [[callers]]\nname = \"y\"\ntokens = [\"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"]\nactions = []",
            "also a token of caller `x`",
        ),
        ("a reserved name", "[[callers]]\nname = \"service\"\ntoken_file = \"y\"\nactions = []", "callers[0].name"),
        ("a password under an unknown key", "[store]\nurll = \"postgres://codec:canary-7c1f5e@db/x\"", "urll"),
        ("a password that is not closed", "[store]\nurl = \"postgres://codec:canary-7c1f5e@db/x", "line 2"),
        (
            "a password in front of an equals sign",
            "[store]\nurl: postgres://codec:canary-7c1f5e@db/x?sslmode=require",
            "line 2",
        ),
        ("a password where a word is meant", "[audit]\ndurability = \"canary-7c1f5e\"", "durability"),
        ("a queue without end", "[audit]\nqueue = 9223372036854775807", "audit.queue"),
        ("bodies that never fit", "[limits]\nbodies_bytes = 1000", "limits.bodies_bytes"),
        ("a password of a wrong type", "[store]\ndeadline_ms = \"postgres://codec:canary-7c1f5e@db/x\"", "deadline_ms"),
        (
            "two callers of one name",
            "[[callers]]\nname = \"x\"\ntoken_file = \"y\"\nactions = []\n[[callers]]\nname = \"x\"\ntoken_file = \"y\"\nactions = []",
            "callers[1].name",
        ),
    ] {
        let launch = Launch::new().toml(toml);
        let output = launch.run(&["serve"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{case}: {said}");
        assert!(said.contains(named), "{case}: {said}");
        assert!(!said.contains("canary"), "{case}: {said}");
        assert!(!launch.data_dir().exists(), "{case}");
    }
    for (name, value) in [("CODEC_LISTEN", "here"), ("INTERNAL_SERVICE_TOKEN", "two words")] {
        let output = Launch::new().variable(name, value).run(&["serve"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(name), "{said}");
    }
    let absent = Launch::new().run(&["serve", "--config", "absent.toml"]);
    assert_eq!(absent.status.code(), Some(2));
}

#[test]
fn secrets_go_over_tls_or_to_this_machine_unless_the_grant_says_that_they_may_be_read_on_their_way() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("codec.toml");
    let refused = |plugin: &str, grant: &str| {
        let plugin = format!("[{plugin}]\nname = \"p\"\npath = \"p.wasm\"\nhttp = [{{ {grant} }}]\n");
        std::fs::write(&path, plugin + "[[credentials]]\nname = \"c\"\nfile = \"/c\"\n").expect("written");
        Config::load(Some(&path), &Environment::default()).err().map(|error| error.to_string())
    };
    let credentials = ", credentials = [\"c\"]";
    for (plugin, key, more) in [
        ("[sinks]", "sinks[0].http", credentials),
        ("[providers]", "providers[0].http", credentials),
        ("[providers]", "providers[0].http", ""),
        ("keys.provider", "keys.provider.http", credentials),
        ("keys.provider", "keys.provider.http", ""),
    ] {
        for origin in ["http://vault.example:8200", "http://10.0.0.1", "http://[fd00::1]:1", "http://localhost.test"] {
            let grant = format!("origin = \"{origin}\"{more}");
            let said = refused(plugin, &grant).expect("refused");
            assert!(said.starts_with(&format!("{key}: {origin} ")), "{said}");
            assert!(said.contains("https") && said.contains("`plaintext = true`"), "{said}");
            assert_eq!(refused(plugin, &format!("{grant}, plaintext = true")), None, "{plugin} {origin}");
            assert_eq!(refused(plugin, &format!("{grant}, plaintext = false")), Some(said));
        }
        for origin in ["https://vault.example:8200", "http://127.0.0.1:8200", "http://[::1]:8200", "http://localhost"] {
            assert_eq!(refused(plugin, &format!("origin = \"{origin}\"{more}")), None, "{plugin} {origin}");
        }
    }
    // In a record there is no secret.
    assert_eq!(refused("[sinks]", "origin = \"http://collector.example\""), None);
}

#[test]
fn a_port_in_use_is_exit_code_2_before_anything_is_touched() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let launch = Launch::new().variable("CODEC_LISTEN", &address);
    let output = launch.run(&["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains(&address) && said.contains("CODEC_LISTEN"), "{said}");
    assert!(!launch.data_dir().exists());
}

#[test]
fn config_check_says_what_is_good_and_touches_nothing() {
    let launch = Launch::new();
    let output = launch.run(&["config", "check"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("the configuration is good"), "{said}");
    assert!(!said.contains(&launch.kek) && !said.contains(&launch.token));
    assert!(!Path::new(&launch.data_dir()).exists());
}
