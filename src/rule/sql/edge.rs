//! What a trigger looks at in one record, term by term, and the base filter that may leave the record out: for
//! people who ask why nothing crosses. Rendered when somebody asks, since no sweep needs it.
//!
//! Where the trigger looks at one of several rows (a cart, an answer), [`Nearest`] says which is told.

use super::batch::Batch;
use super::fragment::Fragment;
use super::hole::Fill;
use super::nearest::Nearest;
use super::operand::Operand as Stored;
use super::plan::Parts;
use super::read::{Cells, Meaning};
use super::relation::Doubles;
use super::settled::{Settled, WholeDay};
use super::{RECORD, RenderError, Renderer, dialect, filter, survey};
use crate::catalog::{AggregateFunction, Catalog, Entity, Filter, FilterTest, Literal};
use crate::model::{FieldName, Key, Period, RelationName, Value};
use crate::rule::checked::{Abandoned, Changed, CheckedRule, Inactivity, ScoreRange, Survey, Trigger};
use crate::rule::compiled::{ReadError, Window};
use crate::rule::condition::{Condition, Term};
use crate::rule::operands::{self, Basis, EdgeTerm, Note, Operand, Section};
use crate::rule::statement::{Dialect, Row, Statement};
use crate::rule::tide::When;
use jiff::tz::TimeZone;

/// The query for one rule's trigger.
#[derive(Debug, Clone)]
pub struct EdgePlan {
    parts: Parts,
    text: Fragment,
    batch: Batch,
    records: Fragment,
    key: Fragment,
    terms: Vec<Shape>,
}

/// A term and its cells: whether it holds, if SQL tells, and each value with what is read beside it.
#[derive(Debug, Clone)]
struct Shape {
    section: Section,
    text: String,
    basis: Basis,
    holds: Holds,
    seen: Vec<Sight>,
}

/// Who says whether a term holds.
#[derive(Debug, Clone)]
enum Holds {
    /// A cell of its own.
    Cell,
    /// The first value is a time that has settled.
    Settled(Settled),
    /// Every known value lies this far back, and one is known.
    Silent(Period),
    /// The first value, an order, is older than the second, a change; or there is none.
    Before(Settled, Settled),
    /// Whether it crossed, which this query can't tell.
    Crossed,
}

#[derive(Debug, Clone)]
struct Sight {
    name: String,
    meaning: Meaning,
    /// A cell with the stored text follows, to tell a placeholder or what can't be read from nothing.
    raw: bool,
    /// A cell follows with whether its comparison holds.
    judged: bool,
    /// And one with the number of rows of which nobody can say whether they count.
    open: Option<Meaning>,
}

impl EdgePlan {
    /// `None` for triggers that look at nothing of the record, and for rules that the catalog doesn't fit. `row`: which
    /// of several rows to tell of, where that is known.
    #[must_use]
    pub fn render(rule: &CheckedRule, catalog: &Catalog, dialect: Dialect, row: Option<&Key>) -> Option<Self> {
        let renderer = Renderer::new(dialect, catalog);
        let entity = catalog.entity(&rule.for_each)?;
        let cells = vec![renderer.key_of(entity, RECORD)];
        let mut edge = Edge { renderer: &renderer, entity, row, cells, terms: Vec::new() };
        edge.base();
        edge.trigger(rule).ok()?;
        let Edge { cells, terms, .. } = edge;
        if terms.is_empty() {
            return None;
        }
        let text = Fragment::of("SELECT {} FROM {}", &[&Fragment::join(&cells, ", "), &Fragment::splice_point()]);
        Some(Self {
            parts: Parts::of(&renderer, entity),
            text,
            records: renderer.rows_of(entity, RECORD),
            key: renderer.key_of(entity, RECORD),
            batch: Batch::new(dialect, entity.key_type.clone(), renderer.into_anchors(), None),
            terms,
        })
    }

    #[must_use]
    pub fn statement(&self, keys: &[Key], window: Window) -> Statement {
        let from = self.batch.leading(&self.records, &self.key, self.batch.plain(keys.iter()));
        let fill = Fill { keys: Some(self.batch.keys_json(keys)), ..Fill::over(window, &self.parts.zone) };
        self.text.splice(&from).fill(self.parts.dialect, &fill)
    }

