//! What the operator wrote.

use std::collections::BTreeMap;

use guest_parts::http::{Url, credential};
use guest_parts::settings::{Problem, Table, read};

use crate::mapping::{Format, Mapping};
use crate::target::Headers;

/// The sink, as configured.
#[derive(Debug, PartialEq, Eq)]
pub struct Sink {
    /// Where to.
    pub url: Url,
    /// As what.
    pub mapping: Mapping,
    /// The credential that the host adds, by its name.
    pub credential: Option<String>,
    /// Headers beside the mapping's.
    pub headers: Headers,
    /// Batches are split into bodies of at most this many bytes.
    pub max_body_bytes: usize,
}

/// 1 MiB: what Splunk, Loki and Elasticsearch take as they come.
const MAX_BODY_BYTES: u64 = 1 << 20;
/// Below it most records would go alone.
const LEAST_BODY_BYTES: u64 = 1_024;
/// Above it the collectors' own limits are; a body is held in the guest's memory more than once.
const MOST_BODY_BYTES: u64 = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    NdJson,
    JsonArray,
    SplunkHec,
    Loki,
    Elasticsearch,
}

const KINDS: [(&str, Kind); 5] = [
    ("ndjson", Kind::NdJson),
    ("json-array", Kind::JsonArray),
    ("splunk-hec", Kind::SplunkHec),
    ("loki", Kind::Loki),
    ("elasticsearch-bulk", Kind::Elasticsearch),
];

/// `json` as the sink that it describes.
pub fn parse(json: &str) -> Result<Sink, Vec<Problem>> {
    read(json, |settings| {
        let url = settings.required::<Url>("url");
        let mapping = mapping(settings);
        let credential = credential(settings);
        let headers = settings.or("headers", Headers::default());
        let max_body_bytes = settings.or("max_body_bytes", MAX_BODY_BYTES);
        if !(LEAST_BODY_BYTES..=MOST_BODY_BYTES).contains(&max_body_bytes) {
            settings.problem("max_body_bytes", format!("must be from {LEAST_BODY_BYTES} to {MOST_BODY_BYTES}"));
        }
        let max_body_bytes = usize::try_from(max_body_bytes).ok()?;
        Some(Sink { url: url?, mapping: mapping?, credential, headers, max_body_bytes })
    })
}

/// The mapping and the settings that only it has; another's are a contradiction.
fn mapping(settings: &mut Table) -> Option<Mapping> {
    let kind = settings.choice("mapping", &KINDS, Kind::NdJson);
    for (key, owners) in [
        ("format", &[Kind::NdJson, Kind::JsonArray][..]),
        ("splunk", &[Kind::SplunkHec]),
        ("loki", &[Kind::Loki]),
        ("elasticsearch", &[Kind::Elasticsearch]),
    ] {
        if settings.has(key) && !owners.contains(&kind) {
            settings.problem(key, "contradicts the mapping, which does not have it".to_owned());
        }
    }
    let format =
        settings.choice("format", &[("journal", Format::Journal), ("wrapped", Format::Wrapped)], Format::Journal);
    let members = settings.table("splunk", splunk_members);
    let labels = settings
        .table("loki", |loki| loki.optional::<BTreeMap<String, String>>("labels").map(|labels| checked(loki, labels)));
    let given = settings.has("elasticsearch");
    let index = settings.table("elasticsearch", |elasticsearch| {
        let index = elasticsearch.required::<String>("index")?;
        if !is_index(&index) {
            elasticsearch.problem("index", format!("{index:?} is not the name of an index, alias or data stream"));
        }
        Some(index)
    });
    match kind {
        Kind::NdJson => Some(Mapping::NdJson(format)),
        Kind::JsonArray => Some(Mapping::JsonArray(format)),
        Kind::SplunkHec => Some(Mapping::splunk_hec(&members.unwrap_or_default())),
        Kind::Loki => Some(Mapping::loki(&labels.unwrap_or_else(default_labels))),
        Kind::Elasticsearch => {
            if !given {
                settings.problem("elasticsearch", "is required by the mapping, with its index".to_owned());
            }
            Some(Mapping::elasticsearch_bulk(&index?))
        }
    }
}

