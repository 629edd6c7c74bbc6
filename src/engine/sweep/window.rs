//! Which crossings one sweep reads, as pure arithmetic over the rule's progress.

use crate::engine::cadence::Plan;
use crate::engine::port::{MissKind, Progress, RuleState};
use crate::rule::CheckedRule;
use crate::rule::checked::{Backfill, Trigger};
use crate::rule::compiled::Window;
use jiff::{SignedDuration, Timestamp};

/// Rows committed a little late are found by reading a little twice.
const EVENT_OVERLAP: SignedDuration = SignedDuration::from_mins(10);
/// Two days: no zone is further from another.
const ZONE_OVERLAP: SignedDuration = SignedDuration::from_hours(48);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What one sweep reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Read whole; empty between the planned instants of a schedule.
    pub crossed: Window,
    /// Older crossings of records that changed after the instant.
    pub changed: Option<(Window, Timestamp)>,
    /// Open episodes that opened after this are asked about again.
    pub asked_after: Timestamp,
    /// Whoever crossed since `keep_trying` is asked about again.
    pub recheck: bool,
}

/// How long a record that crossed but did not match gets more chances.
pub fn keep_trying(rule: &CheckedRule) -> SignedDuration {
    let default = match rule.trigger {
        Trigger::Inactivity(_) | Trigger::Abandoned(_) | Trigger::Count(_) | Trigger::Decline(_) => DAY * 14,
        Trigger::Survey(_)
        | Trigger::Date(_)
        | Trigger::Schedule(_)
        | Trigger::Created(_)
        | Trigger::Yearly(_)
        | Trigger::Query(_)
        | Trigger::Segment(_)
        | Trigger::Changed(_)
        | Trigger::Event(_)
        | Trigger::Enrolled => SignedDuration::ZERO,
    };
    rule.keep_trying.map_or(default, |period| SignedDuration::from_secs(period.max_seconds()))
}

/// True for a miss that stays one: it was judged, and the time for more chances is over.
pub fn had_its_chance(rule: &CheckedRule, kind: MissKind, crossed_at: Timestamp, now: Timestamp) -> bool {
    kind == MissKind::Refused && now.duration_since(crossed_at) >= keep_trying(rule)
}

/// Whether a sweep reads what crossed then only if it looks back.
pub fn is_behind(rule: &CheckedRule, state: &RuleState, crossed_at: Timestamp) -> bool {
    let at_once = rule.trigger.keeps_episodes()
        || matches!(rule.trigger, Trigger::Schedule(_) | Trigger::Event(_) | Trigger::Enrolled)
        || rule.trigger.leaves_out_its_first_look();
    let Progress { watermark, seeded, .. } = state.progress;
    !at_once && seeded && crossed_at <= minus(watermark, overlap(rule))
}

/// Whether all that a rule finds at a look is left out, as nothing but its first look tells what was there before it.
/// `None`: it has not been taken up yet.
pub fn leaves_out(rule: &CheckedRule, known: Option<(&Progress, Timestamp)>) -> bool {
    rule.trigger.leaves_out_its_first_look()
        && rule.backfill == Backfill::None
        && known.is_none_or(|(progress, baseline)| progress.watermark == baseline)
}

const fn overlap(rule: &CheckedRule) -> SignedDuration {
    match rule.trigger {
        Trigger::Inactivity(_)
        | Trigger::Survey(_)
        | Trigger::Created(_)
        | Trigger::Abandoned(_)
        | Trigger::Query(_)
        | Trigger::Count(_)
        | Trigger::Decline(_)
        | Trigger::Segment(_)
        | Trigger::Changed(_)
        | Trigger::Event(_) => EVENT_OVERLAP,
        Trigger::Date(_) | Trigger::Yearly(_) => ZONE_OVERLAP,
        Trigger::Schedule(_) | Trigger::Enrolled => SignedDuration::ZERO,
    }
}

/// `tracks_changes`: the catalog names an `updated_at` for the rule's entity, or for what its trigger reads.
pub fn reading(
    rule: &CheckedRule,
    plan: &Plan,
    progress: &Progress,
    baseline: Timestamp,
    now: Timestamp,
    tracks_changes: bool,
) -> Reading {
    let trying = keep_trying(rule);
    let recheck_every = SignedDuration::from_secs(rule.recheck.max_seconds());
    let recheck = trying > SignedDuration::ZERO && now.duration_since(progress.rechecked_at) >= recheck_every;

    let mut after = minus(progress.watermark, overlap(rule));
    let mut asked_after = after.max(baseline);
    if recheck {
        asked_after = after.min(minus(now, trying)).max(baseline);
        // Episodes are found in the state, however long ago they opened.
        if !rule.trigger.keeps_episodes() {
            after = asked_after;
        }
    }
    let mut crossed = Window { after: after.max(baseline), until: now, now };
    if let Trigger::Schedule(_) = rule.trigger {
        // Planned instants that were missed are made up for once, by the latest of them; between two of them
        // there is nothing to read.
        crossed.until = plan.latest(now).map_or(crossed.after, |latest| latest.max(crossed.after));
    }

    let floor = match rule.trigger {
        // An edited date may have been reached long ago; who changed is few, so all of it is read.
        Trigger::Date(_) => baseline,
        _ => minus(now, trying.max(DAY * 7)).max(baseline),
    };
    // What changed is no question to a rule that asks in its own words, nor to one that asks by the calendar; all
    // that is in a segment is read at every sweep.
    let whole =
        matches!(rule.trigger, Trigger::Schedule(_) | Trigger::Query(_) | Trigger::Event(_) | Trigger::Segment(_));
    let changed = (tracks_changes && !whole && floor < crossed.after)
        .then(|| (Window { after: floor, until: crossed.after, now }, minus(progress.watermark, EVENT_OVERLAP)));
    Reading { crossed, changed, asked_after, recheck }
}

