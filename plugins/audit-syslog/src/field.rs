//! `HOSTNAME`, `APP-NAME`, `MSGID` and the values of structured data (RFC 5424 sections 6.2 and 6.3).

/// What stands for a field without a value.
pub const NIL: &str = "-";

/// Whether `text` can be a header field: 1 to `max_len` of PRINTUSASCII.
pub fn is_header(text: &str, max_len: usize) -> bool {
    (1..=max_len).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// `text` made a header field of at most `max_len` characters: what cannot stand there becomes `_`.
pub fn to_header(text: &str, max_len: usize) -> String {
    if text.is_empty() {
        return NIL.to_owned();
    }
    text.chars().take(max_len).map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}

/// `text` as a PARAM-VALUE, without its quotes: `"`, `\` and `]` are escaped, control characters left out.
pub fn to_param(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\' | ']') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_are_printable_and_short() {
        assert!(is_header("codec", 48) && is_header("!~", 2));
        for text in ["", "a b", "ä", "a\n", "abc"] {
            assert!(!is_header(text, 2), "{text:?}");
        }
        for (text, field) in
            [("", "-"), ("SECRET_DECRYPT", "SECRET_DECRYPT"), ("a b\nü", "a_b__"), ("0123456789abcdef", "0123456789ab")]
        {
            assert_eq!(to_header(text, 12), field.get(..12).unwrap_or(field), "{text:?}");
        }
    }

    #[test]
    fn values_are_escaped() {
        assert_eq!(to_param("a\"b\\c]d[\r\n\0é"), r#"a\"b\\c\]d[é"#);
    }
}
