//! The facts query: for a batch of records, one row each with every condition, field and recipient.

use super::batch::{Batch, ascii};
use super::fragment::Fragment;
use super::hole::{Fill, Point, PointBase};
use super::people::{Detail, People};
use super::plan::Parts;
use super::read::{Cells, Meaning};
use super::{Anchor, RenderError, Renderer};
use crate::catalog::{Catalog, ColumnType, Entity};
use crate::model::{FieldName, RoleName, Value, zone_or_default};
use crate::rule::checked::{Action, CheckedRule, Goal, Step, Trigger, Until, Wait};
use crate::rule::compiled::{Facts, ReadError, Subject};
use crate::rule::condition::{Condition, Term};
use crate::rule::statement::{Dialect, Row, Statement};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
pub(crate) struct FactsPlan {
    parts: Parts,
    /// With a splice point where the batch and the records stand.
    text: Fragment,
    records: Fragment,
    key: Fragment,
    batch: Batch,
    shape: Shape,
}

/// What the cells of a row are, in order.
#[derive(Debug, Clone)]
struct Shape {
    conditions: usize,
    only_at_entry: usize,
    goal: bool,
    exit_when: usize,
    cases: Vec<(usize, usize)>,
    fields: Vec<(String, Meaning)>,
    date: Option<Meaning>,
    people: People,
    to: Option<RoleName>,
}

impl FactsPlan {
    pub fn render(dialect: Dialect, catalog: &Catalog, rule: &CheckedRule) -> Result<Self, RenderError> {
        let renderer = Renderer::new(dialect, catalog);
        let entity = renderer.entity(&rule.for_each)?;
        let mut cells = vec![renderer.key_of(entity, "r")];
        let mut shape = Shape {
            conditions: rule.conditions.len(),
            only_at_entry: rule.only_at_entry.len(),
            goal: rule.goal.is_some(),
            exit_when: rule.exit_when.len(),
            cases: Vec::new(),
            fields: Vec::new(),
            date: None,
            people: People::plan(&renderer, entity, &roles(rule))?,
            to: rule.to.clone(),
        };
        tested(&renderer, entity, rule, &mut shape, &mut cells)?;
        for name in fields(entity, rule) {
            let operand = renderer.operand(entity, "r", &name)?;
            // A blob is no word of a message, and would be fetched for every record.
            if operand.ty != ColumnType::Bytes {
                let (cell, meaning) = renderer.selected(&operand);
                cells.push(cell);
                shape.fields.push((name.to_string(), meaning));
            }
        }
        if let Trigger::Date(date) = &rule.trigger {
            let (cell, meaning) = renderer.selected(&renderer.operand(entity, "r", &date.field)?);
            cells.push(cell);
            shape.date = Some(meaning);
        }
        let people = shape.people.sql(&renderer, entity, Detail::All(&rule.purpose))?;
        cells.extend(people.cells.iter().cloned());

        let base = renderer.base(entity, "r");
        let key = renderer.key_of(entity, "r");
        let selected = Fragment::join(&cells, ", ");
        let joins = Fragment::join(&people.joins, "");
        let text = if people.picks.is_empty() {
            Fragment::of(
                "SELECT {} FROM {}{} WHERE {}",
                &[&selected, &Fragment::splice_point(), &joins, &Fragment::all(&base)],
            )
        } else {
            Fragment::of(
                "SELECT {} FROM (SELECT b.*, {} AS rk, {} FROM {} WHERE {}) AS b JOIN {} ON {} = b.rk{}",
                &[
                    &selected,
                    &key,
                    &Fragment::join(&people.picks, ", "),
                    &Fragment::splice_point(),
                    &Fragment::all(&base),
                    &renderer.rows_of(entity, "r"),
                    &key,
                    &joins,
                ],
            )
        };
        let within = rule.goal.as_ref().and_then(|goal| goal.within);
        Ok(Self {
            parts: Parts::of(&renderer, entity),
            text,
            records: renderer.rows_of(entity, "r"),
            key,
            batch: Batch::new(dialect, entity.key_type.clone(), renderer.into_anchors(), within),
            shape,
        })
    }

    pub fn statement(&self, subjects: &[Subject], now: Timestamp) -> Statement {
        let ascii = ascii(subjects.iter().map(|subject| &subject.key));
        let from = self.batch.leading(&self.records, &self.key, ascii);
        let keys = self.batch.json(subjects, &self.parts.zone);
        let fill = Fill { keys: Some(keys), ..Fill::at(now, &self.parts.zone) };
        self.text.splice(&from).fill(self.parts.dialect, &fill)
    }

