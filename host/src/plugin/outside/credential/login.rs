//! Where the host logs in: one URL, reached by the same checked way as a guest's requests, by nobody but the host.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::super::HttpResponse;
use super::super::egress::{Origin, Outgoing};
use super::failure::{CredentialError, told};
use super::secrets::Secrets;
use crate::plugin::fault::printable;

/// From the call to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Longest that a server's wish to be left alone is heeded.
const RETRY_AFTER_MAX_S: u64 = 300;
/// Of a server's own words on why it refuses.
const WHY_LEN_MAX: usize = 200;

/// Where a credential logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSettings {
    /// `https://…`; `http://` for loopback alone.
    pub url: String,
    /// Networks beyond the public ones in which its addresses may lie.
    pub addresses: Vec<IpNet>,
    /// Certificates (PEM) that its server's may be issued under, beside the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// A place to log in.
pub(super) struct LoginPlace {
    credential: String,
    origin: Origin,
    url: Url,
}

/// Why a login or a renewal has failed.
pub(super) struct LoginError {
    pub(super) error: CredentialError,
    /// Whether the server has refused it, and would again.
    pub(super) is_refused: bool,
    /// How long the server wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// What is sent to log in.
pub(super) struct LoginRequest<'a> {
    pub(super) path: &'a str,
    pub(super) content_type: &'static str,
    /// Names, and values of which none is shown.
    pub(super) headers: Vec<(HeaderName, Zeroizing<String>)>,
    pub(super) body: Zeroizing<Vec<u8>>,
    /// What must not be repeated in what is told of the answer.
    pub(super) secrets: Secrets,
}

impl LoginPlace {
    pub(super) fn new(credential: &str, settings: &LoginSettings) -> Result<Self, CredentialError> {
        let url = parse_login_url(&settings.url).map_err(|why| CredentialError::new(credential, why))?;
        let origin = url.origin().ascii_serialization();
        let origin = Origin::new(&origin, &settings.addresses, settings.ca_pem.as_deref(), DEADLINE)
            .map_err(|error| CredentialError::new(credential, format!("login_url: {error}")))?;
        Ok(Self { credential: credential.to_owned(), origin, url })
    }

    /// Posts, and gives back what a 200 says. `why` finds a server's own words in an answer that is none.
    pub(super) async fn post(
        &self,
        request: LoginRequest<'_>,
        why: impl Fn(&str) -> Option<String>,
    ) -> Result<Answer, LoginError> {
        let mut url = self.url.clone();
        if !request.path.is_empty() {
            url.set_path(&format!("{}{}", url.path().trim_end_matches('/'), request.path));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(request.content_type));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in &request.headers {
            super::set(&mut headers, name.clone(), value, &self.credential).map_err(LoginError::ours)?;
        }
        let outgoing = Outgoing { method: Method::POST, url, headers, body: bytes::Bytes::from_owner(request.body) };
        let exchange = self.origin.exchange(outgoing, ANSWER_BYTES_MAX);
        let outcome = tokio::time::timeout(DEADLINE, exchange).await;
        let response = match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.failed(&told(&error), false, None)),
            Err(_) => return Err(self.failed("no answer in time", false, None)),
        };
        let answer = Answer(response);
        let status = answer.0.status;
        if status == 200 {
            return Ok(answer);
        }
        let retry_after = answer.header("retry-after").and_then(|text| text.trim().parse().ok());
        let retry_after = retry_after.map(|seconds: u64| Duration::from_secs(seconds.min(RETRY_AFTER_MAX_S)));
        let mut text = match status {
            300..400 => format!("HTTP {status}: a redirect is not followed"),
            _ => format!("HTTP {status}"),
        };
        if let Some(mut words) = answer.text().and_then(why) {
            request.secrets.redact_text(&mut words);
            text.push_str(": ");
            text.extend(words.chars().take(WHY_LEN_MAX));
        }
        let is_refused = (400..500).contains(&status) && !matches!(status, 408 | 425 | 429);
        Err(self.failed(&text, is_refused, retry_after))
    }

    /// An answer that is none.
    pub(super) fn bad_answer(&self, why: &str) -> LoginError {
        self.failed(why, false, None)
    }

    fn failed(&self, why: &str, is_refused: bool, retry_after: Option<Duration>) -> LoginError {
        let origin = self.origin.spelling();
        let why = match why.strip_prefix(origin) {
            Some(rest) => format!("its login at {origin}{rest}"),
            None => format!("its login at {origin}: {why}"),
        };
        LoginError { error: CredentialError::new(&self.credential, printable(&why)), is_refused, retry_after }
    }
}

impl LoginError {
    /// Before anything was sent: a file that cannot be read.
    pub(super) fn ours(error: CredentialError) -> Self {
        Self { error, is_refused: false, retry_after: None }
    }
}

/// A 200. Wiped when dropped: it holds what was asked for.
pub(super) struct Answer(HttpResponse);

impl Answer {
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0.body).ok()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        super::header_of(&self.0, name)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0.body);
    }
}

/// Checks where to log in: what goes there is a secret, so it goes over TLS, or does not leave the machine.
pub fn parse_login_url(text: &str) -> Result<Url, String> {
    let wrong = || format!("login_url: `{}` is not a URL such as https://vault.example:8200", printable(text));
    let url = Url::parse(text).map_err(|_| wrong())?;
    let is_bare = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.host().is_some();
    if !is_bare {
        return Err(wrong());
    }
    match url.scheme() {
        "http" if is_in_the_clear(&url) => {
            Err(format!("login_url: {} sends secrets in the clear: https, or a loopback address", printable(text)))
        }
        "http" | "https" => Ok(url),
        _ => Err(wrong()),
    }
}

/// Whether what is sent to `url` can be read on its way: it goes neither over TLS nor to this machine itself.
pub fn is_in_the_clear(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() != "https" && !is_loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_tls_or_stay_on_the_machine() {
        for good in [
            "https://v.example:8200",
            "https://v.example/x/token",
            "http://127.0.0.1:8200",
            "http://[::1]:1",
            "http://localhost:8200",
        ] {
            assert!(parse_login_url(good).is_ok(), "{good}");
        }
        for bad in ["", "v.example", "http://v.example", "http://10.0.0.1", "ftp://a", "https://u:p@a", "https://a?b"] {
            assert!(parse_login_url(bad).is_err(), "{bad}");
        }
    }
}
