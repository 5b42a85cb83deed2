//! Bodies, as each kind of collector takes them: `prefix ‖ items joined by separator ‖ suffix`, one item a record.

use std::collections::BTreeMap;

use guest_parts::time::rfc3339;
use serde_json::Value;

/// A record of the journal.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Its chain, 16 hexadecimal digits.
    pub chain: &'a str,
    /// Its number there.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The record itself, one object of JSON.
    pub line: &'a str,
    /// Its hash, 64 hexadecimal digits.
    pub hash: &'a str,
}

/// A kind of collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapping {
    /// One record a line.
    NdJson(Format),
    /// One array of records.
    JsonArray(Format),
    /// <https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector>: event objects, one after the other.
    SplunkHec {
        /// Members of every event beside `time` and `event`, each with its comma.
        members: String,
    },
    /// <https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs>: one stream.
    Loki {
        /// The stream's labels, as JSON.
        labels: String,
    },
    /// <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk>: `create` under an id that never changes, so that
    /// what comes twice is there once.
    ElasticsearchBulk {
        /// The index or data stream, as JSON.
        index: String,
    },
}

/// How a record is written where the collector wants any JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As the journal has it.
    Journal,
    /// Within an object that repeats what identifies it.
    Wrapped,
}

/// What stands around and between items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Before the first.
    pub prefix: String,
    /// Between two.
    pub separator: &'static str,
    /// After the last.
    pub suffix: &'static str,
}

impl Mapping {
    /// Splunk's, with these members in every event.
    pub fn splunk_hec(members: &BTreeMap<&str, String>) -> Self {
        let members = members.iter().map(|(name, value)| format!(r#""{name}":{},"#, json(value))).collect();
        Self::SplunkHec { members }
    }

    /// Loki's, with these labels.
    pub fn loki(labels: &BTreeMap<String, String>) -> Self {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{}:{}", json(name), json(value))).collect();
        Self::Loki { labels: format!("{{{}}}", labels.join(",")) }
    }

    /// Elasticsearch's, into this index.
    pub fn elasticsearch_bulk(index: &str) -> Self {
        Self::ElasticsearchBulk { index: json(index) }
    }

    /// The body's media type.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::NdJson(_) | Self::ElasticsearchBulk { .. } => "application/x-ndjson",
            Self::JsonArray(_) | Self::SplunkHec { .. } | Self::Loki { .. } => "application/json",
        }
    }

