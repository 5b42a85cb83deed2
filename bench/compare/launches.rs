//! The servers that are compared: how each is started, and what its figures leave out.

/// As rows name them.
pub(crate) const FSYNC: &str = "codec, fsync";
pub(crate) const OS: &str = "codec, os";
pub(crate) const OS_TWO: &str = "codec, os, 2 policies";
pub(crate) const FSYNC_TWO: &str = "codec, fsync, 2 policies";
pub(crate) const NODE: &str = "Node service";
pub(crate) const CLUSTER: &str = "Node cluster of 2";
pub(crate) const ECHO: &str = "axum echo";
pub(crate) const ECHO_FSYNC: &str = "axum echo and one fsync";

/// Of what `os` does without.
pub(crate) const NO_FSYNC: &str = "fsync: records survive a crash of the process, not of the machine";

const NODE_WITHOUT: &str = "audit; whose a DEK is; wiping of memory";

/// How one server is to be started.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What its figures leave out.
    pub(crate) without: &'static str,
    /// Plugins beside those that ship: name of the file, and the component.
    pub(crate) plugins: Vec<(&'static str, Vec<u8>)>,
}

/// What it is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// With this codec.toml.
    Codec(String),
    /// The seed's service, in so many processes.
    Node(u32),
    /// Whether each answer waits for the disk.
    Echo { fsync: bool },
}

impl Launch {
    pub(crate) fn codec(name: &'static str, toml: String, without: &'static str) -> Self {
        Self { name, kind: Kind::Codec(toml), without, plugins: Vec::new() }
    }

    pub(crate) fn fsync() -> Self {
        Self::codec(FSYNC, String::new(), "nothing; no policy is configured")
    }

    pub(crate) fn os() -> Self {
        Self::codec(OS, os(&[]), NO_FSYNC)
    }

    pub(crate) fn os_with_policies(name: &'static str, count: usize) -> Self {
        Self::codec(name, os(&[&policies(count)]), NO_FSYNC)
    }

    pub(crate) fn fsync_with_two_policies() -> Self {
        Self::codec(FSYNC_TWO, policies(2), "nothing")
    }

    pub(crate) fn node() -> Self {
        Self { name: NODE, kind: Kind::Node(1), without: NODE_WITHOUT, plugins: Vec::new() }
    }

    pub(crate) fn cluster() -> Self {
        Self { name: CLUSTER, kind: Kind::Node(2), without: NODE_WITHOUT, plugins: Vec::new() }
    }

    pub(crate) fn echo() -> Self {
        Self {
            name: ECHO,
            kind: Kind::Echo { fsync: false },
            without: "everything but HTTP; it answers with the request's body",
            plugins: Vec::new(),
        }
    }

    pub(crate) fn echo_and_fsync() -> Self {
        Self {
            name: ECHO_FSYNC,
            kind: Kind::Echo { fsync: true },
            without: "everything but HTTP and the bytes of a record on the disk, in commits that are shared",
            plugins: Vec::new(),
        }
    }

    /// Everybody, for the calls that all have.
    pub(crate) fn everyone() -> Vec<Self> {
        vec![
            Self::fsync(),
            Self::fsync_with_two_policies(),
            Self::os(),
            Self::os_with_policies("codec, os, 1 policy", 1),
            Self::os_with_policies(OS_TWO, 2),
            Self::os_with_policies("codec, os, 5 policies", 5),
            Self::codec(
                "codec, os, optional sink",
                os(&[&lines_sink(false)]),
                "fsync; what the sink has not carried yet: its next turn waits for that",
            ),
            Self::codec(
                "codec, os, required sink",
                os(&[&lines_sink(true)]),
                "fsync, of the journal and of the sink's file",
            ),
            Self::node(),
            Self::cluster(),
            Self::echo(),
            Self::echo_and_fsync(),
        ]
    }

    /// Without those that others compare more closely.
    pub(crate) fn few() -> Vec<Self> {
        vec![Self::fsync(), Self::os(), Self::node(), Self::cluster(), Self::echo()]
    }

    /// Three policies and two sinks, all in Rust.
    pub(crate) fn five_plugins() -> Self {
        let toml = format!(
            "{}{}{}{}",
            policies(3),
            FILES,
            sink("lines", "audit-lines", false),
            sink("syslog", "audit-syslog", false)
        );
        Self::codec("codec, fsync, 3 policies, 2 sinks", toml, "nothing; the sinks write to files")
    }
}

/// A codec.toml whose journal is not fsynced, with `parts`.
pub(crate) fn os(parts: &[&str]) -> String {
    format!("[audit]\ndurability = \"os\"\n{}", parts.concat())
}

/// Of those that ship: access; recency and access; with window; with two more that have other settings. All let everybody pass.
pub(crate) fn policies(count: usize) -> String {
    let access = policy("access", r#"settings = { table = "service | * | *, - | *" }"#);
    let recency = policy("recency", r#"settings = { max_age = "24h" }"#);
    let window = policy("window", "")
        + "[[policies.settings.windows]]\nname = \"always\"\neffect = \"allow\"\nzone = \"Europe/Berlin\"\nfrom = \"00:00\"\nto = \"24:00\"\n";
    let other_access = policy("access", r#"settings = { table = "service | decrypt-* | *, - | *\nservice | encrypt* | * | *\nservice | generate-dek | * | *" }"#)
        .replace("name = \"access\"", "name = \"access-2\"");
    let other_recency = policy("recency", r#"settings = { max_age = "30d", fresh = "abstain" }"#)
        .replace("name = \"recency\"", "name = \"recency-2\"");
    match count {
        1 => access,
        2 => recency + &access,
        3 => recency + &access + &window,
        _ => recency + &access + &window + &other_recency + &other_access,
    }
}

fn policy(name: &str, settings: &str) -> String {
    format!("[[policies]]\nname = \"{name}\"\npath = \"policy-{name}.wasm\"\n{settings}\n")
}

/// An output for each sink.
const FILES: &str =
    "[[outputs]]\nname = \"lines\"\nto = \"file:lines\"\n[[outputs]]\nname = \"syslog\"\nto = \"file:syslog\"\n";

fn lines_sink(required: bool) -> String {
    format!("[[outputs]]\nname = \"lines\"\nto = \"file:lines\"\n{}", sink("lines", "audit-lines", required))
}

fn sink(name: &str, plugin: &str, required: bool) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\npath = \"{plugin}.wasm\"\nrequired = {required}\nlines = [\"{name}\"]\nsettings = {{ output = \"{name}\" }}\n"
    )
}
