//! Reading a body: JSON by its own word, not encoded, no larger than the route allows, in time. Wiped when done.

use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::Request;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName};
use http_body_util::BodyExt;
use origan_codec_host::crypto::WipedBytes;
use tokio::time::Instant;

use super::Edge;
use super::code::Code;
use super::problem::Problem;
use crate::caller::Action;
use crate::service::Context;

/// Reserved on the caller's word alone; more is reserved as it arrives.
const RESERVED_BYTES_MAX: usize = 64 << 10;
/// A body that outgrows what is reserved for it gets so many times as much, as far as the caller has announced it.
const GROWTH: usize = 4;

/// A body, and its share of the memory for all of them.
pub(super) struct ReadBody {
    bytes: WipedBytes,
    reserved: usize,
    edge: Arc<Edge>,
}

/// Of a caller who may not ask for it at all, a body is read for the record alone: if it is no longer than this, and there as soon as this.
const DENIED_BYTES_MAX: usize = 16 << 10;
const DENIED_TIMEOUT: Duration = Duration::from_millis(100);

/// The body of `request`, at most `limit` bytes. Who may not ask for `action` at all takes no room that others want, and is refused here unless
/// that is as well done where the record learns what was asked.
pub(super) async fn read(
    edge: &Arc<Edge>,
    context: &Context,
    action: Action,
    request: Request,
    limit: usize,
) -> Result<ReadBody, Problem> {
    if context.caller.may(action) {
        return read_in_time(edge, request, limit, edge.body_timeout).await;
    }
    // On the heap, or every call would carry its room.
    Box::pin(async {
        let (parts, mut body) = request.into_parts();
        let length = body.size_hint().upper();
        if length.is_some_and(|length| length <= DENIED_BYTES_MAX.min(limit) as u64) {
            let request = Request::from_parts(parts, body);
            if let Ok(read) = read_in_time(edge, request, limit, DENIED_TIMEOUT).await {
                return Ok(read);
            }
        } else {
            // Dropped as it comes, for a moment: a connection that is closed on what it has not read yet would lose the answer.
            let deadline = Instant::now() + DENIED_TIMEOUT;
            while let Ok(Some(Ok(_))) = tokio::time::timeout_at(deadline, body.frame()).await {}
        }
        edge.ready()?.admit(context, action).await?;
        Err(Problem::new(Code::Internal))
    })
    .await
}

async fn read_in_time(
    edge: &Arc<Edge>,
    request: Request,
    limit: usize,
    timeout: Duration,
) -> Result<ReadBody, Problem> {
    if !is_plain_json(request.headers()) {
        return Err(Problem::new(Code::UnsupportedMediaType));
    }
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let mut reading = pin!(collect(edge, request.into_body(), limit, announced));
    // Most bodies are there with their headers, and need no clock.
    if let Poll::Ready(read) = futures_util::poll!(&mut reading) {
        return read;
    }
    tokio::time::timeout(timeout, reading).await.unwrap_or_else(|_| Err(Problem::new(Code::RequestTimeout)))
}

async fn collect(
    edge: &Arc<Edge>,
    mut body: axum::body::Body,
    limit: usize,
    announced: Option<usize>,
) -> Result<ReadBody, Problem> {
    let mut collected = ReadBody { bytes: WipedBytes::default(), reserved: 0, edge: edge.clone() };
    collected.grow(announced.unwrap_or(0).min(RESERVED_BYTES_MAX))?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::detailed(Code::InvalidJson, "the body ended before its end"))?;
        let Ok(piece) = frame.into_data() else { continue };
        let length = collected.len() + piece.len();
        if length > limit {
            return Err(too_large(limit));
        }
        if length > collected.reserved {
            // The protocol takes no more than was announced.
            let most = announced.unwrap_or(limit);
            collected.grow((GROWTH * collected.reserved).min(most).max(length))?;
        }
        collected.bytes.extend_from_slice(&piece);
    }
    Ok(collected)
}

impl ReadBody {
    /// Room for `capacity` bytes, out of the memory for all. `Vec` would leave a copy behind when it grows; what is replaced here
    /// is wiped.
    fn grow(&mut self, capacity: usize) -> Result<(), Problem> {
        let more = capacity - self.reserved;
        let before = self.edge.bodies_bytes.fetch_add(more, Ordering::Relaxed);
        self.reserved = capacity;
        if before + more > self.edge.limits.bodies_bytes {
            return Err(Problem::new(Code::Overloaded));
        }
        let mut larger = WipedBytes::with_capacity(capacity);
        larger.extend_from_slice(&self.bytes);
        self.bytes = larger;
        Ok(())
    }
}

impl Drop for ReadBody {
    fn drop(&mut self) {
        self.edge.bodies_bytes.fetch_sub(self.reserved, Ordering::Relaxed);
    }
}

impl Deref for ReadBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Said once, and nothing else: what is chunked and compressed too would be read as if it were chunked alone.
fn is_plain_json(headers: &HeaderMap) -> bool {
    says_only(headers, CONTENT_ENCODING, "identity")
        && says_only(headers, TRANSFER_ENCODING, "chunked")
        && headers.get_all(CONTENT_TYPE).iter().count() == 1
        && headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(is_json)
}

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    essence && parts.all(|parameter| parameter.is_empty() || parameter.eq_ignore_ascii_case("charset=utf-8"))
}

fn says_only(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    headers.get_all(name).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(word.as_bytes()))
}

fn too_large(limit: usize) -> Problem {
    Problem::detailed(Code::PayloadTooLarge, format!("the body may be {limit} bytes long here"))
}
