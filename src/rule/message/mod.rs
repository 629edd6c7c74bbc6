//! Templates of messages: Markdown with front matter, strict variables, escaped by kind.

use super::compiled::{Facts, PersonFacts};
use crate::diagnostic::{Finding, SourceFile};
use crate::model::TemplateName;
use serde_json::Value as Json;
use std::sync::Arc;

/// All templates of a generation, compiled.
#[derive(Debug, Default)]
pub struct Templates {}

/// A mail ready for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedEmail {
    pub subject: String,
    pub html: String,
    pub text: String,
    pub from: Option<String>,
    pub reply_to: Option<String>,
}

/// The fixed roots that templates see: `record`, `to`, `occasion`, `saved`, `sender`.
#[derive(Debug, Clone)]
pub struct MessageContext<'a> {
    pub facts: &'a Facts,
    pub to: Option<&'a PersonFacts>,
    pub occasion: &'a Json,
    pub saved: &'a Json,
    pub sender: &'a Json,
    /// Added to `record` by the rule's `enrich`.
    pub enriched: Option<&'a Json>,
}

/// File, line and the missing name, but never a value: values are personal data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{template}:{line}: {problem}")]
pub struct TemplateError {
    pub template: String,
    pub line: usize,
    pub problem: String,
}

impl Templates {
    /// Compiles `templates/*` of a tree.
    pub fn compile(files: &[Arc<SourceFile>]) -> Result<Self, Vec<Finding>> {
        let _ = files;
        todo!()
    }

    #[must_use]
    pub fn contains(&self, name: &TemplateName) -> bool {
        let _ = name;
        todo!()
    }

    /// Template names, for suggestions.
    pub fn names(&self) -> Vec<TemplateName> {
        todo!()
    }

    /// The `root.field` paths a template uses, for checking them against the catalog, with their places.
    pub fn uses(&self, name: &TemplateName) -> Vec<String> {
        let _ = name;
        todo!()
    }

    pub fn email(&self, name: &TemplateName, context: &MessageContext<'_>) -> Result<RenderedEmail, TemplateError> {
        let _ = (name, context);
        todo!()
    }

    /// A short template written in a rule: a task's title, a string of a webhook body. Not escaped.
    pub fn line(&self, source: &str, context: &MessageContext<'_>) -> Result<String, TemplateError> {
        let _ = (source, context);
        todo!()
    }
}
