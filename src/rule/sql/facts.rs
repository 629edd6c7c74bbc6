//! The facts query: for a batch of records, one row each with every condition, field and recipient.

use super::batch::Batch;
use super::fragment::Fragment;
use super::hole::{Fill, Point, PointBase};
use super::people::{Detail, People, PeopleSql};
use super::plan::Parts;
use super::read::{Cells, Meaning};
use super::{Anchor, RECORD, RenderError, Renderer};
use crate::catalog::{Catalog, ColumnType, Entity};
use crate::model::{FieldName, RoleName, Value, zone_or_default};
use crate::rule::checked::{Action, CheckedRule, Goal, Step, Trigger, Until, UntilDate, Wait};
use crate::rule::compiled::{Facts, ReadError, Subject};
use crate::rule::condition::Condition;
use crate::rule::score::{Beside, Cut, Score};
use crate::rule::statement::{Dialect, Row, Statement};
use crate::rule::write::ASSIGNED;
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(in crate::rule) struct FactsPlan {
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
    /// Every condition of the rule, each with as many cells as SQL has parts of it.
    tested: Vec<(Slot, Arc<Cut<()>>)>,
    fields: Vec<(String, Meaning)>,
    /// Of the trigger and of waits: fields that are asked for their calendar day.
    days: Vec<(FieldName, Meaning)>,
    people: People,
    to: Option<RoleName>,
}

/// Which of a rule's conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rule) enum Slot {
    Where(usize),
    OnlyAtEntry(usize),
    Goal,
    GoalEver,
    ExitWhen(usize),
    Case(usize, usize),
}

/// What SQL said of the conditions that the script's score decides.
#[derive(Debug, Default)]
pub(in crate::rule) struct Open(Vec<(usize, Vec<Option<bool>>)>);

impl Open {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Conditions over what steps have kept, as far as the source has answered them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Unsaid(Vec<Waiting>);

#[derive(Debug, Clone, PartialEq)]
struct Waiting {
    slot: Slot,
    cut: Arc<Cut<()>>,
    parts: Vec<Option<bool>>,
    score: Option<Decimal>,
}

impl Facts {
    /// Whether a condition asks what steps have kept.
    #[must_use]
    pub fn asks_saved(&self) -> bool {
        !self.unsaid.0.is_empty()
    }

