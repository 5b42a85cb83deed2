//! A batch in as few requests as its size allows, oldest first; what is refused is halved until the bad records stand alone.

use std::collections::VecDeque;

use crate::answer::{Answer, Fate, fate};
use crate::mapping::{Entry, Frame};
use crate::settings::Sink;

/// Why there is no answer, as the interface `http` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// The plugin may not send this there.
    NotGranted(String),
    /// Not a request that can be sent.
    InvalidRequest(String),
    /// No connection, no handshake, no whole answer in time, or not HTTP.
    Broken(String),
    /// The answer is longer than this many bytes, or the request is.
    TooLarge(u64),
}

/// The collector, the clock and the operator's log.
pub trait Collector {
    /// Sends one body.
    fn send(&mut self, body: Vec<u8>) -> Result<Answer, SendError>;
    /// Milliseconds since 1970.
    fn now_ms(&mut self) -> u64;
    /// Tells the operator of something that only they can repair.
    fn error(&mut self, message: &str);
    /// Tells the operator of something that passes.
    fn warn(&mut self, message: &str);
}

/// What did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDelivered {
    /// The whole batch must come again, after so many milliseconds where the collector said so.
    Retry(Option<u32>),
    /// These records never will; the rest has arrived.
    Rejected(Vec<(u64, String)>),
}

/// A record's number and what is sent of it.
type Item = (u64, String);

/// Sends all of `entries`.
pub fn deliver(sink: &Sink, collector: &mut impl Collector, entries: &[Entry]) -> Result<(), NotDelivered> {
    let frame = sink.mapping.frame();
    let items: Vec<Item> = entries.iter().map(|entry| (entry.seq, sink.mapping.item(*entry))).collect();
    let mut pending = chunks(&frame, &items, sink.max_body_bytes);
    let mut rejected = Vec::new();
    // Each turn takes a request's records out, or puts the two halves of several back: it ends.
    while let Some(chunk) = pending.pop_front() {
        match attempt(sink, &frame, collector, chunk) {
            Fate::Taken => {}
            Fate::TakenExcept(places) => {
                rejected
                    .extend(places.into_iter().filter_map(|(place, why)| chunk.get(place).map(|(seq, _)| (*seq, why))));
            }
            Fate::Refused(why) => match chunk {
                [(seq, _)] => rejected.push((*seq, why)),
                several => {
                    let (first, second) = halves(several);
                    pending.push_front(second);
                    pending.push_front(first);
                }
            },
            Fate::Later(wait_ms, why) => {
                collector.warn(&format!("records are sent again: {why}"));
                return Err(NotDelivered::Retry(wait_ms));
            }
            Fate::Misconfigured(why) => {
                collector.error(&format!("records wait until the configuration is right: {why}"));
                return Err(NotDelivered::Retry(None));
            }
        }
    }
    if rejected.is_empty() { Ok(()) } else { Err(NotDelivered::Rejected(rejected)) }
}

fn attempt(sink: &Sink, frame: &Frame, collector: &mut impl Collector, chunk: &[Item]) -> Fate {
    let lines: Vec<&str> = chunk.iter().map(|(_, item)| item.as_str()).collect();
    let body = frame.body(&lines);
    let body_len = u64::try_from(body.len()).unwrap_or(u64::MAX);
    match collector.send(body) {
        Ok(answer) => {
            let now_ms = collector.now_ms();
            fate(&sink.mapping, chunk.len(), &answer, now_ms)
        }
        Err(SendError::NotGranted(why)) => Fate::Misconfigured(format!("not granted: {why}")),
        Err(SendError::InvalidRequest(why)) => Fate::Misconfigured(format!("not a request: {why}")),
        Err(SendError::Broken(why)) => Fate::Later(None, why),
        Err(SendError::TooLarge(limit)) if body_len > limit || chunk.len() > 1 => {
            Fate::Refused(format!("the request or its answer is longer than {limit} bytes"))
        }
        // Of the answer to one record nothing is known: it may be taken, and must not be given up.
        Err(SendError::TooLarge(limit)) => Fate::Misconfigured(format!("the answer is longer than {limit} bytes")),
    }
}

/// As few chunks as make bodies of at most `max_body_bytes`; a record that is longer alone goes alone.
fn chunks<'a>(frame: &Frame, items: &'a [Item], max_body_bytes: usize) -> VecDeque<&'a [Item]> {
    let mut chunks = VecDeque::new();
    let mut rest = items;
    while !rest.is_empty() {
        let (mut count, mut items_len) = (0_usize, 0_usize);
        for (_, item) in rest {
            items_len = items_len.saturating_add(item.len());
            let next = count.saturating_add(1);
            if count > 0 && frame.body_len(next, items_len) > max_body_bytes {
                break;
            }
            count = next;
        }
        let (chunk, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        chunks.push_back(chunk);
        rest = after;
    }
    chunks
}

