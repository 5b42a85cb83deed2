//! An anatomy for people.

use std::fmt::{Display, Write as _};

use super::anatomy::{Anatomy, Grant, Import, Memory};
use crate::kind::{PACKAGE, PACKAGE_VERSION};

/// The anatomy as lines.
pub(super) fn of(anatomy: &Anatomy) -> String {
    let mut text = Text::default();
    text.line("kind", kind_text(anatomy));
    text.line("size", format_args!("{} bytes", anatomy.size_bytes));
    text.line("sha-256", &anatomy.sha256);
    text.lines("imports", anatomy.imports.iter().map(import_text));
    text.lines("exports", anatomy.exports.iter());
    text.line("core modules", anatomy.core_modules);
    text.lines("memories", anatomy.memories.iter().map(memory_text));
    text.line(
        "functions",
        format_args!("{}, the largest of {} bytes", anatomy.functions, anatomy.largest_function_bytes),
    );
    text.line("tables", format_args!("{} elements", anatomy.table_elements));
    text.lines(
        "made by",
        anatomy.producers.iter().map(|(field, values)| format!("{}: {}", plain(field), plain(&values.join(", ")))),
    );
    text.lines(
        "sections",
        anatomy.custom_sections_bytes.iter().map(|(name, bytes)| format!("{}: {bytes} bytes", plain(name))),
    );
    text.0
}

/// Lines with a column of names on the left.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, name: &str, what: impl Display) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "{name:<13} {what}");
    }

    /// One line for each, named once.
    fn lines(&mut self, name: &str, whats: impl Iterator<Item = impl Display>) {
        let mut name = name;
        for what in whats {
            self.line(std::mem::take(&mut name), what);
        }
        if !name.is_empty() {
            self.line(name, "none");
        }
    }
}

fn kind_text(anatomy: &Anatomy) -> String {
    match anatomy.kinds.as_slice() {
        [] => format!("none: it exports no interface of {PACKAGE}…@{PACKAGE_VERSION} by which a plugin is known"),
        [kind] => format!("{} (world {PACKAGE}{}@{PACKAGE_VERSION})", kind.name(), kind.world()),
        _ => format!("{}: it can be loaded as one only", anatomy.kinds_text()),
    }
}

fn import_text(import: &Import) -> String {
    let grant = match import.grant {
        Grant::Types => "types only",
        Grant::Always => "no grant needed",
        Grant::Http => "needs a grant: http, with each origin that it may reach",
        Grant::Lines => "needs a grant: lines, with each output that it may write to",
        Grant::Wasi => "needs a grant: wasi = true (an empty system: no files, environment or sockets)",
        Grant::Refused => "REFUSED: this host gives it to no plugin of this kind",
    };
    format!("{}: {grant}", plain(&import.name))
}

fn memory_text(memory: &Memory) -> String {
    let maximum = memory.maximum_pages.map_or("as the host lets it".to_string(), |pages| format!("to {pages}"));
    format!("{} pages of 64 KiB, may grow {maximum}", memory.initial_pages)
}

/// The text without what would move a terminal's cursor: a file from a stranger names its own sections.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(MAX_CHARS).collect()
}

/// Of a name from the file.
const MAX_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_line_even_if_there_is_none() {
        let anatomy = Anatomy::of(b"\0asm\x0d\0\x01\0").expect("valid");
        let text = of(&anatomy);
        for line in [
            "kind          none",
            "imports       none",
            "exports       none",
            "core modules  0",
            "tables        0 elements",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn a_hostile_name_moves_no_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(plain(&"x".repeat(1_000)).len(), 200);
    }
}