    /// Decides the conditions over what steps have kept.
    pub fn hear(&mut self, saved: &Json) {
        let unsaid = std::mem::take(&mut self.unsaid);
        for Waiting { slot, cut, parts, score } in &unsaid.0 {
            let beside = Beside { score: *score, saved: Some(saved) };
            slot.put(self, cut.judge(&mut parts.iter().copied(), beside));
        }
        self.unsaid = unsaid;
    }
}

impl FactsPlan {
    pub fn render(dialect: Dialect, catalog: &Catalog, rule: &CheckedRule) -> Result<Self, RenderError> {
        let renderer = Renderer::new(dialect, catalog);
        let entity = renderer.entity(&rule.for_each)?;
        let mut cells = vec![renderer.key_of(entity, RECORD)];
        let mut shape = Shape {
            tested: Vec::new(),
            fields: Vec::new(),
            days: Vec::new(),
            people: People::plan(&renderer, entity, &roles(rule))?,
            to: rule.to.clone(),
        };
        tested(&renderer, entity, rule, &mut shape, &mut cells)?;
        for name in fields(entity, rule) {
            let operand = renderer.operand(entity, RECORD, &name)?;
            // A blob is no word of a message, and would be fetched for every record.
            if operand.ty != ColumnType::Bytes {
                let (cell, meaning) = renderer.selected(&operand);
                cells.push(cell);
                shape.fields.push((name.to_string(), meaning));
            }
        }
        for field in days_asked(rule) {
            let (cell, meaning) = renderer.selected(&renderer.operand(entity, RECORD, field)?);
            cells.push(cell);
            shape.days.push((field.clone(), meaning));
        }
        let people = shape.people.sql(&renderer, entity, Detail::All(&rule.purpose))?;
        cells.extend(people.cells.iter().cloned());

        let text = of_records(&renderer, entity, &cells, &people);
        let key = renderer.key_of(entity, RECORD);
        let within = rule.goal.as_ref().and_then(|goal| goal.within);
        Ok(Self {
            parts: Parts::of(&renderer, entity),
            text,
            records: renderer.rows_of(entity, RECORD),
            key,
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

    /// What the score decides is unknown as yet, unless SQL has decided it anyway.
    pub fn read(&self, row: &Row) -> Result<(Facts, Open), ReadError> {
        let shape = &self.shape;
        let mut cells = Cells::new(row, self.parts.entity.as_str());
        let key = cells.key(&self.parts.key)?;
        let mut answers = Vec::with_capacity(shape.tested.len());
        let (mut open, mut unsaid) = (Open::default(), Unsaid::default());
        for (number, (slot, cut)) in shape.tested.iter().enumerate() {
            let parts = booleans(&mut cells, cut.parts())?;
            let answer = cut.judge(&mut parts.iter().copied(), Beside::default());
            answers.push((*slot, answer));
            if cut.asks_saved() {
                let cut = Arc::clone(cut);
                unsaid.0.push(Waiting { slot: *slot, cut, parts: parts.clone(), score: None });
            }
            if cut.asks_score() && answer.is_none() {
                open.0.push((number, parts));
            }
        }
        let mut record = BTreeMap::new();
        for (name, meaning) in &shape.fields {
            record.insert(name.clone(), meaning.read(cells.next()?));
        }
        let mut dated = Vec::with_capacity(shape.days.len());
        for (field, meaning) in &shape.days {
            dated.push((field, meaning, cells.next()?));
        }
        let recipients = shape.people.read(&mut cells)?;
        let main = shape.to.as_ref().and_then(|role| recipients.get(role));
        let (zone, _) = zone_or_default(main.and_then(|person| person.zone.as_deref()), &self.parts.zone);
        let day =
            |(field, meaning, cell): (&FieldName, &Meaning, &Value)| Some((field.clone(), meaning.day(cell, &zone)?));
        let days = dated.into_iter().filter_map(day).collect();
        let mut facts = Facts {
            key,
            conditions: Vec::new(),
            only_at_entry: Vec::new(),
            goal: None,
            goal_ever: None,
            exit_when: Vec::new(),
            cases: BTreeMap::new(),
            score: Score::NotAsked,
            record,
            days,
            recipients,
            zone,
            unsaid,
        };
        for (slot, answer) in answers {
            slot.put(&mut facts, answer);
        }
        Ok((facts, open))
    }

    /// Decides by the score what SQL has left open.
    pub fn settle(&self, facts: &mut Facts, open: &Open, score: Decimal) {
        for (number, parts) in &open.0 {
            if let Some((slot, cut)) = self.shape.tested.get(*number) {
                let beside = Beside { score: Some(score), saved: None };
                slot.put(facts, cut.judge(&mut parts.iter().copied(), beside));
            }
        }
        for waiting in &mut facts.unsaid.0 {
            waiting.score = Some(score);
        }
    }

    /// Whether `where` or `only_at_entry` has failed already, so that no score can make a match of it.
    pub fn has_failed(&self, facts: &Facts, open: &Open) -> bool {
        let waits = |slot| open.0.iter().any(|(number, _)| self.shape.tested.get(*number).is_some_and(|t| t.0 == slot));
        let fails = |answers: &[Option<bool>], slot: fn(usize) -> Slot| {
            answers.iter().enumerate().any(|(number, answer)| *answer != Some(true) && !waits(slot(number)))
        };
        fails(&facts.conditions, Slot::Where) || fails(&facts.only_at_entry, Slot::OnlyAtEntry)
    }
}

/// Selects cells of the records that are spliced in, with the people their roles pick.
pub(super) fn of_records(renderer: &Renderer<'_>, entity: &Entity, cells: &[Fragment], people: &PeopleSql) -> Fragment {
    let base = renderer.base(entity, RECORD);
    let key = renderer.key_of(entity, RECORD);
    let selected = Fragment::join(cells, ", ");
    let joins = Fragment::join(&people.joins, "");
    if people.picks.is_empty() {
        return Fragment::of(
            "SELECT {} FROM {}{} WHERE {}",
            &[&selected, &Fragment::splice_point(), &joins, &Fragment::all(&base)],
        );
    }
    Fragment::of(
        "SELECT {} FROM (SELECT b.*, {} AS rk, {} FROM {} WHERE {}) AS b JOIN {} ON {} = b.rk{}",
        &[
            &selected,
            &key,
            &Fragment::join(&people.picks, ", "),
            &Fragment::splice_point(),
            &Fragment::all(&base),
            &renderer.rows_of(entity, RECORD),
            &key,
            &joins,
        ],
    )
}

impl Slot {
    /// Answers come in the order of their numbers first, and again when they are settled.
    fn put(self, facts: &mut Facts, answer: Option<bool>) {
        let numbered = |answers: &mut Vec<Option<bool>>, number: usize| {
            if number >= answers.len() {
                answers.resize(number + 1, None);
            }
            answers[number] = answer;
        };
        match self {
            Self::Where(number) => numbered(&mut facts.conditions, number),
            Self::OnlyAtEntry(number) => numbered(&mut facts.only_at_entry, number),
            Self::Goal => facts.goal = answer,
            Self::GoalEver => facts.goal_ever = answer,
            Self::ExitWhen(number) => numbered(&mut facts.exit_when, number),
            Self::Case(node, case) => drop(facts.cases.insert((node, case), answer)),
        }
    }
}

fn booleans(cells: &mut Cells<'_>, count: usize) -> Result<Vec<Option<bool>>, ReadError> {
    (0..count).map(|_| cells.boolean()).collect()
}

/// Every condition of the rule as one cell, or as one for each part that SQL can answer.
fn tested(
    renderer: &Renderer<'_>,
    entity: &Entity,
    rule: &CheckedRule,
    shape: &mut Shape,
    cells: &mut Vec<Fragment>,
) -> Result<(), RenderError> {
    let tested = &mut shape.tested;
    for (number, term) in rule.conditions.iter().enumerate() {
        tested.push((Slot::Where(number), Arc::new(cut(renderer, entity, &term.condition, false, cells)?)));
    }
    for (number, term) in rule.only_at_entry.iter().enumerate() {
        tested.push((Slot::OnlyAtEntry(number), Arc::new(cut(renderer, entity, &term.condition, false, cells)?)));
    }
    if let Some(goal) = &rule.goal {
        tested.push((Slot::Goal, Arc::new(reached(renderer, entity, goal, cells)?)));
        if goal.within.is_some() {
            tested.push((Slot::GoalEver, Arc::new(cut(renderer, entity, &goal.when, false, cells)?)));
        }
    }
    for (number, term) in rule.exit_when.iter().enumerate() {
        tested.push((Slot::ExitWhen(number), Arc::new(cut(renderer, entity, &term.condition, false, cells)?)));
    }
    for (number, node) in rule.nodes.iter().enumerate() {
        for (case, condition) in node.step.conditions().into_iter().enumerate() {
            tested.push((Slot::Case(number, case), Arc::new(cut(renderer, entity, condition, false, cells)?)));
        }
    }
    Ok(())
}

/// A condition with a cell for each part that SQL can answer.
fn cut(
    renderer: &Renderer<'_>,
    entity: &Entity,
    condition: &Condition,
    deadline: bool,
    cells: &mut Vec<Fragment>,
) -> Result<Cut<()>, RenderError> {
    let entity = renderer.entity(&entity.name)?;
    Cut::of(condition).try_map(&mut |part: &Condition| {
        cells.push(renderer.condition(entity, RECORD, part, deadline)?);
        Ok(())
    })
}

/// The goal, within its time: rows that count `since: entry` must lie before its end; a goal without such
/// rows can only be seen while the time runs.
fn reached(
    renderer: &Renderer<'_>,
    entity: &Entity,
    goal: &Goal,
    cells: &mut Vec<Fragment>,
) -> Result<Cut<()>, RenderError> {
    let when = cut(renderer, entity, &goal.when, goal.within.is_some(), cells)?;
    if goal.within.is_none() || goal.when.counts_since_entry() {
        return Ok(when);
    }
    let form = super::wire::Form::Seconds;
    let now = Fragment::hole(super::Hole::Time(Point::new(PointBase::Now), form.clone()));
    let running = Fragment::of("{} >= {}", &[&renderer.anchor(Anchor::Deadline, &form), &now]);
    if when.is_cut() {
        cells.push(running);
        return Ok(Cut::All(vec![when, Cut::Sql(())]));
    }
    let whole = cells.pop().map(|when| Fragment::all(&[when, running]));
    cells.extend(whole);
    Ok(when)
}

/// The roles that the rule writes to or assigns.
pub fn roles(rule: &CheckedRule) -> BTreeSet<RoleName> {
    let actions = rule.nodes.iter().filter_map(|node| node.step.action()).flat_map(Action::ways);
    let named = actions.filter_map(Action::role).cloned();
    // Who was chosen by an earlier step is known to the state alone.
    rule.to.iter().cloned().chain(named).filter(|role| role.as_str() != ASSIGNED).collect()
}

/// Fields that the trigger or a wait asks for their calendar day.
fn days_asked(rule: &CheckedRule) -> BTreeSet<&FieldName> {
    let of_trigger = match &rule.trigger {
        Trigger::Date(date) => Some(&date.field),
        _ => None,
    };
    let of_waits = rule.nodes.iter().filter_map(|node| match &node.step {
        Step::Wait(Wait { until: Until::Date(UntilDate { field, .. }), .. }) => Some(field),
        _ => None,
    });
    of_trigger.into_iter().chain(of_waits).collect()
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
        Condition::Related(_) | Condition::Score(_) | Condition::Saved(_) => {}
    }
}
