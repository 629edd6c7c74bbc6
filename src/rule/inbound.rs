//! What an event of another system says: which record it is about, and what makes it unique.

use super::checked::{Event, JsonPath};
use super::compiled::Crossing;
use super::sql::read::key;
use crate::catalog::KeyType;
use crate::model::{Key, Occasion, Tenant, Value};
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

/// An event that says of nobody what it says. It never will: the same event is never another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    pub id: String,
    pub received_at: Timestamp,
    pub problem: String,
    /// Whom it names nevertheless.
    pub key: Option<Key>,
}

/// The key under which it is kept that such an event came: no record and no event has it.
const NOBODY: &str = "";

/// Whether this is the key of an event that names no record.
#[must_use]
pub fn is_nobody(key: &Key) -> bool {
    key.as_str() == NOBODY
}

impl Unread {
    /// It crossed, and nobody did.
    #[must_use]
    pub fn crossing(&self) -> Crossing {
        Crossing {
            key: Key::new(NOBODY),
            occasion: Occasion::new(self.id.as_str()),
            crossed_at: self.received_at,
            occasion_at: Some(self.received_at),
            value: Value::Null,
            row: BTreeMap::new(),
            entry: 0,
        }
    }
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

    /// The text or whole number that stands there; or what is wrong with what does.
    fn name(&self, body: &Json) -> Result<Value, &'static str> {
        match self.find(body) {
            None => Err("is not in the event"),
            Some(Json::Null) => Err("is null"),
            Some(Json::Bool(_)) => Err("is true or false, and no text or whole number"),
            Some(Json::Array(_)) => Err("is a list, and no text or whole number"),
            Some(Json::Object(_)) => Err("is an object, and no text or whole number"),
            Some(Json::String(text)) if text.is_empty() => Err("is an empty text"),
            Some(Json::String(text)) if text.contains('\0') => Err("has a character that no database keeps"),
            Some(Json::String(text)) => Ok(Value::Text(text.clone())),
            Some(Json::Number(number)) => number.as_i64().map(Value::Int).ok_or(unfit(number)),
        }
    }
}

/// What is wrong with a number that is no key. A long one has lost its last digits by now.
fn unfit(number: &serde_json::Number) -> &'static str {
    if number.as_f64().is_some_and(|number| number.fract() != 0.0) {
        return "is no whole number";
    }
    "is a number too long to be read exactly; it has to be sent as text"
}

impl Event {
    /// Whether the event is of this tenant. Of a catalog without tenants every event is.
    pub fn concerns(&self, body: &Json, tenant: &Tenant) -> bool {
        let Some(path) = &self.tenant else { return true };
        path.find(body).and_then(Json::as_str) == Some(tenant.as_str())
    }

    /// What is wrong with an event that is of none of the catalog's tenants; `None`: it is of one.
    pub fn stray(&self, told: Told<'_>, tenants: &[Tenant]) -> Option<Unread> {
        let path = self.tenant.as_ref()?;
        if tenants.iter().any(|tenant| self.concerns(told.body, tenant)) {
            return None;
        }
        let problem = match path.name(told.body) {
            Err(problem) => problem,
            Ok(Value::Text(_)) => "names none of the catalog's tenants",
            Ok(_) => "is a number, and tenants are named by text",
        };
        let (id, received_at) = (told.id.to_owned(), told.received_at);
        Some(Unread { id, received_at, problem: format!("`{path}` {problem}"), key: None })
    }

    pub(super) fn crossing(&self, key_type: &KeyType, told: Told<'_>) -> Result<Crossing, Unread> {
        let wrong = |path: &JsonPath, problem: &str, key: Option<&Key>| Unread {
            id: told.id.to_owned(),
            received_at: told.received_at,
            problem: format!("`{path}` {problem}"),
            key: key.cloned(),
        };
        let named = self.key.name(told.body).map_err(|problem| wrong(&self.key, problem, None))?;
        let unfit = || wrong(&self.key, "can't be a key of the rule's entity", None);
        let key = key(key_type, &named).ok_or_else(unfit)?;
        let occasion = match &self.id {
            None => Occasion::new(told.id),
            Some(path) => match path.name(told.body).map_err(|problem| wrong(path, problem, Some(&key)))? {
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

    fn read(event: &Event, body: &Json) -> Result<Crossing, Unread> {
        let received_at = Timestamp::UNIX_EPOCH;
        event.crossing(&KeyType::Int, Told { id: "msg_1", received_at, body })
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
        for (odd, problem) in [
            (json!({"data": {"who": ["a\0"]}}), "has a character that no database keeps"),
            (json!({}), "is not in the event"),
            (json!({"data": {"who": [null]}}), "is null"),
            (json!({"data": {"who": [[1]]}}), "is a list, and no text or whole number"),
            (json!({"data": {"who": [true]}}), "is true or false, and no text or whole number"),
            (json!({"data": {"who": [1.5]}}), "is no whole number"),
            (json!({"data": []}), "is not in the event"),
        ] {
            let unread = read(&event, &odd).unwrap_err();
            assert_eq!((unread.id.as_str(), unread.problem), ("msg_1", format!("`data.who.0` {problem}")), "{odd}");
        }
        event.key = JsonPath::of("data.who.0");
        event.id = Some(JsonPath::of("data"));
        let unread = read(&event, &body).unwrap_err();
        assert_eq!(
            (unread.key, unread.problem.as_str()),
            (Some(Key::from("4711")), "`data` is an object, and no text or whole number")
        );
    }

    #[test]
    fn an_event_of_no_tenant_of_ours_is_told_of() {
        let mut event = Event { name: "signup".into(), key: JsonPath::of("id"), id: None, tenant: None };
        let tenants = ["north".into(), "south".into()];
        let problem = |event: &Event, body: &Json| {
            let told = Told { id: "msg_1", received_at: Timestamp::UNIX_EPOCH, body };
            event.stray(told, &tenants).map(|unread| unread.problem)
        };
        assert_eq!(problem(&event, &json!({})), None, "a catalog without tenants");
        event.tenant = Some(JsonPath::of("shop"));
        assert_eq!(problem(&event, &json!({"shop": "south"})), None);
        for (body, wrong) in [
            (json!({"shop": "west"}), "`shop` names none of the catalog's tenants"),
            (json!({"shop": 7}), "`shop` is a number, and tenants are named by text"),
            (json!({"shop": null}), "`shop` is null"),
            (json!({}), "`shop` is not in the event"),
        ] {
            assert_eq!(problem(&event, &body).as_deref(), Some(wrong), "{body}");
        }
    }

    #[test]
    fn a_long_number_is_not_rounded_to_another_record() {
        let event = Event { name: "signup".into(), key: JsonPath::of("id"), id: None, tenant: None };
        let told = |body: &str| read(&event, &serde_json::from_str(body).unwrap());
        let unread = told(r#"{"id": 12345678901234567890123}"#).unwrap_err();
        assert!(unread.problem.ends_with("too long to be read exactly; it has to be sent as text"), "{unread:?}");
        assert!(is_nobody(&unread.crossing().key));
        let kept = told(r#"{"id": "12345678901234567890123"}"#).unwrap();
        assert_eq!(kept.key.as_str(), "12345678901234567890123");
    }
}
