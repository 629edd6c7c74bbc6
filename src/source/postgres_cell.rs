//! PostgreSQL's wire format, where sqlx's own decoding would panic or fail: infinite timestamps, NaN and
//! numbers beyond 28 digits, and types it doesn't know.

use crate::model::Value;
use crate::rule::statement::Row;
use jiff::{Timestamp, civil};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgRow, PgTypeInfo, PgTypeKind, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Row as _, Type, TypeInfo, ValueRef};
use std::fmt::Write;

/// Text without a type: PostgreSQL takes the type of what it meets, so that text compares with enums,
/// domains and citext, and a null fits any column.
pub(super) struct Untyped(pub Option<String>);

/// `unknown`.
const UNKNOWN: Oid = Oid(705);

impl Type<Postgres> for Untyped {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(UNKNOWN)
    }
}

impl Encode<'_, Postgres> for Untyped {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        // The one character that no text of PostgreSQL's can hold: other databases' can.
        buffer.extend_from_slice(text.replace('\0', "\u{fffd}").as_bytes());
        Ok(IsNull::No)
    }
}

pub(super) fn decode(row: &PgRow) -> Row {
    Row((0..row.len()).map(|column| cell(row, column).unwrap_or(Value::Null)).collect())
}

fn cell(row: &PgRow, column: usize) -> Option<Value> {
    let raw = row.try_get_raw(column).ok()?;
    if raw.is_null() {
        return None;
    }
    let info = raw.type_info().into_owned();
    match info.name() {
        "BOOL" => <bool as Decode<Postgres>>::decode(raw).ok().map(Value::Bool),
        "INT2" => <i16 as Decode<Postgres>>::decode(raw).ok().map(|number| Value::Int(number.into())),
        "INT4" => <i32 as Decode<Postgres>>::decode(raw).ok().map(|number| Value::Int(number.into())),
        "INT8" => <i64 as Decode<Postgres>>::decode(raw).ok().map(Value::Int),
        "OID" => <Oid as Decode<Postgres>>::decode(raw).ok().map(|oid| Value::Int(oid.0.into())),
        "FLOAT4" => <f32 as Decode<Postgres>>::decode(raw).ok().map(|number| Value::Float(shortest(number))),
        "FLOAT8" => <f64 as Decode<Postgres>>::decode(raw).ok().map(Value::Float),
        "NUMERIC" => numeric(raw.as_bytes().ok()?),
        // In hundredths, as in nearly every locale.
        "MONEY" => micros(&raw).map(|cents| Value::Decimal(rust_decimal::Decimal::new(cents, 2))),
        "UUID" => <uuid::Uuid as Decode<Postgres>>::decode(raw).ok().map(Value::Uuid),
        "BYTEA" => <Vec<u8> as Decode<Postgres>>::decode(raw).ok().map(Value::Bytes),
        "TIMESTAMPTZ" => micros(&raw).and_then(since_2000).map(Value::Instant),
        "TIMESTAMP" => {
            micros(&raw).and_then(since_2000).map(|utc| Value::Naive(jiff::tz::Offset::UTC.to_datetime(utc)))
        }
        "DATE" => days(&raw).map(Value::Date),
        "JSON" => serde_json::from_slice(raw.as_bytes().ok()?).ok().map(Value::Json),
        // One version byte stands before the text of a jsonb.
        "JSONB" => serde_json::from_slice(raw.as_bytes().ok()?.get(1..)?).ok().map(Value::Json),
        // What fills up a `char(n)` means nothing to PostgreSQL either.
        "CHAR" => text(&raw).map(|text| text.trim_end_matches(' ').to_owned()).map(Value::Text),
        "TEXT" | "VARCHAR" | "NAME" | "UNKNOWN" | "\"CHAR\"" => text(&raw).map(Value::Text),
        name if name.eq_ignore_ascii_case("citext") => text(&raw).map(Value::Text),
        _ if matches!(info.kind(), PgTypeKind::Enum(_) | PgTypeKind::Domain(_)) => text(&raw).map(Value::Text),
        _ => None,
    }
}

fn text(raw: &PgValueRef<'_>) -> Option<String> {
    raw.as_bytes().ok().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// A float of four bytes as people wrote it: 0.1, not 0.10000000149.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| number.into())
}

fn micros(raw: &PgValueRef<'_>) -> Option<i64> {
    raw.as_bytes().ok()?.try_into().ok().map(i64::from_be_bytes)
}

/// Microseconds since 2000-01-01; the ends of the range mean infinity, which is no date.
fn since_2000(micros: i64) -> Option<Timestamp> {
    const EPOCH: i64 = 946_684_800_000_000;
    if micros == i64::MAX || micros == i64::MIN {
        return None;
    }
    Timestamp::from_microsecond(micros.checked_add(EPOCH)?).ok()
}

fn days(raw: &PgValueRef<'_>) -> Option<civil::Date> {
    let days: i32 = raw.as_bytes().ok()?.try_into().ok().map(i32::from_be_bytes)?;
    if days == i32::MAX || days == i32::MIN {
        return None;
    }
    civil::date(2000, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

/// Digits in base 10,000. What doesn't fit a decimal becomes a float, NaN becomes null.
fn numeric(bytes: &[u8]) -> Option<Value> {
    let word = |at: usize| -> Option<i16> { Some(i16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)) };
    let (count, weight, sign, scale) = (word(0)?, word(2)?, word(4)?.cast_unsigned(), word(6)?);
    if sign != 0x0000 && sign != 0x4000 {
        return None;
    }
    let mut text = String::from(if sign == 0x4000 { "-" } else { "" });
    let digit = |place: i16| -> Option<i16> {
        let index = weight - place;
        if index < 0 || index >= count { Some(0) } else { word(8 + 2 * usize::try_from(index).ok()?) }
    };
    if weight < 0 {
        text.push('0');
    }
    for place in (0..=weight).rev() {
        let digits = digit(place)?;
        let width = if place == weight { 1 } else { 4 };
        write!(text, "{digits:0width$}").ok()?;
    }
    if scale > 0 {
        let mut fraction = String::new();
        let mut place = -1;
        while fraction.len() < usize::try_from(scale).ok()? {
            write!(fraction, "{:04}", digit(place)?).ok()?;
            place -= 1;
        }
        fraction.truncate(usize::try_from(scale).ok()?);
        text.push('.');
        text.push_str(&fraction);
    }
    let exact: Option<rust_decimal::Decimal> = text.parse().ok();
    exact.map(Value::Decimal).or_else(|| text.parse().ok().map(Value::Float))
}
