//! What servers of secrets in tests have in common: a thread of their own, requests that are counted, faults in place of answers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use super::loopback;

pub use super::reply::Reply;

/// What a server knows, and how it answers.
pub trait Answers: Send + 'static {
    fn answer(&mut self, request: &Asked) -> Reply;
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: hyper::HeaderMap,
    pub body: Vec<u8>,
}

/// What comes in place of an answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This.
    Say(Reply),
    /// The answer, so much later.
    Late(Duration),
    /// The answer, once the other end is gone.
    Held(watch::Receiver<()>),
    /// The first half of the answer, and then the connection's end.
    Cut,
    /// So many bytes of nothing.
    Huge(usize),
}

/// One that runs.
pub struct Backend<S> {
    pub address: SocketAddr,
    shared: Arc<Mutex<Shared<S>>>,
    _ends: loopback::Ends,
}

/// A server, what it was asked, and what comes in its place.
pub struct Shared<S> {
    server: S,
    asked: usize,
    faults: VecDeque<Fault>,
    /// While it is there, it comes with everything.
    always: Option<Fault>,
}

impl<S: Answers> Backend<S> {
    pub async fn start(server: S) -> Self {
        let shared = shared(server);
        let serving = shared.clone();
        let (address, ends) = loopback::serve(|listener| serve(listener, serving)).await;
        Self { address, shared, _ends: ends }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it knows, to be looked at or changed.
    pub fn with<T>(&self, change: impl FnOnce(&mut S) -> T) -> T {
        change(&mut self.shared().server)
    }

    /// How many there were since this was asked last.
    pub fn requests(&self) -> usize {
        std::mem::take(&mut self.shared().asked)
    }

    /// Waits until there were so many.
    pub async fn until_asked(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.shared().asked < count {
            assert!(Instant::now() < deadline, "nobody asks");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn fault(&self, fault: Fault) {
        self.shared().faults.push_back(fault);
    }

    pub fn always(&self, fault: Option<Fault>) {
        self.shared().always = fault;
    }

    /// Holds every answer back until what comes back is dropped.
    pub fn hold(&self) -> watch::Sender<()> {
        let (holds, held) = watch::channel(());
        self.always(Some(Fault::Held(held)));
        holds
    }

    fn shared(&self) -> MutexGuard<'_, Shared<S>> {
        self.shared.lock().expect("no test panics with it")
    }
}

/// A server that nobody has asked yet.
pub fn shared<S>(server: S) -> Arc<Mutex<Shared<S>>> {
    Arc::new(Mutex::new(Shared { server, asked: 0, faults: VecDeque::new(), always: None }))
}

/// Answers whatever comes to `listener`, for ever.
pub async fn serve<S: Answers>(listener: tokio::net::TcpListener, shared: Arc<Mutex<Shared<S>>>) {
    loop {
        let (stream, _) = listener.accept().await.expect("accepts");
        let shared = shared.clone();
        let service = service_fn(move |request| answer(shared.clone(), request));
        tokio::spawn(async move {
            // A peer that goes away ends its connection, and nothing else.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer<S: Answers>(
    shared: Arc<Mutex<Shared<S>>>,
    request: Request<Incoming>,
) -> Result<Response<Torn>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or("").to_owned(),
        headers: parts.headers,
        body,
    };
    let (mut reply, fault) = {
        let mut shared = shared.lock().expect("unharmed");
        shared.asked += 1;
        let fault = shared.faults.pop_front().or_else(|| shared.always.clone());
        (shared.server.answer(&asked), fault)
    };
    let mut is_torn = false;
    match fault {
        None => {}
        Some(Fault::Say(said)) => reply = said,
        Some(Fault::Late(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Held(mut held)) => {
            let _ = held.changed().await;
        }
        Some(Fault::Cut) => is_torn = true,
        Some(Fault::Huge(bytes)) => reply = Reply::new(200, "x".repeat(bytes)),
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    Ok(response.body(Torn::of(reply.body, is_torn)).expect("an answer"))
}

/// A body that may break off in the middle.
struct Torn {
    whole: u64,
    left: Full<Bytes>,
    is_torn: bool,
}

impl Torn {
    fn of(body: String, is_torn: bool) -> Self {
        let whole = body.len() as u64;
        let sent = if is_torn { body.len() / 2 } else { body.len() };
        Self { whole, left: Full::new(Bytes::from(body).slice(..sent)), is_torn }
    }
}

impl Body for Torn {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match Pin::new(&mut self.left).poll_frame(context) {
            Poll::Ready(None) if self.is_torn => Poll::Ready(Some(Err(io::Error::other("cut")))),
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.whole)
    }
}
