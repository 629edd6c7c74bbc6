//! What templates may name. A placeholder that no record has would fail at the moment of sending, to everybody.

use super::Checker;
use crate::catalog::Entity;
use crate::diagnostic::yaml::{Content, Node};
use crate::diagnostic::{Finding, suggest};
use crate::model::FieldName;
use minijinja::Environment;
use std::ops::Range;

/// Names at the top of every template.
/// The mail's own links.
const LINKS: [&str; 4] = ["unsubscribe_url", "preferences_url", "confirm_url", "answer_url"];
/// What messages that tell of several matches see besides.
const ROWS: [&str; 4] = ["rows", "combined", "more", "count"];
const ROOTS: [&str; 13] = [
    "record",
    "to",
    "occasion",
    "saved",
    "sender",
    "unsubscribe_url",
    "preferences_url",
    "confirm_url",
    "answer_url",
    "rows",
    "combined",
    "more",
    "count",
];
const PERSON: [&str; 8] = ["key", "email", "phone", "first_name", "last_name", "name", "zone", "locale"];
const OCCASION: [&str; 4] = ["at", "value", "offset", "row"];

impl<'a> Checker<'a> {
    /// Checks the templates in a webhook's body.
    pub(super) fn lines_in(&mut self, entity: &'a Entity, node: &Node) {
        match &node.content {
            Content::Scalar(Some(text)) => self.line(entity, text, &node.range),
            Content::Scalar(None) => {}
            Content::List(items) => items.iter().for_each(|item| self.lines_in(entity, item)),
            Content::Map(entries) => entries.iter().for_each(|(_, node)| self.lines_in(entity, node)),
        }
    }

    /// Checks a template written in the rule itself.
    pub(super) fn line(&mut self, entity: &'a Entity, text: &str, range: &Range<usize>) {
        if !text.contains("{{") && !text.contains("{%") {
            return;
        }
        let environment = Environment::empty();
        let paths = match environment.template_from_str(text) {
            Ok(template) => template.undeclared_variables(true),
            Err(error) => {
                let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
                self.wrong(
                    range,
                    "rule.template-syntax",
                    format!("not a template: {detail}"),
                    "write `{{ record.name }}`",
                );
                return;
            }
        };
        let mut paths: Vec<_> = paths.into_iter().collect();
        paths.sort();
        for path in paths {
            let scope = Scope {
                entity,
                open: self.has_script || !self.columns_known(entity),
                saved: self.saved.iter().map(String::as_str).collect(),
            };
            if let Some((message, help)) = scope.problem(&path) {
                let finding = Finding::error("rule.unknown-placeholder", message);
                let finding = if let Some(help) = help { finding.help(help) } else { finding };
                self.report.add(range, finding);
            }
        }
    }

    fn columns_known(&self, entity: &Entity) -> bool {
        self.known.schema.zip(entity.table()).and_then(|(schema, table)| schema.table(table)).is_some()
    }
}

/// Why a rule can't fill a path of a template file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    pub message: String,
    pub help: Option<String>,
}

/// Whether a rule over `entity` can't fill a path of a template file. `open`: records may have more fields.
#[must_use]
pub fn template_problem(path: &str, entity: &Entity, open: bool, saved: &[&str]) -> Option<TemplateProblem> {
    let scope = Scope { entity, open, saved: saved.to_vec() };
    scope.problem(path).map(|(message, help)| TemplateProblem { message, help })
}

struct Scope<'a> {
    entity: &'a Entity,
    /// Further fields may exist: a script adds some, or the live columns aren't known.
    open: bool,
    saved: Vec<&'a str>,
}

impl Scope<'_> {
    fn problem(&self, path: &str) -> Option<(String, Option<String>)> {
        let mut parts = path.split('.');
        let root = parts.next().unwrap_or("");
        let name = parts.next();
        let known: Vec<&str> = match root {
            "record" => self.entity.fields.keys().map(FieldName::as_str).chain(["key"]).collect(),
            "to" => PERSON.to_vec(),
            "occasion" => OCCASION.to_vec(),
            "saved" => self.saved.clone(),
            "sender" => return None,
            root if LINKS.contains(&root) || ROWS.contains(&root) => return None,
            _ => {
                let help = suggest::help(root, ROOTS);
                return Some((format!("templates don't know `{root}`"), help));
            }
        };
        let name = name?;
        if known.contains(&name) || (root == "record" && self.open) {
            return None;
        }
        let help = suggest::help(name, known.iter().copied());
        let message = match root {
            "record" => format!("`record.{name}` is not a field of `{}`", self.entity.name),
            _ => format!("`{root}` has no `{name}`"),
        };
        Some((message, help))
    }
}