    /// Asks for the row of a record by itself, without those of its parent tables. `None`: it has none.
    #[must_use]
    pub fn alone(rule: &CheckedRule, catalog: &Catalog, dialect: Dialect, key: &Key) -> Option<Statement> {
        let entity = catalog.entity(&rule.for_each).filter(|entity| !entity.parents.is_empty())?;
        let bare = Entity { parents: Vec::new(), ..entity.clone() };
        let renderer = Renderer::new(dialect, catalog);
        let (records, own) = (renderer.rows_of(&bare, RECORD), renderer.key_of(&bare, RECORD));
        let parts = Parts::of(&renderer, &bare);
        let batch = Batch::new(dialect, bare.key_type.clone(), renderer.into_anchors(), None);
        let keys = std::slice::from_ref(key);
        let from = batch.leading(&records, &own, batch.plain(keys.iter()));
        let fill = Fill { keys: Some(batch.keys_json(keys)), ..Fill::at(jiff::Timestamp::UNIX_EPOCH, &parts.zone) };
        Some(Fragment::of("SELECT {} FROM {}", &[&own, &Fragment::splice_point()]).splice(&from).fill(dialect, &fill))
    }

    /// The terms of one record, also of one that the base filter leaves out.
    pub fn read(&self, row: &Row, window: Window) -> Result<(Key, Vec<EdgeTerm>), ReadError> {
        let mut cells = Cells::new(row, self.parts.entity.as_str());
        let key = cells.key(&self.parts.key)?;
        let mut found = Vec::with_capacity(self.terms.len());
        for (number, shape) in self.terms.iter().enumerate() {
            let told = if matches!(shape.holds, Holds::Cell) { cells.boolean()? } else { None };
            let (mut stored, mut operands) = (Vec::new(), Vec::new());
            for sight in &shape.seen {
                let cell = cells.next()?;
                let value = sight.meaning.read(cell);
                let note = if sight.raw { odd(cell, &value, cells.text()?) } else { None };
                let holds = if sight.judged { cells.boolean()? } else { None };
                let open = sight.open.as_ref().map(|open| Ok(open.read(cells.next()?))).transpose()?;
                let note = note.or_else(|| operands::left_open(&open?, holds));
                let (section, term, name) = (shape.section, number, sight.name.clone());
                operands.push(Operand { section, term, name, value, holds, note });
                stored.push(cell);
            }
            let holds = shape.holds.read(told, &stored, &operands, &self.parts.zone, window);
            let (section, text, basis) = (shape.section, shape.text.clone(), shape.basis);
            let by_crossing = matches!(shape.holds, Holds::Crossed);
            found.push(EdgeTerm { section, text, basis, holds, by_crossing, operands });
        }
        Ok((key, found))
    }
}

/// Why a stored value counts as missing.
fn odd(cell: &Value, read: &Value, raw: Option<String>) -> Option<Note> {
    let raw = raw.filter(|_| read.is_missing())?;
    Some(if cell.is_missing() { Note::Placeholder(raw) } else { Note::Unreadable(raw) })
}

impl Holds {
    fn read(
        &self,
        told: Option<bool>,
        stored: &[&Value],
        operands: &[Operand],
        zone: &TimeZone,
        window: Window,
    ) -> Option<bool> {
        match self {
            Self::Cell => told,
            Self::Settled(settled) => {
                let cell = stored.first()?;
                settled.readings(cell, zone)?;
                Some(settled.read(cell, zone, window).is_some())
            }
            Self::Silent(period) => {
                let times = operands.iter().filter_map(|operand| match operand.value {
                    Value::Instant(at) => Some(When::Instant(at)),
                    Value::Date(day) => Some(When::Day(day)),
                    _ => None,
                });
                let last = times.map(|time| time.after(&[*period], zone)).max()?;
                Some(last <= window.until)
            }
            Self::Before(order, changed) => {
                let [first, second] = stored else { return None };
                let changed = changed.readings(second, zone)?;
                Some(order.readings(first, zone).is_none_or(|order| order.1 < changed.1))
            }
            Self::Crossed => None,
        }
    }
}

/// Collects the cells of a rule's edge.
struct Edge<'r, 'a> {
    renderer: &'r Renderer<'a>,
    entity: &'a Entity,
    /// Of several rows this one.
    row: Option<&'r Key>,
    cells: Vec<Fragment>,
    terms: Vec<Shape>,
}

/// A value with its cells.
struct Seen {
    name: String,
    cell: Fragment,
    meaning: Meaning,
    raw: Option<Fragment>,
    holds: Option<Fragment>,
    open: Option<(Fragment, Meaning)>,
}

