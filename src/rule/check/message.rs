//! What templates may name. A placeholder that no record has would fail at the moment of sending, to everybody.

use super::Checker;
use super::names::{relation_help, undeclared};
use crate::catalog::{Catalog, Entity, Schema};
use crate::diagnostic::yaml::{Content, Node};
use crate::diagnostic::{Finding, Place, suggest};
use crate::model::{FieldName, RelationName};
use crate::rule::checked::{CheckedRule, Email, Purpose, Trigger};
use crate::rule::message::{bounded, line_mistakes, line_prints, line_subscripts};
use minijinja::Environment;
use std::ops::Range;
use std::sync::Arc;

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
const ROW: &str = "occasion.row.";

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
        let paths = match paths_of(text) {
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
        let row = self.row.take();
        let saved = self.saved.clone();
        let fields = Fields::of(self.has_script, self.columns_known(entity));
        for path in &paths {
            let saved = saved.iter().map(String::as_str).collect();
            let scope = Scope { entity, fields, saved, row: row.as_ref().unwrap_or(&Row::Open) };
            match scope.problem(path) {
                None => {}
                Some(Problem::Assumed(entity, name)) => self.assume(entity, name, range),
                Some(Problem::Unknown { message, help }) => {
                    let finding = Finding::error("rule.unknown-placeholder", message);
                    let finding = if let Some(help) = help { finding.help(help) } else { finding };
                    // Who comes from another rule brings that rule's occasion.
                    if path.starts_with(ROW) {
                        let place = Place { file: Arc::clone(self.report.file()), range: range.clone() };
                        self.of_rows.push(finding.at(place));
                    } else {
                        self.report.add(range, finding);
                    }
                }
            }
        }
        self.row = row;
        for link in line_prints(text).iter().filter_map(|name| LINKS.iter().find(|link| *link == name)) {
            let finding = Finding::error("rule.unknown-placeholder", format!("`{link}` is always empty here"));
            self.report.add(range, finding.help("it is a link of mails alone"));
        }
    }

    fn columns_known(&self, entity: &Entity) -> bool {
        self.known.schema.zip(entity.table()).and_then(|(schema, table)| schema.table(table)).is_some()
    }
}

/// The paths of a template written in a rule, or why it is none.
fn paths_of(text: &str) -> Result<Vec<String>, String> {
    let environment = Environment::empty();
    let said = |error: minijinja::Error| error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let bounded = bounded(text).map_err(|unfit| unfit.problem)?;
    let template = environment.template_from_str(&bounded).map_err(said)?;
    let mut paths: Vec<_> = template.undeclared_variables(true).into_iter().collect();
    let known = |name: &String| paths.iter().any(|path| name.starts_with(&format!("{path}.")));
    let subscripts: Vec<String> = line_subscripts(text).into_iter().filter(known).collect();
    paths.extend(subscripts);
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// What a rule fills the templates of its mails with.
#[derive(Debug)]
pub struct Filled<'a> {
    pub rule: &'a CheckedRule,
    pub entity: &'a Entity,
    pub fields: Fields,
    pub saved: Vec<&'a str>,
    pub row: Row<'a>,
}

impl Filled<'_> {
    /// What is said of a path of a template file that the rule can't fill, or nobody knows whether it can.
    #[must_use]
    pub fn finding(&self, path: &str) -> Option<Finding> {
        let scope = Scope { entity: self.entity, fields: self.fields, saved: self.saved.clone(), row: &self.row };
        Some(match scope.problem(path)? {
            Problem::Assumed(entity, name) => undeclared("template.undeclared-field", entity, name, path),
            Problem::Unknown { message, help } => {
                let message = format!("{message}, needed by the rule `{}`", self.rule.id);
                let finding = Finding::error("template.unknown-placeholder", message);
                if let Some(help) = help { finding.help(help) } else { finding }
            }
        })
    }

    /// What is said of a link that a mail prints whatever the record, and that no mail of this step has.
    #[must_use]
    pub fn link_finding(&self, name: &str, email: &Email) -> Option<Finding> {
        let is_topic = matches!(self.rule.purpose, Purpose::Topic(_));
        let (is_there, why) = match name {
            "unsubscribe_url" | "preferences_url" => (is_topic, "its `purpose` is no topic"),
            "confirm_url" => (email.confirms.is_some(), "its step has no `confirms`"),
            "answer_url" => (email.asks.is_some(), "its step has no `asks`"),
            _ => return None,
        };
        if is_there {
            return None;
        }
        let message = format!("`{name}` is always empty in the mails of the rule `{}`: {why}", self.rule.id);
        let key = match name {
            "confirm_url" => "add `confirms: TOPIC` to the step, ",
            "answer_url" => "add `asks: SURVEY` to the step, ",
            _ => "",
        };
        let help = format!("{key}write `{{% if {name} %}}…{{% endif %}}` around it, or remove it");
        Some(Finding::error("template.no-link", message).help(help))
    }
}

