//! Who asks: `X-Service-Auth: <token>` or `Authorization: Bearer <token>`, looked at before a byte of the body is read.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::Edge;
use super::code::Code;
use super::edge::Remote;
use super::problem::Problem;
use crate::names::RequestId;
use crate::service::Context;

/// Addresses counted in one second; more share one count.
const SOURCES_MAX: usize = 65_536;

/// A request whose caller is known.
pub(super) struct Authenticated(pub(super) Context);

impl FromRequestParts<Arc<Edge>> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let remote = parts.extensions.get::<Remote>().map(|remote| remote.0);
        let callers = edge.callers.load();
        let caller = presented_token(&parts.headers).and_then(|token| callers.authenticate(token));
        let Some(caller) = caller else {
            edge.metrics.wrong_token();
            return Err(Problem::new(edge.wrong_tokens.count(remote, edge.limits.wrong_tokens_per_second)));
        };
        let request_id = parts.extensions.get::<RequestId>().cloned().unwrap_or_else(RequestId::fresh);
        Ok(Self(Context { caller: caller.clone(), request_id, remote }))
    }
}

/// The one token. None if there is none, or more than one header that could hold it.
fn presented_token(headers: &HeaderMap) -> Option<&[u8]> {
    let mut service = headers.get_all("x-service-auth").iter();
    let mut bearer = headers.get_all(AUTHORIZATION).iter();
    match (service.next(), bearer.next(), service.next(), bearer.next()) {
        (Some(token), None, None, None) => Some(token.as_bytes()),
        (None, Some(value), None, None) => {
            let (scheme, token) = value.as_bytes().split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
        }
        _ => None,
    }
}

/// Counts wrong tokens by source, second by second. A right token is never asked for its source: who floods hurts nobody else.
#[derive(Debug)]
pub struct WrongTokens {
    started: Instant,
    current: Mutex<(u64, HashMap<Option<IpAddr>, u32>)>,
}

impl Default for WrongTokens {
    fn default() -> Self {
        Self { started: Instant::now(), current: Mutex::default() }
    }
}

impl WrongTokens {
    /// Counts one from `remote`, and says how to answer it.
    fn count(&self, remote: Option<IpAddr>, per_second: u32) -> Code {
        let second = self.started.elapsed().as_secs();
        let Ok(mut current) = self.current.lock() else { return Code::TooManyWrongTokens };
        if current.0 != second {
            *current = (second, HashMap::new());
        }
        let counts = &mut current.1;
        let source = remote.map(network_of).filter(|_| counts.len() < SOURCES_MAX);
        let count = counts.entry(source).or_default();
        *count += 1;
        if *count > per_second { Code::TooManyWrongTokens } else { Code::Unauthenticated }
    }
}

/// Whom an address stands for: itself, or in IPv6 its /64, which one subscriber has.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_is_stopped_and_another_is_not() {
        let wrong = WrongTokens::default();
        let (one, other): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let codes: Vec<_> = (0..50).map(|_| wrong.count(Some(one), 3)).collect();
        assert_eq!(codes[..3], [Code::Unauthenticated; 3]);
        assert!(codes.contains(&Code::TooManyWrongTokens));
        assert_eq!(wrong.count(Some(other), 3), Code::Unauthenticated);
    }
}