impl<'a> Edge<'_, 'a> {
    fn push(&mut self, section: Section, text: String, basis: Basis, holds: Holds, seen: Vec<Seen>) {
        let mut sights = Vec::new();
        for Seen { name, cell, meaning, raw, holds, open } in seen {
            self.cells.push(cell);
            let (raw_follows, judged) = (raw.is_some(), holds.is_some());
            self.cells.extend(raw);
            self.cells.extend(holds);
            let open = open.map(|(cell, meaning)| {
                self.cells.push(cell);
                meaning
            });
            sights.push(Sight { name, meaning, raw: raw_follows, judged, open });
        }
        self.terms.push(Shape { section, text, basis, holds, seen: sights });
    }

    /// A term of which SQL says whether it holds.
    fn told(&mut self, section: Section, text: String, basis: Basis, holds: Fragment, seen: Vec<Seen>) {
        self.cells.push(holds);
        self.push(section, text, basis, Holds::Cell, seen);
    }

    fn base(&mut self) {
        for one in &self.entity.only {
            let Some(holds) = filter::all_of(self.renderer, RECORD, std::slice::from_ref(one)).pop() else { continue };
            let stored = self.renderer.column_operand(RECORD, &one.column);
            let seen = self.seen(one.column.name.clone(), &stored, false);
            self.told(Section::Base, filter_text(one), Basis::Current, holds, vec![seen]);
        }
    }

    fn trigger(&mut self, rule: &CheckedRule) -> Result<(), RenderError> {
        match &rule.trigger {
            Trigger::Inactivity(inactivity) => self.inactivity(inactivity),
            Trigger::Survey(survey) => self.survey(survey),
            Trigger::Date(date) => {
                let offsets: Vec<String> = rule
                    .entries
                    .iter()
                    .filter_map(|entry| entry.offset)
                    .map(|offset| format!("{} {}", offset.period, if offset.before { "before" } else { "after" }))
                    .collect();
                let days = if offsets.is_empty() { "the day comes".to_owned() } else { offsets.join(", ") };
                self.day(&date.field, format!("{}: {days}, at {}", date.field, clock(date.at)))
            }
            Trigger::Yearly(yearly) => {
                self.day(&yearly.field, format!("{}: comes again, at {}", yearly.field, clock(yearly.when.at)))
            }
            Trigger::Created(created) => {
                let stored = self.renderer.column_operand(RECORD, &Renderer::column(self.entity, &created.at)?);
                let seen = self.seen(created.at.to_string(), &stored, true);
                let settled = self.settled(&stored, created.settle, WholeDay::FromItsEnd);
                let text = format!("{}: {}", created.at, ago(created.settle).unwrap_or_else(|| "come".to_owned()));
                self.push(Section::Trigger, text, Basis::AsOf, Holds::Settled(settled), vec![seen]);
                Ok(())
            }
            Trigger::Abandoned(abandoned) => self.abandoned(abandoned),
            Trigger::Segment(segment) => self.conditions(&segment.when, None),
            Trigger::Changed(changed) => self.changed(changed),
            // Counted rows follow from their course, which the engine knows; the others look at nothing of the record.
            Trigger::Count(_)
            | Trigger::Decline(_)
            | Trigger::Schedule(_)
            | Trigger::Query(_)
            | Trigger::Event(_)
            | Trigger::Enrolled => Ok(()),
        }
    }

    /// A stored value of the record.
    fn seen(&self, name: String, stored: &Stored, raw: bool) -> Seen {
        let (cell, meaning) = self.renderer.selected(stored);
        let raw = raw.then(|| dialect::text(self.renderer.dialect, &stored.raw));
        Seen { name, cell, meaning, raw, holds: None, open: None }
    }

    fn seen_in(&self, nearest: &Nearest<'_>, name: String, stored: &Stored, raw: bool) -> Seen {
        let seen = self.seen(name, stored, raw);
        Seen { cell: nearest.pick(&seen.cell), raw: seen.raw.map(|raw| nearest.pick(&raw)), ..seen }
    }

    fn settled(&self, stored: &Stored, after: Period, whole_day: WholeDay) -> Settled {
        Settled { after, at: self.renderer.selected(stored).1, whole_day }
    }

    /// Conditions of the record, or of one row of it.
    fn conditions(&mut self, terms: &[Term], of: Option<(&Nearest<'a>, &str)>) -> Result<(), RenderError> {
        let renderer = self.renderer;
        let (entity, alias) =
            of.map_or((self.entity, RECORD), |(near, _)| (near.rows.entity, near.rows.alias.as_str()));
        let picked = |what: Fragment| of.map_or(what.clone(), |(near, _)| near.pick(&what));
        for term in terms {
            let mut seen = Vec::new();
            for leaf in operands::comparisons(&term.condition) {
                let stored = match leaf {
                    Condition::Field { field, .. } => renderer.operand(entity, alias, field)?,
                    Condition::Related(related) => renderer.measured(entity, alias, related, false)?,
                    _ => continue,
                };
                let (cell, meaning) = renderer.selected(&stored);
                let holds = picked(renderer.condition(entity, alias, leaf, false)?);
                let open = match leaf {
                    Condition::Related(related) => renderer.open_rows(entity, alias, related, false)?,
                    _ => None,
                };
                let open = open.map(|open| renderer.selected(&open)).map(|(cell, meaning)| (picked(cell), meaning));
                let name = operands::name_of(leaf);
                let name = of.map_or(name.clone(), |(_, rows)| format!("{rows}.{name}"));
                seen.push(Seen { name, cell: picked(cell), meaning, raw: None, holds: Some(holds), open });
            }
            let holds = picked(renderer.condition(entity, alias, &term.condition, false)?);
            let basis = operands::basis(renderer.catalog, entity, &term.condition);
            self.told(Section::Trigger, term.text.clone(), basis, holds, seen);
        }
        Ok(())
    }

    /// The newest row that is not dated after now.
    fn newest(&self, of: &RelationName) -> Result<(Seen, Stored), RenderError> {
        let renderer = self.renderer;
        let mut rows = renderer.related(self.entity, RECORD, of, Doubles::Harmless)?;
        rows.conditions.extend(renderer.visible(&rows)?);
        let newest = renderer.folded(&rows, AggregateFunction::Max, rows.entity.at.as_ref())?;
        Ok((self.seen(format!("newest of {of}"), &newest, false), newest))
    }

    fn inactivity(&mut self, inactivity: &Inactivity) -> Result<(), RenderError> {
        let mut seen = vec![self.newest(&inactivity.of)?.0];
        if let Some(field) = &inactivity.fallback {
            let stored = self.renderer.column_operand(RECORD, &Renderer::column(self.entity, field)?);
            seen.push(self.seen(field.to_string(), &stored, true));
        }
        let text = format!("{}: none for {}", inactivity.of, inactivity.silent_for);
        self.push(Section::Trigger, text, Basis::AsOf, Holds::Silent(inactivity.silent_for), seen);
        Ok(())
    }

    fn survey(&mut self, survey: &Survey) -> Result<(), RenderError> {
        let renderer = self.renderer;
        let mut rows = renderer.related(self.entity, RECORD, &survey.of, Doubles::Harmless)?;
        let at = renderer.column_operand(&rows.alias, &Renderer::time_of(rows.entity)?);
        let score = rows.entity.score.clone().ok_or_else(|| RenderError::NoScore(rows.entity.name.to_string()))?;
        let stored = renderer.operand(rows.entity, &rows.alias, &score)?;
        rows.conditions.extend(survey::of_kind(renderer, &rows, survey)?);
        rows.conditions.extend(renderer.visible(&rows)?);
        let in_range = survey::in_range(renderer, &stored, survey)?;
        let near = Nearest::of(renderer, rows, self.row, &in_range, &at);
        let of = &survey.of;
        let kind = survey.kind.as_ref().map_or_else(String::new, |kind| format!(" of kind {kind}"));
        let range = survey.score.as_ref().map_or_else(|| "any".to_owned(), range_text);
        let seen = self.seen_in(&near, format!("{of}.{score}"), &stored, false);
        let holds = near.pick(&Fragment::all(&in_range));
        self.told(Section::Trigger, format!("{of}{kind}: score {range}"), Basis::AsOf, holds, vec![seen]);
        let seen = self.seen_in(&near, format!("{of}: answered"), &at, true);
        let settled = self.settled(&at, survey.settle, WholeDay::FromItsStart);
        let settled_for = ago(survey.settle).map_or_else(String::new, |ago| format!(" {ago}"));
        let text = format!("{of}: answered{settled_for}");
        self.push(Section::Trigger, text, Basis::AsOf, Holds::Settled(settled), vec![seen]);
        Ok(())
    }

    fn day(&mut self, field: &FieldName, text: String) -> Result<(), RenderError> {
        let stored = self.renderer.column_operand(RECORD, &Renderer::column(self.entity, field)?);
        let seen = self.seen(field.to_string(), &stored, true);
        self.push(Section::Trigger, text, Basis::Current, Holds::Crossed, vec![seen]);
        Ok(())
    }

    fn changed(&mut self, changed: &Changed) -> Result<(), RenderError> {
        let list = |values: &[Value]| {
            let words: Vec<String> = values.iter().map(shown).collect();
            if let [one] = words.as_slice() { one.clone() } else { format!("[{}]", words.join(", ")) }
        };
        let mut text = format!("{}: changed", changed.field);
        for (word, values) in [("from", &changed.from), ("to", &changed.to)] {
            if let Some(values) = values {
                text = format!("{text} {word} {}", list(values));
            }
        }
        let stored = self.renderer.operand(self.entity, RECORD, &changed.field)?;
        let seen = self.seen(changed.field.to_string(), &stored, false);
        self.push(Section::Trigger, text, Basis::Current, Holds::Crossed, vec![seen]);
        Ok(())
    }

    fn abandoned(&mut self, abandoned: &Abandoned) -> Result<(), RenderError> {
        let renderer = self.renderer;
        let (changed, seen) = if let Some(of) = &abandoned.of {
            let rows = renderer.related(self.entity, RECORD, of, Doubles::Harmless)?;
            let changed = renderer.column_operand(&rows.alias, &Renderer::column(rows.entity, &abandoned.changed_at)?);
            let open = abandoned.open.iter();
            let open: Result<Vec<Fragment>, RenderError> =
                open.map(|term| renderer.condition(rows.entity, &rows.alias, &term.condition, false)).collect();
            let near = Nearest::of(renderer, rows, self.row, &open?, &changed);
            self.conditions(&abandoned.open, Some((&near, of.as_str())))?;
            let seen = || self.seen_in(&near, format!("{of}.{}", abandoned.changed_at), &changed, true);
            (changed.clone(), [seen(), seen()])
        } else {
            let changed = renderer.column_operand(RECORD, &Renderer::column(self.entity, &abandoned.changed_at)?);
            self.conditions(&abandoned.open, None)?;
            let seen = || self.seen(abandoned.changed_at.to_string(), &changed, true);
            (changed.clone(), [seen(), seen()])
        };
        let [seen, again] = seen;
        let idle = self.settled(&changed, abandoned.idle, WholeDay::FromItsEnd);
        let text = format!("{}: untouched for {}", abandoned.changed_at, abandoned.idle);
        self.push(Section::Trigger, text, Basis::AsOf, Holds::Settled(idle.clone()), vec![seen]);
        if let Some(unless) = &abandoned.unless {
            let (order, stored) = self.newest(unless)?;
            let settled = self.settled(&stored, Period::days(0), WholeDay::FromItsEnd);
            let text = format!("{unless}: none since the last change");
            self.push(Section::Trigger, text, Basis::AsOf, Holds::Before(settled, idle), vec![order, again]);
        }
        Ok(())
    }
}

