//! Where records wait for the thread that writes.
//!
//! Waking that thread and writing cost more than a record does. So the first that is pushed by a runtime has the writer [hurried](Queue::hurry)
//! once the tasks that are ready there have had their turn, and what they push is committed with it. Alone, a record waits for nobody. That is
//! for runtimes of one thread; others hurry at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Id;

use super::Message;

/// So many records wait for nobody.
const ENOUGH: usize = 32;
/// Bytes of records that wait, at the most: callers choose how long theirs are. A batch that is being written may be as large.
const BYTES_MAX: usize = 64 << 20;
/// Nor does one that was pushed during a commit for longer than this after it, whatever holds up who is to hurry it.
const PATIENCE: Duration = Duration::from_millis(1);

/// Messages for the writer, in order.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    hurried: Condvar,
    capacity: usize,
    bytes_max: usize,
}

/// No more are taken now, or ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug, Default)]
struct Waiting {
    messages: Vec<Message>,
    /// Of all of them.
    bytes: usize,
    /// Runtimes that are going to hurry the writer.
    hurrying: Vec<Id>,
    is_hurried: bool,
    /// Whether the writer would have to be woken.
    writer_sleeps: bool,
    is_closed: bool,
}

impl Queue {
    /// With room for `capacity` messages.
    pub(super) fn new(capacity: usize) -> Self {
        Self { waiting: Mutex::default(), hurried: Condvar::new(), capacity, bytes_max: BYTES_MAX }
    }

    /// Queues `message`, pushed by `runtime`. Whether that is to [hurry](Self::hurry) the writer soon: it is told so once, until it does.
    pub(super) fn push(&self, message: Message, runtime: Id) -> Result<bool, Full> {
        let mut waiting = self.lock();
        self.add(&mut waiting, message)?;
        let is_first = !waiting.hurrying.contains(&runtime);
        if is_first {
            waiting.hurrying.push(runtime);
        }
        if waiting.messages.len() >= ENOUGH {
            self.wake(waiting);
        }
        Ok(is_first)
    }

    /// Queues `message` and hurries the writer.
    pub(super) fn push_hurried(&self, message: Message) -> Result<(), Full> {
        let mut waiting = self.lock();
        self.add(&mut waiting, message)?;
        self.wake(waiting);
        Ok(())
    }

    /// Has the writer take what waits, for all that `runtime` has pushed.
    pub(super) fn hurry(&self, runtime: Id) {
        let mut waiting = self.lock();
        waiting.hurrying.retain(|other| *other != runtime);
        // What is taken already needs no writer.
        if !waiting.messages.is_empty() {
            self.wake(waiting);
        }
    }

    fn add(&self, waiting: &mut Waiting, message: Message) -> Result<(), Full> {
        let length = if let Message::Record { body, .. } = &message { body.len() } else { 0 };
        let has_room = waiting.messages.len() < self.capacity && waiting.bytes + length <= self.bytes_max;
        // A new key is rare, and not to be lost: a KEK that is retired later must have signed nothing since.
        let is_key = matches!(message, Message::Rekey(..));
        if waiting.is_closed || !(has_room || is_key) {
            return Err(Full);
        }
        waiting.bytes += length;
        waiting.messages.push(message);
        Ok(())
    }

