//! The match that an `enroll` step makes.

use super::work::Work;
use crate::engine::context::lane_of;
use crate::engine::port::{Enrolling, NewMatch, Noted, RuleVersion};
use crate::engine::sweep::rematch;
use crate::model::{InstanceSecret, Lane, MatchIdentity, Occasion, RuleId};
use crate::rule::CompiledRule;
use jiff::Timestamp;
use std::sync::Arc;

/// What is noted in the timeline, and the match. In the shadow lane nothing is started: whether the other rule's own
/// lane is shadow or live, it would be for real there.
pub fn enrolling(
    work: &Work,
    target: &CompiledRule,
    secret: &InstanceSecret,
    now: Timestamp,
) -> (Noted, Option<Box<Enrolling>>) {
    let (claimed, rule) = (&work.claimed, &target.rule);
    if claimed.lane == Lane::Shadow {
        return (Noted::WouldEnroll(rule.id.clone()), None);
    }
    // A paused rule's steps are held when they are due.
    let lane = lane_of(target).unwrap_or(Lane::Live);
    // One enrollment passes a step once, so match and step make the occasion.
    let occasion = Occasion::new(format!("enroll:{}/{}", claimed.match_id, work.step()));
    let id = |rule: &RuleId| {
        let (record, occasion) = (claimed.record.clone(), occasion.clone());
        secret.match_id(&MatchIdentity { rule: rule.clone(), lane, record, occasion })
    };
    let track = |rule: &RuleId| secret.track(rule, lane, &claimed.record);
    let of = NewMatch {
        id: id(&rule.id),
        former: rule.was.iter().map(id).collect(),
        track: track(&rule.id),
        former_tracks: rule.was.iter().map(track).collect(),
        tolerance: None,
        rule: rule.id.clone(),
        lane,
        record: claimed.record.clone(),
        version: target.version.clone(),
        occasion: occasion.clone(),
        occasion_at: None,
        // What it was about is still what it is about.
        occasion_data: claimed.occasion_data.clone(),
        crossed_at: now,
        matched_at: now,
        // As late as the step that starts it.
        planned_at: claimed.planned_at.min(now),
        entry: 0,
        first: rule.entries.first().and_then(|entry| entry.first).map(|node| (node, now)),
        skip: None,
        restart: rematch(rule),
    };
    let version = RuleVersion { rule: rule.id.clone(), hash: target.version.clone(), text: Arc::clone(&target.text) };
    (Noted::Enrolled(rule.id.clone()), Some(Box::new(Enrolling { of, version })))
}