/// `2 hours ago`; `None`: at once.
fn ago(settle: Period) -> Option<String> {
    (settle.max_seconds() > 0).then(|| format!("{settle} ago"))
}

fn clock(at: jiff::civil::Time) -> String {
    at.strftime("%H:%M").to_string()
}

fn shown(value: &Value) -> String {
    match value.to_json() {
        serde_json::Value::Null => "missing".to_owned(),
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

fn range_text(range: &ScoreRange) -> String {
    match (&range.low, &range.high) {
        (Some(low), Some(high)) if low == high => shown(low),
        (Some(low), Some(high)) => format!("{} to {}", shown(low), shown(high)),
        (Some(low), None) => format!("at least {}", shown(low)),
        (None, Some(high)) => format!("at most {}", shown(high)),
        (None, None) => "any".to_owned(),
    }
}

/// As it may stand in the catalog.
fn filter_text(filter: &Filter) -> String {
    let list = |literals: &[Literal]| {
        let word = |literal: &Literal| {
            if literal.text.is_empty() { "missing".to_owned() } else { literal.text.clone() }
        };
        let words: Vec<String> = literals.iter().map(word).collect();
        if let [one] = words.as_slice() { one.clone() } else { format!("[{}]", words.join(", ")) }
    };
    let name = &filter.column.name;
    match &filter.test {
        FilterTest::In(literals) => format!("{name}: {}", list(literals)),
        FilterTest::NotIn(literals) => format!("{name}: {{not_in: {}}}", list(literals)),
        FilterTest::Missing => format!("{name}: missing"),
        FilterTest::Present => format!("{name}: present"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_told_as_it_was_meant() {
        let told = |low: Option<i64>, high: Option<i64>| {
            range_text(&ScoreRange { low: low.map(Value::Int), high: high.map(Value::Int) })
        };
        assert_eq!(told(None, Some(6)), "at most 6");
        assert_eq!(told(Some(9), None), "at least 9");
        assert_eq!(told(Some(7), Some(8)), "7 to 8");
        assert_eq!(told(Some(3), Some(3)), "3");
    }
}
