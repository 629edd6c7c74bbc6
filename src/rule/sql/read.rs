//! Cells as they came back, read as the catalog says. What can't be read as its type is null: one bad
//! value never stops a batch.

use super::fragment::Fragment;
use super::iso::{self, Told};
use super::operand::{Operand, zone_of};
use super::{Renderer, dialect};
use crate::catalog::{ColumnType, DateStorage, InstantStorage, KeyType, UuidStorage};
use crate::model::{Key, Occasion, Value, at_local};
use crate::rule::compiled::ReadError;
use crate::rule::statement::{Dialect, Row};
use jiff::{Timestamp, civil, tz::TimeZone};
use rust_decimal::{Decimal, prelude::ToPrimitive};

/// How one selected cell is read.
#[derive(Debug, Clone)]
pub(crate) struct Meaning {
    ty: ColumnType,
    /// Of numbers: others are missing.
    whole: bool,
    /// Of wall times.
    zone: TimeZone,
}

impl Renderer<'_> {
    /// What to select for a value, and how to read it back.
    pub fn selected(&self, operand: &Operand) -> (Fragment, Meaning) {
        let shown = self.shown(operand);
        let as_text = matches!(
            operand.ty,
            ColumnType::Text
                | ColumnType::Unknown
                | ColumnType::Json
                | ColumnType::BoolText
                | ColumnType::NumberText
                | ColumnType::Uuid(UuidStorage::Text)
                | ColumnType::Date(DateStorage::Text)
                | ColumnType::Instant(InstantStorage::Text(_))
        );
        // PostgreSQL has many types that only a cast to text makes readable: enums, domains, citext.
        let cell =
            if as_text && self.dialect == Dialect::Postgres { dialect::text(self.dialect, &shown) } else { shown };
        let whole = operand.whole || operand.ty == ColumnType::Int;
        let zone = zone_of(&operand.ty, &self.catalog.time_zone);
        (cell, Meaning { ty: operand.ty.clone(), whole, zone })
    }
}

impl Meaning {
    pub fn read(&self, value: &Value) -> Value {
        if value.is_missing() {
            return Value::Null;
        }
        let read = match &self.ty {
            ColumnType::Bool | ColumnType::BoolText => boolean(value).map(Value::Bool),
            ColumnType::Int | ColumnType::Decimal | ColumnType::Float | ColumnType::NumberText => {
                let found = number(value);
                if self.whole { found.and_then(|number| whole(value, number)) } else { found }
            }
            ColumnType::Date(_) => date(value).map(Value::Date),
            ColumnType::Instant(storage) => self.instant(storage, value).map(Value::Instant),
            ColumnType::Uuid(_) => uuid(value),
            ColumnType::Json => match value {
                Value::Text(text) => serde_json::from_str(text).ok().map(Value::Json),
                other => Some(other.clone()),
            },
            ColumnType::Text => Some(text(value)),
            ColumnType::Bytes | ColumnType::Unknown => Some(value.clone()),
        };
        read.unwrap_or(Value::Null)
    }

    fn instant(&self, storage: &InstantStorage, value: &Value) -> Option<Timestamp> {
        match (storage, value) {
            (_, Value::Instant(instant)) => Some(*instant),
            (InstantStorage::EpochSeconds, value) => {
                let micros = decimal(value)?.checked_mul(Decimal::from(1_000_000))?;
                Timestamp::from_microsecond(i64::try_from(micros.trunc()).ok()?).ok()
            }
            (InstantStorage::EpochMillis, value) => {
                let micros = decimal(value)?.checked_mul(Decimal::from(1_000))?;
                Timestamp::from_microsecond(i64::try_from(micros.trunc()).ok()?).ok()
            }
            (_, Value::Naive(wall)) => Some(at_local(*wall, &self.zone)),
            (_, Value::Date(day)) => Some(at_local(day.at(0, 0, 0, 0), &self.zone)),
            (_, Value::Text(text)) => iso::read_time(text)?.instant(&self.zone),
            _ => None,
        }
    }

