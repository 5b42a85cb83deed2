//! Calls that take long: worked on beside the threads that serve, which have short ones to answer meanwhile.

use std::sync::Arc;

use axum::response::Response;
use tokio::task::JoinHandle;

use super::Edge;
use super::code::Code;
use super::problem::Problem;

/// A body that is longer takes about half a millisecond and more.
const LONG_BYTES: usize = 64 << 10;

/// Whether others would wait for what is done with so long a body.
pub(super) fn is_long(body: &[u8]) -> bool {
    body.len() > LONG_BYTES
}

/// What comes of `work`, which goes on for as long as this is waited for.
pub(super) async fn beside(
    edge: &Arc<Edge>,
    work: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    let mut working = EndsWhenDropped(edge.beside.spawn(work));
    (&mut working.0).await.unwrap_or_else(|_| Err(Problem::new(Code::Internal)))
}

struct EndsWhenDropped(JoinHandle<Result<Response, Problem>>);

impl Drop for EndsWhenDropped {
    fn drop(&mut self) {
        self.0.abort();
    }
}
