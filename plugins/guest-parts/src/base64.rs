//! Base64 (RFC 4648): with padding in the standard alphabet, without it in the one for URLs.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Section 4, padded, as Vault and AWS write it.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = digits(bytes, STANDARD);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// Section 5 without padding, as JOSE has it.
pub fn encode_url(bytes: &[u8]) -> String {
    digits(bytes, URL)
}

/// The bytes of `text`, of section 4; none if it is anything else.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    bytes(digits, STANDARD)
}

/// The bytes of `text`, of section 5 without padding; none if it is anything else.
pub fn decode_url(text: &str) -> Option<Vec<u8>> {
    bytes(text, URL)
}

fn digits(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let digit = |number: u32| alphabet.get((number & 63) as usize).map_or('A', |digit| char::from(*digit));
    let mut text = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for chunk in bytes.chunks(3) {
        let at = |place: usize| chunk.get(place).copied().map_or(0, u32::from);
        let number = (at(0) << 16) | (at(1) << 8) | at(2);
        // A byte takes two digits, two take three, three take four.
        let shifts: &[u32] = match chunk.len() {
            1 => &[18, 12],
            2 => &[18, 12, 6],
            _ => &[18, 12, 6, 0],
        };
        text.extend(shifts.iter().map(|shift| digit(number >> shift)));
    }
    text
}

fn bytes(digits: &str, alphabet: &[u8; 64]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(digits.len());
    for chunk in digits.as_bytes().chunks(4) {
        let mut number = 0_u32;
        for place in 0..4 {
            let value = match chunk.get(place) {
                Some(digit) => u32::try_from(alphabet.iter().position(|known| known == digit)?).ok()?,
                None => 0,
            };
            number = (number << 6) | value;
        }
        let [_, first, second, third] = number.to_be_bytes();
        // What the last digit has beyond whole bytes must be nothing: each sequence of bytes is one text.
        match chunk.len() {
            4 => bytes.extend([first, second, third]),
            3 if third == 0 => bytes.extend([first, second]),
            2 if second == 0 && third == 0 => bytes.push(first),
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_rfc_4648_has_it() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("Zm9vYmE=", b"fooba"),
            ("/+7/", b"\xff\xee\xff"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(bytes), "{text}");
            assert_eq!(encode(bytes), text);
            let url = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
            assert_eq!(decode_url(&url).as_deref(), Some(bytes), "{url}");
            assert_eq!(encode_url(bytes), url);
        }
    }

    #[test]
    fn nothing_else_is_base64() {
        for text in ["Z", "Zg", "Zg=", "Zg==Zg==", "====", "Z===", "Z g=", "Z-8=", "=g==", "Zh==", "Zm9=", "Zm9v\n"] {
            assert_eq!(decode(text), None, "{text}");
        }
        for text in ["Z", "Zg==", "Z+8", "Zh", "Zm9v="] {
            assert_eq!(decode_url(text), None, "{text}");
        }
    }
}
