//! Turning a crosser into a candidate, and a match into the row that enters the ledger.

use crate::engine::cadence::Plan;
use crate::engine::cooldown::cooldown;
use crate::engine::lateness;
use crate::engine::port::{Candidate, NewMatch, Rematch};
use crate::model::{InstanceSecret, Lane, MatchId, MatchIdentity, RecordId, RuleId, SkipReason, Tenant, Value};
use crate::rule::CompiledRule;
use crate::rule::checked::{CheckedRule, OnRematch, Trigger};
use crate::rule::compiled::{Crossing, Facts};
use jiff::{SignedDuration, Timestamp, civil};
use serde_json::{Map, Value as Json, json};

/// Names the records of one rule, lane and tenant.
#[derive(Debug, Clone, Copy)]
pub struct Namer<'a> {
    pub rule: &'a CompiledRule,
    pub lane: Lane,
    pub tenant: &'a Tenant,
    pub secret: &'a InstanceSecret,
}

impl Namer<'_> {
    pub fn record(&self, crossing: &Crossing) -> RecordId {
        RecordId { tenant: self.tenant.clone(), entity: self.rule.rule.for_each.clone(), key: crossing.key.clone() }
    }

    pub fn candidate(&self, crossing: &Crossing) -> Candidate {
        let checked = &self.rule.rule;
        let mut identity = MatchIdentity {
            rule: checked.id.clone(),
            lane: self.lane,
            record: self.record(crossing),
            occasion: crossing.occasion.clone(),
        };
        let id = self.secret.match_id(&identity);
        let mut under = |former: &RuleId| {
            identity.rule.clone_from(former);
            self.secret.match_id(&identity)
        };
        let former = checked.was.iter().map(&mut under).collect();
        let track = |rule: &RuleId| self.secret.track(rule, self.lane, &identity.record);
        Candidate {
            id,
            former,
            track: track(&checked.id),
            former_tracks: checked.was.iter().map(track).collect(),
            tolerance: tolerance(checked),
            occasion_at: crossing.occasion_at,
            entity: checked.for_each.clone(),
            key: crossing.key.clone(),
            occasion: crossing.occasion.clone(),
        }
    }
}

/// A touched timestamp isn't a second silence: the new last activity must exceed the old by this much.
/// And an answer within a survey's cooldown is one too many.
fn tolerance(rule: &CheckedRule) -> Option<SignedDuration> {
    match &rule.trigger {
        Trigger::Inactivity(inactivity) => {
            let quarter = SignedDuration::from_secs(inactivity.silent_for.max_seconds() / 4);
            Some(quarter.min(SignedDuration::from_hours(24)))
        }
        _ => cooldown(rule),
    }
}

/// When things happen to a match.
#[derive(Debug, Clone, Copy)]
pub struct Timing<'a> {
    pub plan: &'a Plan,
    /// The last completed sweep before this one.
    pub swept_at: Timestamp,
    pub now: Timestamp,
}

pub fn new_match(
    namer: &Namer<'_>,
    candidate: Candidate,
    crossing: &Crossing,
    timing: Timing<'_>,
    skip: Option<SkipReason>,
) -> NewMatch {
    let checked = &namer.rule.rule;
    let planned = planned(checked, crossing, timing);
    let delay = spread(checked, crossing, candidate.id);
    let due = timing.now.saturating_add(delay).unwrap_or(Timestamp::MAX);
    let first = checked.entries.get(crossing.entry).and_then(|entry| entry.first);
    NewMatch {
        id: candidate.id,
        former: candidate.former,
        track: candidate.track,
        former_tracks: candidate.former_tracks,
        tolerance: candidate.tolerance,
        rule: checked.id.clone(),
        lane: namer.lane,
        record: namer.record(crossing),
        version: namer.rule.version.clone(),
        occasion: candidate.occasion,
        occasion_at: crossing.occasion_at,
        occasion_data: occasion_data(checked, crossing),
        crossed_at: crossing.crossed_at,
        matched_at: timing.now,
        // Spreading is our own doing, so it doesn't count as late.
        planned_at: planned.saturating_add(delay).unwrap_or(Timestamp::MAX),
        entry: crossing.entry,
        first: first.map(|node| (node, due)),
        skip,
        restart: rematch(checked),
    }
}