/// What `occasion.row` has in the messages of a rule.
#[derive(Debug)]
pub enum Row<'a> {
    /// Whatever was sent, or another rule's.
    Open,
    Names(Vec<String>),
    /// A row of this entity.
    Of(&'a Entity, Fields),
}

impl<'a> Row<'a> {
    #[must_use]
    pub fn of(trigger: &Trigger, entity: &'a Entity, catalog: &'a Catalog, schema: Option<&Schema>) -> Self {
        let related = |name: &RelationName| {
            let Some(related) = entity.relations.get(name).and_then(|to| catalog.entity(&to.entity)) else {
                return Self::Open;
            };
            let is_known = schema.and_then(|schema| schema.of(related)).is_some();
            Self::Of(related, Fields::of(false, is_known))
        };
        let names = |names: &[&str]| Self::Names(names.iter().map(|name| (*name).to_owned()).collect());
        match trigger {
            Trigger::Event(_) | Trigger::Enrolled => Self::Open,
            Trigger::Query(query) => Self::Names(query.row.clone()),
            Trigger::Yearly(_) => names(&["years", "since"]),
            Trigger::Count(_) | Trigger::Decline(_) => names(&["now", "before"]),
            Trigger::Survey(survey) => related(&survey.of),
            Trigger::Abandoned(abandoned) => abandoned.of.as_ref().map_or_else(|| names(&[]), related),
            Trigger::Inactivity(_)
            | Trigger::Date(_)
            | Trigger::Schedule(_)
            | Trigger::Created(_)
            | Trigger::Segment(_)
            | Trigger::Changed(_) => names(&[]),
        }
    }

    fn problem<'p>(&self, name: &'p str) -> Option<Problem<'p>>
    where
        'a: 'p,
    {
        let known: Vec<&str> = match self {
            Self::Open => return None,
            Self::Names(names) => names.iter().map(String::as_str).collect(),
            Self::Of(entity, _) => entity.fields.keys().map(FieldName::as_str).collect(),
        };
        if known.contains(&name) {
            return None;
        }
        if let Self::Of(entity, Fields::Unread) = self {
            return Some(Problem::Assumed(entity, name));
        }
        let message = match self {
            Self::Of(entity, _) => format!("`occasion.row` has no `{name}`: it is a row of `{}`", entity.name),
            _ if known.is_empty() => format!("`occasion.row` has no `{name}`: it is empty with this trigger"),
            _ => format!("`occasion.row` has no `{name}`"),
        };
        let help = suggest::help(name, known.iter().copied());
        Some(Problem::Unknown { message, help })
    }
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
    /// A field of this entity that isn't declared.
    Assumed(&'a Entity, &'a str),
}

struct Scope<'a> {
    entity: &'a Entity,
    fields: Fields,
    saved: Vec<&'a str>,
    row: &'a Row<'a>,
}

impl<'a> Scope<'a> {
    fn problem<'p>(&self, path: &'p str) -> Option<Problem<'p>>
    where
        'a: 'p,
    {
        if let Some(name) = path.strip_prefix(ROW) {
            return self.row.problem(name.split('.').next().unwrap_or(name));
        }
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
            ("record", Fields::Unread) => return Some(Problem::Assumed(self.entity, name)),
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
