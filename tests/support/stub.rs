//! A server on loopback that answers as a test says, and keeps what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::loopback;
use super::reply::Reply;

/// What it was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
    pub headers: http::HeaderMap,
    pub body: String,
}

/// One that runs.
pub struct Stub {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _ends: loopback::Ends,
}

type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// A field of a form.
    pub fn field(&self, name: &str) -> String {
        let mut fields = url::form_urlencoded::parse(self.body.as_bytes());
        fields.find(|(known, _)| known == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    }
}

impl Stub {
    /// That answers at once.
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_slow(move |asked| {
            let reply = answer(&asked);
            Box::pin(async move { reply })
        })
        .await
    }

    /// That answers when it likes.
    pub async fn start_slow(answer: impl Fn(Asked) -> Answering + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (asked.clone(), Arc::new(answer));
        let serving = |listener: TcpListener| async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                let (kept, answer) = (kept.clone(), answer.clone());
                let service = service_fn(move |request| one(kept.clone(), answer.clone(), request));
                tokio::spawn(async move {
                    // A peer that goes away ends its connection, and nothing else.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        };
        let (address, ends) = loopback::serve(serving).await;
        Self { address, asked, _ends: ends }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything that it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("unharmed").clone()
    }
}

async fn one<F: Fn(Asked) -> Answering>(
    kept: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<F>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    kept.lock().expect("unharmed").push(asked.clone());
    let reply = answer(asked).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    Ok(response.body(Full::new(reply.body.into())).expect("an answer"))
}
