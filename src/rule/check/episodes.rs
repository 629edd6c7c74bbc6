//! Triggers whose occasions are episodes: `count`, `segment`, `decline`, `changed`.

use super::values::Subject;
use super::{Checker, Scores};
use crate::catalog::{self, ColumnType, Entity, Expression};
use crate::diagnostic::yaml::{At, Content, Node};
use crate::model::{Period, RelationName, Unit, Value};
use crate::rule::checked::{Backfill, Changed, Compared, Count, Decline, Segment};
use crate::rule::condition::{Condition, Test};
use crate::rule::written::{ChangedEntry, ComparedWord, Conditions, CountEntry, DeclineEntry, RuleFile, SegmentEntry};

/// Outside for less than this is not outside, if a rule doesn't say.
const MIN_OUT: Period = Period::days(1);

impl<'a> Checker<'a> {
    pub(super) fn count(&mut self, entity: &'a Entity, written: &CountEntry) -> Option<Count> {
        let rows = self.counted(entity, &written.of, written.only.as_ref(), &written.within);
        if written.at_least.value == 0 {
            let help = "write how many rows it takes, at least 1";
            self.wrong(&written.at_least.range, "rule.count", "a count of 0 would hold for everybody", help);
            return None;
        }
        let (of, only, within) = rows?;
        Some(Count { of, only, at_least: written.at_least.value, within })
    }

    pub(super) fn decline(&mut self, entity: &'a Entity, written: &DeclineEntry) -> Option<Decline> {
        let rows = self.counted(entity, &written.of, written.only.as_ref(), &written.window);
        let mut fine = true;
        if !(1..=100).contains(&written.by.value) {
            let message = format!("activity can't fall by {} percent", written.by.value);
            self.wrong(&written.by.range, "rule.decline", message, "write a whole number from 1 to 100");
            fine = false;
        }
        if written.from_at_least.value == 0 {
            let help = "write from how many rows on a decline means something, such as `4`";
            self.wrong(&written.from_at_least.range, "rule.decline", "nothing can't decline", help);
            fine = false;
        }
        let (of, only, window) = rows.filter(|_| fine)?;
        let compared_with = match written.compared_with.as_ref().map(|word| word.value) {
            None | Some(ComparedWord::WindowBefore) => Compared::Before,
            Some(ComparedWord::LastYear) => Compared::LastYear,
        };
        Some(Decline {
            of,
            only,
            by: written.by.value,
            from_at_least: written.from_at_least.value,
            window,
            compared_with,
        })
    }

    /// The rows that are counted, which of them count, and over which time.
    fn counted(
        &mut self,
        entity: &'a Entity,
        of: &At<String>,
        only: Option<&Conditions>,
        over: &At<String>,
    ) -> Option<(RelationName, Vec<Condition>, Period)> {
        let related = self.related_entity(entity, of);
        let dated = related.as_ref().and_then(|(_, related)| self.time_range(&of.range, related));
        let period = self.period(over, &over.range);
        if let (Some(period), Some((_, related))) = (period, &related) {
            self.countable(period, over, related)?;
        }
        let (of, related) = related?;
        let outside = std::mem::replace(&mut self.scores, Scores::OfRelated);
        let conditions: Vec<Condition> = self.terms(related, only).into_iter().map(|term| term.condition).collect();
        self.scores = outside;
        for condition in &conditions {
            self.before_entry(condition, only)?;
        }
        dated?;
        Some((of, conditions, period?))
    }

    /// Nobody has entered while these are asked.
    fn before_entry(&mut self, condition: &Condition, written: Option<&Conditions>) -> Option<()> {
        if let Some(written) = written.filter(|_| condition.counts_since_entry()) {
            let help = "use `within_last`";
            self.wrong(&written.0.range, "rule.since-entry", "`since: entry` before anybody has entered", help);
            return None;
        }
        Some(())
    }

