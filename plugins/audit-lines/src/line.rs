//! A line for each record.

/// How a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As the journal has it.
    Journal,
    /// Within an object that repeats what identifies it.
    Wrapped,
}

/// A record of the journal.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Its chain, 16 hexadecimal digits.
    pub chain: &'a str,
    /// Its number there.
    pub seq: u64,
    /// The record itself, one object of JSON.
    pub line: &'a str,
    /// Its hash, 64 hexadecimal digits.
    pub hash: &'a str,
}

impl Format {
    /// `entry` as a line.
    pub fn write(self, entry: Entry) -> String {
        match self {
            Self::Journal => entry.line.to_owned(),
            // Hexadecimal digits need no escape.
            Self::Wrapped => {
                let Entry { chain, seq, line, hash } = entry;
                format!(r#"{{"chain":"{chain}","seq":{seq},"hash":"{hash}","record":{line}}}"#)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journals_line_is_not_touched_and_a_wrapped_one_is_whole() {
        let line = r#"{"variables":["\u0085 \" \\"],"n":1.50}"#;
        let entry = Entry { chain: "00aa", seq: 7, line, hash: "ff" };
        assert_eq!(Format::Journal.write(entry), line);
        assert_eq!(Format::Wrapped.write(entry), format!(r#"{{"chain":"00aa","seq":7,"hash":"ff","record":{line}}}"#));
    }
}
