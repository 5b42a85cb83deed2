//! Reading a body: JSON by its own word, not encoded, no larger than the route allows, in time. Wiped when done.

use std::time::Duration;

use axum::extract::Request;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;
use zeroize::Zeroizing;

use super::problem::{Code, Problem};

/// Reserved on the caller's word alone; more is reserved as it arrives.
const RESERVED_BYTES_MAX: usize = 64 << 10;

/// The body of `request`, at most `limit` bytes.
pub(super) async fn read(request: Request, limit: usize, timeout: Duration) -> Result<Zeroizing<Vec<u8>>, Problem> {
    if !is_plain_json(request.headers()) {
        return Err(Problem::new(Code::UnsupportedMediaType));
    }
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let reading = collect(request.into_body(), limit, announced.unwrap_or(0));
    tokio::time::timeout(timeout, reading).await.unwrap_or_else(|_| Err(Problem::new(Code::RequestTimeout)))
}

async fn collect(mut body: axum::body::Body, limit: usize, announced: usize) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let mut collected = Zeroizing::new(Vec::with_capacity(announced.min(RESERVED_BYTES_MAX)));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::detailed(Code::InvalidJson, "the body ended before its end"))?;
        let Ok(piece) = frame.into_data() else { continue };
        if collected.len() + piece.len() > limit {
            return Err(too_large(limit));
        }
        if collected.len() + piece.len() > collected.capacity() {
            // `Vec` would leave a copy behind when it grows; what is replaced here is wiped.
            let capacity = (2 * collected.capacity()).max(collected.len() + piece.len());
            let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
            larger.extend_from_slice(&collected);
            collected = larger;
        }
        collected.extend_from_slice(&piece);
    }
    Ok(collected)
}

fn is_plain_json(headers: &HeaderMap) -> bool {
    let is_json = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let mut parts = value.split(';').map(str::trim);
        let essence = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
        essence && parts.all(|parameter| parameter.is_empty() || parameter.eq_ignore_ascii_case("charset=utf-8"))
    });
    is_json
        && headers.get_all(CONTENT_ENCODING).iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn too_large(limit: usize) -> Problem {
    Problem::detailed(Code::PayloadTooLarge, format!("the body may be {limit} bytes long here"))
}
