//! Where each trigger's crossings lie on the time line: the one place of the rehearsals that knows triggers.

use crate::engine::adopt::BEGINNING;
use crate::engine::cadence::Plan;
use crate::engine::port::RuleState;
use crate::engine::settings::Settings;
use crate::engine::sweep::keep_trying;
use crate::model::{Period, Unit};
use crate::rule::CheckedRule;
use crate::rule::checked::{SqlParam, SqlPart, Trigger};
use crate::rule::compiled::Window;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Far enough for every date that people write down.
const GENERATION: Period = Period::new(30, Unit::Year);
const YEAR: Period = Period::new(1, Unit::Year);

/// `after` to `now`, as a sweep at `now` reads it: a schedule has its last planned instant and nothing else.
pub fn behind(rule: &CheckedRule, zone: &TimeZone, after: Timestamp, now: Timestamp) -> Window {
    let until = match &rule.trigger {
        Trigger::Schedule(_) => Plan::of(rule, zone).latest(now).unwrap_or(now),
        _ => now,
    };
    Window { after, until, now }
}

/// All that ever crossed by `now`.
pub fn ever(rule: &CheckedRule, zone: &TimeZone, now: Timestamp) -> Window {
    behind(rule, zone, BEGINNING, now)
}

/// Where the crossings lie that need nothing but time: the facts are there already.
pub fn ahead(rule: &CheckedRule, zone: &TimeZone, now: Timestamp) -> Option<Window> {
    let window = |until| Window { after: now, until, now };
    match &rule.trigger {
        Trigger::Inactivity(inactivity) => Some(window(inactivity.silent_for.after(now, zone))),
        Trigger::Survey(survey) => Some(window(survey.settle.after(now, zone))),
        Trigger::Abandoned(abandoned) => Some(window(abandoned.idle.after(now, zone))),
        // What a row says of when it happened may lie ahead.
        Trigger::Date(_) | Trigger::Created(_) => Some(window(GENERATION.after(now, zone))),
        Trigger::Query(query) if query.at.is_some() => Some(window(GENERATION.after(now, zone))),
        Trigger::Yearly(_) => Some(window(YEAR.after(now, zone))),
        // Rows without a time come when they come, and episodes and events begin with new facts.
        Trigger::Query(_)
        | Trigger::Event(_)
        | Trigger::Count(_)
        | Trigger::Segment(_)
        | Trigger::Decline(_)
        | Trigger::Changed(_)
        | Trigger::Enrolled => None,
        Trigger::Schedule(_) => {
            let next = Plan::of(rule, zone).next(now);
            Some(Window { after: now, until: next, now: next })
        }
    }
    .filter(|window| window.after < window.until)
}

/// Whether a fact that comes in time takes back what would cross.
pub const fn is_undone_by_facts(rule: &CheckedRule) -> bool {
    matches!(rule.trigger, Trigger::Inactivity(_) | Trigger::Abandoned(_))
}

/// Whether what is foretold may be no crossing once its time has come.
pub const fn may_not_stand(rule: &CheckedRule) -> bool {
    is_undone_by_facts(rule) || asks_in_own_words(rule)
}

/// Whether the operator has written the statement.
pub const fn asks_in_own_words(rule: &CheckedRule) -> bool {
    matches!(rule.trigger, Trigger::Query(_))
}

/// Whether it asks, in its own words, for what is so now, so that what is to come shows only to who says that it is later.
pub fn asks_for_now(rule: &CheckedRule) -> bool {
    let is_now = |part: &SqlPart| matches!(part, SqlPart::Param(SqlParam::Now { .. }));
    matches!(&rule.trigger, Trigger::Query(query) if query.sql.iter().any(is_now))
}

/// Whether no sweep looks at it any more.
pub fn is_passed(rule: &CheckedRule, state: Option<&RuleState>, crossed_at: Timestamp, now: Timestamp) -> bool {
    let watermark = state.map(|state| state.progress.watermark);
    watermark.is_some_and(|mark| crossed_at <= mark) && now.duration_since(crossed_at) > reach(rule)
}

/// The next instant at which whoever meets the conditions crosses, whatever the facts.
pub fn planned(rule: &CheckedRule, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    matches!(rule.trigger, Trigger::Schedule(_)).then(|| Plan::of(rule, zone).next(now))
}

/// How far back sweeps and the nightly reconcile look for what they have not entered.
pub fn reach(rule: &CheckedRule) -> SignedDuration {
    match &rule.trigger {
        Trigger::Schedule(_) | Trigger::Enrolled => SignedDuration::ZERO,
        _ => keep_trying(rule).max(Settings::default().reconcile_reach),
    }
}

/// Why nothing tells of the past who crossed when; `None`: it can be told.
pub fn untold(rule: &CheckedRule) -> Option<&'static str> {
    match &rule.trigger {
        Trigger::Query(query) if query.at.is_none() => {
            Some("its query has no `at`, so nothing tells when a row of it came")
        }
        Trigger::Segment(_) => Some("the source says who is in its segment now, and not who came or left when"),
        Trigger::Changed(_) => Some("the source has the value of now, and not those before it"),
        Trigger::Enrolled => Some("nothing but the `enroll` steps of other rules makes it match"),
        Trigger::Inactivity(_)
        | Trigger::Survey(_)
        | Trigger::Date(_)
        | Trigger::Schedule(_)
        | Trigger::Created(_)
        | Trigger::Abandoned(_)
        | Trigger::Yearly(_)
        | Trigger::Query(_)
        | Trigger::Event(_)
        | Trigger::Count(_)
        | Trigger::Decline(_) => None,
    }
}

/// Why nothing but its sweeps can tell whom a rule matches now; `None`: it can be counted.
pub fn uncounted(rule: &CheckedRule) -> Option<&'static str> {
    match &rule.trigger {
        Trigger::Segment(segment) if segment.leaves => {
            Some("the source says who is in its segment, and only sweeps know who was and has left")
        }
        Trigger::Changed(_) => Some("the source has the value of now, and only sweeps know the one before"),
        _ => None,
    }
}
