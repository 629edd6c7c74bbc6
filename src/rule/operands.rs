//! What a rule's terms look at, value by value: for people who ask why a record matches or doesn't.
//!
//! Whether a term holds is the facts' to say ([`super::compiled::Facts`]). This asks beside them, in the same
//! words of SQL, what stood on the left of each comparison: the country, the number of open tickets. It is
//! rendered when somebody asks, since no sweep needs it.

use super::CheckedRule;
pub use super::basis::{Basis, basis, crosses_by_current};
use super::compiled::{ReadError, Subject};
use super::condition::{Condition, Quantity, Related, Test};
use super::score::Score;
use super::sql::batch::Batch;
use super::sql::read::{Cells, Meaning};
pub use super::sql::{AnswersPlan, EdgePlan, row_of};
use super::sql::{Fill, Fragment, Parts, RECORD, Renderer};
use super::statement::{Dialect, Row, Statement};
use crate::catalog::Catalog;
use crate::model::{Key, Value};
use jiff::Timestamp;

/// Where a term stands in its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// The entity's `only` in the catalog.
    Base,
    Trigger,
    Where,
    OnlyAtEntry,
    Goal,
    ExitWhen,
    /// By node index and case index.
    Case(usize, usize),
}

/// One comparison of a term, and what it found.
#[derive(Debug, Clone, PartialEq)]
pub struct Operand {
    pub section: Section,
    /// The number of its term within the section.
    pub term: usize,
    /// `country`, `tickets`, `sum of orders.total`.
    pub name: String,
    pub value: Value,
    /// `None`: unknown, which doesn't match.
    pub holds: Option<bool>,
    pub note: Option<Note>,
}

/// What is to be said of a value beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Stored, and by the catalog it means that nothing is known.
    Placeholder(String),
    /// Stored, and not what the catalog says.
    Unreadable(String),
    /// So many are needed.
    Needed(u64),
    /// Nobody has looked at it before.
    Unseen,
    /// It was something of which only a hash is kept.
    Other,
    /// What it became is kept in its place.
    Overwritten,
    /// So many rows may count or not.
    Open(u64),
}

impl Operand {
    /// What stood there, in words.
    #[must_use]
    pub fn found(&self) -> String {
        let value = match self.value.to_shown_json() {
            _ if self.value == Value::Text(String::new()) => "missing (an empty text)".to_owned(),
            _ if self.value.is_missing() => "missing".to_owned(),
            // What can't be seen, or would be taken for something else, may be what keeps it from matching.
            serde_json::Value::String(text) if text.trim() != text || text == "missing" => format!("{text:?}"),
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        match &self.note {
            None => value,
            Some(Note::Placeholder(stored)) => format!("missing ({stored} is a placeholder)"),
            Some(Note::Unreadable(stored)) => format!("unreadable ({stored})"),
            Some(Note::Needed(needed)) => format!("{value} of {needed}"),
            Some(Note::Unseen) => "not looked at yet".to_owned(),
            Some(Note::Other) => "something else".to_owned(),
            Some(Note::Overwritten) => "not kept any more".to_owned(),
            Some(Note::Open(1)) => format!("{value}, and 1 of which nobody can say"),
            Some(Note::Open(rows)) => format!("{value}, and {rows} of which nobody can say"),
        }
    }
}

/// One term of a trigger, or of the filter that decides which rows are records at all.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeTerm {
    pub section: Section,
    /// As written, or as its keys come to.
    pub text: String,
    pub basis: Basis,
    pub holds: Option<bool>,
    /// It holds if there is a crossing.
    pub by_crossing: bool,
    pub operands: Vec<Operand>,
}

/// The query for one rule's operands.
#[derive(Debug, Clone)]
pub struct OperandsPlan {
    parts: Parts,
    text: Fragment,
    records: Fragment,
    key: Fragment,
    batch: Batch,
    shape: Vec<Compared>,
}

/// One comparison of a term: a cell with what stood there, and one with whether it holds.
#[derive(Debug, Clone)]
struct Compared {
    section: Section,
    term: usize,
    name: String,
    meaning: Meaning,
    /// A cell follows with the number of rows of which nobody can say whether they count.
    open: Option<Meaning>,
}

/// Every term of a rule with its place.
pub fn sections(rule: &CheckedRule) -> Vec<(Section, usize, &Condition)> {
    let mut found = Vec::new();
    found.extend(rule.conditions.iter().enumerate().map(|(n, term)| (Section::Where, n, &term.condition)));
    found.extend(rule.only_at_entry.iter().enumerate().map(|(n, term)| (Section::OnlyAtEntry, n, &term.condition)));
    found.extend(rule.goal.iter().map(|goal| (Section::Goal, 0, &goal.when)));
    found.extend(rule.exit_when.iter().enumerate().map(|(n, term)| (Section::ExitWhen, n, &term.condition)));
    for (node, place) in rule.nodes.iter().enumerate() {
        let conditions = place.step.conditions().into_iter().enumerate();
        found.extend(conditions.map(|(case, condition)| (Section::Case(node, case), 0, condition)));
    }
    found
}

