//! Which crossings one sweep reads, as pure arithmetic over the rule's progress.

use crate::engine::cadence::Plan;
use crate::engine::port::Progress;
use crate::rule::CheckedRule;
use crate::rule::checked::Trigger;
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
    /// Read whole.
    pub crossed: Window,
    /// Older crossings of records that changed after the instant.
    pub changed: Option<(Window, Timestamp)>,
    /// `crossed` reaches back over `keep_trying`.
    pub recheck: bool,
}

/// How long a record that crossed but did not match gets more chances.
pub fn keep_trying(rule: &CheckedRule) -> SignedDuration {
    let default = match rule.trigger {
        Trigger::Inactivity(_) => DAY * 14,
        Trigger::Survey(_) | Trigger::Date(_) | Trigger::Schedule(_) => SignedDuration::ZERO,
    };
    rule.keep_trying.map_or(default, |period| SignedDuration::from_secs(period.max_seconds()))
}

const fn overlap(rule: &CheckedRule) -> SignedDuration {
    match rule.trigger {
        Trigger::Inactivity(_) | Trigger::Survey(_) => EVENT_OVERLAP,
        Trigger::Date(_) => ZONE_OVERLAP,
        Trigger::Schedule(_) => SignedDuration::ZERO,
    }
}

/// `tracks_changes`: the catalog names an `updated_at` for the rule's entity.
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
    if recheck {
        after = after.min(minus(now, trying));
    }
    if let Trigger::Schedule(_) = rule.trigger {
        // Planned instants that were missed are made up for once, by the latest of them.
        let latest = plan.latest(now).map(|latest| minus(latest, SignedDuration::from_micros(1)));
        after = latest.map_or(after, |latest| after.max(latest));
    }
    let crossed = Window { after: after.max(baseline), until: now, now };

    let floor = match rule.trigger {
        // An edited date may have been reached long ago; who changed is few, so all of it is read.
        Trigger::Date(_) => baseline,
        _ => minus(now, trying.max(DAY * 7)).max(baseline),
    };
    let changed = (tracks_changes && !matches!(rule.trigger, Trigger::Schedule(_)) && floor < crossed.after)
        .then(|| (Window { after: floor, until: crossed.after, now }, minus(progress.watermark, EVENT_OVERLAP)));
    Reading { crossed, changed, recheck }
}

/// Where the nightly reconcile looks: behind the watermark, as far as it reaches. `None` for rules whose
/// facts can't come late.
pub fn reconcile_window(
    rule: &CheckedRule,
    progress: &Progress,
    baseline: Timestamp,
    now: Timestamp,
    reach: SignedDuration,
) -> Option<Window> {
    if matches!(rule.trigger, Trigger::Schedule(_)) {
        return None;
    }
    let after = minus(now, reach).max(baseline);
    let until = progress.watermark.min(now);
    (after < until).then_some(Window { after, until, now })
}

fn minus(instant: Timestamp, by: SignedDuration) -> Timestamp {
    instant.checked_sub(by).unwrap_or(Timestamp::MIN)
}