    fn countable(&mut self, period: Period, written: &At<String>, related: &Entity) -> Option<()> {
        if period.unit == Unit::BusinessDay {
            let help = "count over hours, days, weeks, months or years";
            self.wrong(&written.range, "rule.period", "rows can't be counted over business days", help);
            return None;
        }
        let at = related.at.as_ref().and_then(|at| related.fields.get(at));
        let days = at.is_some_and(|at| match &at.expression {
            Expression::Column(column) => matches!(column.ty, ColumnType::Date(_)),
            _ => false,
        });
        if days && matches!(period.unit, Unit::Second | Unit::Minute | Unit::Hour) {
            let message = format!("`{}` happens on days, so `{}` can't be counted", related.name, written.value);
            self.wrong(&written.range, "rule.period", message, "count over whole days");
            return None;
        }
        Some(())
    }

    pub(super) fn segment(&mut self, entity: &'a Entity, written: &SegmentEntry) -> Option<Segment> {
        let when = self.all_terms(entity, &written.when);
        for term in when.iter().flatten() {
            self.before_entry(&term.condition, Some(&written.when))?;
        }
        let min_out = match &written.min_out {
            None => MIN_OUT,
            Some(text) if text.as_str() == "none" => Period::new(0, Unit::Second),
            Some(text) => self.period(text, &text.range)?,
        };
        Some(Segment { when: when?, leaves: written.leaves, min_out })
    }

    pub(super) fn changed(&mut self, entity: &'a Entity, written: &ChangedEntry) -> Option<Changed> {
        let (field, subject) = self.field(entity, &written.field)?;
        let from = self.values_of(&subject, written.from.as_ref());
        let to = self.values_of(&subject, written.to.as_ref());
        let (from, to) = (from?, to?);
        if let (Some([from]), Some([to]), Some(node)) = (from.as_deref(), to.as_deref(), &written.to)
            && from == to
        {
            let help = "name two different values, or leave one of the keys out";
            self.wrong(&node.range, "rule.changed", "from a value to itself is no change", help);
            return None;
        }
        Some(Changed { field, from, to })
    }

    /// `None` for a mistake, `Some(None)` where any value will do.
    #[expect(clippy::option_option, reason = "a mistake is no answer, and no key is one")]
    fn values_of(&mut self, subject: &Subject, node: Option<&Node>) -> Option<Option<Vec<Value>>> {
        let Some(node) = node else { return Some(None) };
        // A day beside a time would mean all of it, and a hash knows of one instant.
        let zone = &self.known.catalog.time_zone.clone();
        let exact = |value: Value| match &value {
            Value::Date(day) => catalog::value(&day.to_string(), true, &subject.ty, zone).unwrap_or(value),
            _ => value,
        };
        if let Content::List(items) = &node.content
            && !items.is_empty()
        {
            let values = items.iter().map(|item| self.value_or_missing(subject, item).map(exact));
            return values.collect::<Vec<_>>().into_iter().collect::<Option<_>>().map(Some);
        }
        match self.test(subject, node)? {
            Test::Equals(value) => Some(Some(vec![exact(value)])),
            Test::Missing => Some(Some(vec![Value::Null])),
            _ => {
                let help = "write a value, a list of values, or `missing`";
                self.wrong(&node.range, "rule.changed", "the old value is known by its hash alone", help);
                None
            }
        }
    }

    fn value_or_missing(&mut self, subject: &Subject, node: &Node) -> Option<Value> {
        let source = self.report.source();
        if node.is_plain(source) && node.text(source).as_deref() == Some("missing") {
            return Some(Value::Null);
        }
        self.constant(subject, node)
    }

    /// A condition has no history: nobody can tell who was inside a month ago.
    pub(super) fn backfill_of_segment(&mut self, written: &RuleFile, segment: &Segment, backfill: Backfill) {
        let Some(given) = &written.backfill else { return };
        if segment.leaves {
            let help = "nobody knows who left before the rule was loaded: remove this key";
            self.wrong(&given.range, "rule.no-effect", "`backfill` has no effect on those who leave", help);
        } else if let Backfill::Since(_) = backfill {
            let help = "write `all` for everybody who is inside now, or `none`";
            self.wrong(&given.range, "rule.backfill", "a condition has no past that could be read", help);
        }
    }
}
