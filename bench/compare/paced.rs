//! An open-loop load: calls begin when they are meant to, whether others have ended or not, and a time counts from the moment that was
//! meant. A server that stalls shows it in every call that fell into the stall.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};

use crate::client::Client;
use crate::figures::percentile;

/// Calls in flight at the most: one on each connection.
pub(crate) const CONNECTIONS: u32 = 64;
/// Between the start of the threads and the first call.
const HEAD_START: Duration = Duration::from_millis(50);
/// The longest that a call may wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most fields in the head of an answer.
const HEADERS_MAX: usize = 32;

/// Who has a processor first, where both want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Neither: at rates that take much of the machine, a caller that always goes first would be measured instead of the service.
    Fair,
    /// Who calls, where that is little beside what is measured: what a neighbour takes of the service's time, and not of the clock's.
    First,
}

/// What a load came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) calls: usize,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Makes `per_second` calls for `duration`; each must succeed.
///
/// Each connection has a thread that sleeps until its next call is due: timers of a runtime count in milliseconds.
pub(crate) fn run(
    client: &Client,
    call: &str,
    body: &str,
    per_second: f64,
    duration: Duration,
    clock: Clock,
) -> anyhow::Result<Times> {
    ensure!(per_second > 0.0, "no pace");
    let every = Duration::from_secs_f64(f64::from(CONNECTIONS) / per_second);
    let start = Instant::now() + HEAD_START;
    let times = std::thread::scope(|scope| {
        let threads = (0..CONNECTIONS).map(|index| {
            let first = start + every.mul_f64(f64::from(index) / f64::from(CONNECTIONS));
            scope.spawn(move || {
                if clock == Clock::First {
                    go_first();
                }
                one_connection(client, call, body, first, every, start + duration)
            })
        });
        // All of them run before the first is waited for.
        let threads: Vec<_> = threads.collect();
        let times =
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a connection's thread panics"))?);
        times.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let mut times = times.concat();
    times.sort_by(f64::total_cmp);
    ensure!(!times.is_empty(), "no call was due");
    Ok(Times { calls: times.len(), p50_us: percentile(&times, 50), p99_us: percentile(&times, 99) })
}

fn one_connection(
    client: &Client,
    call: &str,
    body: &str,
    first: Instant,
    every: Duration,
    end: Instant,
) -> anyhow::Result<Vec<f64>> {
    let mut connection = Connection::open(client, call, body)?;
    let mut times = Vec::new();
    let mut due = first;
    while due < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        connection.call()?;
        times.push(due.elapsed().as_secs_f64() * 1e6);
        due += every;
    }
    Ok(times)
}

/// Makes the same call again and again, and does as little as it can beside: whatever the caller spends, the service has not.
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    fn open(client: &Client, call: &str, body: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(&client.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (address, token, len) = (&client.address, &client.token, body.len());
        let request = format!(
            "POST {call} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nX-Service-Auth: {token}\r\n\
             Content-Length: {len}\r\n\r\n{body}"
        );
        Ok(Self { stream, request: request.into_bytes(), answer: Vec::new() })
    }

    fn call(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.request)?;
        self.answer.clear();
        let mut piece = [0; 4096];
        loop {
            let read = self.stream.read(&mut piece)?;
            ensure!(read > 0, "an answer that breaks off");
            self.answer.extend_from_slice(&piece[..read]);
            if whole(&self.answer)?.is_some_and(|len| self.answer.len() >= len) {
                return Ok(());
            }
        }
    }
}

/// How many bytes the answer has that `begun` is the beginning of, once its head is there; it must be a success.
fn whole(begun: &[u8]) -> anyhow::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_len) = head.parse(begun)? else { return Ok(None) };
    ensure!(head.code == Some(200), "{:?}: {}", head.code, String::from_utf8_lossy(&begun[head_len..]));
    let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("an answer without its length")?.value;
    Ok(Some(head_len + std::str::from_utf8(length)?.parse::<usize>()?))
}

/// Lets the threads that are started from now on wake when they are due, and not up to 50 µs later.
pub(crate) fn wake_in_time() {
    // Where the system does not allow it, all times are that much longer, the echo's too.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
}

/// From now on, this thread has a processor as soon as it wants one.
fn go_first() {
    let attributes = libc::sched_param { sched_priority: 1 };
    // SAFETY: the kernel reads one structure that lives until the call returns; 0 is the calling thread.
    #[expect(unsafe_code, reason = "no wrapper knows the call; it reads one structure")]
    // Where the system does not allow it, it is as it is everywhere else.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const attributes) };
}
