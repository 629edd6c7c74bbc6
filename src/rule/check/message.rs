//! What templates may name. A placeholder that no record has would fail at the moment of sending, to everybody.

use super::Checker;
use super::names::{relation_help, undeclared};
use crate::catalog::Entity;
use crate::diagnostic::yaml::{Content, Node};
use crate::diagnostic::{Finding, suggest};
use crate::model::{FieldName, RuleId};
use crate::rule::message::{bounded, line_mistakes};
use minijinja::Environment;
use std::ops::Range;

/// The mail's own links.
const LINKS: [&str; 4] = ["unsubscribe_url", "preferences_url", "confirm_url", "answer_url"];
/// What messages that tell of several matches see besides.
const ROWS: [&str; 4] = ["rows", "combined", "more", "count"];
/// Names at the top of every template.
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
        if !text.contains('{') {
            return;
        }
        let environment = Environment::empty();
        let said = |error: minijinja::Error| error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        let fits = bounded(text).map_err(|unfit| unfit.problem);
        let parsed = fits.and_then(|text| {
            let template = environment.template_from_str(&text).map_err(said)?;
            Ok(template.undeclared_variables(true))
        });
        let paths = match parsed {
            Ok(paths) => paths,
            Err(detail) => {
                self.wrong(
                    range,
                    "rule.template-syntax",
                    format!("not a template: {detail}"),
                    "write `{{ record.name }}`",
                );
                return;
            }
        };
        for mistake in line_mistakes(text) {
            self.report.add(range, mistake);
        }
        let mut paths: Vec<_> = paths.into_iter().collect();
        paths.sort();
        for path in paths {
            let fields = Fields::of(self.has_script, self.columns_known(entity));
            let scope = Scope { entity, fields, saved: self.saved.iter().map(String::as_str).collect() };
            match scope.problem(&path) {
                None => {}
                Some(Problem::Assumed(name)) => self.assume(entity, name, range),
                Some(Problem::Unknown { message, help }) => {
                    let finding = Finding::error("rule.unknown-placeholder", message);
                    self.report.add(range, if let Some(help) = help { finding.help(help) } else { finding });
                }
            }
        }
    }

    fn columns_known(&self, entity: &Entity) -> bool {
        self.known.schema.zip(entity.table()).and_then(|(schema, table)| schema.table(table)).is_some()
    }
}

/// What is said of a path of a template file that a rule over `entity` can't fill, or nobody knows whether it can.
#[must_use]
pub fn template_finding(path: &str, entity: &Entity, fields: Fields, saved: &[&str], rule: &RuleId) -> Option<Finding> {
    let scope = Scope { entity, fields, saved: saved.to_vec() };
    Some(match scope.problem(path)? {
        Problem::Assumed(name) => undeclared("template.undeclared-field", entity, name, &format!("record.{name}")),
        Problem::Unknown { message, help } => {
            let message = format!("{message}, needed by the rule `{rule}`");
            let finding = Finding::error("template.unknown-placeholder", message);
            if let Some(help) = help { finding.help(help) } else { finding }
        }
    })
}

/// What is known of the fields that records have beside the declared ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fields {
    /// There are none.
    Known,
    /// A script adds some.
    Scripted,
    /// Live columns, which aren't at hand.
    Unread,
}

impl Fields {
    #[must_use]
    pub fn of(has_script: bool, columns_are_known: bool) -> Self {
        match (has_script, columns_are_known) {
            (true, _) => Self::Scripted,
            (false, true) => Self::Known,
            (false, false) => Self::Unread,
        }
    }
}

enum Problem<'a> {
    Unknown {
        message: String,
        help: Option<String>,
    },
    /// A field that isn't declared.
    Assumed(&'a str),
}

struct Scope<'a> {
    entity: &'a Entity,
    fields: Fields,
    saved: Vec<&'a str>,
}

impl Scope<'_> {
    fn problem<'p>(&self, path: &'p str) -> Option<Problem<'p>> {
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
                return Some(Problem::Unknown { message: format!("templates don't know `{root}`"), help });
            }
        };
        let name = name?;
        if known.contains(&name) {
            return None;
        }
        match (root, self.fields) {
            ("record", Fields::Scripted) => return None,
            ("record", Fields::Unread) => return Some(Problem::Assumed(name)),
            _ => {}
        }
        let relation = self.entity.relations.get(name).filter(|_| root == "record");
        if let Some(relation) = relation {
            let message = format!("`record.{name}` is a relation of `{}`, not a field", self.entity.name);
            return Some(Problem::Unknown { message, help: Some(relation_help(relation)) });
        }
        let help = suggest::help(name, known.iter().copied());
        let message = match root {
            "record" => format!("`record.{name}` is not a field of `{}`", self.entity.name),
            _ => format!("`{root}` has no `{name}`"),
        };
        Some(Problem::Unknown { message, help })
    }
}
