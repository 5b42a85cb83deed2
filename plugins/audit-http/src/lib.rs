//! Audit records to an HTTP collector: NDJSON, a JSON array, Splunk's HTTP Event Collector, Loki, Elasticsearch or OpenSearch.
//!
//! [`mapping`] makes a body of records, [`deliver`] sends bodies and splits those that are refused, [`answer`] says what an answer means
//! (and [`bulk`] what Elasticsearch's does), [`settings`] reads what the operator wrote.
//!
//! What only the operator can repair (a wrong token, a missing index) is tried again and logged: records must outlive a mistake in the
//! configuration. Rejected is only what the collector calls bad itself, alone in its request.

pub mod answer;
pub mod bulk;
pub mod deliver;
#[cfg(target_arch = "wasm32")]
mod guest;
pub mod mapping;
pub mod settings;
pub mod target;