    /// Both instants that a stored wall time can mean: the same one twice outside an overlap.
    pub fn readings(&self, value: &Value) -> Option<(Timestamp, Timestamp)> {
        let Value::Instant(first) = self.read(value) else { return None };
        let second = match value {
            Value::Naive(wall) => crate::model::later(*wall, &self.zone),
            Value::Text(text) => match iso::read_time(text) {
                Some(Told::Wall(wall)) => crate::model::later(wall, &self.zone),
                Some(Told::At(_)) | None => first,
            },
            _ => first,
        };
        // `later` reads a gap as after it ended by more; only an overlap has two readings.
        let overlap = second > first && self.zone.to_datetime(second) == self.zone.to_datetime(first);
        Some((first, if overlap { second } else { first }))
    }

    /// The calendar day: of a wall time the day that it names, of an instant the record's.
    pub fn day(&self, value: &Value, record_zone: &TimeZone) -> Option<civil::Date> {
        match self.read(value) {
            Value::Date(day) => Some(day),
            Value::Instant(instant) => {
                let is_wall = match value {
                    Value::Naive(_) | Value::Date(_) => true,
                    Value::Text(text) => matches!(iso::read_time(text), Some(Told::Wall(_))),
                    _ => false,
                };
                Some(super::wire::day_of(instant, if is_wall { &self.zone } else { record_zone }))
            }
            Value::Text(text) => date(&Value::Text(text)),
            _ => None,
        }
    }
}

pub(crate) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Int(0) => Some(false),
        Value::Int(1) => Some(true),
        Value::Decimal(number) if number.is_zero() => Some(false),
        Value::Decimal(number) if *number == Decimal::ONE => Some(true),
        Value::Bytes(bytes) if bytes.len() == 1 && bytes[0] <= 1 => Some(bytes[0] == 1),
        Value::Text(text) => match text.trim_matches(' ').to_ascii_lowercase().as_str() {
            "true" | "t" | "1" | "yes" | "y" | "j" | "on" => Some(true),
            "false" | "f" | "0" | "no" | "n" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn number(value: &Value) -> Option<Value> {
    match value {
        Value::Int(_) | Value::Decimal(_) => Some(value.clone()),
        Value::Float(number) => number.is_finite().then(|| value.clone()),
        Value::Bool(flag) => Some(Value::Int(i64::from(*flag))),
        Value::Text(text) => {
            let text = text.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
            let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(m, e)| (m, Some(e)));
            let unsigned = |text: &'_ str| text.strip_prefix(['-', '+']).unwrap_or(text).to_owned();
            let digits = unsigned(mantissa);
            if !digits.chars().all(|c| c.is_ascii_digit() || c == '.') || !digits.contains(|c: char| c.is_ascii_digit())
            {
                return None;
            }
            match exponent.map(unsigned) {
                None => text.parse().map(Value::Int).ok().or_else(|| text.parse().map(Value::Decimal).ok()),
                Some(power) if power.parse::<u8>().is_ok_and(|power| power < 30) && power.len() < 3 => {
                    Decimal::from_scientific(text).map(Value::Decimal).ok()
                }
                Some(_) => return None,
            }
            // More digits than a decimal has.
            .or_else(|| text.parse().map(Value::Float).ok().filter(|_| digits.matches('.').count() < 2))
        }
        _ => None,
    }
}

/// The number without a fraction; `None`: it has one. By its value, whatever it is spelled like.
fn whole(stored: &Value, number: Value) -> Option<Value> {
    let is_text = matches!(stored, Value::Text(_));
    match &number {
        Value::Decimal(decimal) if has_lost_digits(stored) || !decimal.fract().is_zero() => None,
        Value::Decimal(decimal) => decimal.trunc().to_i64().map(Value::Int).or(Some(number)),
        // Beyond these there are no whole numbers of 64 bits, but in text.
        Value::Float(float) if float.fract() != 0.0 || (!is_text && float.abs() >= 9e18) => None,
        _ => Some(number),
    }
}

/// Whether a text has a fraction that is too fine for a decimal.
fn has_lost_digits(stored: &Value) -> bool {
    let Value::Text(text) = stored else { return false };
    let fraction = text.trim().split_once('.').map_or("", |(_, fraction)| fraction);
    !fraction.contains(['e', 'E']) && fraction.contains(|digit| digit != '0')
}

