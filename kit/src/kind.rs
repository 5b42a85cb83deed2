//! The four kinds of plugins, as `wit/worlds.wit` has them.

use clap::ValueEnum;
use serde::Serialize;

/// The package of all interfaces, without its version.
pub(crate) const PACKAGE: &str = "origan:codec/";

/// The version of the package that this kit was built with.
pub(crate) const PACKAGE_VERSION: &str = "0.1.0";

/// What a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Decides who may do what.
    Policy,
    /// Carries audit records to a backend.
    AuditSink,
    /// Resolves secrets that live elsewhere.
    SecretProvider,
    /// Wraps DEKs under a key that lives elsewhere.
    KeyProvider,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Policy, Self::AuditSink, Self::SecretProvider, Self::KeyProvider];

    /// As operators and authors write it, which is also the name of the interface that only this kind exports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::AuditSink => "audit-sink",
            Self::SecretProvider => "secret-provider",
            Self::KeyProvider => "key-provider",
        }
    }

    /// The WIT world that it implements.
    pub(crate) const fn world(self) -> &'static str {
        match self {
            Self::Policy => "policy-plugin",
            Self::AuditSink => "audit-sink-plugin",
            Self::SecretProvider => "secret-provider-plugin",
            Self::KeyProvider => "key-provider-plugin",
        }
    }

    /// The interfaces that its world imports; types alone (`facts`) are no import that anyone grants.
    pub(crate) const fn imports(self) -> &'static [&'static str] {
        match self {
            Self::Policy => &["log"],
            Self::AuditSink => &["log", "clock", "lines", "http"],
            Self::SecretProvider | Self::KeyProvider => &["log", "clock", "http"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_say_what_the_worlds_say() {
        let worlds = include_str!("../../wit/worlds.wit");
        for kind in Kind::ALL {
            let (_, world) = worlds.split_once(&format!("world {} {{", kind.world())).expect("the world");
            let (world, _) = world.split_once('}').expect("closed");
            let imports: Vec<&str> = world.lines().filter_map(|line| line.trim().strip_prefix("import ")).collect();
            let expected: Vec<String> = kind.imports().iter().map(|import| format!("{import};")).collect();
            assert_eq!(imports, expected, "{}", kind.world());
            assert!(world.contains(&format!("export {};", kind.name())), "{}", kind.world());
        }
        assert!(worlds.starts_with(&format!("package {}@{PACKAGE_VERSION};", PACKAGE.trim_end_matches('/'))));
    }
}
