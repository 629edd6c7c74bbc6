//! What becomes of an enrollment that stands at a wait, on facts just read. Zones, calendars, dates and conditions may
//! have changed since it began.

use super::decide::{Decision, Situation};
use super::walk::Walked;
use crate::engine::port::{Noted, Then};
use crate::model::{EndReason, at_local};
use crate::rule::checked::{Node, Until, UntilDate, UntilWhen, Wait};
use crate::rule::compiled::Facts;
use jiff::civil::{Time, time};
use jiff::{SignedDuration, Timestamp};

/// A date is read again at least this often, so that one that moved nearer isn't missed for long.
const LOOK: SignedDuration = SignedDuration::from_hours(24);
/// When the day of a date has come, if the wait doesn't say.
const MORNING: Time = time(9, 0, 0, 0);

pub fn decide<'a>(of: &Situation<'a, '_>, node: &'a Node, wait: &'a Wait, facts: &Facts) -> Decision<'a> {
    let since = of.claimed.since.unwrap_or(of.claimed.due_at);
    match &wait.until {
        Until::For(_) | Until::AfterEntry(_) if wait.is_local() || of.claimed.since.is_some() => {
            until_then(of, node, wait, facts, since)
        }
        Until::For(_) | Until::AfterEntry(_) => Decision::from(of.way(facts).walk(Some(of.node), since)),
        Until::Date(date) => until_date(of, node, (wait, date), facts, since),
        Until::When(when) => until_when(of, node, when, facts, since),
    }
}

fn until_then<'a>(
    of: &Situation<'a, '_>,
    node: &'a Node,
    wait: &Wait,
    facts: &Facts,
    since: Timestamp,
) -> Decision<'a> {
    let end = of.way(facts).end_of(wait, since).unwrap_or(since);
    if end <= of.now {
        let walked = of.way(facts).walk(node.next, end);
        let is_last = matches!(walked.then, Then::End { reason: EndReason::Completed, .. });
        return is_last.then(|| of.reached(facts)).flatten().unwrap_or_else(|| Decision::from(walked));
    }
    let news = of.claimed.since.is_none() || end != of.claimed.planned_at;
    stay(of, node, (end, end, since), news.then_some(Noted::Waits(end)))
}

fn until_date<'a>(
    of: &Situation<'a, '_>,
    node: &'a Node,
    (wait, until): (&Wait, &UntilDate),
    facts: &Facts,
    since: Timestamp,
) -> Decision<'a> {
    let way = of.way(facts);
    let Some(end) = end_at_date(of, wait, until, facts) else {
        let walked = match until.without {
            Some(first) => way.walk_on(first, of.claimed.planned_at, of.now),
            None => Walked { then: Then::End { reason: EndReason::OccasionGone, at: of.now }, notes: Vec::new() },
        };
        return Decision::from(walked).after(node, Noted::NoDate);
    };
    let planned = of.claimed.planned_at;
    if end <= of.now {
        // Late is only what was known to come: a date that was past when we were to come here, or has moved into the
        // past, counts from then.
        let from = if end == planned { end } else { end.max(planned).min(of.now) };
        return Decision::from(way.walk(node.next, from));
    }
    let look = of.now.saturating_add(LOOK).unwrap_or(end).min(end);
    stay(of, node, (look, end, since), (end != planned).then_some(Noted::Waits(end)))
}

/// The instant that a date of the record stands for; `None`: it has none.
pub fn end_at_date(of: &Situation<'_, '_>, wait: &Wait, until: &UntilDate, facts: &Facts) -> Option<Timestamp> {
    let day = until.offset.moves_in(*facts.days.get(&until.field)?, &of.rule.calendar);
    let at = at_local(day.to_datetime(wait.at.unwrap_or(MORNING)), &facts.zone);
    Some(of.way(facts).allowed(wait, at))
}

fn until_when<'a>(
    of: &Situation<'a, '_>,
    node: &'a Node,
    until: &UntilWhen,
    facts: &Facts,
    since: Timestamp,
) -> Decision<'a> {
    let way = of.way(facts);
    let end = of.rule.calendar.after(until.at_most, since, &facts.zone);
    if facts.cases.get(&(of.node, 0)).copied().flatten() == Some(true) {
        return Decision::from(way.walk(node.next, of.now)).after(node, Noted::CameTrue);
    }
    if end <= of.now {
        return Decision::from(way.walk(until.otherwise, end)).after(node, Noted::TimeUp);
    }
    // All that wait here are asked at the same instants, in one question.
    let every = until.check_every.max_seconds().max(1);
    let next = (of.now.as_second().div_euclid(every) + 1) * every;
    let look = Timestamp::from_second(next).unwrap_or(end).min(end);
    stay(of, node, (look, end, since), (end != of.claimed.planned_at).then_some(Noted::Asks(end)))
}

fn stay<'a>(
    of: &Situation<'a, '_>,
    node: &Node,
    (due_at, planned_at, since): (Timestamp, Timestamp, Timestamp),
    noted: Option<Noted>,
) -> Decision<'a> {
    let then = Then::Wait { node: of.node, due_at, planned_at, since };
    Decision::Move { then, notes: noted.map(|noted| (node.id.clone(), noted)).into_iter().collect() }
}
