//! Answers to calls that are large: in memory until their callers have taken them, and so counted among what the bodies of requests take.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;

use super::Edge;

/// What is smaller is bounded by the connections that there may be.
const LARGE_BYTES: u64 = 64 << 10;

/// Bytes that count as long as they are there.
struct Counted {
    bytes: Bytes,
    edge: Arc<Edge>,
}

/// `response`, counted as long as any of it is there.
pub(super) async fn counted(edge: &Arc<Edge>, response: Response) -> Response {
    if response.body().size_hint().exact().is_some_and(|length| length <= LARGE_BYTES) {
        return response;
    }
    let (parts, body) = response.into_parts();
    // It is whole, and one piece: nothing is waited for, or copied.
    let bytes = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
    edge.bodies_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
    Response::from_parts(parts, Body::from(Bytes::from_owner(Counted { bytes, edge: edge.clone() })))
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.edge.bodies_bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}