fn splunk_members(splunk: &mut Table) -> Option<BTreeMap<&'static str, String>> {
    let mut members = BTreeMap::new();
    for key in ["host", "index", "source", "sourcetype"] {
        let Some(member) = splunk.optional::<String>(key) else { continue };
        if member.is_empty() {
            splunk.problem(key, "is empty: leave it out for the token's default".to_owned());
        }
        members.insert(key, member);
    }
    Some(members)
}

/// Loki takes no stream without a label.
fn default_labels() -> BTreeMap<String, String> {
    BTreeMap::from([("job".to_owned(), "codec".to_owned())])
}

fn checked(loki: &mut Table, labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    if labels.is_empty() {
        loki.problem("labels", "is empty, and Loki takes no stream without a label".to_owned());
    }
    for (name, value) in &labels {
        if !is_label(name) || value.is_empty() {
            let what = "is not a label: letters, digits and _, not first a digit or __, and a value that is not empty";
            loki.problem("labels", format!("{name:?} {what}"));
        }
    }
    labels
}

fn is_label(name: &str) -> bool {
    let first_fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && !name.starts_with("__");
    first_fits && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create>, narrowed to ASCII.
fn is_index(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase() && !b"\\/*?\"<>|,#:".contains(&b);
    (1..=255).contains(&name.len())
        && name.bytes().all(fits)
        && !name.starts_with(['-', '_', '+'])
        && !matches!(name, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_as_documented() {
        let sink = parse(r#"{"url": "https://c.test/in"}"#).unwrap();
        assert_eq!(
            (sink.mapping, sink.credential, sink.max_body_bytes),
            (Mapping::NdJson(Format::Journal), None, 1_048_576)
        );
        let loki = parse(r#"{"url": "https://c.test/", "mapping": "loki"}"#).unwrap();
        assert_eq!(loki.mapping, Mapping::Loki { labels: r#"{"job":"codec"}"#.to_owned() });
    }

    #[test]
    fn every_fault_is_named() {
        for (rest, path) in [
            (r#""mapping": "splunk""#, "/mapping"),
            (r#""credential": """#, "/credential"),
            (r#""headers": {"Host": "x"}"#, "/headers/Host"),
            (r#""max_body_bytes": 1023"#, "/max_body_bytes"),
            (r#""max_body_bytes": 67108865"#, "/max_body_bytes"),
            (r#""max_body_bytes": "1MiB""#, "/max_body_bytes"),
            (r#""format": "raw""#, "/format"),
            (r#""mapping": "loki", "format": "wrapped""#, "/format"),
            (r#""splunk": {"index": "x"}"#, "/splunk"),
            (r#""mapping": "splunk-hec", "splunk": {"idx": "x"}"#, "/splunk/idx"),
            (r#""mapping": "splunk-hec", "splunk": {"index": ""}"#, "/splunk/index"),
            (r#""mapping": "splunk-hec", "loki": {}"#, "/loki"),
            (r#""mapping": "loki", "loki": {"labels": {}}"#, "/loki/labels"),
            (r#""mapping": "loki", "loki": {"labels": {"a-b": "x"}}"#, "/loki/labels"),
            (r#""mapping": "loki", "loki": {"labels": {"__a": "x"}}"#, "/loki/labels"),
            (r#""mapping": "loki", "loki": {"labels": {"a": ""}}"#, "/loki/labels"),
            (r#""mapping": "loki", "loki": {"labels": {"a": 1}}"#, "/loki/labels/a"),
            (r#""mapping": "elasticsearch-bulk""#, "/elasticsearch"),
            (r#""mapping": "elasticsearch-bulk", "elasticsearch": {}"#, "/elasticsearch/index"),
            (r#""mapping": "elasticsearch-bulk", "elasticsearch": {"index": "Audit"}"#, "/elasticsearch/index"),
            (r#""mapping": "elasticsearch-bulk", "elasticsearch": {"index": "_audit"}"#, "/elasticsearch/index"),
            (r#""urls": []"#, "/urls"),
        ] {
            let problems = parse(&format!(r#"{{"url": "https://c.test/", {rest}}}"#)).expect_err(rest);
            assert_eq!(problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>(), [path], "{rest}");
        }
        assert_eq!(parse("{}").expect_err("no url")[0].path, "/url");
    }
}
