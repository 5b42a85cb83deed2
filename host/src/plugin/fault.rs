//! Why a call of a plugin gave no answer.

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

/// Frames of a guest's stack that a fault names, and bytes of each name.
const FRAMES_MAX: usize = 6;
const NAME_LEN_MAX: usize = 120;
/// Bytes of any other text of a guest that operators see.
const TEXT_LEN_MAX: usize = 1_000;
/// What wasmtime says when a guest hands over more than it may; the error has no public type.
const FUEL_MESSAGE: &str = "fuel allocated for hostcalls";

/// Why a call gave no answer. The texts are for operators; they hold the guest's function names, cut and escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It trapped: a panic, a division by zero, an access out of bounds, a stack overflow.
    #[error("trapped: {0}")]
    Trap(String),
    /// It was still at work at the deadline.
    #[error("missed its deadline{0}")]
    Timeout(String),
    /// It wanted more memory or table than it may have.
    #[error("ran out of memory: {0}")]
    OutOfMemory(String),
    /// It handed the host more than it may.
    #[error("passed more to the host than it may: {0}")]
    HostLimit(String),
    /// It answered what is no answer.
    #[error("gave a bad answer: {0}")]
    BadAnswer(String),
    /// Every place for an instance is taken.
    #[error("too many instances at once")]
    Busy,
}

impl Fault {
    /// The kind's stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Timeout(_) => "timeout",
            Self::OutOfMemory(_) => "out-of-memory",
            Self::HostLimit(_) => "host-limit",
            Self::BadAnswer(_) => "bad-answer",
            Self::Busy => "busy",
        }
    }

    /// Of what a call ended with; `refused` is what the meter held back.
    pub(super) fn of(error: &wasmtime::Error, refused: Option<&'static str>) -> Self {
        if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
            return Self::Busy;
        }
        let place = place_of(error);
        let text = innermost(error);
        if text.contains(FUEL_MESSAGE) {
            return Self::HostLimit(place.trim_start_matches(", ").to_owned());
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::Timeout(place),
            // A guest that is refused memory most often ends by its own trap.
            Some(trap) => match refused {
                Some(what) => Self::OutOfMemory(format!("{what} refused, {trap}{place}")),
                None => Self::Trap(format!("{trap}{place}")),
            },
            None => match refused {
                Some(what) => Self::OutOfMemory(format!("{what} refused")),
                None => Self::BadAnswer(printable(&text)),
            },
        }
    }
}

/// `, in a < b < c`: the guest's functions, innermost first; nothing where there are none.
fn place_of(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let names = backtrace.frames().iter().take(FRAMES_MAX).map(|frame| {
        let index = frame.func_index();
        frame.func_name().map_or_else(
            || format!("function {index}"),
            |name| printable(&super::imports::cut(&demangled(name), NAME_LEN_MAX)),
        )
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() { String::new() } else { format!(", in {}", names.join(" < ")) }
}

fn demangled(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

fn innermost(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}

/// Cut, and without anything that a terminal could act on.
pub(super) fn printable(text: &str) -> String {
    let end = text.char_indices().map(|(at, _)| at).find(|at| *at >= TEXT_LEN_MAX).unwrap_or(text.len());
    let mut shown = String::with_capacity(end);
    for c in text[..end].chars() {
        match c {
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                shown.extend(c.escape_unicode())
            }
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}
