use super::Checker;
use super::values::Subject;
use crate::catalog::{ColumnType, Entity};
use crate::diagnostic::yaml::{At, Node};
use crate::model::{Period, Unit};
use crate::rule::checked::{DateTrigger, Inactivity, Schedule, ScoreRange, Survey, Trigger};
use crate::rule::condition::Test;
use crate::rule::written::{DateEntry, InactivityEntry, RuleFile, SurveyEntry, TriggerEntry};
use jiff::civil::{Time, time};

/// How long an answer rests before it counts, so that a slip can be corrected.
const SETTLE: Period = Period::new(5, Unit::Minute);
/// For those that count as soon as they are seen.
pub(super) const AT_ONCE: Period = Period::new(0, Unit::Minute);
/// When a date rule acts, if its file doesn't say.
const MORNING: Time = time(9, 0, 0, 0);

impl<'a> Checker<'a> {
    pub(super) fn trigger(&mut self, written: &RuleFile, entity: &'a Entity) -> Option<Trigger> {
        let Some(trigger) = &written.trigger else {
            self.missing(
                "trigger",
                "say what makes a record match: `trigger: {inactivity: {of: orders, for: 90 days}}`",
            );
            return None;
        };
        match &trigger.value {
            TriggerEntry::Inactivity(inactivity) => self.inactivity(entity, inactivity).map(Trigger::Inactivity),
            TriggerEntry::Survey(survey) => self.survey(entity, survey).map(Trigger::Survey),
            TriggerEntry::Date(date) => self.date(entity, date).map(Trigger::Date),
            TriggerEntry::Schedule(schedule) => {
                self.cron(&schedule.cron).map(|cron| Trigger::Schedule(Schedule { cron }))
            }
            TriggerEntry::Created(created) => self.created(entity, created, &trigger.range).map(Trigger::Created),
            TriggerEntry::Abandoned(abandoned) => {
                self.abandoned(entity, abandoned, &trigger.range).map(|found| Trigger::Abandoned(Box::new(found)))
            }
            TriggerEntry::Event(event) => self.event(event, &trigger.range).map(Trigger::Event),
            TriggerEntry::Query(query) => self.query(query).map(Trigger::Query),
            TriggerEntry::Yearly(yearly) => self.yearly(entity, yearly).map(Trigger::Yearly),
            TriggerEntry::Count(count) => self.count(entity, count).map(Trigger::Count),
            TriggerEntry::Segment(segment) => self.segment(entity, segment).map(Trigger::Segment),
            TriggerEntry::Changed(changed) => self.changed(entity, changed).map(Trigger::Changed),
            TriggerEntry::Decline(decline) => self.decline(entity, decline).map(Trigger::Decline),
            TriggerEntry::Enrolled(_) => Some(Trigger::Enrolled),
        }
    }

    fn inactivity(&mut self, entity: &'a Entity, written: &InactivityEntry) -> Option<Inactivity> {
        let related = self.related_entity(entity, &written.of);
        let dated = related.as_ref().and_then(|(_, related)| self.time_range(&written.of.range, related));
        let silent_for = self.period(&written.silent_for, &written.silent_for.range);
        if silent_for.is_some_and(|period| period.unit == Unit::BusinessDay) {
            let help = "silence is counted in days, weeks, months or years";
            self.wrong(&written.silent_for.range, "rule.period", "silence can't be counted in business days", help);
            return None;
        }
        let fallback = match &written.fallback {
            Some(name) => Some(self.stored_time(entity, name)?),
            None => None,
        };
        dated?;
        Some(Inactivity { of: related?.0, silent_for: silent_for?, fallback })
    }

    fn survey(&mut self, entity: &'a Entity, written: &SurveyEntry) -> Option<Survey> {
        let (of, related) = self.related_entity(entity, &written.of)?;
        let dated = self.time_range(&written.of.range, related);
        if let Some(kind) = &written.kind {
            self.survey_kind(related, kind);
        }
        let score = match &written.score {
            None => None,
            Some(node) => Some(self.score(related, written, node)?),
        };
        let settle = self.settle(written.settle.as_ref(), SETTLE)?;
        let cooldown = match &written.cooldown {
            None => None,
            Some(_) => Some(self.clock_period(written.cooldown.as_ref())?),
        };
        dated?;
        Some(Survey { of, kind: written.kind.as_ref().map(|kind| kind.value.clone()), score, settle, cooldown })
    }

    /// How long a fact rests before it counts.
    pub(super) fn settle(&mut self, written: Option<&At<String>>, default: Period) -> Option<Period> {
        match written {
            None => Some(default),
            Some(settle) if settle.as_str() == "none" => Some(AT_ONCE),
            Some(_) => self.clock_period(written),
        }
    }

    fn survey_kind(&mut self, related: &Entity, kind: &At<String>) {
        match &related.survey_kind {
            None => {
                let message = format!("the catalog names no kind of `{}`", related.name);
                let help = format!("add `kind:` with its column to the entity `{}`, or remove this key", related.name);
                self.wrong(&kind.range, "rule.survey", message, &help);
            }
            // A name that is no field is a constant that holds for all rows.
            Some(constant) if !related.fields.contains_key(constant.as_str()) && self.known.schema.is_some() => {
                if *constant != kind.value {
                    let message = format!("all rows of `{}` are of the kind `{constant}`", related.name);
                    self.wrong(&kind.range, "rule.survey", message, "another entity may hold this kind");
                }
            }
            Some(_) => {}
        }
    }

    fn score(&mut self, related: &'a Entity, written: &SurveyEntry, node: &Node) -> Option<ScoreRange> {
        let Some(field) = related.score.as_ref().and_then(|score| related.fields.get(score)) else {
            let message = format!("the catalog names no score of `{}`", related.name);
            let help = format!("add `score:` with its column to the entity `{}`", related.name);
            self.wrong(&written.of.range, "rule.survey", message, &help);
            return None;
        };
        let mut subject = self.subject(related, field);
        if subject.ty == ColumnType::Unknown {
            subject.ty = ColumnType::Decimal;
        }
        let test = self.test(&Subject { name: "score".to_owned(), ..subject }, node)?;
        let range = range_of(test);
        if range.is_none() {
            let help = "write `{at_most: 6}`, `{at_least: 9}` or `{between: [7, 8]}`";
            self.wrong(&node.range, "rule.survey", "the score needs a range", help);
        }
        range
    }

    fn date(&mut self, entity: &'a Entity, written: &DateEntry) -> Option<DateTrigger> {
        let field = self.stored_time(entity, &written.field);
        let at = self.time_of_day(written.at.as_ref())?;
        Some(DateTrigger { field: field?, at })
    }

    pub(super) fn time_of_day(&mut self, written: Option<&At<String>>) -> Option<Time> {
        written.map_or(Some(MORNING), |at| self.local_time(at))
    }
}

fn range_of(test: Test) -> Option<ScoreRange> {
    let (low, high) = match test {
        Test::Equals(value) => (Some(value.clone()), Some(value)),
        Test::Between(low, high) => (Some(low), Some(high)),
        Test::AtMost(high) => (None, Some(high)),
        Test::AtLeast(low) => (Some(low), None),
        Test::Both(tests) => match tests.as_slice() {
            [Test::AtLeast(low), Test::AtMost(high)] | [Test::AtMost(high), Test::AtLeast(low)] => {
                (Some(low.clone()), Some(high.clone()))
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(ScoreRange { low, high })
}
