//! How records hang together: each line carries the hash of the one before, under a key that only the service has.
//!
//! `line = {"chain":"…","seq":n, …the record… ,"prev":"<hash of seq n-1>","hash":"<hash>"}`, and
//! `hash = HMAC(journal key, the line up to and without ,"hash":)`, in hexadecimal. Whoever edits, drops or reorders lines
//! without the key breaks the chain; whoever cuts its end is shown by a receipt from beyond it.

use std::fmt;
use std::str::FromStr;

use origan_codec_host::crypto::{MacKey, RandomnessUnavailable, Tag};
use subtle::ConstantTimeEq;

/// `,"hash":"` + 64 + `"}`
const HASH_FIELD_LEN: usize = 9 + 64 + 2;
/// `,"prev":"` + 64 + `"`
const PREV_FIELD_LEN: usize = 9 + 64 + 1;

/// One chain of records: 8 random bytes, as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainId(u64);

/// The last record of a chain, or the one a reader has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Counts from 1; 0 is the place before the first record.
    pub seq: u64,
    /// That record's hash; zero before the first.
    pub hash: Tag,
}

/// Proof of the record that an operation left: `<chain>:<seq>:<hash>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// In which chain.
    pub chain: ChainId,
    /// Which record.
    pub at: Position,
}

/// The end of a chain that grows.
#[derive(Debug)]
pub(super) struct ChainEnd {
    chain: ChainId,
    key: MacKey,
    last: Position,
}

/// One line, taken apart but not believed.
#[derive(Debug)]
pub struct Line<'a> {
    /// The chain it says it is of.
    pub chain: ChainId,
    /// Its number and its hash, as it says.
    pub at: Position,
    /// The hash of its predecessor, as it says.
    pub prev: Tag,
    signed: &'a [u8],
}

/// Not a line of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a line of a journal")]
pub struct NotALine;

/// Not a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a receipt is <chain>:<seq>:<hash>, as in the X-Audit-Receipt header")]
pub struct ParseReceiptError;

impl ChainId {
    pub(super) fn fresh() -> Result<Self, RandomnessUnavailable> {
        getrandom::u64().map(Self).map_err(|_| RandomnessUnavailable)
    }
}

impl Position {
    /// Before the first record.
    pub const START: Self = Self { seq: 0, hash: [0; 32] };

    /// The hash as hexadecimal digits.
    pub fn hash_hex(&self) -> String {
        let mut digits = Vec::with_capacity(64);
        push_hex(&mut digits, &self.hash);
        digits.into_iter().map(char::from).collect()
    }
}

impl ChainEnd {
    pub(super) fn new(chain: ChainId, key: MacKey, last: Position) -> Self {
        Self { chain, key, last }
    }

    pub(super) fn last(&self) -> Position {
        self.last
    }

    /// What comes from now on is signed by `key`: only where a segment begins.
    pub(super) fn rekey(&mut self, key: MacKey) {
        self.key = key;
    }

    /// Goes back to `last`: what came after was not made durable.
    pub(super) fn rewind(&mut self, last: Position) {
        self.last = last;
    }

    /// Appends the line of `body`, one JSON object as [`body_of`](super::canonical::body_of) makes it, to `out`.
    pub(super) fn append(&mut self, body: &[u8], out: &mut Vec<u8>) -> Receipt {
        let start = out.len();
        let seq = self.last.seq + 1;
        out.extend_from_slice(b"{\"chain\":\"");
        push_hex(out, &self.chain.0.to_be_bytes());
        out.extend_from_slice(b"\",\"seq\":");
        push_decimal(out, seq);
        out.push(b',');
        out.extend_from_slice(&body[1..body.len() - 1]);
        out.extend_from_slice(b",\"prev\":\"");
        push_hex(out, &self.last.hash);
        out.push(b'"');
        let hash = self.key.tag_message(&out[start..]);
        out.extend_from_slice(b",\"hash\":\"");
        push_hex(out, &hash);
        out.extend_from_slice(b"\"}\n");
        self.last = Position { seq, hash };
        Receipt { chain: self.chain, at: self.last }
    }
}

impl<'a> Line<'a> {
    /// Takes a line apart, without its line feed.
    pub fn parse(line: &'a [u8]) -> Result<Self, NotALine> {
        let signed_len = line.len().checked_sub(HASH_FIELD_LEN).ok_or(NotALine)?;
        let (signed, hash) = line.split_at(signed_len);
        let prev = &signed[signed.len().checked_sub(PREV_FIELD_LEN).ok_or(NotALine)?..];
        let rest = signed.strip_prefix(b"{\"chain\":\"").ok_or(NotALine)?;
        let (chain, rest) = rest.split_at_checked(16).ok_or(NotALine)?;
        let digits = rest.strip_prefix(b"\",\"seq\":").ok_or(NotALine)?;
        let digits = digits.split(|&b| b == b',').next().ok_or(NotALine)?;
        Ok(Self {
            chain: text_of(chain)?.parse()?,
            at: Position { seq: parse_seq(text_of(digits)?)?, hash: hex_between(hash, b",\"hash\":\"", b"\"}")? },
            prev: hex_between(prev, b",\"prev\":\"", b"\"")?,
            signed,
        })
    }