fn decimal(value: &Value) -> Option<Decimal> {
    match number(value)? {
        Value::Int(number) => Some(number.into()),
        Value::Decimal(number) => Some(number),
        Value::Float(number) => Decimal::from_f64_retain(number),
        _ => None,
    }
}

fn date(value: &Value) -> Option<civil::Date> {
    match value {
        Value::Date(day) => Some(*day),
        Value::Naive(wall) => Some(wall.date()),
        Value::Instant(instant) => Some(super::wire::day_of(*instant, &TimeZone::UTC)),
        Value::Text(text) => iso::read_day(text),
        _ => None,
    }
}

fn uuid(value: &Value) -> Option<Value> {
    match value {
        Value::Uuid(_) => Some(value.clone()),
        // MariaDB hands its own UUIDs over as text without a character set.
        Value::Bytes(bytes) => {
            uuid::Uuid::from_slice(bytes).or_else(|_| uuid::Uuid::try_parse_ascii(bytes)).ok().map(Value::Uuid)
        }
        Value::Text(text) => text.trim().parse().ok().map(Value::Uuid),
        _ => None,
    }
}

fn text(value: &Value) -> Value {
    match value {
        Value::Bytes(bytes) => String::from_utf8(bytes.clone())
            .map_or_else(|_| value.clone(), |text| if text.is_empty() { Value::Null } else { Value::Text(text) }),
        Value::Int(_) | Value::Decimal(_) | Value::Float(_) => match value.to_json() {
            serde_json::Value::String(text) => Value::Text(text),
            other => Value::Text(other.to_string()),
        },
        other => other.clone(),
    }
}

/// ISO 8601 with `T` or a blank; the zone applies where the text has no offset.
pub(super) fn iso_instant(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let text = text.trim();
    let instant = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| text.parse::<civil::DateTime>().ok().map(|wall| at_local(wall, zone)))
        .or_else(|| text.parse::<civil::Date>().ok().map(|day| at_local(day.at(0, 0, 0, 0), zone)))?;
    Timestamp::from_microsecond(instant.as_microsecond()).ok()
}

/// The canonical text of a key.
pub(crate) fn key(ty: &KeyType, value: &Value) -> Option<Key> {
    let text = match (ty, value) {
        (KeyType::Uuid(UuidStorage::Binary | UuidStorage::Native), value) => match uuid(value)? {
            Value::Uuid(id) => id.to_string(),
            _ => return None,
        },
        (_, Value::Int(number)) => number.to_string(),
        (_, Value::Decimal(number)) => number.normalize().to_string(),
        (_, Value::Uuid(id)) => id.to_string(),
        (_, Value::Text(text)) if !text.is_empty() => text.clone(),
        (KeyType::Text, Value::Bytes(bytes)) => String::from_utf8(bytes.clone()).ok()?,
        (_, Value::Bytes(_)) => match value.to_json() {
            serde_json::Value::String(text) => text,
            _ => return None,
        },
        _ => return None,
    };
    // A state in PostgreSQL could not keep it.
    Some(text).filter(|text| !text.contains('\0')).map(Key::new)
}

/// A cell whose type nobody declared: bytes that are text are text.
pub(super) fn plain(value: &Value) -> Value {
    match value {
        Value::Bytes(bytes) => String::from_utf8(bytes.clone()).map_or_else(|_| value.clone(), Value::Text),
        other => other.clone(),
    }
}

/// The canonical text of an occasion that a rule's own SQL returned.
pub(super) fn occasion(value: &Value) -> Option<Occasion> {
    let text = match plain(value) {
        Value::Bool(flag) => flag.to_string(),
        Value::Instant(at) => return Some(super::plan::instant_occasion(at)),
        Value::Date(day) => day.to_string(),
        Value::Naive(wall) => wall.to_string(),
        Value::Float(number) if number.is_finite() => number.to_string(),
        other => key(&KeyType::Unknown, &other)?.as_str().to_owned(),
    };
    Some(Occasion::new(text))
}

/// Cells of one row, in order.
pub(crate) struct Cells<'r> {
    row: &'r Row,
    next: usize,
    pub entity: &'r str,
    pub key: String,
}

