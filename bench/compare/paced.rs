//! An open-loop load: calls begin when they are meant to, whether others have ended or not, and a time counts from the moment that was
//! meant. A server that stalls shows it in every call that fell into the stall.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::ptr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};

use crate::client::Client;
use crate::figures::percentile;

/// Calls in flight at the most: one on each connection.
pub(crate) const CONNECTIONS: u32 = 64;
/// Between the connections and the first call.
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
/// One thread, which sleeps until a call is due or an answer is there: timers of a runtime count in milliseconds, and a thread for each
/// connection took half of the machine.
pub(crate) fn run(
    client: &Client,
    call: &str,
    body: &str,
    per_second: f64,
    duration: Duration,
    clock: Clock,
) -> anyhow::Result<Times> {
    ensure!(per_second > 0.0, "no pace");
    let calling = || calls(client, call, body, per_second, duration, clock);
    // A thread of its own: what it is given first, it keeps.
    let mut times =
        std::thread::scope(|scope| scope.spawn(calling).join()).map_err(|_| anyhow!("the caller panics"))??;
    times.sort_by(f64::total_cmp);
    ensure!(!times.is_empty(), "no call was due");
    Ok(Times { calls: times.len(), p50_us: percentile(&times, 50), p99_us: percentile(&times, 99) })
}

/// What each call took, in µs.
fn calls(
    client: &Client,
    call: &str,
    body: &str,
    per_second: f64,
    duration: Duration,
    clock: Clock,
) -> anyhow::Result<Vec<f64>> {
    let mut connections =
        (0..CONNECTIONS).map(|_| Connection::open(client, call, body)).collect::<anyhow::Result<Vec<_>>>()?;
    if clock == Clock::First {
        go_first();
    }
    let start = Instant::now() + HEAD_START;
    let due = |number: u32| start + Duration::from_secs_f64(f64::from(number) / per_second);
    let (mut next, mut times) = (0, Vec::new());
    loop {
        let now = Instant::now();
        while due(next) <= now && due(next) < start + duration {
            let connection = &mut connections[(next % CONNECTIONS) as usize];
            connection.ask(due(next))?;
            next += 1;
        }
        let ends = due(next) >= start + duration;
        if ends && times.len() == next as usize {
            return Ok(times);
        }
        let until = if ends { now + PATIENCE } else { due(next) };
        for index in readable(&connections, until)? {
            if let Some(asked) = connections[index].hear()? {
                times.push(asked.elapsed().as_secs_f64() * 1e6);
            }
        }
        ensure!(!ends || now.elapsed() < PATIENCE, "an answer that does not come");
    }
}

/// Makes the same call again and again, and does as little as it can beside: whatever the caller spends, the service has not.
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    /// When the calls were due that are not answered yet; all but the first wait for those before.
    due: VecDeque<Instant>,
}

impl Connection {
    fn open(client: &Client, call: &str, body: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(&client.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let (address, token, len) = (&client.address, &client.token, body.len());
        let request = format!(
            "POST {call} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nX-Service-Auth: {token}\r\n\
             Content-Length: {len}\r\n\r\n{body}"
        );
        Ok(Self { stream, request: request.into_bytes(), answer: Vec::new(), due: VecDeque::new() })
    }

    /// Begins a call, or has it wait for the one before.
    fn ask(&mut self, due: Instant) -> anyhow::Result<()> {
        self.due.push_back(due);
        if self.due.len() == 1 { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> anyhow::Result<()> {
        // A few hundred bytes into a buffer that is empty.
        Ok(self.stream.write_all(&self.request)?)
    }

    /// Reads what is there. When the call was due that is answered by it, if one is; the next one begins.
    fn hear(&mut self) -> anyhow::Result<Option<Instant>> {
        let mut piece = [0; 4096];
        let read = self.stream.read(&mut piece)?;
        ensure!(read > 0, "an answer that breaks off");
        self.answer.extend_from_slice(&piece[..read]);
        if whole(&self.answer)?.is_none_or(|len| self.answer.len() < len) {
            return Ok(None);
        }
        self.answer.clear();
        let due = self.due.pop_front();
        if !self.due.is_empty() {
            self.send()?;
        }
        Ok(due)
    }
}

/// The connections that have something to read; waits for one until then.
fn readable(connections: &[Connection], until: Instant) -> anyhow::Result<Vec<usize>> {
    let asked = |connection: &Connection| libc::pollfd {
        fd: connection.stream.as_raw_fd(),
        events: if connection.due.is_empty() { 0 } else { libc::POLLIN },
        revents: 0,
    };
    let mut polled: Vec<_> = connections.iter().map(asked).collect();
    let left = until.saturating_duration_since(Instant::now());
    let left = libc::timespec { tv_sec: left.as_secs() as libc::time_t, tv_nsec: left.subsec_nanos().into() };
    // SAFETY: the kernel reads and writes as many structures as there are, which live until the call returns; there is no mask.
    #[expect(unsafe_code, reason = "no library in use waits for less than a millisecond")]
    let found = unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &raw const left, ptr::null()) };
    ensure!(found >= 0, "{}", io::Error::last_os_error());
    Ok(polled.iter().enumerate().filter(|(_, one)| one.revents != 0).map(|(index, _)| index).collect())
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
