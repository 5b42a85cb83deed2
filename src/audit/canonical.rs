//! A record as one line of JSON that is harmless to look at.

use std::io::Write;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

/// A record as one JSON object, without its place in the chain. What a terminal could act on is escaped, beyond what JSON asks.
pub(super) fn body_of(record: &impl Serialize) -> Vec<u8> {
    let mut body = Vec::with_capacity(384);
    let mut serializer = serde_json::Serializer::with_formatter(&mut body, Harmless);
    // Records are plain structs of strings and numbers, and writing to a Vec cannot fail.
    let _ = record.serialize(&mut serializer);
    body
}

/// Bytes of `text` as a string of a record, at the most.
pub fn written_len(text: &str) -> usize {
    let escaped = |c: char| if c.is_ascii() && !c.is_ascii_control() && !matches!(c, '"' | '\\') { 1 } else { 6 };
    2 + text.chars().map(escaped).sum::<usize>()
}

/// Compact JSON in which DEL, C1 controls, line separators and text direction marks are `\u` escapes too.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> std::io::Result<()> {
        if fragment.bytes().all(|b| b.is_ascii() && b != 0x7f) {
            return CompactFormatter.write_string_fragment(writer, fragment);
        }
        for c in fragment.chars() {
            match c {
                '\u{7f}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                    write!(writer, "\\u{:04x}", u32::from(c))?;
                }
                _ => write!(writer, "{c}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_written_longer_than_it_is_counted() {
        for text in ["", "plain", "\u{1}\n\"\\", "\u{7f}\u{9b}\u{2028}\u{202e}", "é\u{1f980}"] {
            assert!(body_of(&text).len() <= written_len(text), "{text:?}");
        }
    }

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        let body = body_of(&serde_json::json!({"name": "\u{1b}[31m\u{9b}2J\u{202e}\u{2028}\u{7f}é"}));
        let text = String::from_utf8(body).expect("UTF-8");
        assert_eq!(text, r#"{"name":"\u001b[31m\u009b2J\u202e\u2028\u007fé"}"#);
        let back: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(back["name"], "\u{1b}[31m\u{9b}2J\u{202e}\u{2028}\u{7f}é");
    }
}
