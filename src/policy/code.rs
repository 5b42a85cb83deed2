//! A denial's public code: short enough to be carried about by value.

use std::fmt;

/// Longest code, in bytes.
const CODE_LEN_MAX: usize = 64;

/// 1 to 64 of a-z 0-9 and -.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyCode {
    len: u8,
    bytes: [u8; CODE_LEN_MAX],
}

impl PolicyCode {
    /// Of `text`; what does not fit is cut, what no code holds becomes `-`.
    pub fn of(text: &str) -> Self {
        let mut bytes = [0; CODE_LEN_MAX];
        let mut len = 0;
        for byte in text.bytes().take(CODE_LEN_MAX) {
            let fits = byte.is_ascii_lowercase() || byte.is_ascii_digit();
            bytes[usize::from(len)] = if fits { byte } else { b'-' };
            len += 1;
        }
        Self { len, bytes }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Display for PolicyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PolicyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyCode({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_always_one() {
        assert_eq!(PolicyCode::of("deployment-too-old").as_str(), "deployment-too-old");
        assert_eq!(PolicyCode::of("A b\n\u{e9}").as_str(), "--b---");
        assert_eq!(PolicyCode::of(&"a".repeat(100)).as_str().len(), 64);
    }
}
