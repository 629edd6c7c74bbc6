//! Constants as people write them, read by the type of the column they are held against. The type decides,
//! not YAML: `NO` is Norway in a text column, `01067` a postcode, `5` a number in a numeric one.

use super::{ColumnType, InstantStorage, KeyType, Literal, UuidStorage};
use crate::model::{Value, at_local};
use jiff::{Timestamp, civil, tz::TimeZone};
use rust_decimal::Decimal;

/// Why a constant doesn't fit its column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct Misfit {
    pub text: String,
    pub expected: &'static str,
}

impl ColumnType {
    /// In words, for messages.
    #[must_use]
    pub const fn in_words(&self) -> &'static str {
        match self {
            Self::Unknown => "a value of unknown type",
            Self::Bool | Self::BoolText => "`true` or `false`",
            Self::Int => "a whole number",
            Self::Decimal | Self::Float | Self::NumberText => "a number",
            Self::Text => "text",
            Self::Uuid(_) => "a UUID",
            Self::Bytes => "bytes, written as `0x` and hexadecimal digits",
            Self::Json => "JSON",
            Self::Date(_) => "a date such as `2026-12-31`",
            Self::Instant(_) => "a time such as `2026-12-31T09:00:00Z`",
        }
    }

    #[must_use]
    pub const fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Decimal | Self::Float | Self::NumberText)
    }

    #[must_use]
    pub const fn is_time(&self) -> bool {
        matches!(self, Self::Date(_) | Self::Instant(_))
    }

    /// A time kept as a number.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        matches!(self, Self::Instant(InstantStorage::EpochSeconds | InstantStorage::EpochMillis))
    }

    /// The type a key of this column type has.
    #[must_use]
    pub fn as_key(&self) -> Option<KeyType> {
        Some(match self {
            // Some schemas keep whole numbers in NUMERIC(n, 0); compared as text they stay exact.
            Self::Unknown | Self::Decimal => KeyType::Unknown,
            Self::Int => KeyType::Int,
            Self::Text => KeyType::Text,
            Self::Uuid(storage) => KeyType::Uuid(storage.clone()),
            Self::Bytes => KeyType::Bytes,
            _ => return None,
        })
    }
}

impl Literal {
    /// Reads a constant for a column of type `ty`; `zone` is that of naive times.
    pub fn read(text: &str, plain: bool, ty: &ColumnType, zone: &TimeZone) -> Result<Self, Misfit> {
        let value = value(text, plain, ty, zone)?;
        Ok(Self { text: text.to_owned(), value })
    }

    /// The same constant, now that the type of its column is known.
    pub fn retyped(&self, ty: &ColumnType, zone: &TimeZone) -> Result<Self, Misfit> {
        // `missing` among others is an empty text and stays NULL.
        if self.value == Value::Null || *ty == ColumnType::Unknown {
            return Ok(self.clone());
        }
        Self::read(&self.text, true, ty, zone)
    }
}

/// The value of a constant in a column of type `ty`.
pub fn value(text: &str, plain: bool, ty: &ColumnType, zone: &TimeZone) -> Result<Value, Misfit> {
    let misfit = || Misfit { text: text.to_owned(), expected: ty.in_words() };
    let trimmed = text.trim();
    Ok(match ty {
        ColumnType::Unknown => by_look(text, plain),
        ColumnType::Text | ColumnType::Json | ColumnType::Uuid(UuidStorage::Text) => Value::Text(text.to_owned()),
        ColumnType::Bool | ColumnType::BoolText => Value::Bool(boolean(trimmed).ok_or_else(misfit)?),
        ColumnType::Int => whole(trimmed).ok_or_else(misfit)?,
        ColumnType::Decimal | ColumnType::NumberText => Value::Decimal(trimmed.parse().map_err(|_| misfit())?),
        ColumnType::Float => Value::Float(trimmed.parse::<f64>().ok().filter(|f| f.is_finite()).ok_or_else(misfit)?),
        ColumnType::Uuid(_) => Value::Uuid(trimmed.parse().map_err(|_| misfit())?),
        ColumnType::Bytes => Value::Bytes(bytes(trimmed).ok_or_else(misfit)?),
        ColumnType::Date(_) => Value::Date(trimmed.parse().map_err(|_| misfit())?),
        ColumnType::Instant(storage) => {
            let zone = if let InstantStorage::Naive(own) | InstantStorage::Text(own) = storage { own } else { zone };
            Value::Instant(instant(trimmed, zone).ok_or_else(misfit)?)
        }
    })
}

