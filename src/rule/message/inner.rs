//! What stands within a JSON value. Nobody but its author knows which names it has, so one that it doesn't have is
//! empty, as a field without a value is, however deep it is asked for. Names outside of such values stay strict.

use minijinja::value::{Enumerator, Object, ObjectRepr, Serde};
use minijinja::{Environment, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A JSON value as templates see it.
pub(super) fn inner(value: &Json) -> Value {
    match value {
        Json::Object(entries) => {
            Value::from_object(Names(entries.iter().map(|(name, entry)| (name.clone(), inner(entry))).collect()))
        }
        Json::Array(entries) => Value::from_object(Places(entries.iter().map(inner).collect())),
        plain => Value::from(Serde(plain)),
    }
}

/// Whether this is what a JSON value doesn't have.
pub(super) fn is_absent(value: &Value) -> bool {
    value.downcast_object_ref::<Absent>().is_some()
}

/// The tests that ask whether something is there.
pub(super) fn install(environment: &mut Environment<'_>) {
    environment.add_test("defined", |value: &Value| !value.is_undefined() && !is_absent(value));
    environment.add_test("undefined", |value: &Value| value.is_undefined() || is_absent(value));
}

#[derive(Debug)]
struct Absent;

impl Absent {
    fn value() -> Value {
        Value::from_object(Self)
    }
}

impl Object for Absent {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Self::value())
    }

    /// As the engine writes a value that is none.
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("None")
    }
}

#[derive(Debug)]
struct Names(BTreeMap<String, Value>);

impl Object for Names {
    /// `"tags" in record.meta` asks this as well: it knows what is there, and nothing else.
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_str()?).cloned()
    }

    /// `record.meta.tags`.
    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        Some(self.0.get(name).cloned().unwrap_or_else(Absent::value))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let names: Vec<Value> = self.0.keys().map(|name| Value::from(name.as_str())).collect();
        Enumerator::Values(names)
    }
}

#[derive(Debug)]
struct Places(Vec<Value>);

impl Object for Places {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, place: &Value) -> Option<Value> {
        Some(place.as_usize().and_then(|place| self.0.get(place)).cloned().unwrap_or_else(Absent::value))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Value as Cell;
    use crate::rule::message::tests::{facts, line};
    use serde_json::json;

    #[test]
    fn what_a_json_value_lacks_is_empty_however_deep() {
        let shape = json!({"tags": ["vip", "old"], "plan": {"name": "gold"}, "nothing": null});
        let facts = facts(&[("meta", Cell::Json(shape)), ("bare", Cell::Json(json!({}))), ("none", Cell::Null)]);
        for (body, shown) in [
            ("{{ record.bare.tags.0 | default('-') }}{{ record.bare.a.b.c.d | upper | default('-') }}", "--"),
            (
                "{% if record.bare.tags %}a{% else %}no{% endif %}{% if record.bare.a.b[0].c %}a{% else %}no{% endif %}",
                "nono",
            ),
            (
                "{{ record.bare.a is defined }}{{ record.bare.a.b is undefined }}{{ record.meta.plan is defined }}",
                "FalseTrueTrue",
            ),
            ("{{ 'tags' in record.bare }}{{ 'tags' in record.meta }}{{ 'vip' in record.meta.tags }}", "FalseTrueTrue"),
            (
                "{% for tag in record.meta.tags %}{{ tag }},{% endfor %}{% for tag in record.bare.tags %}x{% endfor %}",
                "vip,old,",
            ),
            (
                "{{ record.meta.tags[-1] }}{{ record.meta.tags.5 | default('-') }}{{ record.meta.tags | length }}",
                "old-2",
            ),
            (
                "{{ record.meta['plan'].name }}{{ record.meta['x'] | default('-') }}{{ record.meta.plan | items | list }}",
                "gold-[('name', 'gold')]",
            ),
            (
                "{{ record.meta.nothing == none }}{{ record.meta.nothing | default('-') }}{{ record.meta.nothing.x | default('-') }}",
                "True--",
            ),
            (
                "{{ record.bare.n.m | date | default('soon') }}{{ record.bare.n or 'x' }}{{ record.bare.a == 'b' }}",
                "soonxFalse",
            ),
            ("{{ record.meta.plan == {\"name\": \"gold\"} }}{{ record.meta.tags == [\"vip\", \"old\"] }}", "TrueTrue"),
        ] {
            assert_eq!(line(body, &facts).as_deref(), Ok(shown), "{body}");
        }
        for (body, told) in [
            ("{{ record.bare.tags.0 }}", "`record.bare.tags.0` is empty for this record"),
            ("{{ record.bare.tags | upper }}", "`record.bare.tags` is empty for this record"),
            ("{{ record.bra }}", "`record.bra` is not known"),
            ("{% if record.bra %}a{% endif %}", "`record.bra` is not known"),
            ("{% if record.bra.tags %}a{% endif %}", "is not known"),
        ] {
            let error = line(body, &facts).unwrap_err();
            assert!(error.problem.starts_with(told) || error.problem.ends_with(told), "{body}: {error}");
        }
    }
}
