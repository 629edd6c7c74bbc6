//! What an event of another system says: which record it is about, and what makes it unique.

use super::checked::{Event, JsonPath};
use super::compiled::{Crossing, ReadError};
use super::sql::read::key;
use crate::catalog::KeyType;
use crate::model::{EntityName, Occasion, Tenant, Value};
use jiff::Timestamp;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// A signed event, as it was kept.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The sender's id of it.
    pub id: &'a str,
    pub received_at: Timestamp,
    pub body: &'a Json,
}

impl JsonPath {
    /// `data.customer.id`
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(text.split('.').map(str::to_owned).collect())
    }

    /// What stands there. A number on the way is a place in a list.
    pub fn find<'j>(&self, body: &'j Json) -> Option<&'j Json> {
        self.0.iter().try_fold(body, |found, name| match found {
            Json::Object(fields) => fields.get(name),
            Json::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// The text or whole number that stands there.
    fn name(&self, body: &Json) -> Option<Value> {
        match self.find(body)? {
            Json::String(text) if !text.is_empty() && !text.contains('\0') => Some(Value::Text(text.clone())),
            Json::Number(number) => number.as_i64().map(Value::Int),
            _ => None,
        }
    }
}

impl Event {
    /// Whether the event is of this tenant. Of a catalog without tenants every event is.
    pub fn concerns(&self, body: &Json, tenant: &Tenant) -> bool {
        let Some(path) = &self.tenant else { return true };
        path.find(body).and_then(Json::as_str) == Some(tenant.as_str())
    }

    pub(super) fn crossing(
        &self,
        key_type: &KeyType,
        entity: &EntityName,
        told: Told<'_>,
    ) -> Result<Crossing, ReadError> {
        let wrong = |path: &JsonPath, problem: &str| ReadError {
            entity: entity.to_string(),
            field: path.to_string(),
            key: "?".to_owned(),
            problem: format!("{problem} (event {})", told.id),
        };
        let named = self.key.name(told.body).ok_or_else(|| wrong(&self.key, "is no text and no whole number"))?;
        let key = key(key_type, &named).ok_or_else(|| wrong(&self.key, "can't be a key of this entity"))?;
        let occasion = match &self.id {
            None => Occasion::new(told.id),
            Some(path) => match path.name(told.body).ok_or_else(|| wrong(path, "is no text and no whole number"))? {
                Value::Int(number) => Occasion::new(number.to_string()),
                other => Occasion::new(other.as_text().unwrap_or_default()),
            },
        };
        let fields = told.body.as_object().into_iter().flatten();
        let row: BTreeMap<String, Value> =
            fields.map(|(name, value)| (name.clone(), Value::Json(value.clone()))).collect();
        let value = Value::Text(occasion.as_str().to_owned());
        let at = told.received_at;
        Ok(Crossing { key, occasion, crossed_at: at, occasion_at: Some(at), value, row, entry: 0 })
    }
}

impl std::fmt::Display for JsonPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(event: &Event, body: &Json) -> Result<Crossing, ReadError> {
        let received_at = Timestamp::UNIX_EPOCH;
        event.crossing(&KeyType::Int, &"customer".into(), Told { id: "msg_1", received_at, body })
    }

    #[test]
    fn the_body_says_whom_it_is_about() {
        let mut event = Event { name: "signup".into(), key: JsonPath::of("data.who.0"), id: None, tenant: None };
        let body = json!({"type": "t", "data": {"who": [4711, "x"], "seq": "a-1"}});
        let crossing = read(&event, &body).unwrap();
        assert_eq!((crossing.key.as_str(), crossing.occasion.as_str()), ("4711", "msg_1"));
        assert_eq!(crossing.row["data"], Value::Json(body["data"].clone()));
        event.id = Some(JsonPath::of("data.seq"));
        assert_eq!(read(&event, &body).unwrap().occasion.as_str(), "a-1");
        for odd in [
            json!({"data": {"who": ["a\0"]}}),
            json!({}),
            json!({"data": {"who": [true]}}),
            json!({"data": {"who": [1.5]}}),
            json!({"data": []}),
        ] {
            assert!(read(&event, &odd).is_err(), "{odd}");
        }
    }
}
