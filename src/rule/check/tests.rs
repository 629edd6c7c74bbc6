//! A rule's own examples: names, times, rows and expectations. Playing them is the test bench's work.

use super::{Checker, Known};
use crate::catalog::{Entity, Origin};
use crate::diagnostic::yaml::{self, At, Content, Named, Node};
use crate::diagnostic::{Finding, SourceFile};
use crate::model::{Period, Unit};
use crate::rule::checked::JsonPath;
use crate::rule::example::{
    Change, Detail, Example, Expected, ExpectedMessage, GivenRow, Incoming, Line, RowClock, Want, names_column,
    person_column, read_cell,
};
use crate::rule::written::{EventEntry, EventToldEntry, RuleFile, TestEntry, ThenEntry, TriggerEntry};
use jiff::civil::DateTime;
use jiff::{Timestamp, tz::TimeZone};
use std::collections::BTreeSet;
use std::sync::Arc;

const ACTIONS: [&str; 8] = ["email", "webhook", "chat", "task", "sms", "update", "assign", "claim"];
const ENDS: [&str; 12] = [
    "completed",
    "goal",
    "exit",
    "where_false",
    "record_gone",
    "occasion_gone",
    "stopped",
    "late",
    "cancelled",
    "left_out",
    "holdout",
    "running",
];
/// How far a test may look ahead: no rule is written for longer.
const FARTHEST: Period = Period::new(100, Unit::Year);
/// Where an example whose own time can't be read is looked at, so that the rest of it is.
const SOMEWHEN: (Timestamp, TimeZone) = (Timestamp::UNIX_EPOCH, TimeZone::UTC);

/// The examples of a rule file, as far as they are right. What is wrong with them is for [`super::check`] to say.
#[must_use]
pub fn examples(file: &Arc<SourceFile>, known: Known<'_>) -> (Vec<Example>, Vec<Finding>) {
    let Ok(written) = yaml::read::<RuleFile>(file) else { return (Vec::new(), Vec::new()) };
    let mut checker = Checker::new(file, known);
    let examples = checker.tests(&written);
    (examples, checker.report.into_findings())
}

impl<'a> Checker<'a> {
    pub(super) fn tests(&mut self, written: &RuleFile) -> Vec<Example> {
        let mut names = BTreeSet::new();
        let mut examples = Vec::new();
        let trigger = written.trigger.as_ref().map(|trigger| &trigger.value);
        for test in &written.tests {
            if !names.insert(test.name.as_str()) {
                let message = format!("the test `{}` stands twice", test.name.value);
                self.wrong(&test.name.range, "rule.test", message, "give each its own name");
            }
            examples.push(self.test_entry(test, trigger));
        }
        examples
    }

    fn test_entry(&mut self, test: &TestEntry, trigger: Option<&TriggerEntry>) -> Example {
        let awaited = match trigger {
            Some(TriggerEntry::Event(event)) => Some(event),
            _ => None,
        };
        // How long it is makes no difference to whether it may be written.
        let long_enough = trigger.filter(|trigger| has_length(trigger)).map(|_| Period::days(1));
        let (at, zone) = zoned_moment(&test.at).unwrap_or_else(|| {
            let message = format!("`{}` is not a local time with its zone", test.at.value);
            self.wrong(&test.at.range, "rule.test", message, "write `2026-11-21 10:00 Europe/Vienna`");
            SOMEWHEN
        });
        let given = self.rows(&test.given, RowClock { now: at, zone: &zone, long_enough });
        let mut lines: Vec<Line> = Vec::new();
        for then in &test.then {
            let moment = self.moment_of(then, at, &zone);
            let range = then.after.as_ref().or(then.at.as_ref()).map_or(&then.range, |time| &time.range);
            if lines.last().is_some_and(|last| moment < last.at) {
                self.wrong(range, "rule.test", "this comes before the line above", "order the lines by time");
            }
            if moment > FARTHEST.after(at, &zone) {
                let message = format!("this is more than {FARTHEST} after the test's `at`");
                self.wrong(range, "rule.test", message, "no test looks farther: write a nearer time");
            }
            let event = then.event.as_ref().and_then(|event| self.incoming(event, awaited));
            lines.push(Line { event, ..self.then(then, RowClock { now: moment, zone: &zone, long_enough }) });
        }
        if !lines.iter().any(|line| line.expect.is_some() || line.ended.is_some()) {
            let help = "say what should happen: `then: [{after: 0 days, expect: {email: [hello]}}]`";
            self.wrong(&test.name.range, "rule.test", "this test expects nothing, so it can't fail", help);
        }
        let source = self.report.source();
        let answers = test.answers.iter().map(|(to, node)| (to.value.clone(), node.to_json(source))).collect();
        Example { name: test.name.clone(), at, zone, given, answers, lines }
    }