impl OperandsPlan {
    /// `None` for a rule without a single comparison, and for one that the catalog doesn't fit.
    pub fn render(rule: &CheckedRule, catalog: &Catalog, dialect: Dialect) -> Option<Self> {
        let renderer = Renderer::new(dialect, catalog);
        let entity = catalog.entity(&rule.for_each)?;
        let mut cells = vec![renderer.key_of(entity, RECORD)];
        let mut shape = Vec::new();
        for (section, number, condition) in sections(rule) {
            let within = rule.goal.as_ref().is_some_and(|goal| goal.within.is_some());
            let deadline = section == Section::Goal && within;
            for leaf in comparisons(condition) {
                let operand = match leaf {
                    Condition::Field { field, .. } => renderer.operand(entity, RECORD, field),
                    Condition::Related(related) => renderer.measured(entity, RECORD, related, deadline),
                    Condition::All(_)
                    | Condition::Any(_)
                    | Condition::Not(_)
                    | Condition::Score(_)
                    | Condition::Saved(_) => continue,
                };
                let (cell, meaning) = renderer.selected(&operand.ok()?);
                cells.push(cell);
                cells.push(renderer.condition(entity, RECORD, leaf, deadline).ok()?);
                let open = match leaf {
                    Condition::Related(related) => renderer.open_rows(entity, RECORD, related, deadline).ok()?,
                    _ => None,
                };
                let open = open.map(|open| {
                    let (cell, meaning) = renderer.selected(&open);
                    cells.push(cell);
                    meaning
                });
                shape.push(Compared { section, term: number, name: name_of(leaf), meaning, open });
            }
        }
        if shape.is_empty() {
            return None;
        }
        let text = Fragment::of(
            "SELECT {} FROM {} WHERE {}",
            &[&Fragment::join(&cells, ", "), &Fragment::splice_point(), &Fragment::all(&renderer.base(entity, RECORD))],
        );
        let within = rule.goal.as_ref().and_then(|goal| goal.within);
        Some(Self {
            parts: Parts::of(&renderer, entity),
            text,
            records: renderer.rows_of(entity, RECORD),
            key: renderer.key_of(entity, RECORD),
            batch: Batch::new(dialect, entity.key_type.clone(), renderer.into_anchors(), within),
            shape,
        })
    }

    pub fn statement(&self, subjects: &[Subject], now: Timestamp) -> Statement {
        let plain = self.batch.plain(subjects.iter().map(|subject| &subject.key));
        let from = self.batch.leading(&self.records, &self.key, plain);
        let keys = self.batch.json(subjects, &self.parts.zone);
        let fill = Fill { keys: Some(keys), ..Fill::at(now, &self.parts.zone) };
        self.text.splice(&from).fill(self.parts.dialect, &fill)
    }

    pub fn read(&self, row: &Row) -> Result<(Key, Vec<Operand>), ReadError> {
        let mut cells = Cells::new(row, self.parts.entity.as_str());
        let key = cells.key(&self.parts.key)?;
        let mut operands = Vec::with_capacity(self.shape.len());
        for Compared { section, term, name, meaning, open } in &self.shape {
            let value = meaning.read(cells.next()?);
            let holds = cells.boolean()?;
            let open = open.as_ref().map(|open| Ok(open.read(cells.next()?))).transpose()?;
            let note = open.and_then(|rows| left_open(&rows, holds));
            operands.push(Operand { section: *section, term: *term, name: name.clone(), value, holds, note });
        }
        Ok((key, operands))
    }
}

/// What keeps an answer about rows from being known.
pub(in crate::rule) fn left_open(rows: &Value, holds: Option<bool>) -> Option<Note> {
    let Value::Int(rows) = rows else { return None };
    u64::try_from(*rows).ok().filter(|rows| *rows > 0 && holds.is_none()).map(Note::Open)
}

/// The comparisons of the script's score within a condition, for a score that is known.
pub fn of_score(section: Section, term: usize, condition: &Condition, score: &Score) -> Vec<Operand> {
    fn tests<'a>(condition: &'a Condition, found: &mut Vec<&'a Test>) {
        match condition {
            Condition::All(parts) | Condition::Any(parts) => parts.iter().for_each(|part| tests(part, found)),
            Condition::Not(inner) => tests(inner, found),
            Condition::Score(test) => found.push(test),
            Condition::Field { .. } | Condition::Related(_) | Condition::Saved(_) => {}
        }
    }
    let Some(number) = score.number() else { return Vec::new() };
    let mut found = Vec::new();
    tests(condition, &mut found);
    let operand = |test: &Test| Operand {
        section,
        term,
        name: "score".to_owned(),
        value: Value::Decimal(number),
        holds: Some(super::score::holds(test, number)),
        note: None,
    };
    found.into_iter().map(operand).collect()
}

/// The comparisons within a condition, in the order they are written. The script's score and answers that are kept are
/// no question to the source.
pub(in crate::rule) fn comparisons(condition: &Condition) -> Vec<&Condition> {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => parts.iter().flat_map(comparisons).collect(),
        Condition::Not(inner) => comparisons(inner),
        Condition::Field { .. } | Condition::Related(_) => vec![condition],
        Condition::Score(_) | Condition::Saved(_) => Vec::new(),
    }
}

pub(in crate::rule) fn name_of(leaf: &Condition) -> String {
    match leaf {
        Condition::Field { field, .. } => field.to_string(),
        Condition::Related(Related { relation, quantity, .. }) => match quantity {
            Quantity::Some | Quantity::None | Quantity::Count(_) => relation.to_string(),
            Quantity::Sum { field, .. } => format!("sum of {relation}.{field}"),
            Quantity::Min { field, .. } => format!("min of {relation}.{field}"),
            Quantity::Max { field, .. } => format!("max of {relation}.{field}"),
        },
        Condition::All(_) | Condition::Any(_) | Condition::Not(_) | Condition::Score(_) | Condition::Saved(_) => {
            String::new()
        }
    }
}