/// Where the nightly reconcile looks: behind the watermark, as far as it reaches. `None` for rules whose
/// facts can't come late, and for those that read everything anyway.
pub fn reconcile_window(
    rule: &CheckedRule,
    progress: &Progress,
    baseline: Timestamp,
    now: Timestamp,
    reach: SignedDuration,
) -> Option<Window> {
    let whole = matches!(rule.trigger, Trigger::Schedule(_) | Trigger::Event(_) | Trigger::Segment(_));
    if whole || rule.trigger.leaves_out_its_first_look() {
        return None;
    }
    let after = minus(now, reach).max(baseline);
    let until = progress.watermark.min(now);
    (after < until).then_some(Window { after, until, now })
}

fn minus(instant: Timestamp, by: SignedDuration) -> Timestamp {
    instant.checked_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::dispatch::decide_tests::rule;
    use crate::model::Period;
    use crate::rule::checked::{Cron, Schedule};
    use jiff::tz::TimeZone;

    fn instant(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn only_what_was_judged_had_its_chance() {
        let now = instant("2026-11-20T00:00:00Z");
        let over = |kind, crossed| had_its_chance(&rule(), kind, instant(crossed), now);
        assert!(over(MissKind::Refused, "2026-11-01T00:00:00Z"));
        assert!(!over(MissKind::Refused, "2026-11-19T00:00:00Z"), "`keep_trying` is 14 days");
        assert!(!over(MissKind::Unjudged, "2026-11-01T00:00:00Z"));
    }

    fn progress(at: &str) -> Progress {
        let at = instant(at);
        Progress { watermark: at, swept_at: at, rechecked_at: at, reconciled_at: at, seeded: true }
    }

    const BASELINE: &str = "2026-11-01T00:00:00Z";

    fn read(rule: &CheckedRule, last: &str, now: &str, tracks_changes: bool) -> Reading {
        let plan = Plan::of(rule, &TimeZone::UTC);
        reading(rule, &plan, &progress(last), instant(BASELINE), instant(now), tracks_changes)
    }

    #[test]
    fn an_ordinary_sweep_reads_a_little_twice_and_never_behind_its_baseline() {
        let read_at = |last, now| read(&rule(), last, now, false);
        let ordinary = read_at("2026-11-20T10:00:00Z", "2026-11-20T10:15:00Z");
        assert_eq!(ordinary.crossed.after, instant("2026-11-20T09:50:00Z"));
        assert!(!ordinary.recheck);
        let first = read_at(BASELINE, "2026-11-01T00:15:00Z");
        assert_eq!(first.crossed.after, instant(BASELINE));
    }

    #[test]
    fn once_a_day_everything_still_tried_is_read_again() {
        let daily = read(&rule(), "2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z", false);
        assert!(daily.recheck);
        assert_eq!(daily.crossed.after, instant("2026-11-07T10:00:00Z"));
        let mut once = rule();
        once.keep_trying = Some(Period::days(0));
        assert!(!read(&once, "2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z", false).recheck);
    }

    #[test]
    fn changed_records_are_read_only_behind_what_is_read_whole() {
        let reading = read(&rule(), "2026-11-20T10:00:00Z", "2026-11-20T10:15:00Z", true);
        let (window, since) = reading.changed.unwrap();
        assert_eq!((window.after, window.until), (instant("2026-11-06T10:15:00Z"), reading.crossed.after));
        assert_eq!(since, instant("2026-11-20T09:50:00Z"));
    }

    #[test]
    fn a_schedule_reads_its_latest_planned_instant_and_nothing_in_between() {
        let mut monday = rule();
        monday.trigger = Trigger::Schedule(Schedule { cron: Cron { text: "0 9 * * MON".into() } });
        let late = read(&monday, "2026-11-02T09:00:00Z", "2026-11-18T12:00:00Z", true);
        assert_eq!(late.crossed.until, instant("2026-11-16T09:00:00Z"));
        assert_eq!(late.changed, None);
        let idle = read(&monday, "2026-11-16T09:00:00Z", "2026-11-18T12:00:00Z", true);
        assert_eq!(idle.crossed.after, idle.crossed.until);
    }
}