    fn moment_of(&mut self, then: &At<ThenEntry>, start: Timestamp, zone: &TimeZone) -> Timestamp {
        match (&then.after, &then.at) {
            (Some(after), None) => {
                if let Ok(period) = after.parse::<Period>() {
                    return period.after(start, zone);
                }
                let message = format!("`{}` is not a length of time", after.value);
                self.wrong(&after.range, "rule.test", message, "write `3 days`");
                start
            }
            (None, Some(at)) => local_moment(at, zone).unwrap_or_else(|| {
                let message = format!("`{}` is not a local time", at.value);
                self.wrong(&at.range, "rule.test", message, "write `2026-11-24 10:00`");
                start
            }),
            _ => {
                let help = "write `after: 3 days`, or `at: 2026-11-24 10:00`";
                self.wrong(&then.range, "rule.test", "a line needs either `after` or `at`", help);
                start
            }
        }
    }

    fn then(&mut self, then: &At<ThenEntry>, clock: RowClock<'_>) -> Line {
        let expect = then.expect.as_ref().and_then(|expect| self.expectation(expect));
        if let Some(ended) = &then.ended
            && !ENDS.contains(&ended.as_str())
        {
            self.unknown("rule.test", "end", ended, ENDS);
        }
        if let (Some(because), None, None) = (&then.because, &then.expect, &then.ended) {
            let help = "add what it is the reason for: `expect: nothing`";
            self.wrong(&because.range, "rule.test", "a reason without `expect` or `ended`", help);
        }
        let changes = [(Change::Insert, &then.insert), (Change::Update, &then.update), (Change::Delete, &then.delete)];
        let mut rows = Vec::new();
        for (change, named) in changes {
            let Some(named) = named else { continue };
            for row in self.rows(named, clock) {
                if change != Change::Insert && !row.cells.iter().any(|(name, _)| name.as_str() == "key") {
                    self.wrong(&row.range, "rule.test", "which row?", "add its `key`");
                }
                rows.push((change, row));
            }
        }
        let (because, ended) = (then.because.clone(), then.ended.clone());
        Line { at: clock.now, range: then.range.clone(), changes: rows, event: None, expect, because, ended }
    }

    /// What another system tells, if the rule waits for that and it says whom it is about.
    fn incoming(&mut self, told: &At<EventToldEntry>, awaited: Option<&EventEntry>) -> Option<Incoming> {
        let Some(awaited) = awaited else {
            let help = "remove it, or give the rule the trigger `event: {name: signed-up, key: data.customer_id}`";
            self.wrong(&told.range, "rule.test", "this rule waits for no event", help);
            return None;
        };
        let name = told.name.as_ref().unwrap_or(&awaited.name);
        if name.value != awaited.name.value {
            self.unknown("rule.test", "event of this rule", name, [awaited.name.as_str()]);
            return None;
        }
        let body = told.body.to_json(self.report.source());
        let paths = [Some(&awaited.key), awaited.id.as_ref(), awaited.tenant.as_ref()];
        for path in paths.into_iter().flatten() {
            if JsonPath::of(path).find(&body).is_none() {
                let message = format!("nothing stands at `{}` in this event", path.value);
                self.wrong(&told.body.range, "rule.test", message, "the rule's trigger says where to look");
                return None;
            }
        }
        Some(Incoming { name: name.value.clone(), id: told.id.as_ref().map(|id| id.value.clone()), body })
    }

    /// `nothing`, or `{email: [win-back-1]}`.
    fn expectation(&mut self, node: &Node) -> Option<Expected> {
        let mut messages = Vec::new();
        match &node.content {
            Content::Map(entries) => {
                for (action, wanted) in entries {
                    if ACTIONS.contains(&action.as_str()) {
                        self.expected_messages(action, wanted, &mut messages);
                    } else {
                        self.unknown("rule.test", "action", action, ACTIONS);
                    }
                }
            }
            Content::Scalar(_) if node.text(self.report.source()).as_deref() == Some("nothing") => {}
            _ => {
                let help = "write `nothing`, or what was done: `{email: [win-back-1]}`";
                self.wrong(&node.range, "rule.test", "this can't be expected", help);
                return None;
            }
        }
        Some(Expected { range: node.range.clone(), messages })
    }

    fn expected_messages(&mut self, action: &At<String>, wanted: &Node, messages: &mut Vec<ExpectedMessage>) {
        let items = match &wanted.content {
            Content::List(items) => items.as_slice(),
            _ => std::slice::from_ref(wanted),
        };
        for item in items {
            let wants = match &item.content {
                Content::Map(entries) => {
                    entries.iter().filter_map(|(key, node)| self.want(action, key, node)).collect()
                }
                Content::Scalar(_) => {
                    let text = item.text(self.report.source()).unwrap_or_default().into_owned();
                    vec![Want { detail: Detail::Name, text }]
                }
                Content::List(_) => {
                    self.wrong(&item.range, "rule.test", "a list in a list", "write one name, or a mapping");
                    continue;
                }
            };
            messages.push(ExpectedMessage { kind: action.value.clone(), range: item.range.clone(), wants });
        }
    }