    /// What stands around and between items.
    pub fn frame(&self) -> Frame {
        match self {
            Self::NdJson(_) | Self::SplunkHec { .. } | Self::ElasticsearchBulk { .. } => {
                Frame { prefix: String::new(), separator: "", suffix: "" }
            }
            Self::JsonArray(_) => Frame { prefix: "[".to_owned(), separator: ",", suffix: "]" },
            Self::Loki { labels } => Frame {
                prefix: format!(r#"{{"streams":[{{"stream":{labels},"values":["#),
                separator: ",",
                suffix: "]}]}",
            },
        }
    }

    /// `entry` as an item. Chain and hash are hexadecimal digits and need no escape.
    pub fn item(&self, entry: Entry) -> String {
        let Entry { chain, seq, time_ms, line, .. } = entry;
        match self {
            Self::NdJson(format) => format!("{}\n", format.write(entry)),
            Self::JsonArray(format) => format.write(entry),
            Self::SplunkHec { members } => {
                let (seconds, ms) = (time_ms.checked_div(1_000).unwrap_or(0), time_ms.checked_rem(1_000).unwrap_or(0));
                format!(r#"{{"time":{seconds}.{ms:03},{members}"event":{line}}}"#)
            }
            // Nanoseconds, as text: six zeros more.
            Self::Loki { .. } => format!(r#"["{time_ms}000000",{}]"#, json(line)),
            Self::ElasticsearchBulk { index } => {
                format!(
                    "{{\"create\":{{\"_index\":{index},\"_id\":\"{chain}:{seq}\"}}}}\n{}\n",
                    with_timestamp(line, time_ms)
                )
            }
        }
    }
}

impl Format {
    fn write(self, entry: Entry) -> String {
        let Entry { chain, seq, line, hash, .. } = entry;
        match self {
            Self::Journal => line.to_owned(),
            Self::Wrapped => format!(r#"{{"chain":"{chain}","seq":{seq},"hash":"{hash}","record":{line}}}"#),
        }
    }
}

impl Frame {
    /// The bytes of a body with `count` items of `items_len` bytes together.
    pub fn body_len(&self, count: usize, items_len: usize) -> usize {
        let separators = self.separator.len().saturating_mul(count.saturating_sub(1));
        self.prefix.len().saturating_add(self.suffix.len()).saturating_add(separators).saturating_add(items_len)
    }

    /// The body of `items`.
    pub fn body(&self, items: &[&str]) -> Vec<u8> {
        let mut body = self.prefix.clone();
        body.push_str(&items.join(self.separator));
        body.push_str(self.suffix);
        body.into_bytes()
    }
}

/// `line` with `@timestamp` as its first member: data streams refuse documents without, and Kibana looks for it.
fn with_timestamp(line: &str, time_ms: u64) -> String {
    let Some((timestamp, members)) = rfc3339(time_ms).zip(line.strip_prefix('{')) else { return line.to_owned() };
    let comma = if members.trim_start().starts_with('}') { "" } else { "," };
    format!(r#"{{"@timestamp":"{timestamp}"{comma}{members}"#)
}

fn json(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry =
        Entry { chain: "00aa", seq: 7, time_ms: 1_767_268_801_005, line: r#"{"a":"\u0085\"é"}"#, hash: "ff" };

    fn body(mapping: &Mapping, count: usize) -> String {
        let item = mapping.item(ENTRY);
        let items = vec![item.as_str(); count];
        let body = mapping.frame().body(&items);
        assert_eq!(body.len(), mapping.frame().body_len(count, item.len().saturating_mul(count)));
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn records_go_as_they_are_or_wrapped() {
        let line = ENTRY.line;
        assert_eq!(body(&Mapping::NdJson(Format::Journal), 2), format!("{line}\n{line}\n"));
        let wrapped = format!(r#"{{"chain":"00aa","seq":7,"hash":"ff","record":{line}}}"#);
        assert_eq!(body(&Mapping::JsonArray(Format::Wrapped), 2), format!("[{wrapped},{wrapped}]"));
        assert_eq!(body(&Mapping::JsonArray(Format::Journal), 1), format!("[{line}]"));
    }

    #[test]
    fn splunk_gets_events_one_after_the_other() {
        let members = BTreeMap::from([("index", "audit".to_owned()), ("source", "a\"b".to_owned())]);
        let event = format!(r#"{{"time":1767268801.005,"index":"audit","source":"a\"b","event":{}}}"#, ENTRY.line);
        assert_eq!(body(&Mapping::splunk_hec(&members), 2), format!("{event}{event}"));
    }

    #[test]
    fn loki_gets_one_stream_with_nanoseconds_and_text() {
        let labels = BTreeMap::from([("job".to_owned(), "codec".to_owned()), ("env".to_owned(), "\"p\"".to_owned())]);
        let sent: Value = serde_json::from_str(&body(&Mapping::loki(&labels), 2)).unwrap();
        let value = serde_json::json!(["1767268801005000000", ENTRY.line]);
        let stream = serde_json::json!({"stream": {"job": "codec", "env": "\"p\""}, "values": [value, value]});
        assert_eq!(sent, serde_json::json!({ "streams": [stream] }));
    }

    #[test]
    fn elasticsearch_gets_an_id_that_never_changes() {
        let document = r#"{"@timestamp":"2026-01-01T12:00:01.005Z","a":"\u0085\"é"}"#;
        let expected = format!("{{\"create\":{{\"_index\":\"audit\",\"_id\":\"00aa:7\"}}}}\n{document}\n");
        assert_eq!(body(&Mapping::elasticsearch_bulk("audit"), 2), expected.repeat(2));
        assert_eq!(with_timestamp("{}", 0), r#"{"@timestamp":"1970-01-01T00:00:00.000Z"}"#);
        assert_eq!(with_timestamp("{}", u64::MAX), "{}");
        assert_eq!(with_timestamp("7", 0), "7");
    }
}