/// Also as many databases write them: what is a boolean to one is a `tinyint(1)` to another.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Some(true),
        "false" | "f" | "0" => Some(false),
        _ => None,
    }
}

/// A whole number; one with decimals is kept, since `at_least: 2.5` makes sense of a count.
fn whole(text: &str) -> Option<Value> {
    text.parse().map(Value::Int).or_else(|_| text.parse::<Decimal>().map(Value::Decimal)).ok()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?;
    if !digits.is_ascii() || digits.len() % 2 == 1 {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

/// An instant with an offset, a wall time in `zone`, or a day's first moment there.
pub fn instant(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(instant) = text.parse() {
        return Some(instant);
    }
    let local =
        text.parse::<civil::DateTime>().or_else(|_| text.parse::<civil::Date>().map(civil::DateTime::from)).ok()?;
    Some(at_local(local, zone))
}

/// Without a known type a plain constant is what it looks like, and a quoted one is text.
fn by_look(text: &str, plain: bool) -> Value {
    if !plain {
        return Value::Text(text.to_owned());
    }
    let leading_zero = text.len() > 1 && text.starts_with('0') && !text.starts_with("0.");
    if !leading_zero && text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        if let Ok(number) = text.parse() {
            return Value::Int(number);
        }
        if let Ok(number) = text.parse::<Decimal>() {
            return Value::Decimal(number);
        }
        // `2026-12-31T09:00` parses as a date as well, and isn't one.
        if let (Ok(date), 10) = (text.parse(), text.len()) {
            return Value::Date(date);
        }
    }
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => Value::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, ty: &ColumnType) -> Result<Value, Misfit> {
        value(text, true, ty, &TimeZone::UTC)
    }

    #[test]
    fn the_columns_type_decides_what_a_constant_is() {
        assert_eq!(read("NO", &ColumnType::Text), Ok(Value::Text("NO".into())));
        assert_eq!(read("01067", &ColumnType::Text), Ok(Value::Text("01067".into())));
        assert_eq!(read("12", &ColumnType::Text), Ok(Value::Text("12".into())));
        assert_eq!(read("12", &ColumnType::Int), Ok(Value::Int(12)));
        assert_eq!(
            ["0", "1", "true", "t", "f"].map(|text| read(text, &ColumnType::Bool)),
            [false, true, true, true, false].map(|flag| Ok(Value::Bool(flag)))
        );
        assert!(read("2", &ColumnType::Bool).is_err());
        assert_eq!(read("0x0aff", &ColumnType::Bytes), Ok(Value::Bytes(vec![10, 255])));
        assert!(read("abc", &ColumnType::Int).is_err());
        assert!(read("2026-02-30", &ColumnType::Date(crate::catalog::DateStorage::Native)).is_err());
    }

    #[test]
    fn without_a_type_a_constant_is_what_it_looks_like() {
        let unknown = ColumnType::Unknown;
        assert_eq!(read("01067", &unknown), Ok(Value::Text("01067".into())));
        assert_eq!(read("500", &unknown), Ok(Value::Int(500)));
        assert_eq!(read("0.5", &unknown), Ok(Value::Decimal(Decimal::new(5, 1))));
        assert_eq!(read("2026-01-01", &unknown), Ok(Value::Date(civil::date(2026, 1, 1))));
        assert_eq!(value("500", false, &unknown, &TimeZone::UTC), Ok(Value::Text("500".into())));
    }

    #[test]
    fn wall_times_are_read_in_the_columns_zone() {
        let vienna = TimeZone::get("Europe/Vienna").unwrap();
        let ty = ColumnType::Instant(InstantStorage::Naive(vienna));
        assert_eq!(read("2026-07-01T12:00:00", &ty), Ok(Value::Instant("2026-07-01T10:00:00Z".parse().unwrap())));
        assert_eq!(read("2026-07-01", &ty), Ok(Value::Instant("2026-06-30T22:00:00Z".parse().unwrap())));
    }
}