    fn want(&mut self, action: &At<String>, key: &At<String>, node: &Node) -> Option<Want> {
        let Some(detail) = Detail::of_key(action, key) else {
            let known = Detail::keys(action).iter().copied();
            self.unknown_as("rule.test", format!("`{}` can't be expected of this", key.value), key, known);
            return None;
        };
        let Some(text) = node.text(self.report.source()) else {
            self.wrong(&node.range, "rule.test", "expected text", "write a single value here");
            return None;
        };
        Some(Want { detail, text: text.into_owned() })
    }

    fn rows(&mut self, given: &Named<Vec<Node>>, clock: RowClock<'_>) -> Vec<GivenRow> {
        let mut read = Vec::new();
        for (name, rows) in given.iter() {
            let Some(entity) = self.entity_named(name) else { continue };
            if let Origin::Union(members) = &entity.origin {
                let members: Vec<String> = members.iter().map(|member| format!("`{}`", member.entity)).collect();
                let help = format!("give rows of {}", members.join(" or "));
                self.wrong(
                    &name.range,
                    "rule.test",
                    format!("the rows of `{}` are those of others", name.value),
                    &help,
                );
                continue;
            }
            for row in rows {
                let Content::Map(cells) = &row.content else {
                    let help = "write `{key: 1, country: AT}`";
                    self.wrong(&row.range, "rule.test", "a row is a mapping of fields", help);
                    continue;
                };
                for (field, node) in cells {
                    self.cell(entity, field, node, clock);
                }
                read.push(GivenRow { entity: entity.name.clone(), range: row.range.clone(), cells: cells.clone() });
            }
        }
        read
    }

    /// A union's field that this entity fills from another of its own. The column of that name, which nobody has, would
    /// take the value and nothing would read it.
    fn is_of_union(&mut self, entity: &Entity, field: &At<String>) -> bool {
        let by_role = match field.as_str() {
            "at" => entity.at.is_some(),
            "score" => entity.score.is_some(),
            _ => false,
        };
        // The tables of a test are made of what its rows name, so such a column proves nothing.
        let made_up = self.known.schema.is_some_and(|schema| schema.made_up);
        let has = |field: &str| entity.fields.contains_key(field) && !(made_up && entity.undeclared.contains(field));
        if by_role || has(field.as_str()) {
            return false;
        }
        let filled = self.known.catalog.entities.values().find_map(|union| {
            let Origin::Union(members) = &union.origin else { return None };
            let mut own =
                members.iter().filter(|member| member.entity == entity.name).flat_map(|member| &member.fields);
            let (_, theirs) = own.find(|(name, _)| name.as_str() == field.as_str())?;
            Some((union.name.clone(), theirs.clone()))
        });
        let Some((union, theirs)) = filled else { return false };
        let message = format!("`{}` is a field of `{union}`, not of `{}`", field.value, entity.name);
        let help = format!("give `{theirs}`, which `{union}` takes it from");
        self.wrong(&field.range, "rule.unknown-field", message, &help);
        true
    }

    fn cell(&mut self, entity: &'a Entity, field: &At<String>, node: &Node, clock: RowClock<'_>) {
        let is_named = field.as_str() == "key"
            || entity.relations.contains_key(field.as_str())
            || person_column(entity, field).is_some()
            || names_column(entity, field);
        if !is_named && (self.is_of_union(entity, field) || self.field(entity, field).is_none()) {
            return;
        }
        let source = self.report.source().to_owned();
        if let Err(misplaced) = read_cell(entity, (field, node), &source, clock) {
            let mut finding = Finding::error("rule.test", misplaced.message);
            if let Some(help) = misplaced.help {
                finding = finding.help(help);
            }
            self.report.add(&node.range, finding);
        }
    }
}

/// Whether the trigger waits for one length of time, as [`Trigger::length`](crate::rule::checked::Trigger::length) says of
/// one that was checked.
const fn has_length(trigger: &TriggerEntry) -> bool {
    matches!(
        trigger,
        TriggerEntry::Inactivity(_) | TriggerEntry::Survey(_) | TriggerEntry::Created(_) | TriggerEntry::Abandoned(_)
    )
}

/// `2026-11-21 10:00 Europe/Vienna`
fn zoned_moment(text: &str) -> Option<(Timestamp, TimeZone)> {
    let (local, zone) = text.trim().rsplit_once(' ')?;
    let zone = TimeZone::get(zone).ok()?;
    local_moment(local, &zone).map(|at| (at, zone))
}

fn local_moment(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    text.trim().parse::<DateTime>().ok().map(|local| crate::model::at_local(local, zone))
}