    /// Takes no more. What waits is still written.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        self.wake(waiting);
    }

    /// For a writer that ends: whoever waits is let go.
    pub(super) fn end(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.messages.clear();
    }

    /// Whether it takes no more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// For the writer: waits until there is something to do, and moves all of it into `batch`, which is empty. False at the end.
    pub(super) fn take(&self, batch: &mut Vec<Message>) -> bool {
        let mut waiting = self.lock();
        // Once it is closed, nobody hurries it any more.
        while !(waiting.is_hurried || waiting.is_closed) {
            waiting.writer_sleeps = true;
            waiting = if waiting.messages.is_empty() {
                self.hurried.wait(waiting).unwrap_or_else(PoisonError::into_inner)
            } else {
                let slept = self.hurried.wait_timeout(waiting, PATIENCE).unwrap_or_else(PoisonError::into_inner);
                let (mut waiting, outcome) = slept;
                waiting.is_hurried |= outcome.timed_out();
                waiting
            };
            waiting.writer_sleeps = false;
        }
        waiting.is_hurried = false;
        std::mem::swap(&mut waiting.messages, batch);
        waiting.bytes = 0;
        !(batch.is_empty() && waiting.is_closed)
    }

    fn wake(&self, mut waiting: MutexGuard<'_, Waiting>) {
        waiting.is_hurried = true;
        // Woken once, however many hurry it.
        if std::mem::take(&mut waiting.writer_sleeps) {
            drop(waiting);
            self.hurried.notify_one();
        }
    }

    /// Whoever panicked left it whole: nothing here is changed in two steps.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use origan_codec_host::crypto::{Kek, KeyRing};
    use std::sync::Arc;

    fn record(n: u8) -> Message {
        Message::Record { body: vec![n], waiter: None }
    }

    fn taken(queue: &Queue) -> Vec<u8> {
        let mut batch = Vec::new();
        queue.take(&mut batch);
        let bodies = batch.iter().map(|message| match message {
            Message::Record { body, .. } => body[0],
            Message::Retry | Message::Rekey(..) => 255,
        });
        bodies.collect()
    }

    /// Of a runtime each: their ids are of the process.
    fn ids(count: usize) -> Vec<Id> {
        let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let all: Vec<_> = (0..count).map(|_| runtime()).collect();
        all.iter().map(|runtime| runtime.handle().id()).collect()
    }

    #[test]
    fn what_waits_is_taken_together_and_in_order_and_each_runtime_hurries_once() {
        let queue = Queue::new(100);
        let ids = ids(2);
        let is_first = |n| queue.push(record(n), ids[usize::from(n % 2)]).expect("room");
        assert_eq!([0, 1, 2, 3, 4].map(is_first), [true, true, false, false, false]);
        queue.hurry(ids[1]);
        assert_eq!(taken(&queue), [0, 1, 2, 3, 4]);
        // All of them are taken: the writer is not woken for nothing.
        queue.hurry(ids[0]);
        assert!(!queue.lock().is_hurried);
        assert!(queue.push(record(5), ids[0]).expect("room"), "what comes later is hurried too");
        assert_eq!(taken(&queue), [5]);
        assert!(!queue.push(record(6), ids[0]).expect("room"), "the hurry is still to come");
    }

    #[test]
    fn one_that_nobody_hurries_is_taken_too() {
        let queue = Arc::new(Queue::new(100));
        queue.push(record(7), ids(1)[0]).expect("room");
        assert_eq!(taken(&queue), [7]);
    }

    #[test]
    fn a_full_one_takes_no_more_and_neither_does_a_closed_one() {
        let queue = Queue::new(2);
        queue.push_hurried(record(0)).expect("room");
        queue.push_hurried(record(1)).expect("room");
        assert_eq!(queue.push(record(2), ids(1)[0]), Err(Full));
        queue.close();
        assert_eq!(taken(&queue), [0, 1]);
        assert_eq!(queue.push_hurried(record(3)), Err(Full));
        let mut batch = Vec::new();
        queue.close();
        assert!(!queue.take(&mut batch));
    }

    #[test]
    fn it_is_full_of_bytes_too_and_a_new_key_finds_room_all_the_same() {
        let queue = Queue { bytes_max: 10, ..Queue::new(3) };
        let record = |length| Message::Record { body: vec![7; length], waiter: None };
        queue.push_hurried(record(6)).expect("room");
        assert_eq!(queue.push_hurried(record(5)), Err(Full));
        queue.push_hurried(record(4)).expect("room");
        assert_eq!(queue.push_hurried(record(1)), Err(Full));
        let rekey = || {
            let kek = Kek::generate().expect("random");
            let ring = KeyRing::new(&kek, &[]).expect("one KEK");
            Message::Rekey(kek.id(), Box::new(ring.journal_key(kek.id(), "test").expect("in the ring")))
        };
        queue.push_hurried(rekey()).expect("room");
        queue.push_hurried(rekey()).expect("room");
        assert_eq!(taken(&queue), [7, 7, 255, 255]);
        queue.push_hurried(record(10)).expect("what is taken leaves room");
        queue.close();
        assert_eq!(queue.push_hurried(rekey()), Err(Full));
    }

    #[test]
    fn what_waits_at_the_end_is_taken_and_then_there_is_no_more() {
        let queue = Arc::new(Queue::new(100));
        queue.push_hurried(record(1)).expect("room");
        queue.close();
        let (tell, told) = std::sync::mpsc::channel();
        let writer = queue.clone();
        std::thread::spawn(move || {
            let mut batch = Vec::new();
            while writer.take(&mut batch) {
                batch.clear();
            }
            tell.send(())
        });
        told.recv_timeout(Duration::from_secs(10)).expect("the writer ends");
    }

    #[test]
    fn the_writer_sleeps_until_it_is_hurried() {
        let queue = Arc::new(Queue::new(100));
        let writer = std::thread::spawn({
            let queue = queue.clone();
            move || taken(&queue)
        });
        std::thread::sleep(Duration::from_millis(20));
        let id = ids(1)[0];
        assert!(queue.push(record(9), id).expect("room"));
        queue.hurry(id);
        assert_eq!(writer.join().expect("no panic"), [9]);
    }
}
