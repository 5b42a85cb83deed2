//! JSON (RFC 8259), no deeper than a small stack can follow.

use serde_json::Value;

/// Deeper than any settings and any collector's answer. The parser calls itself at every level: 128, its own limit, overflow a stack of
/// 32 KiB, which is a trap without a message.
const MAX_DEPTH: usize = 24;

/// `text` as a value, or what is wrong with it.
pub fn parse(text: &[u8]) -> Result<Value, String> {
    if depth(text) > MAX_DEPTH {
        return Err(format!("nested deeper than {MAX_DEPTH} levels"));
    }
    serde_json::from_slice(text).map_err(|error| format!("not JSON: {error}"))
}

/// How deep arrays and objects nest, at least for text that is JSON; for any other the parser stops no later than here.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_too_deep_is_refused_before_it_is_parsed() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(nested(24).as_bytes()).is_ok());
        assert!(parse(nested(25).as_bytes()).unwrap_err().contains("nested"));
        assert!(parse(b"{\"a\":[{}]").is_err());
    }

    #[test]
    fn brackets_in_strings_are_no_levels() {
        let text = format!(r#"["{}", "\\", "\"[", {{}}]"#, "[{".repeat(100));
        assert_eq!(depth(text.as_bytes()), 2);
        assert!(parse(text.as_bytes()).is_ok());
    }
}
