//! Ports for servers that are told theirs before they listen.

use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that the kernel gives to connections, and to whoever asks for any.
const FIRST: u16 = 16_000;
const COUNT: u16 = 16_000;

/// Where this process is in them: each begins somewhere else.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(getrandom::u32().expect("random") as u16));

/// One that is free, and given to nobody else before its server listens.
pub fn free_port() -> u16 {
    let mut candidates = (0..COUNT).map(|_| FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT);
    candidates.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}