impl<'r> Cells<'r> {
    pub fn new(row: &'r Row, entity: &'r str) -> Self {
        Self { row, next: 0, entity, key: "?".to_owned() }
    }

    pub fn next(&mut self) -> Result<&'r Value, ReadError> {
        let cell = self.row.0.get(self.next).ok_or_else(|| self.error("row", "has fewer cells than were asked for"))?;
        self.next += 1;
        Ok(cell)
    }

    pub fn boolean(&mut self) -> Result<Option<bool>, ReadError> {
        self.next().map(boolean)
    }

    pub fn text(&mut self) -> Result<Option<String>, ReadError> {
        Ok(match text(self.next()?) {
            Value::Text(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            _ => None,
        })
    }

    pub fn key(&mut self, ty: &KeyType) -> Result<Key, ReadError> {
        let value = self.next()?;
        let key = key(ty, value).ok_or_else(|| self.error("key", "is null or of a type that can't be a key"))?;
        key.as_str().clone_into(&mut self.key);
        Ok(key)
    }

    pub fn optional_key(&mut self, ty: &KeyType) -> Result<Option<Key>, ReadError> {
        self.next().map(|value| key(ty, value))
    }

    pub fn error(&self, field: &str, problem: &str) -> ReadError {
        ReadError {
            entity: self.entity.to_owned(),
            field: field.to_owned(),
            key: self.key.clone(),
            problem: problem.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(ty: ColumnType) -> Meaning {
        Meaning { whole: ty == ColumnType::Int, ty, zone: TimeZone::get("Europe/Vienna").unwrap() }
    }

    #[test]
    fn what_is_not_a_number_is_null_and_text_numbers_are_numbers() {
        let number = meaning(ColumnType::NumberText);
        assert_eq!(number.read(&Value::Text(" 12.50 ".into())), Value::Decimal("12.50".parse().unwrap()));
        assert_eq!(number.read(&Value::Text("twelve".into())), Value::Null);
        assert_eq!(number.read(&Value::Float(f64::NAN)), Value::Null);
    }

    #[test]
    fn whole_numbers_are_told_by_their_value() {
        let whole = |text: &str| meaning(ColumnType::Int).read(&Value::Text(text.into()));
        for (text, number) in [("1.5e3", 1500), ("1.0e2", 100), ("0.5e1", 5), ("10e-1", 1), (" 7.00 ", 7), ("-3", -3)] {
            assert_eq!(whole(text), Value::Int(number), "{text}");
        }
        for text in ["1.5", "1.55e1", "5e-1", "7.0000000000000000000000000000000001"] {
            assert_eq!(whole(text), Value::Null, "{text}");
        }
        assert!(!whole("1e25").is_missing() && !whole("3e29").is_missing());
    }

    #[test]
    fn text_times_are_read_with_their_offset_or_in_the_columns_zone() {
        let vienna = TimeZone::get("Europe/Vienna").unwrap();
        let text = meaning(ColumnType::Instant(InstantStorage::Text(vienna)));
        let noon = Value::Instant("2026-07-01T10:00:00Z".parse().unwrap());
        for form in ["2026-07-01T10:00:00Z", "2026-07-01 12:00:00", "2026-07-01T12:00", "2026-07-01 13:00:00+03:00"] {
            assert_eq!(text.read(&Value::Text(form.into())), noon, "{form}");
        }
        assert_eq!(text.read(&Value::Text("soon".into())), Value::Null);
    }

    #[test]
    fn keys_have_one_text_whatever_their_storage() {
        let id: uuid::Uuid = "0192f0c1-2222-7333-8444-555566667777".parse().unwrap();
        let binary = KeyType::Uuid(UuidStorage::Binary);
        assert_eq!(key(&binary, &Value::Bytes(id.as_bytes().to_vec())), Some(Key::new(id.to_string())));
        assert_eq!(key(&KeyType::Bytes, &Value::Bytes(vec![0, 255])), Some(Key::new("0x00ff")));
        assert_eq!(key(&KeyType::Int, &Value::Int(7)), Some(Key::new("7")));
        assert_eq!(key(&KeyType::Int, &Value::Null), None);
    }
}
