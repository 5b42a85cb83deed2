//! Writing answers: JSON into a buffer that is wiped once it is sent.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use origan_codec_host::crypto::WipedBytes;

use crate::audit::Receipt;

/// A JSON object that grows field by field.
pub(super) struct Json {
    buffer: WipedBytes,
    is_first: bool,
}

impl Json {
    /// With room for `capacity` bytes: enough means that it need not grow and leave a copy behind.
    pub(super) fn object(capacity: usize) -> Self {
        let mut buffer = WipedBytes::with_capacity(capacity + 16);
        buffer.push(b'{');
        Self { buffer, is_first: true }
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.string(value);
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.buffer.extend_from_slice(value.to_string().as_bytes());
    }

    pub(super) fn boolean(&mut self, name: &str, value: bool) {
        self.name(name);
        self.buffer.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// An object within this one.
    pub(super) fn nested(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.name(name);
        self.buffer.push(b'{');
        let outer_first = std::mem::replace(&mut self.is_first, true);
        write(self);
        self.is_first = outer_first;
        self.buffer.push(b'}');
    }

    /// A list of objects within this one.
    pub(super) fn list<T>(&mut self, name: &str, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.name(name);
        self.buffer.push(b'[');
        let outer_first = self.is_first;
        for (index, item) in items.iter().enumerate() {
            self.buffer.extend_from_slice(if index == 0 { b"{" } else { b",{" });
            self.is_first = true;
            write(self, item);
            self.buffer.push(b'}');
        }
        self.is_first = outer_first;
        self.buffer.push(b']');
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, name: &str, texts: &[String]) {
        self.name(name);
        self.buffer.push(b'[');
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                self.buffer.push(b',');
            }
            self.string(text);
        }
        self.buffer.push(b']');
    }

    pub(super) fn into_body(mut self) -> Body {
        self.buffer.push(b'}');
        Body::from(Bytes::from_owner(self.buffer))
    }

    /// As a 200, without a record.
    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(self.into_body());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// As a 200 whose record is durable.
    pub(super) fn into_audited_response(self, receipt: Receipt) -> Response {
        let mut response = self.into_response();
        response.extensions_mut().insert(receipt);
        response
    }

    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_first) {
            self.buffer.push(b',');
        }
        self.string(name);
        self.buffer.push(b':');
    }

    fn string(&mut self, text: &str) {
        if is_written_as_it_is(text) {
            self.buffer.push(b'"');
            self.buffer.extend_from_slice(text.as_bytes());
            self.buffer.push(b'"');
            return;
        }
        // Writing a string to a Vec cannot fail.
        let _ = serde_json::to_writer(&mut *self.buffer, text);
    }
}

/// Whether JSON escapes nothing of it. Looks at all of it, so that the compiler looks at many bytes at once.
fn is_written_as_it_is(text: &str) -> bool {
    !text.bytes().fold(false, |escaped, byte| escaped | (byte < b' ') | (byte == b'"') | (byte == b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_string_is_written_as_serde_writes_it(any in "(?s).{0,40}", control in "[\\x00-\\x1f]", plain in "[ !#-\\[\\]-~]{0,80}") {
            for text in [plain.clone() + &control, any, plain] {
                let mut json = Json { buffer: WipedBytes::default(), is_first: true };
                json.string(&text);
                let expected = serde_json::to_vec(&text).expect("JSON");
                prop_assert_eq!(json.buffer.as_slice(), expected);
            }
        }
    }

    #[tokio::test]
    async fn what_is_written_is_json() {
        let mut json = Json::object(8);
        json.text("a\"\n", "\u{0}\u{2028}é\\");
        json.nested("n", |json| {
            json.number("x", 1);
            json.boolean("y", true);
        });
        json.nested("empty", |_| {});
        json.list("l", &[1, 2], |json, item| json.number("i", *item));
        json.list("none", &[0_u8; 0], |_, _| {});
        json.text("z", "");
        let bytes = json.into_body().collect().await.expect("whole").to_bytes();
        let value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(
            value,
            serde_json::json!({"a\"\n": "\u{0}\u{2028}é\\", "n": {"x": 1, "y": true}, "empty": {},
                "l": [{"i": 1}, {"i": 2}], "none": [], "z": ""})
        );
    }
}