    /// Whether its hash is what `key` makes of it.
    pub fn verifies(&self, key: &MacKey) -> bool {
        key.tag_message(self.signed).ct_eq(&self.at.hash).into()
    }

    /// Whether it comes right after `last`.
    pub fn follows(&self, last: &Position) -> bool {
        self.at.seq == last.seq + 1 && self.prev == last.hash
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainId({self})")
    }
}

impl FromStr for ChainId {
    type Err = NotALine;

    fn from_str(text: &str) -> Result<Self, NotALine> {
        let id = u64::from_str_radix(text, 16).map(Self).map_err(|_| NotALine)?;
        if id.to_string() == text { Ok(id) } else { Err(NotALine) }
    }
}

impl Receipt {
    /// `<chain>:<seq>:<hash>`, as bytes of ASCII.
    pub fn to_ascii(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(16 + 1 + 20 + 1 + 64);
        push_hex(&mut text, &self.chain.0.to_be_bytes());
        push_decimal(text_after(&mut text, b':'), self.at.seq);
        push_hex(text_after(&mut text, b':'), &self.at.hash);
        text
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_ascii()))
    }
}

impl FromStr for Receipt {
    type Err = ParseReceiptError;

    fn from_str(text: &str) -> Result<Self, ParseReceiptError> {
        let (chain, rest) = text.split_once(':').ok_or(ParseReceiptError)?;
        let (seq, hash) = rest.split_once(':').ok_or(ParseReceiptError)?;
        Ok(Self {
            chain: chain.parse().map_err(|_| ParseReceiptError)?,
            at: Position {
                seq: parse_seq(seq).map_err(|_| ParseReceiptError)?,
                hash: parse_hex(hash.as_bytes()).map_err(|_| ParseReceiptError)?,
            },
        })
    }
}

/// Without `core::fmt`, which costs more than the hash does.
fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn text_after(out: &mut Vec<u8>, separator: u8) -> &mut Vec<u8> {
    out.push(separator);
    out
}

fn hex_between(field: &[u8], before: &[u8], after: &[u8]) -> Result<Tag, NotALine> {
    parse_hex(field.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).ok_or(NotALine)?)
}

fn parse_hex(digits: &[u8]) -> Result<Tag, NotALine> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotALine),
    };
    if digits.len() != 64 {
        return Err(NotALine);
    }
    let mut tag = [0; 32];
    for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Ok(tag)
}

/// The one spelling of a number: no sign, no leading zero.
fn parse_seq(digits: &str) -> Result<u64, NotALine> {
    let seq: u64 = digits.parse().map_err(|_| NotALine)?;
    if seq.to_string() == digits { Ok(seq) } else { Err(NotALine) }
}

fn text_of(bytes: &[u8]) -> Result<&str, NotALine> {
    std::str::from_utf8(bytes).map_err(|_| NotALine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use origan_codec_host::crypto::{Kek, KeyRing};
    use proptest::prelude::*;

    fn key() -> MacKey {
        let kek = Kek::generate().expect("random");
        let ring = KeyRing::new(&kek, &[]).expect("one KEK");
        ring.journal_key(kek.id(), "test").expect("in the ring")
    }

    fn end_with(key: MacKey) -> ChainEnd {
        ChainEnd::new(ChainId(7), key, Position::START)
    }

    #[test]
    fn lines_verify_and_follow_each_other() {
        let mut end = end_with(key());
        let mut out = Vec::new();
        let first = end.append(b"{\"a\":1}", &mut out);
        let split = out.len();
        let second = end.append(b"{\"a\":2}", &mut out);
        let one = Line::parse(&out[..split - 1]).expect("a line");
        let two = Line::parse(&out[split..out.len() - 1]).expect("a line");
        assert!(one.verifies(&end.key) && two.verifies(&end.key));
        assert!(one.follows(&Position::START) && two.follows(&first.at) && !two.follows(&Position::START));
        assert_eq!((one.at, two.at), (first.at, second.at));
        assert_eq!(second.to_string().parse(), Ok(second));
    }

    #[test]
    fn one_changed_byte_anywhere_breaks_a_line() {
        let mut end = end_with(key());
        let mut out = Vec::new();
        end.append(b"{\"projectId\":\"shop\"}", &mut out);
        out.pop();
        for index in 0..out.len() {
            let mut changed = out.clone();
            changed[index] ^= 1;
            let still =
                Line::parse(&changed).is_ok_and(|line| line.verifies(&end.key) && line.follows(&Position::START));
            assert!(!still, "byte {index}");
        }
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_are_taken_apart_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Line::parse(&bytes);
        }

        #[test]
        fn receipts_have_one_spelling(text in "[0-9a-f]{16}:[0-9]{1,20}:[0-9a-f]{64}") {
            if let Ok(receipt) = text.parse::<Receipt>() {
                prop_assert_eq!(receipt.to_string(), text);
            }
        }
    }
}
