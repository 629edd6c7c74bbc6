//! The filters that templates have beyond the usual ones: dates, money, numbers and plurals as the reader's
//! language writes them, and a `default` that also stands in for empty fields.
//!
//! Their errors name no values: values are personal data. Where a value is missing they hand it on as it is, so
//! that `default` can still follow; printing it is the error.

mod custom;
mod date;
mod money;
mod number;

pub(super) use date::{STYLES as DATE_STYLES, is_pattern};
pub(super) use money::is_code;
pub(super) use number::CATEGORIES;

use super::context::{Amount, READER};
use super::reader::Reader;
use jiff::tz::TimeZone;
use minijinja::value::Rest;
use minijinja::{Environment, Error, ErrorKind, State, Value};
use rust_decimal::Decimal;
use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;

pub(super) fn install(environment: &mut Environment<'_>) {
    environment.add_filter("date", date::date);
    environment.add_filter("time", date::time);
    environment.add_filter("datetime", date::datetime);
    environment.add_filter("money", money::money);
    environment.add_filter("number", number::number);
    environment.add_filter("percent", number::percent);
    environment.add_filter("plural", number::plural);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    for unbounded in ["indent", "batch", "slice", "replace"] {
        environment.remove_filter(unbounded);
    }
    environment.add_filter("replace", replace);
    for name in ["int", "float", "round", "upper", "lower", "title", "capitalize", "trim", "urlencode"] {
        let plain = Environment::new();
        environment.add_filter(name, move |value: Value, rest: Rest<Value>| careful(&plain, name, &value, &rest));
    }
    // Each of these makes text that is printed as it stands, which would let a value become HTML.
    for raw in ["safe", "escape", "e", "tojson"] {
        environment.remove_filter(raw);
    }
}

/// Begins with the filter's name in backticks: that is how such a text is told from the engine's own, which may
/// hold values.
fn problem(text: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}

/// Nothing to show: handed on, for `default` or for the error that printing it is.
fn is_missing(value: &Value) -> Result<bool, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    Ok(value.is_none() || value.as_str().is_some_and(|text| text.trim().is_empty()))
}

fn missing() -> Value {
    Value::from(())
}

/// The engine's own filter for a value that is there: by itself it would print a missing name as `None`.
fn careful(plain: &Environment<'_>, name: &str, value: &Value, rest: &[Value]) -> Result<Value, Error> {
    if is_missing(value)? {
        return Ok(missing());
    }
    let shown = value.downcast_object_ref::<Amount>().map(|amount| Value::from(amount.text.as_str()));
    let mut arguments = vec![shown.unwrap_or_else(|| value.clone())];
    arguments.extend(rest.iter().cloned());
    plain.empty_state().apply_filter(name, &arguments)
}

/// Who reads the message.
fn reader(state: &State<'_, '_>) -> Arc<Reader> {
    let known = state.lookup(READER).and_then(|value| value.downcast_object::<Reader>());
    known.unwrap_or_else(|| Arc::new(Reader { zone: TimeZone::UTC, locale: crate::model::Locale::default() }))
}

/// As usual, but never to more than a mail may hold.
fn replace(value: &Value, from: &str, to: &str) -> Result<Value, Error> {
    if is_missing(value)? {
        return Ok(missing());
    }
    let shown = value.to_string();
    let text = value.downcast_object_ref::<Amount>().map_or(shown.as_str(), |amount| amount.text.as_str());
    let times = if from.is_empty() { text.chars().count() + 1 } else { text.matches(from).count() };
    if text.len().saturating_add(times.saturating_mul(to.len())) > super::LONGEST {
        return Err(problem("`replace` would make the text too long"));
    }
    Ok(Value::from(text.replace(from, to)))
}

fn decimal(value: &Value) -> Option<Decimal> {
    let of_text = |text: &str| Decimal::from_str(text).or_else(|_| Decimal::from_scientific(text)).ok();
    if let Some(amount) = value.downcast_object_ref::<Amount>() {
        return of_text(&amount.text);
    }
    if let Some(text) = value.as_str() {
        return of_text(text.trim());
    }
    if let Some(whole) = value.as_i64().filter(|_| value.is_number()) {
        return Some(Decimal::from(whole));
    }
    f64::try_from(value.clone()).ok().and_then(|float| Decimal::try_from(float).ok())
}

/// The other text where the field is unknown, null or empty.
fn default(value: &Value, other: Option<Value>) -> Value {
    let missing = value.is_undefined() || value.is_none() || value.as_str().is_some_and(str::is_empty);
    if missing { other.unwrap_or_else(|| Value::from("")) } else { value.clone() }
}

#[cfg(test)]
mod tests;
