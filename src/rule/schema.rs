//! JSON Schemas for editors, from the same types that read the files.

use super::written::RuleFile;
use crate::catalog::written::CatalogFile;
use serde_json::Value;

/// Of a rule file; committed as `schema/rule.v1.json`.
#[must_use]
pub fn rule() -> Value {
    schemars::schema_for!(RuleFile).to_value()
}

/// Of `catalog.yaml`; committed as `schema/catalog.v1.json`.
#[must_use]
pub fn catalog() -> Value {
    schemars::schema_for!(CatalogFile).to_value()
}
