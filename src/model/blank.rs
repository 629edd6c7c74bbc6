//! Settings whose empty text means "none".

use serde::{Deserialize, Deserializer};
use std::fmt::Display;
use std::str::FromStr;

/// Reads `""` as none, and anything else as a value.
pub fn or_value<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}
