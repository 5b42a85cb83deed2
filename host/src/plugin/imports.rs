//! What any plugin may import: `log`.
//!
//! Its lines go to the operator's log, tagged with the plugin's name; their size and rate are capped for all of a plugin's instances
//! together, so that nothing a guest does there costs the host more than a little.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::fault::printable;

/// Bytes of a message, fields of a line and bytes of each that are kept.
const MESSAGE_BYTES_MAX: usize = 2_048;
const FIELDS_MAX: usize = 16;
const FIELD_BYTES_MAX: usize = 256;
/// Lines at once, and a second after that.
const BURST: f64 = 100.0;
const LINES_PER_SECOND: f64 = 20.0;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the WIT's levels")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// A line, cut to its caps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// What it says.
    pub message: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

impl LogLine {
    /// As much of it as is kept.
    pub(super) fn cut<'f>(level: LogLevel, message: &str, fields: impl Iterator<Item = (&'f str, &'f str)>) -> Self {
        let fields = fields.take(FIELDS_MAX);
        let fields = fields.map(|(name, value)| (cut(name, FIELD_BYTES_MAX), cut(value, FIELD_BYTES_MAX)));
        Self { level, message: cut(message, MESSAGE_BYTES_MAX), fields: fields.collect() }
    }

    /// Bytes of all its texts.
    pub(super) fn len(&self) -> usize {
        self.message.len() + self.fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

/// Where one plugin's lines go, for all of its instances.
#[derive(Debug)]
pub struct PluginLog {
    plugin: String,
    bucket: Mutex<Bucket>,
    /// For what the host says of it: a guest that talks a lot does not hide its own faults.
    faults: Mutex<Bucket>,
    dropped: AtomicU64,
    /// The last warning or error.
    complaint: Mutex<Option<String>>,
    /// Lines are kept here rather than written, for whoever tests a plugin.
    kept: Option<Mutex<Vec<LogLine>>>,
}

#[derive(Debug)]
struct Bucket {
    lines: f64,
    filled: Instant,
}

impl PluginLog {
    /// To the operator's log.
    pub fn new(plugin: &str) -> Arc<Self> {
        Arc::new(Self::with(plugin, None))
    }

    /// Kept, to be [taken](Self::take).
    pub fn kept(plugin: &str) -> Arc<Self> {
        Arc::new(Self::with(plugin, Some(Mutex::default())))
    }

    fn with(plugin: &str, kept: Option<Mutex<Vec<LogLine>>>) -> Self {
        let bucket = || Mutex::new(Bucket { lines: BURST, filled: Instant::now() });
        Self {
            plugin: plugin.to_owned(),
            bucket: bucket(),
            faults: bucket(),
            dropped: AtomicU64::new(0),
            complaint: Mutex::default(),
            kept,
        }
    }

    /// Lines that were too many.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The last warning or error since this was asked.
    pub fn take_complaint(&self) -> Option<String> {
        self.complaint.lock().ok().and_then(|mut complaint| complaint.take())
    }

    /// What was kept since the last time.
    pub fn take(&self) -> Vec<LogLine> {
        let kept = self.kept.as_ref().and_then(|kept| kept.lock().ok());
        kept.map(|mut lines| std::mem::take(&mut *lines)).unwrap_or_default()
    }

    pub(super) fn emit<'f>(&self, level: LogLevel, message: &str, fields: impl Iterator<Item = (&'f str, &'f str)>) {
        self.take_in(&self.bucket, level, message, fields);
    }

    /// Counts a line that was too many.
    pub(super) fn drop_line(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// What the host says of the plugin.
    pub(super) fn emit_fault<'f>(&self, message: &str, fields: impl Iterator<Item = (&'f str, &'f str)>) {
        self.take_in(&self.faults, LogLevel::Warn, message, fields);
    }

    fn take_in<'f>(
        &self,
        bucket: &Mutex<Bucket>,
        level: LogLevel,
        message: &str,
        fields: impl Iterator<Item = (&'f str, &'f str)>,
    ) {
        if !admits(bucket) {
            return self.drop_line();
        }
        let line = LogLine::cut(level, message, fields);
        if matches!(level, LogLevel::Warn | LogLevel::Error)
            && let Ok(mut complaint) = self.complaint.lock()
        {
            *complaint = Some(printable(&line.message));
        }
        match self.kept.as_ref().map(Mutex::lock) {
            Some(Ok(mut kept)) => kept.push(line),
            Some(Err(_)) => {}
            None => self.write(&line),
        }
    }

    /// As text that is escaped: a guest's words never reach a terminal raw.
    fn write(&self, line: &LogLine) {
        let (plugin, message, fields) = (&*self.plugin, &line.message, &line.fields);
        match line.level {
            LogLevel::Debug => tracing::debug!(plugin, ?message, ?fields, "a plugin says"),
            LogLevel::Info => tracing::info!(plugin, ?message, ?fields, "a plugin says"),
            LogLevel::Warn => tracing::warn!(plugin, ?message, ?fields, "a plugin says"),
            LogLevel::Error => tracing::error!(plugin, ?message, ?fields, "a plugin says"),
        }
    }
}

fn admits(bucket: &Mutex<Bucket>) -> bool {
    let Ok(mut bucket) = bucket.lock() else { return false };
    let now = Instant::now();
    let refill = now.duration_since(bucket.filled).as_secs_f64() * LINES_PER_SECOND;
    bucket.lines = (bucket.lines + refill).min(BURST);
    bucket.filled = now;
    let admits = bucket.lines >= 1.0;
    if admits {
        bucket.lines -= 1.0;
    }
    admits
}

/// The beginning of `text`, at most `bytes` long.
pub(super) fn cut(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let log = PluginLog::kept("loud");
        let long = "é".repeat(10_000);
        for _ in 0..10_000 {
            log.emit(LogLevel::Info, &long, std::iter::repeat_n(("k", &*long), 1_000));
        }
        let lines = log.take();
        assert!((100..200).contains(&lines.len()), "{}", lines.len());
        assert_eq!(lines.len() as u64 + log.dropped(), 10_000);
        assert!(lines[0].message.len() <= 2_048 && lines[0].fields.len() == 16 && lines[0].fields[0].1.len() <= 256);
    }
}
