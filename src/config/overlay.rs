//! `NUDGED_SECTION__KEY=value` in the environment outranks the file.
//!
//! The value is read as TOML where that gives a boolean, a number or a list, otherwise as text; a secret
//! is always text. Each value gets a span behind the end of the file, so that an error can name the
//! variable it came from.

use super::secret::is_secret;
use std::borrow::Cow;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const PREFIX: &str = "NUDGED_";

/// The variables that are overrides, in a fixed order.
pub fn overrides(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    let mut found: Vec<_> = variables
        .iter()
        .filter(|(name, _)| name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains("__")))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    found.sort_unstable();
    found
}

/// Puts the overrides into the parsed file. The `i`th has the empty span at `end + 1 + i`.
pub fn apply<'a>(table: &mut DeTable<'a>, overrides: &[(&'a str, &'a str)], end: usize) {
    for (index, (name, value)) in overrides.iter().enumerate() {
        let path: Vec<String> = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        let at = end + 1 + index;
        insert(table, &path, &mut Vec::new(), value, at);
    }
}

fn insert<'a>(table: &mut DeTable<'a>, path: &[String], above: &mut Vec<String>, value: &'a str, at: usize) {
    let Some((first, rest)) = path.split_first() else { return };
    let name = existing_key(table, first);
    above.push(name.clone());
    let key = Spanned::new(at..at, Cow::Owned(name));
    if rest.is_empty() {
        let names: Vec<&str> = above.iter().map(String::as_str).collect();
        // An existing key keeps its own span when it is replaced, so it must go first.
        table.remove(&key);
        table.insert(key, Spanned::new(at..at, read(value, is_secret(&names))));
        return;
    }
    let entry = table.entry(key).or_insert_with(|| Spanned::new(at..at, DeValue::Table(DeTable::new())));
    if let DeValue::Table(inner) = entry.get_mut() {
        insert(inner, rest, above, value, at);
    }
}

/// The spelling the file uses: names such as webhook destinations may have capitals and hyphens, which
/// variables can't.
fn existing_key(table: &DeTable<'_>, wanted: &str) -> String {
    let same = |key: &str| key.to_lowercase().replace('-', "_") == wanted;
    table.keys().map(|key| key.get_ref().as_ref()).find(|key| same(key)).unwrap_or(wanted).to_owned()
}

fn read(value: &str, secret: bool) -> DeValue<'_> {
    if !secret
        && let Ok(parsed) = DeValue::parse(value)
        && matches!(parsed.get_ref(), DeValue::Boolean(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Array(_))
    {
        return parsed.into_inner();
    }
    DeValue::String(Cow::Borrowed(value))
}
