//! What is measured, in this order.

pub(crate) mod batch;
pub(crate) mod cache;
pub(crate) mod calls;
pub(crate) mod growth;
pub(crate) mod neighbours;
pub(crate) mod paced;
pub(crate) mod parts;
pub(crate) mod process;
pub(crate) mod rewrap;
mod store;

use crate::report::Report;
use crate::setting::Setting;

/// A case adds its rows.
type Case = fn(&Setting, &mut Report) -> anyhow::Result<()>;

/// By name, as `--only` takes them.
pub(crate) const ALL: [(&str, Case); 11] = [
    ("decisions", parts::decisions),
    ("disk", parts::disk),
    ("decrypt-value", calls::decrypt_value),
    ("calls", calls::others),
    ("decrypt-all", batch::run),
    ("cache", cache::run),
    ("growth", growth::run),
    ("rewrap", rewrap::run),
    ("process", process::run),
    ("paced", paced::run),
    ("neighbours", neighbours::run),
];