/// From where lateness counts. What is found late is late only from then, except for an anniversary: nobody is
/// congratulated on a birthday that was entered a week after it.
fn planned(rule: &CheckedRule, crossing: &Crossing, timing: Timing<'_>) -> Timestamp {
    let planned = timing.plan.planned(crossing.crossed_at, timing.swept_at);
    match rule.trigger {
        Trigger::Yearly(_) => planned.min(timing.plan.next(crossing.crossed_at)),
        _ => planned,
    }
}

/// Why a match is entered and starts nothing.
pub fn late(rule: &CheckedRule, crossing: &Crossing, facts: &Facts, timing: Timing<'_>) -> Option<SkipReason> {
    too_late(rule, crossing, facts, planned(rule, crossing, timing), timing.now).then_some(SkipReason::Late)
}

fn too_late(rule: &CheckedRule, crossing: &Crossing, facts: &Facts, planned: Timestamp, now: Timestamp) -> bool {
    let date = date_of(rule, crossing);
    let overtaken = date.is_some_and(|date| lateness::overtaken(rule, crossing.entry, date, &facts.zone, now));
    let late = lateness::is_over(lateness::limit(rule, crossing.entry, date), planned, now);
    (overtaken || late) && !lateness::reaches_task(rule, crossing.entry)
}

/// Offsets of a date rule are sequences of their own, so one never waits for another.
pub fn rematch(rule: &CheckedRule) -> Rematch {
    match (rule.on_rematch, &rule.trigger) {
        (OnRematch::Ignore, Trigger::Date(_)) if rule.entries.len() > 1 => Rematch::Parallel,
        (OnRematch::Ignore, _) => Rematch::Ignore,
        (OnRematch::Restart, _) => Rematch::Restart,
        (OnRematch::Queue, _) => Rematch::Queue,
        (OnRematch::Parallel, _) => Rematch::Parallel,
    }
}

/// The day that a rule on dates is about.
const fn date_of(rule: &CheckedRule, crossing: &Crossing) -> Option<civil::Date> {
    match (&rule.trigger, &crossing.value) {
        (Trigger::Date(_), Value::Date(date)) => Some(*date),
        _ => None,
    }
}

/// A stable share of the rule's `spread`: the same match always gets the same delay. Spreading is no reason to be
/// late, so it never takes longer than lateness allows.
pub fn spread(rule: &CheckedRule, crossing: &Crossing, id: MatchId) -> SignedDuration {
    let Some(over) = rule.spread else { return SignedDuration::ZERO };
    let date = date_of(rule, crossing);
    let over = SignedDuration::from_secs(over.max_seconds()).min(lateness::limit(rule, crossing.entry, date));
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&id.0[8..]);
    let share = u64::from_be_bytes(bytes) as f64 / u64::MAX as f64;
    SignedDuration::from_millis((over.as_secs_f64() * 1_000.0 * share) as i64)
}

/// `occasion.*` of templates.
pub fn occasion_data(rule: &CheckedRule, crossing: &Crossing) -> Json {
    let offset = rule
        .entries
        .get(crossing.entry)
        .and_then(|entry| entry.offset)
        .map(|offset| format!("{} {}", offset.period, if offset.before { "before" } else { "after" }));
    let row: Map<String, Json> =
        crossing.row.iter().map(|(name, value)| (name.clone(), value.to_shown_json())).collect();
    json!({
        "at": crossing.occasion_at.unwrap_or(crossing.crossed_at).to_string(),
        "value": crossing.value.to_shown_json(),
        "offset": offset,
        "row": row,
    })
}
