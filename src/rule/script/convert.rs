//! Record values into scripts, and what `enrich` returns out of them.

use super::time::{Day, Moment};
use crate::model::Value;
use crate::rule::compiled::Facts;
use jiff::tz::TimeZone;
use rhai::{Dynamic, Map};
use rust_decimal::Decimal;
use serde_json::Value as Json;
use std::sync::Arc;

/// `record` as a map: exact decimals, instants and days as types of their own, missing as `()`.
pub(super) fn record(facts: &Facts, zone: &Arc<TimeZone>) -> Map {
    let mut map = Map::new();
    map.insert("key".into(), Dynamic::from(facts.key.as_str().to_owned()));
    for (name, value) in &facts.record {
        map.insert(name.as_str().into(), dynamic(value, zone));
    }
    map
}

fn dynamic(value: &Value, zone: &Arc<TimeZone>) -> Dynamic {
    if value.is_missing() {
        return Dynamic::UNIT;
    }
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(truth) => Dynamic::from_bool(*truth),
        Value::Int(whole) => Dynamic::from_int(*whole),
        Value::Decimal(decimal) => Dynamic::from_decimal(*decimal),
        Value::Float(float) => Dynamic::from_float(*float),
        Value::Text(text) => Dynamic::from(text.clone()),
        Value::Instant(at) => Dynamic::from(Moment { at: *at, zone: Arc::clone(zone) }),
        Value::Date(date) => Dynamic::from(Day(*date)),
        Value::Json(json) => rhai::serde::to_dynamic(json).unwrap_or(Dynamic::UNIT),
        Value::Bytes(_) | Value::Uuid(_) | Value::Naive(_) => {
            Dynamic::from(value.to_json().as_str().unwrap_or_default().to_owned())
        }
    }
}

/// `None` for values that JSON has no word for, such as a function.
pub(super) fn json(value: &Dynamic) -> Option<Json> {
    if value.is_unit() {
        return Some(Json::Null);
    }
    if let Ok(truth) = value.as_bool() {
        return Some(Json::Bool(truth));
    }
    if let Ok(whole) = value.as_int() {
        return Some(Json::from(whole));
    }
    if let Some(decimal) = value.read_lock::<Decimal>() {
        return Some(Json::String(decimal.normalize().to_string()));
    }
    if let Ok(float) = value.as_float() {
        return Some(Json::from(float));
    }
    if let Ok(text) = value.clone().into_immutable_string() {
        return Some(Json::String(text.to_string()));
    }
    if let Ok(letter) = value.as_char() {
        return Some(Json::String(letter.to_string()));
    }
    if let Some(moment) = value.read_lock::<Moment>() {
        return Some(Json::String(moment.at.to_string()));
    }
    if let Some(day) = value.read_lock::<Day>() {
        return Some(Json::String(day.0.to_string()));
    }
    if let Some(list) = value.read_lock::<rhai::Array>() {
        return list.iter().map(json).collect::<Option<Vec<_>>>().map(Json::Array);
    }
    let map = value.read_lock::<Map>()?;
    let entries = map.iter().map(|(name, value)| Some((name.to_string(), json(value)?)));
    entries.collect::<Option<serde_json::Map<_, _>>>().map(Json::Object)
}
