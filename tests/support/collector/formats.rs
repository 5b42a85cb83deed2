//! What each vendor takes and says: where, in which form, and what it refuses.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Kind, Reply};

/// A document and what it is known by.
pub struct Document {
    pub id: Option<String>,
    pub line: String,
}

pub fn path(kind: Kind) -> &'static str {
    match kind {
        Kind::NdJson | Kind::JsonArray => "/in",
        Kind::SplunkHec => "/services/collector/event",
        Kind::Loki => "/loki/api/v1/push",
        Kind::Elasticsearch => "/_bulk",
    }
}

pub fn content_type(kind: Kind) -> &'static str {
    match kind {
        Kind::NdJson | Kind::Elasticsearch => "application/x-ndjson",
        Kind::JsonArray | Kind::SplunkHec | Kind::Loki => "application/json",
    }
}

pub fn unauthorised(kind: Kind, is_none: bool, echo: &str) -> Reply {
    match kind {
        Kind::SplunkHec if is_none => Reply::new(401, r#"{"text":"Token is required","code":2}"#),
        Kind::SplunkHec => Reply::new(403, r#"{"text":"Invalid token","code":4}"#),
        Kind::Elasticsearch => {
            let error =
                json!({"error": {"type": "security_exception", "reason": "unable to authenticate"}, "status": 401});
            Reply::new(401, error.to_string()).with("WWW-Authenticate", "ApiKey")
        }
        _ => Reply::new(401, echo),
    }
}

pub fn parse(kind: Kind, body: &[u8]) -> Result<Vec<Document>, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let documents = match kind {
        Kind::NdJson => ended_lines(text)?.into_iter().map(|line| object(line).map(bare)).collect::<Result<_, _>>()?,
        Kind::JsonArray => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
            elements.into_iter().map(|element| object(element.get()).map(bare)).collect::<Result<_, _>>()?
        }
        Kind::SplunkHec => events(text)?,
        Kind::Loki => entries(text)?,
        Kind::Elasticsearch => bulk(text)?,
    };
    if documents.is_empty() { Err("no data".into()) } else { Ok(documents) }
}

fn bare(line: &str) -> Document {
    Document { id: None, line: line.to_owned() }
}

fn object(text: &str) -> Result<&str, String> {
    let parsed: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if parsed.is_object() { Ok(text) } else { Err("not an object".into()) }
}

/// Each line with its end, the last one too.
fn ended_lines(text: &str) -> Result<Vec<&str>, String> {
    text.split_inclusive('\n')
        .map(|line| line.strip_suffix('\n').ok_or_else(|| "must end with a newline".into()))
        .collect()
}

fn events(text: &str) -> Result<Vec<Document>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Event<'a> {
        time: f64,
        index: Option<&'a str>,
        source: Option<&'a str>,
        sourcetype: Option<&'a str>,
        host: Option<&'a str>,
        #[serde(borrow)]
        event: &'a RawValue,
    }
    let events = serde_json::Deserializer::from_str(text).into_iter::<Event>();
    let document = |event: Result<Event<'_>, serde_json::Error>| {
        let event = event.map_err(|error| error.to_string())?;
        if [event.index, event.source, event.sourcetype, event.host].contains(&Some("")) {
            return Err("blank metadata".to_owned());
        }
        timely(event.time * 1_000.0, event.event.get())?;
        object(event.event.get()).map(bare)
    };
    events.map(document).collect()
}

fn entries(text: &str) -> Result<Vec<Document>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Push {
        streams: Vec<Stream>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Stream {
        stream: std::collections::BTreeMap<String, String>,
        values: Vec<(String, String)>,
    }
    let push: Push = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut documents = Vec::new();
    for stream in push.streams {
        let is_label = |name: &String| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && !name.as_bytes()[0].is_ascii_digit()
        };
        if stream.stream.is_empty() || !stream.stream.keys().all(is_label) {
            return Err("error at least one label pair is required per stream".into());
        }
        for (time, line) in stream.values {
            let nanoseconds: u64 = time.parse().map_err(|_| format!("not nanoseconds: {time}"))?;
            timely(nanoseconds as f64 / 1e6, &line)?;
            documents.push(Document { id: Some(format!("{:?} {time} {line}", stream.stream)), line });
        }
    }
    Ok(documents)
}

fn bulk(text: &str) -> Result<Vec<Document>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Action {
        create: Target,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Target {
        _index: String,
        _id: String,
    }
    let lines = ended_lines(text)?;
    let mut documents = Vec::new();
    for pair in lines.chunks(2) {
        let [action, document] = pair else { return Err("an action without a document".into()) };
        let action: Action = serde_json::from_str(action).map_err(|error| error.to_string())?;
        if action.create._index != "audit" {
            return Err(format!("index_not_found_exception: {}", action.create._index));
        }
        let mut parsed: serde_json::Map<String, Value> =
            serde_json::from_str(document).map_err(|error| error.to_string())?;
        // A data stream takes no document without.
        if !parsed.remove("@timestamp").is_some_and(|time| time.is_string()) {
            return Err("document does not contain a valid timestamp field".into());
        }
        // What was put in front is taken off; the rest must be the record, byte for byte.
        let (_, rest) = document.split_once(',').ok_or("an empty document")?;
        documents.push(Document { id: Some(action.create._id), line: format!("{{{rest}") });
    }
    Ok(documents)
}

/// A vendor keeps what is of now: an event's time is its record's.
fn timely(ms: f64, line: &str) -> Result<(), String> {
    let record: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let time = record["time"].as_str().and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
    let time = time.ok_or("a record without a time")?.timestamp_millis();
    if (ms - time as f64).abs() < 1.0 { Ok(()) } else { Err(format!("{ms} is not its record's time {time}")) }
}
