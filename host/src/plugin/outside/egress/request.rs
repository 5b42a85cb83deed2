//! The parts of a request that a guest makes, checked before anything is sent.

use http::{HeaderName, HeaderValue, Method, header};
use url::Url;

use super::super::SendError;
use crate::plugin::fault::printable;

pub(super) const METHODS: [Method; 6] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD];
const HEADERS_MAX: usize = 64;
/// Headers that are the host's: they concern the connection, its framing, or who asks.
const RESERVED_HEADERS: [&str; 14] = [
    "host",
    "authorization",
    "proxy-authorization",
    "proxy-authenticate",
    "content-length",
    "transfer-encoding",
    "connection",
    "proxy-connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "http2-settings",
];

/// With a credential, these too: a server that repeats it compressed or in part would get it past [`Added::redact`].
///
/// [`Added::redact`]: super::super::credential::Added::redact
pub(super) const RESERVED_WITH_CREDENTIAL: [HeaderName; 3] = [header::ACCEPT_ENCODING, header::RANGE, header::IF_RANGE];

pub(super) fn parse_url(text: &str) -> Result<Url, SendError> {
    let invalid = |why: &str| SendError::InvalidRequest(why.to_owned());
    let url = Url::parse(text).map_err(|_| invalid("the URL is not absolute, or not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("the URL's scheme is not http or https"));
    }
    // `https://granted@evil/` is evil's.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("the URL carries userinfo"));
    }
    if url.fragment().is_some() {
        return Err(invalid("the URL carries a fragment"));
    }
    Ok(url)
}

pub(super) fn headers(given: &[(String, String)]) -> Result<http::HeaderMap, SendError> {
    if given.len() > HEADERS_MAX {
        return Err(SendError::InvalidRequest(format!("more than {HEADERS_MAX} headers")));
    }
    let mut headers = http::HeaderMap::new();
    for (name, value) in given {
        let wrong = || SendError::InvalidRequest(format!("the header `{}` cannot be sent", printable(name)));
        let name = HeaderName::try_from(name).map_err(|_| wrong())?;
        if RESERVED_HEADERS.contains(&name.as_str()) {
            return Err(SendError::InvalidRequest(format!("the header `{name}` is the host's to set")));
        }
        headers.append(name, HeaderValue::try_from(value).map_err(|_| wrong())?);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_are_the_hosts_are_refused_in_any_case() {
        for name in ["Host", "AUTHORIZATION", "content-length", "Transfer-Encoding", "connection", "a b", "", "x\n"] {
            assert!(headers(&[(name.into(), "v".into())]).is_err(), "{name:?}");
        }
        assert!(headers(&[("x".into(), "a\r\nb: c".into())]).is_err());
        assert!(headers(&[("content-type".into(), "application/json".into())]).is_ok());
    }
}
