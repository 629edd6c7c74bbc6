use crate::diagnostic::yaml::Node;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// Conditions as written: a mapping, or a list of mappings, whose keys are fields, relations, `all`, `any`
/// or `not`. Read by the checker, since only the catalog knows which of these a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions(pub Node);

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Node::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Conditions {
    fn schema_name() -> Cow<'static, str> {
        "Conditions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let operator = serde_json::json!({
            "description": "A constant (equal to it), a list (one of them), `missing`, `present`, or operators.",
            "anyOf": [
                {"type": ["string", "number", "boolean"]},
                {"type": "array"},
                {"type": "object", "properties": {
                    "equals": {"description": "The same value."},
                    "not": {"description": "Present and not this value, or none of this list."},
                    "in": {"description": "One of these.", "type": "array"},
                    "not_in": {"description": "Present and none of these.", "type": "array"},
                    "at_least": {"description": "This or more."},
                    "at_most": {"description": "This or less."},
                    "above": {"description": "More than this."},
                    "below": {"description": "Less than this."},
                    "between": {"description": "From the first to the second, both included.", "type": "array"},
                    "contains": {"description": "Text that contains this."},
                    "starts_with": {"description": "Text that starts with this."},
                    "ends_with": {"description": "Text that ends with this."},
                    "missing": {"description": "`true`: has no value."},
                    "present": {"description": "`true`: has a value."},
                    "before": {"description": "A date or time before this: `2026-12-31`, `now`, `30 days ago`."},
                    "after": {"description": "A date or time after this."},
                    "older_than": {"description": "More than this long ago: `1 year`."},
                    "within_last": {"description": "Between this long ago and now: `30 days`."},
                    "within_next": {"description": "Between now and this far ahead: `30 days`."},
                    "some": {"description": "Of a relation: at least one related row, which `{…}` holds for."},
                    "none": {"description": "Of a relation: no related row, which `{…}` holds for."},
                    "count": {"description": "Of a relation: how many related rows, tested: `{at_least: 3}`."},
                    "sum": {"description": "Of a relation: `{total: {at_least: 500}}`."},
                    "min": {"description": "Of a relation: `{total: {at_least: 5}}`."},
                    "max": {"description": "Of a relation: `{total: {at_least: 500}}`."},
                    "only": {"description": "Of a relation: which related rows count."},
                    "since": {"description": "Of a relation: `entry`, only what is newer than what made the record match."}
                }}
            ]
        });
        schemars::json_schema!({
            "description": "Conditions over the record: fields, relations, `any`, `all`, `not`. All of a list must hold.",
            "anyOf": [
                {"type": "array", "items": {"$ref": "#/$defs/Conditions"}},
                {"type": "object",
                 "properties": {
                    "any": {"description": "One of these holds.", "type": "array", "items": {"$ref": "#/$defs/Conditions"}},
                    "all": {"description": "All of these hold.", "type": "array", "items": {"$ref": "#/$defs/Conditions"}},
                    "not": {"description": "This doesn't hold. A missing value never matches, also not here.", "$ref": "#/$defs/Conditions"}
                 },
                 "additionalProperties": operator}
            ]
        })
    }
}
