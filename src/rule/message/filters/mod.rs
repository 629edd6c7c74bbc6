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
use super::inner::is_absent;
use super::measure;
use super::reader::Reader;
use jiff::tz::TimeZone;
use minijinja::value::{Kwargs, Rest, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value};
use rust_decimal::Decimal;
use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;

pub(super) fn install(environment: &mut Environment<'_>) {
    install_own(environment);
    for name in ["int", "float", "round", "upper", "lower", "title", "capitalize", "trim", "urlencode"] {
        let plain = Environment::new();
        environment.add_filter(name, move |state: &mut State<'_, '_>, value: Value, rest: Rest<Value>| {
            measure::checked(&value)?;
            let shown = careful(&plain, name, &value, &rest)?;
            measure::made(state, shown)
        });
    }
    for name in PASSED_ON {
        let mut plain = Environment::new();
        plain.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_filter(name, move |state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>| {
            let arguments = arguments.into_values();
            arguments.iter().try_for_each(measure::checked)?;
            let passed = plain.empty_state().apply_filter(name, &arguments)?;
            measure::made(state, passed)
        });
    }
    // Some of these make any amount of text of a few letters, the others text that is printed as it stands, which would
    // let a value become HTML.
    for name in ["indent", "batch", "slice", "format", "pprint", "safe", "escape", "e", "tojson"] {
        environment.remove_filter(name);
    }
}

/// The engine's filters that make lists or texts of what they are given.
const PASSED_ON: [&str; 11] =
    ["chain", "dictsort", "groupby", "items", "lines", "list", "reverse", "sort", "split", "sum", "zip"];

fn install_own(environment: &mut Environment<'_>) {
    type Dated = fn(&State<'_, '_>, &Value, Option<&str>) -> Result<Value, Error>;
    for (name, filter) in [("date", date::date as Dated), ("datetime", date::datetime as Dated)] {
        environment.add_filter(name, move |state: &mut State<'_, '_>, value: Value, style: Option<String>| {
            let shown = filter(state, &value, style.as_deref())?;
            measure::made(state, shown)
        });
    }
    environment.add_filter("time", date::time);
    environment.add_filter("money", money::money);
    environment.add_filter("number", number::number);
    environment.add_filter("percent", number::percent);
    environment.add_filter("plural", |state: &mut State<'_, '_>, value: Value, options: Kwargs| {
        let shown = number::plural(state, &value, options)?;
        measure::made(state, shown)
    });
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    environment.add_filter("unique", |state: &mut State<'_, '_>, value: Value, options: Kwargs| {
        let value = measure::made(state, value)?;
        minijinja::filters::unique(state, value, options)
    });
    environment.add_filter("string", |state: &mut State<'_, '_>, value: Value| {
        measure::checked(&value)?;
        let text = minijinja::filters::string(state, &value)?;
        measure::made(state, text)
    });
    // Those that it applies are of this environment.
    environment.add_filter("map", |state: &mut State<'_, '_>, value: Value, rest: Rest<ValueOrKwargs>| {
        let value = measure::made(state, value)?;
        minijinja::filters::map(state, value, rest)
    });
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
    Ok(value.is_none() || is_absent(value) || value.as_str().is_some_and(|text| text.trim().is_empty()))
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
fn replace(state: &mut State<'_, '_>, value: &Value, from: &str, to: &str) -> Result<Value, Error> {
    if is_missing(value)? {
        return Ok(missing());
    }
    measure::checked(value)?;
    let shown = value.to_string();
    let text = value.downcast_object_ref::<Amount>().map_or(shown.as_str(), |amount| amount.text.as_str());
    let times = if from.is_empty() { text.chars().count() + 1 } else { text.matches(from).count() };
    if text.len().saturating_add(times.saturating_mul(to.len())) > measure::VALUE {
        return Err(problem("`replace` would make the text too long"));
    }
    measure::made(state, Value::from(text.replace(from, to)))
}

/// As usual, but never to more than a mail may hold. Beside what is markup already, values are hidden.
#[expect(clippy::needless_pass_by_value, reason = "the template engine hands options over by value")]
fn join(
    state: &mut State<'_, '_>,
    value: &Value,
    between: Option<Value>,
    path: Option<String>,
    options: Kwargs,
) -> Result<Value, Error> {
    let named: (Option<Value>, Option<String>) = (options.get("d")?, options.get("attribute")?);
    options.assert_all_used()?;
    measure::checked(value)?;
    let between = between.or(named.0).unwrap_or_else(|| Value::from(""));
    let path = path.or(named.1).unwrap_or_default();
    let parts = || path.split('.').filter(|part| !part.is_empty());
    let entry = |entry: Value| parts().try_fold(entry, |entry, part| entry.get_attr(part));
    let entries = value.try_iter()?.map(entry).collect::<Result<Vec<_>, _>>()?;
    let is_markup = between.is_safe() || entries.iter().any(Value::is_safe);
    let mut out = String::new();
    for (index, entry) in entries.into_iter().enumerate() {
        for part in [Some(&between).filter(|_| index > 0), Some(&entry)].into_iter().flatten() {
            let part = if is_markup && !part.is_safe() { state.format(part.clone())? } else { part.to_string() };
            out.push_str(&part);
        }
        if out.len() > measure::VALUE {
            return Err(problem("`join` would make the text too long"));
        }
    }
    measure::made(state, if is_markup { Value::from_safe_string(out) } else { Value::from(out) })
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

/// The other text where the field is unknown, null or empty; `default("…", true)` also where it is zero or false.
#[expect(clippy::needless_pass_by_value, reason = "the template engine hands options over by value")]
fn default(value: &Value, other: Option<Value>, of_false: Option<bool>, options: Kwargs) -> Result<Value, Error> {
    let named: (Option<Value>, Option<bool>) = (options.get("default_value")?, options.get("boolean")?);
    options.assert_all_used()?;
    let is_empty = value.is_undefined() || value.is_none() || is_absent(value) || value.as_str() == Some("");
    let replaces_false = of_false.or(named.1).unwrap_or(false);
    if is_empty || replaces_false && is_false(value) {
        return Ok(other.or(named.0).unwrap_or_else(|| Value::from("")));
    }
    Ok(value.clone())
}

fn is_false(value: &Value) -> bool {
    let amount = value.downcast_object_ref::<Amount>().map(|_| decimal(value));
    amount.map_or_else(|| !value.is_true(), |amount| amount.is_some_and(|amount| amount.is_zero()))
}

#[cfg(test)]
mod tests;
