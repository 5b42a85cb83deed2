//! A backend that a provider asks over HTTP, as plain Rust sees it: the host's import in the sandbox, whatever a test puts there.

/// What a backend is asked. Its body may hold a secret, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Absolute.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(&'static str, String)>,
    /// Bytes.
    pub body: Vec<u8>,
}

/// What a backend answers. No `Debug`, for the same reason.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `retry-after`.
    pub retry_after: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// There is no answer, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// The host sends no such request, for what it is: its URL, a header, a place where the credential must not be used.
    InvalidRequest(String),
    /// The host would, and the operator has not granted it.
    NotGranted(String),
    /// It was to be sent, and no whole answer came back.
    Failed(String),
}

impl NoAnswer {
    /// For the operator.
    pub fn why(self) -> String {
        match self {
            Self::InvalidRequest(why) => format!("no request: {why}"),
            Self::NotGranted(why) | Self::Failed(why) => why,
        }
    }
}

/// The backend and the clock.
pub trait Backend {
    /// Sends one request.
    fn send(&mut self, request: Request) -> Result<Answer, NoAnswer>;
    /// Milliseconds since 1970.
    fn now_ms(&mut self) -> u64;
}
