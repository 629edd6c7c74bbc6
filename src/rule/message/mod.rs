//! Templates of messages: Markdown with front matter, strict variables, escaped by kind.
//!
//! A template is rendered in this order: values are printed into the Markdown with their meaningful
//! characters hidden (`guard`), the Markdown becomes HTML, `layout.html` is put around it, and the text
//! part is made from the same HTML. So the text part can't say something else than the HTML, and no
//! record's text can become markup in either.

mod compile;
mod context;
mod environment;
mod filters;
mod front;
mod guard;
mod markdown;
mod scan;

use super::compiled::{Facts, PersonFacts};
use crate::diagnostic::{Finding, SourceFile};
use crate::model::TemplateName;
use minijinja::{Environment, Value};
use serde_json::Value as Json;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All templates of a generation, compiled.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    entries: BTreeMap<TemplateName, compile::Entry>,
}

impl Default for Templates {
    /// No templates; [`Templates::line`] works.
    fn default() -> Self {
        Self { environment: environment::new(), entries: BTreeMap::new() }
    }
}

/// A mail ready for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedEmail {
    pub subject: String,
    pub html: String,
    pub text: String,
    pub from: Option<String>,
    pub reply_to: Option<String>,
}

/// The fixed roots that templates see: `record`, `to`, `occasion`, `saved`, `sender`, and the mail's own links.
#[derive(Debug, Clone)]
pub struct MessageContext<'a> {
    pub facts: &'a Facts,
    pub to: Option<&'a PersonFacts>,
    pub occasion: &'a Json,
    pub saved: &'a Json,
    pub sender: &'a Json,
    /// Added to `record` by the rule's `enrich`.
    pub enriched: Option<&'a Json>,
    pub links: Option<&'a MessageLinks>,
}

/// Links that are this mail's own; `None` where it has none. Templates see `unsubscribe_url`, `preferences_url` and
/// `confirm_url`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageLinks {
    pub unsubscribe: Option<String>,
    pub preferences: Option<String>,
    pub confirm: Option<String>,
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
        compile::compile(files)
    }

    #[must_use]
    pub fn contains(&self, name: &TemplateName) -> bool {
        self.entries.contains_key(name)
    }

    /// Template names, for suggestions.
    pub fn names(&self) -> Vec<TemplateName> {
        self.entries.keys().cloned().collect()
    }

    /// The `root.field` paths a template uses, for checking them against the catalog. What its head, the
    /// files it includes and the layout use is counted in.
    pub fn uses(&self, name: &TemplateName) -> Vec<String> {
        self.entries.get(name).map(|entry| entry.uses.clone()).unwrap_or_default()
    }

    /// The same for a short template written in a rule, or what is wrong with it.
    pub fn line_uses(&self, source: &str) -> Result<Vec<String>, TemplateError> {
        let template = self.line_template(source)?;
        Ok(compile::variables(&self.environment, &template))
    }

    pub fn email(&self, name: &TemplateName, context: &MessageContext<'_>) -> Result<RenderedEmail, TemplateError> {
        let entry = self.entries.get(name).ok_or_else(|| TemplateError {
            template: format!("templates/{name}.md"),
            line: 1,
            problem: "there is no such template".to_owned(),
        })?;
        let mut roots = context::roots(context);
        let head = |part: &'static str| -> Result<Option<String>, TemplateError> {
            if !entry.has.contains(part) {
                return Ok(None);
            }
            let text = self.render(&compile::part_name(&entry.body, part), &roots)?;
            Ok(Some(single_line(&guard::plain(&text))).filter(|line| !line.is_empty()))
        };
        let subject = head("subject")?.unwrap_or_default();
        let (preheader, from, reply_to) = (head("preheader")?, head("from")?, head("reply_to")?);
        let body = markdown::html(&self.render(&entry.body, &roots)?);
        let text = markdown::text(&body).map_err(|error| TemplateError {
            template: format!("templates/{}", entry.body),
            line: 1,
            problem: format!("no text part could be made of it: {error}"),
        })?;
        roots.push(("subject", Value::from(subject.as_str())));
        roots.push(("preheader", preheader.map_or_else(|| Value::from(()), Value::from)));
        roots.push(("body", Value::from_safe_string(body)));
        let page = self.render(compile::LAYOUT, &roots)?;
        let html = match guard::references(&page) {
            Cow::Borrowed(_) => page,
            Cow::Owned(safe) => safe,
        };
        Ok(RenderedEmail { subject, html, text, from, reply_to })
    }

    /// A short template written in a rule: a task's title, a string of a webhook body. Not escaped.
    pub fn line(&self, source: &str, context: &MessageContext<'_>) -> Result<String, TemplateError> {
        if !source.contains('{') {
            return Ok(source.to_owned());
        }
        let template = self.line_template(source)?;
        let text = template.render(roots_value(&context::roots(context)));
        text.map_err(|error| environment::explain(&self.environment, &error, LINE))
    }

    fn line_template<'a>(&'a self, source: &'a str) -> Result<minijinja::Template<'a, 'a>, TemplateError> {
        let template = self.environment.template_from_named_str(LINE, source);
        template.map_err(|error| environment::explain(&self.environment, &error, LINE))
    }

    fn render(&self, name: &str, roots: &[(&'static str, Value)]) -> Result<String, TemplateError> {
        let rendered = self.environment.get_template(name).and_then(|template| template.render(roots_value(roots)));
        let text = rendered.map_err(|error| environment::explain(&self.environment, &error, name))?;
        if text.len() > LONGEST {
            let template = format!("templates/{name}");
            return Err(TemplateError {
                template,
                line: 1,
                problem: format!("it renders to more than {LONGEST} bytes"),
            });
        }
        Ok(text)
    }
}

/// The name errors give a template that is written in a rule.
const LINE: &str = "#inline template";

/// Mail programs and servers cut or refuse longer bodies.
const LONGEST: usize = 1 << 20;

fn roots_value(roots: &[(&'static str, Value)]) -> Value {
    Value::from_pairs(roots.iter().map(|(name, value)| (*name, value.clone())))
}

/// Heads of mails are single lines: line breaks become blanks, other control characters go.
fn single_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
