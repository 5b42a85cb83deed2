//! Calls that take long: worked on beside the threads that serve, which have short ones to answer meanwhile.

use axum::response::Response;
use futures_util::future::Either;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Edge;
use super::code::Code;
use super::problem::Problem;

/// A body that is longer takes about half a millisecond and more.
const LONG_BYTES: usize = 64 << 10;

/// Where `body` is worked on; none: here.
pub(super) fn place_for(body: &[u8], edge: &Edge) -> Option<Handle> {
    (body.len() > LONG_BYTES).then(|| edge.beside.clone())
}

/// What comes of `work`, which goes on for as long as this is waited for.
pub(super) fn at(
    place: Option<Handle>,
    work: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> impl Future<Output = Result<Response, Problem>> {
    let Some(runtime) = place else { return Either::Left(work) };
    let mut working = EndsWhenDropped(runtime.spawn(work));
    Either::Right(async move { (&mut working.0).await.unwrap_or_else(|_| Err(Problem::new(Code::Internal))) })
}

struct EndsWhenDropped(JoinHandle<Result<Response, Problem>>);

impl Drop for EndsWhenDropped {
    fn drop(&mut self) {
        self.0.abort();
    }
}
