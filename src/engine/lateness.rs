//! How late is too late, and which overdue offset of a date rule still counts.

use crate::model::at_local;
use crate::rule::CheckedRule;
use crate::rule::checked::{Action, Entry, Offset, Step, Trigger};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil};
use std::collections::BTreeSet;

const DAY: i64 = 86_400;
/// What is done as planned is done a little later: what waits until ten and gets there at ten does so a moment after it, and
/// what is a day late is that and a moment.
pub(super) const MOMENT: SignedDuration = SignedDuration::from_mins(5);

/// How late this entry of the rule may act: the rule's own `late`, else the time until the next offset of
/// a date rule, 3 hours for a cart, a day for a birthday, 7 days for all others.
pub(super) fn limit(rule: &CheckedRule, entry: usize, date: Option<civil::Date>) -> SignedDuration {
    if let Some(late) = rule.late {
        return SignedDuration::from_secs(late.max_seconds());
    }
    let week = SignedDuration::from_secs(7 * DAY);
    match rule.trigger {
        Trigger::Abandoned(_) => return SignedDuration::from_hours(3),
        Trigger::Yearly(_) => return SignedDuration::from_secs(DAY),
        _ => {}
    }
    let Some(date) = date else { return week };
    let Some(own) = rule.entries.get(entry).map(|entry| moved(date, entry)) else { return week };
    let next = rule.entries.iter().map(|other| moved(date, other)).filter(|other| *other > own).min();
    next.map_or(week, |next| SignedDuration::from_hours(24 * i64::from((next - own).get_days())))
}

/// Whether what was planned for then is too late now.
pub(super) fn is_over(limit: SignedDuration, planned: Timestamp, now: Timestamp) -> bool {
    now.duration_since(planned) > limit.saturating_add(MOMENT)
}

/// Whether a later offset of the same date has been reached as well, so that this one is yesterday's news.
pub(super) fn overtaken(rule: &CheckedRule, entry: usize, date: civil::Date, zone: &TimeZone, now: Timestamp) -> bool {
    let Trigger::Date(trigger) = &rule.trigger else { return false };
    let Some(own) = rule.entries.get(entry).map(|entry| moved(date, entry)) else { return false };
    let reached = |day: civil::Date| at_local(day.to_datetime(trigger.at), zone) <= now;
    rule.entries.iter().map(|other| moved(date, other)).any(|other| other > own && reached(other))
}

fn moved(date: civil::Date, entry: &Entry) -> civil::Date {
    entry.offset.unwrap_or(Offset::ON_THE_DAY).moves(date)
}

/// Whether nothing has been done and nothing was waited for before this step, whichever way led to it: then it is the
/// beginning that is too late. What is behind a wait was planned for another time than the rest.
pub(super) fn is_first(rule: &CheckedRule, entry: usize, node: usize) -> bool {
    let mut seen = BTreeSet::new();
    let first = rule.entries.get(entry).and_then(|entry| entry.first);
    let mut open: Vec<(usize, bool)> = first.map(|first| (first, false)).into_iter().collect();
    let mut found = false;
    while let Some(place) = open.pop() {
        let (index, acted) = place;
        let Some(here) = rule.nodes.get(index).filter(|_| seen.insert(place)) else { continue };
        if index == node {
            if acted {
                return false;
            }
            found = true;
        }
        let acted = acted || matches!(here.step, Step::Act(_) | Step::Wait(_));
        open.extend(here.step.inner().into_iter().chain(here.next).map(|next| (next, acted)));
    }
    found
}

/// Also by the channel that its reader prefers.
fn may_be_task(action: &Action) -> bool {
    match action {
        Action::Task(_) => true,
        Action::Preferred(preferred) => preferred.ways.iter().any(may_be_task),
        _ => false,
    }
}

/// Tasks are never skipped for being late, so a match whose steps hold one is entered however late.
pub(super) fn reaches_task(rule: &CheckedRule, entry: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut open: Vec<usize> = rule.entries.get(entry).and_then(|entry| entry.first).into_iter().collect();
    while let Some(index) = open.pop() {
        let Some(node) = rule.nodes.get(index).filter(|_| seen.insert(index)) else { continue };
        open.extend(node.next);
        open.extend(node.step.inner());
        if node.step.action().is_some_and(may_be_task) {
            return true;
        }
    }
    false
}
