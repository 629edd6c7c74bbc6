//! Reading YAML into typed values that know where they stand.
//!
//! Fixed shapes are `serde` types whose leaves are [`At`]; parts whose keys belong to the user (conditions,
//! filters, test data) are [`Node`] trees that the checkers read themselves, so that they can report every
//! mistake and not only the first. Limits keep hostile files from costing time or memory.

mod at;
mod node;
mod refusal;
mod short;
mod slips;

pub use at::{At, Named};
pub use node::{Content, Node};
pub use short::ShortOr;

use super::{Finding, Place, SourceFile};
use serde::de::DeserializeOwned;
use serde_yaml::{Budget, Options};
use std::sync::Arc;

/// Larger files are refused unread. A rule of a thousand lines has about 40 KiB.
pub const MAX_BYTES: usize = 1024 * 1024;

fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_nodes = 20_000;
    budget.max_events = 60_000;
    budget.max_depth = 32;
    budget.max_aliases = 256;
    let mut options = serde_yaml::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    options.budget = Some(budget);
    options.alias_limits.max_total_replayed_events = 20_000;
    options
}

/// Reads a file whose shape is `T`. The finding says where the parser stopped.
pub fn read<T: DeserializeOwned>(file: &Arc<SourceFile>) -> Result<T, Box<Finding>> {
    if file.text.len() > MAX_BYTES {
        let megabytes = file.text.len().div_ceil(MAX_BYTES);
        let finding = Finding::error("yaml.limits", format!("this file has {megabytes} MiB; at most 1 MiB is read"))
            .at(Place { file: Arc::clone(file), range: 0..0 })
            .help("a rule file describes one rule; is this another kind of file?");
        return Err(Box::new(finding));
    }
    parsed(&file.text).map_err(|error| Box::new(refusal::finding(&error, file)))
}

/// Why a file can't be read as `T`, as far as that can be seen: where keys are misspelt, the rest is looked at as well.
pub fn refusals<T: DeserializeOwned>(file: &Arc<SourceFile>) -> Vec<Finding> {
    slips::findings::<T>(file)
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, serde_yaml::Error> {
    serde_yaml::from_str_with_options(text, options())
}