    pub fn read(&self, row: &Row) -> Result<Facts, ReadError> {
        let shape = &self.shape;
        let mut cells = Cells::new(row, self.parts.entity.as_str());
        let key = cells.key(&self.parts.key)?;
        let conditions = booleans(&mut cells, shape.conditions)?;
        let only_at_entry = booleans(&mut cells, shape.only_at_entry)?;
        let goal = if shape.goal { cells.boolean()? } else { None };
        let exit_when = booleans(&mut cells, shape.exit_when)?;
        let mut cases = BTreeMap::new();
        for case in &shape.cases {
            cases.insert(*case, cells.boolean()?);
        }
        let mut record = BTreeMap::new();
        for (name, meaning) in &shape.fields {
            record.insert(name.clone(), meaning.read(cells.next()?));
        }
        let date = shape.date.as_ref().map(|meaning| cells.next().map(|cell| (meaning, cell))).transpose()?;
        let recipients = shape.people.read(&mut cells)?;
        let main = shape.to.as_ref().and_then(|role| recipients.get(role));
        let (zone, _) = zone_or_default(main.and_then(|person| person.zone.as_deref()), &self.parts.zone);
        let date = date.map(|(meaning, cell)| meaning.day(cell, &zone).map_or(Value::Null, Value::Date));
        Ok(Facts { key, conditions, only_at_entry, goal, exit_when, cases, record, date, recipients, zone })
    }
}

fn booleans(cells: &mut Cells<'_>, count: usize) -> Result<Vec<Option<bool>>, ReadError> {
    (0..count).map(|_| cells.boolean()).collect()
}

/// Every condition of the rule as one cell.
fn tested(
    renderer: &Renderer<'_>,
    entity: &Entity,
    rule: &CheckedRule,
    shape: &mut Shape,
    cells: &mut Vec<Fragment>,
) -> Result<(), RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let one = |condition: &Condition| renderer.condition(entity, "r", condition, false);
    let all = |terms: &[Term]| terms.iter().map(|term| one(&term.condition)).collect::<Result<Vec<_>, _>>();
    cells.extend(all(&rule.conditions)?);
    cells.extend(all(&rule.only_at_entry)?);
    if let Some(goal) = &rule.goal {
        cells.push(reached(renderer, entity, goal)?);
    }
    cells.extend(all(&rule.exit_when)?);
    for (number, node) in rule.nodes.iter().enumerate() {
        for (case, condition) in node.step.conditions().into_iter().enumerate() {
            cells.push(one(condition)?);
            shape.cases.push((number, case));
        }
    }
    Ok(())
}

/// The goal, within its time: rows that count `since: entry` must lie before its end; a goal without such
/// rows can only be seen while the time runs.
fn reached(renderer: &Renderer<'_>, entity: &Entity, goal: &Goal) -> Result<Fragment, RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let when = renderer.condition(entity, "r", &goal.when, goal.within.is_some())?;
    if goal.within.is_none() || goal.when.counts_since_entry() {
        return Ok(when);
    }
    let form = super::wire::Form::Seconds;
    let now = Fragment::hole(super::Hole::Time(Point::new(PointBase::Now), form.clone()));
    let running = Fragment::of("{} >= {}", &[&renderer.anchor(Anchor::Deadline, &form), &now]);
    Ok(Fragment::all(&[when, running]))
}

/// The roles that the rule writes to or assigns.
fn roles(rule: &CheckedRule) -> BTreeSet<RoleName> {
    let named = rule.nodes.iter().filter_map(|node| match &node.step {
        Step::Act(Action::Email(email)) => email.to.clone(),
        Step::Act(Action::Task(task)) => task.assign_to.clone(),
        _ => None,
    });
    rule.to.iter().cloned().chain(named).collect()
}

/// All declared fields, and undeclared columns that the rule's conditions and waits use.
fn fields(entity: &Entity, rule: &CheckedRule) -> BTreeSet<FieldName> {
    let mut names: BTreeSet<FieldName> = entity.fields.keys().cloned().collect();
    let terms = [&rule.conditions, &rule.only_at_entry, &rule.exit_when];
    for term in terms.into_iter().flatten() {
        own_fields(&term.condition, &mut names);
    }
    for node in &rule.nodes {
        if let Step::Wait(Wait { until: Until::Date(date), .. }) = &node.step {
            names.insert(date.field.clone());
        }
    }
    names
}

fn own_fields(condition: &Condition, names: &mut BTreeSet<FieldName>) {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => parts.iter().for_each(|part| own_fields(part, names)),
        Condition::Not(inner) => own_fields(inner, names),
        Condition::Field { field, .. } => {
            names.insert(field.clone());
        }
        Condition::Related(_) => {}
    }
}
