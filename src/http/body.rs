//! Reading a body: JSON by its own word, not encoded, no larger than the route allows, in time. Wiped when done.

use std::time::Duration;

use axum::extract::Request;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;
use zeroize::Zeroizing;

use super::problem::{Code, Problem};

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
    // Exactly what was announced, so that it need not grow and leave a copy behind.
    let mut collected = Zeroizing::new(Vec::with_capacity(announced));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::detailed(Code::InvalidJson, "the body ended before its end"))?;
        let Ok(piece) = frame.into_data() else { continue };
        if collected.len() + piece.len() > limit {
            return Err(too_large(limit));
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
