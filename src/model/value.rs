//! A value as it travels between a database, a condition, a script and a template.

use jiff::{Timestamp, civil};
use rust_decimal::Decimal;
use uuid::Uuid;

/// One cell. Databases disagree about types; the catalog says which of these a field means.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Missing: SQL NULL, a placeholder the catalog declares, or a cast that failed.
    Null,
    Bool(bool),
    Int(i64),
    /// Exact numbers: NUMERIC, DECIMAL and money.
    Decimal(Decimal),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Uuid(Uuid),
    /// A point on the time line (`timestamptz`, or a naive column whose zone has been applied).
    Instant(Timestamp),
    /// A calendar day without a time or a zone.
    Date(civil::Date),
    /// Wall time without a zone, as stored; turned into `Instant` once the catalog's zone is applied.
    Naive(civil::DateTime),
    Json(serde_json::Value),
}

/// Up to here a float is the whole number that it looks like.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

impl Value {
    /// True for `Null` and for empty text: the catalog treats both as missing.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.is_empty(),
            _ => false,
        }
    }

    /// The text, if this is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// As messages show it: numbers without zeros at the end, which say how a database counts and nothing of the
    /// amount. So they look the same on every database, and in a rule's tests.
    #[must_use]
    pub fn to_shown_json(&self) -> serde_json::Value {
        match self {
            Self::Decimal(number) => serde_json::Value::String(number.normalize().to_string()),
            Self::Float(number) => match without_noise(*number) {
                whole if whole.fract() == 0.0 && whole.abs() <= LARGEST_EXACT => serde_json::Value::from(whole as i64),
                number => serde_json::Value::from(number),
            },
            other => other.to_json(),
        }
    }

    /// As JSON for templates and scripts: instants as RFC 3339, dates as ISO 8601, decimals as text
    /// (so no cent is lost to a float), bytes as `0x…` hexadecimal.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Null => Json::Null,
            Self::Bool(b) => Json::Bool(*b),
            Self::Int(i) => Json::from(*i),
            Self::Decimal(d) => Json::String(d.to_string()),
            Self::Float(f) => Json::from(*f),
            Self::Text(t) => Json::String(t.clone()),
            Self::Bytes(b) => Json::String(hex(b)),
            Self::Uuid(u) => Json::String(u.to_string()),
            Self::Instant(t) => Json::String(t.to_string()),
            Self::Date(d) => Json::String(d.to_string()),
            Self::Naive(d) => Json::String(d.to_string()),
            Self::Json(j) => j.clone(),
        }
    }
}

/// Fifteen digits are what a float holds of a decimal: 0.1 and 0.2 make 0.3.
#[must_use]
pub fn without_noise(number: f64) -> f64 {
    format!("{number:.14e}").parse().unwrap_or(number)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::from("0x"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
