//! JSON Schemas for editors, from the same types that read the files.

mod names;

pub use names::{Names, rule_with};

use super::written::RuleFile;
use crate::catalog::written::CatalogFile;
use serde_json::Value;

/// Of a rule file; committed as `schema/rule.v1.json`.
#[must_use]
pub fn rule() -> Value {
    without_null(schemars::schema_for!(RuleFile).to_value())
}

/// Of `catalog.yaml`; committed as `schema/catalog.v1.json`.
#[must_use]
pub fn catalog() -> Value {
    without_null(schemars::schema_for!(CatalogFile).to_value())
}

/// A key that may be left out must not be left empty: what is optional in Rust is not nullable in a file.
fn without_null(mut schema: Value) -> Value {
    let is_null = |part: &Value| part == "null" || part["type"] == "null";
    match &mut schema {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|part| !is_null(part));
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|part| !is_null(part));
            }
            for (_, part) in object.iter_mut() {
                *part = without_null(part.take());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|part| *part = without_null(part.take())),
        _ => {}
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_current(path: &str, schema: &Value) {
        let current = format!("{schema:#}\n");
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(path, &current).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == current, "{path} is stale; run: UPDATE_SCHEMAS=1 cargo test --lib rule::schema");
    }

    #[test]
    fn the_committed_schemas_are_current() {
        is_current("schema/rule.v1.json", &rule());
        is_current("schema/catalog.v1.json", &catalog());
    }

    #[test]
    fn required_keys_and_descriptions_reach_editors() {
        let rule = rule();
        assert!(rule["required"].as_array().unwrap().contains(&"mode".into()), "{rule:#}");
        assert_eq!(rule["additionalProperties"], false);
        let undescribed: Vec<_> = rule["properties"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, schema)| schema.get("description").is_none())
            .map(|(key, _)| key.clone())
            .collect();
        assert_eq!(undescribed, Vec::<String>::new());
    }
}