fn halves(items: &[Item]) -> (&[Item], &[Item]) {
    items.split_at_checked(items.len().checked_div(2).unwrap_or(0)).unwrap_or((items, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::parse;

    /// Answers 400 to a body that holds `"bad"`, and keeps all bodies.
    #[derive(Default)]
    struct Scripted {
        script: VecDeque<Result<Answer, SendError>>,
        bodies: Vec<String>,
        errors: usize,
    }

    impl Collector for Scripted {
        fn send(&mut self, body: Vec<u8>) -> Result<Answer, SendError> {
            let body = String::from_utf8(body).unwrap();
            let status = if body.contains("bad") { 400 } else { 200 };
            self.bodies.push(body);
            self.script.pop_front().unwrap_or(Ok(Answer { status, retry_after: None, body: Vec::new() }))
        }
        fn now_ms(&mut self) -> u64 {
            0
        }
        fn error(&mut self, _: &str) {
            self.errors = self.errors.saturating_add(1);
        }
        fn warn(&mut self, _: &str) {}
    }

    fn run(collector: &mut Scripted, max_body_bytes: usize, lines: &[&str]) -> Result<(), NotDelivered> {
        let sink = parse(&format!(r#"{{"url": "http://c.test/", "max_body_bytes": {max_body_bytes}}}"#)).unwrap();
        let entries: Vec<Entry> =
            lines.iter().zip(1..).map(|(line, seq)| Entry { chain: "aa", seq, time_ms: 0, line, hash: "ff" }).collect();
        deliver(&sink, collector, &entries)
    }

    #[test]
    fn bad_records_are_found_and_the_rest_delivered_once_and_in_order() {
        let mut collector = Scripted::default();
        let result = run(&mut collector, 100_000, &["1", "2", "bad", "4", "5", "6", "7", "bad"]);
        let Err(NotDelivered::Rejected(rejected)) = result else { panic!("{result:?}") };
        assert_eq!(rejected.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3, 8]);
        let taken: String = collector.bodies.iter().filter(|body| !body.contains("bad")).cloned().collect();
        assert_eq!(taken, "1\n2\n4\n5\n6\n7\n");
    }

    #[test]
    fn bodies_keep_within_the_limit_and_a_longer_record_goes_alone() {
        let (short, long) = ("x".repeat(510), "y".repeat(3_000));
        let mut collector = Scripted::default();
        assert_eq!(run(&mut collector, 1_024, &[&short, &short, &short, &long, &short]), Ok(()));
        let lengths: Vec<usize> = collector.bodies.iter().map(String::len).collect();
        assert_eq!(lengths, [1_022, 511, 3_001, 511]);
        let mut collector = Scripted::default();
        let half = "z".repeat(511);
        assert_eq!(run(&mut collector, 1_024, &[&half, &half]), Ok(()));
        assert_eq!(collector.bodies.len(), 1, "exactly the limit is one body");
    }

    #[test]
    fn what_passes_and_what_is_misconfigured_both_keep_the_batch() {
        for (error, errors) in [
            (SendError::Broken("timeout".to_owned()), 0),
            (SendError::NotGranted("origin".to_owned()), 1),
            (SendError::InvalidRequest("url".to_owned()), 1),
            (SendError::TooLarge(5_000), 1),
        ] {
            let mut collector = Scripted { script: VecDeque::from([Err(error.clone())]), ..Scripted::default() };
            assert_eq!(run(&mut collector, 100_000, &["1"]), Err(NotDelivered::Retry(None)), "{error:?}");
            assert_eq!(collector.errors, errors, "{error:?}");
        }
    }

    #[test]
    fn a_request_that_is_too_large_is_halved_and_alone_rejected() {
        let script = VecDeque::from([Err(SendError::TooLarge(3)), Err(SendError::TooLarge(3))]);
        let mut collector = Scripted { script, ..Scripted::default() };
        let result = run(&mut collector, 100_000, &["long", "s"]);
        assert!(matches!(result, Err(NotDelivered::Rejected(rejected)) if rejected.len() == 1 && rejected[0].0 == 1));
        assert_eq!(collector.bodies, ["long\ns\n", "long\n", "s\n"]);
    }

    #[test]
    fn the_collectors_wait_is_handed_on_even_after_a_rejection() {
        let answer =
            |status, wait: Option<&str>| Ok(Answer { status, retry_after: wait.map(str::to_owned), body: Vec::new() });
        let script = VecDeque::from([answer(400, None), answer(400, None), answer(429, Some("5"))]);
        let mut collector = Scripted { script, ..Scripted::default() };
        assert_eq!(run(&mut collector, 100_000, &["1", "2"]), Err(NotDelivered::Retry(Some(5_000))));
    }

    #[test]
    fn an_empty_batch_is_no_request() {
        let mut collector = Scripted::default();
        assert_eq!(run(&mut collector, 100_000, &[]), Ok(()));
        assert!(collector.bodies.is_empty());
    }
}
