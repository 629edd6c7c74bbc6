//! Rhai scripts: pure functions over a record, in a sandbox without I/O, clock or randomness.

use super::compiled::Facts;
use crate::diagnostic::{Finding, SourceFile};
use jiff::Timestamp;
use serde_json::Value as Json;
use std::sync::Arc;

/// A checked script with `eligible(record, now)`, `enrich(record, now)`, or both.
#[derive(Debug, Clone)]
pub struct Script {}

/// A script that failed: it doesn't match, is counted, and is tried again at the next sweep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{script}:{line}: {problem}")]
pub struct ScriptError {
    pub script: String,
    pub line: usize,
    pub problem: String,
}

impl Script {
    /// Compiles it and calls it once on `sample`, a synthetic record typed by the catalog.
    pub fn compile(file: &Arc<SourceFile>, sample: &Facts) -> Result<Self, Vec<Finding>> {
        let _ = (file, sample);
        todo!()
    }

    /// True where the script has no `eligible`.
    pub fn eligible(&self, facts: &Facts, now: Timestamp) -> Result<bool, ScriptError> {
        let _ = (facts, now);
        todo!()
    }

    /// Extra fields for templates, as a JSON object.
    pub fn enrich(&self, facts: &Facts, now: Timestamp) -> Result<Option<Json>, ScriptError> {
        let _ = (facts, now);
        todo!()
    }
}
